"""Words for the place where a message is read: the command line, or Python."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

_readers = {"command line": 0}


@contextmanager
def for_command_line() -> Iterator[None]:
    """Word advice for the command line meanwhile."""
    _readers["command line"] += 1
    try:
        yield
    finally:
        _readers["command line"] -= 1


def advice(command: str, python: str) -> str:
    """The next step, as it is typed in a shell or as it is written in Python."""
    return command if _readers["command line"] else python
