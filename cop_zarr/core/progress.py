"""The type of progress callbacks."""

from collections.abc import Callable

Progress = Callable[[int, int], None]
"""Called with the amount done and the total: bytes of a file, or chunks, or regions."""


def stage(progress: Progress | None, number: int, stages: int) -> Progress | None:
    """The progress of one of several stages that take equally long, as a part of all."""
    if progress is None:
        return None
    return lambda done, total: progress(number * total + done, stages * total)


def cell_counter(total: int, cell_bytes: int, progress: Progress | None) -> Callable[[int], None]:
    """A function that counts cells done and reports their bytes."""
    done = 0

    def advance(cells: int) -> None:
        nonlocal done
        done += cells
        if progress is not None:
            progress(done * cell_bytes, total * cell_bytes)

    return advance
