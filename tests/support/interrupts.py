"""Call something again and again in a process that gets SIGINT about every millisecond.

python -m tests.support.interrupts MODULE FUNCTION SECONDS ARGUMENT...
"""

from __future__ import annotations

import faulthandler
import importlib
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.support.patience import STUCK_SECONDS

ROOT = Path(__file__).parents[2]
MIN_INTERRUPTS = 50
"""Go on beyond the seconds asked for until so many have arrived."""


def interrupted(prepare: Callable[..., object], seconds: float, *arguments: object) -> None:
    """Assert that what ``prepare(*arguments)`` returns, ``(attempt, check)``, stands interrupts.

    ``attempt`` is called over and over while interrupts arrive, then ``check`` once without them.
    """
    command = [sys.executable, "-m", "tests.support.interrupts", prepare.__module__, prepare.__name__]
    child = subprocess.Popen(
        [*command, str(seconds), *map(str, arguments)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    child.stdout.readline()  # it has installed its handler
    while child.poll() is None:
        child.send_signal(signal.SIGINT)
        time.sleep(random.uniform(0.0002, 0.003))
    raised, errors = child.communicate()
    assert child.returncode == 0, errors
    print(f"{prepare.__name__}: {raised.strip()} interrupts")  # noqa: T201


class _Interrupts:
    """Raises KeyboardInterrupt for the next ``left`` signals, and ignores the others."""

    def __init__(self) -> None:
        self.left = self.raised = 0

    def __call__(self, *_: object) -> None:
        if self.left > 0:
            self.left -= 1
            self.raised += 1
            raise KeyboardInterrupt


def _attempt_interrupted(attempt: Callable[[], object], interrupts: _Interrupts, most: int) -> None:
    """Call once, with at most two interrupts: the second one may come while the first is handled."""
    try:
        try:
            interrupts.left = most
            attempt()
            interrupts.left = 0
        except KeyboardInterrupt:
            interrupts.left = 0
    except KeyboardInterrupt:
        interrupts.left = 0


def main(module: str, function: str, seconds: str, *arguments: str) -> None:
    interrupts = _Interrupts()
    signal.signal(signal.SIGINT, interrupts)
    faulthandler.dump_traceback_later(float(seconds) + STUCK_SECONDS, exit=True)
    attempt, check = getattr(importlib.import_module(module), function)(*arguments)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    end, turn = time.monotonic() + float(seconds), 0
    while time.monotonic() < end or interrupts.raised < MIN_INTERRUPTS:
        _attempt_interrupted(attempt, interrupts, 1 + turn % 2)
        turn += 1
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # which, unlike a handler, holds until the process has ended
    check()
    sys.stdout.write(f"{interrupts.raised}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
