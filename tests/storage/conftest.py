"""What every test of this folder leaves behind is removed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import fsspec
import pytest


@pytest.fixture(autouse=True)
def _empty_memory() -> Iterator[None]:
    """Empty fsspec's memory filesystem after each test."""
    yield
    with contextlib.suppress(FileNotFoundError):
        fsspec.filesystem("memory").rm("/", recursive=True)
