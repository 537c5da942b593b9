"""Object stores that all folders share: each takes seconds to start."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.servers import GCS, S3

# In the background of a shell SIGINT is ignored, by the children of the tests, too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses between tries count and pass at once: what is tried again fails soon, with a long timeout."""
    monkeypatch.setattr("cop_zarr.storage.retries.sleep", lambda _: None)


@pytest.fixture(scope="session")
def s3() -> Iterator[S3]:
    """An object store that speaks S3; each ``s3.place()`` is a new URL."""
    from tests.support.servers import s3_server  # noqa: PLC0415  # half a second that most files do not need

    with s3_server() as server:
        yield server


@pytest.fixture(scope="session")
def gcs() -> Iterator[GCS]:
    """An object store that speaks Google's protocol."""
    from tests.support.servers import gcs_server  # noqa: PLC0415  # the same

    with gcs_server() as server:
        yield server
