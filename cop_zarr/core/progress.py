"""The type of progress callbacks."""

from collections.abc import Callable

Progress = Callable[[int, int], None]
"""Called with the amount done and the total: bytes of a file, or chunks, or regions."""
