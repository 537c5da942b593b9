"""How long a test waits for what must happen."""

import time
from collections.abc import Callable

STUCK_SECONDS = 300.0
"""After so long it is taken for stuck; on a busy machine, what takes a second may take a minute."""


def until(happened: Callable[[], object]) -> None:
    """Wait until this is true."""
    deadline = time.monotonic() + STUCK_SECONDS
    while not happened():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.001)
