"""Object stores for all tests of this folder."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import fsspec
import pytest

from tests.support.servers import GCS, S3, gcs_server, s3_server


@pytest.fixture(scope="session")
def s3() -> Iterator[S3]:
    """An object store that speaks S3; each ``s3.place()`` is a new URL."""
    with s3_server() as server:
        yield server


@pytest.fixture(scope="session")
def gcs() -> Iterator[GCS]:
    """An object store that speaks Google's protocol."""
    with gcs_server() as server:
        yield server


@pytest.fixture(autouse=True)
def _empty_memory() -> Iterator[None]:
    """Empty fsspec's memory filesystem after each test."""
    yield
    with contextlib.suppress(FileNotFoundError):
        fsspec.filesystem("memory").rm("/", recursive=True)
