"""Run whole processes, taking turns, and keep wall time and peak memory of each.

Time goes from the start of the process to its end, imports and clean-up included. Peak memory is the
largest resident set that the kernel saw (``ru_maxrss``); pages of a memory-mapped scratch file are part of
it while they are resident, since the process needs them.

Linux counts what the *parent* had resident when it started a child as part of the child's peak (the
child begins as a copy of it). Whoever calls this must therefore stay small: it imports neither NumPy
nor this project, and leaves everything large to processes of its own.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

RSS_UNIT = 1 if sys.platform == "darwin" else 1024
"""``ru_maxrss`` is in KiB on Linux and in bytes on macOS (getrusage(2) of each)."""


class ProcessError(RuntimeError):
    """A measured process ended badly; the message holds the end of its stderr."""


@dataclass(frozen=True)
class Case:
    """Something to measure.

    Attributes
    ----------
    title : str
        Its name in the table.
    command : tuple of str
        The process.
    before : callable or None
        What to do before each run; it is not timed.
    optional : bool
        Whether its failure is a result (a peer that cannot run here) and not an error.
    missing : str
        Why it cannot even be tried here; empty if it can.
    once : bool
        Whether it has a turn in the first round only, because it takes so long.
    """

    title: str
    command: tuple[str, ...]
    before: Callable[[], None] | None = None
    optional: bool = False
    missing: str = ""
    once: bool = False


@dataclass(frozen=True)
class Run:
    """One run: wall seconds, peak resident bytes, and what was printed."""

    seconds: float
    peak_bytes: int
    output: str


@dataclass
class Series:
    """All runs of one case, by round.

    Attributes
    ----------
    rounds : list of list of Run
        A case may have several turns in a round.
    failure : str
        Why there are none, for an optional case; empty otherwise.
    """

    rounds: list[list[Run]] = field(default_factory=list)
    failure: str = ""

    @property
    def seconds(self) -> list[float]:
        """Wall seconds of all runs."""
        return [run.seconds for runs in self.rounds for run in runs]

    @property
    def medians(self) -> list[float | None]:
        """Median of the wall seconds of each round; None if it had no turn."""
        return [statistics.median(run.seconds for run in runs) if runs else None for runs in self.rounds]

    @property
    def median(self) -> float:
        """Median of the wall seconds."""
        return statistics.median(self.seconds)

    @property
    def peak_bytes(self) -> int:
        """Largest peak of all runs."""
        return max(run.peak_bytes for runs in self.rounds for run in runs)


def ratio(one: Series, other: Series) -> float | None:
    """How many times as long ``one`` takes as ``other``: the median of the rounds' ratios.

    Both have had their turn in every round, so a machine that slows down or speeds up from round to
    round does it to both. None if either was not measured.
    """
    if one.failure or other.failure:
        return None
    pairs = zip(one.medians, other.medians, strict=True)
    return statistics.median(mine / theirs for mine, theirs in pairs if mine and theirs)


def take_turns(
    turns: Sequence[Case],
    rounds: int,
    environment: Mapping[str, str],
    report: Callable[[str], None],
) -> dict[str, Series]:
    """Run the cases one after the other, and all of that ``rounds`` times.

    Parameters
    ----------
    turns : sequence of Case
        The order within a round; a case may come several times.
    rounds : int
        How often.
    environment : mapping of str to str
        Environment of every process.
    report : callable
        Called with a line of text after each run.

    Returns
    -------
    dict of str to Series
        By the cases' titles, in the order of their first turns.

    Raises
    ------
    ProcessError
        If a case that is not optional fails.
    """
    series = {case.title: Series(failure=case.missing) for case in turns}
    for number in range(1, rounds + 1):
        for of_case in series.values():
            of_case.rounds.append([])
        for case in turns:
            found = series[case.title]
            if found.failure or (case.once and number > 1):
                continue
            try:
                result = _turn(case, environment)
            except ProcessError as error:
                if not case.optional:
                    raise ProcessError(f"{case.title} failed: {error}") from error
                found.failure = str(error)
                continue
            found.rounds[-1].append(result)
            report(f"round {number} of {rounds}  {case.title}: {result.seconds:.2f} s")
    return series


def run(command: Iterable[str], environment: Mapping[str, str]) -> Run:
    """Run one process to its end and measure it.

    Raises
    ------
    ProcessError
        If it cannot be started, or its exit status is not 0.
    """
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        begin = time.perf_counter()
        try:
            process = subprocess.Popen(list(command), stdout=output, stderr=errors, env=dict(environment))
        except OSError as error:
            raise ProcessError(str(error)) from error
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - begin
        process.returncode = os.waitstatus_to_exitcode(status)  # or Popen would wait for it again
        output.seek(0)
        errors.seek(0)
        if process.returncode:
            raise ProcessError(_last_line(errors.read(), process.returncode))
        return Run(seconds, usage.ru_maxrss * RSS_UNIT, output.read().strip())


def _turn(case: Case, environment: Mapping[str, str]) -> Run:
    """One run, after the disk has had time to take what the run before it wrote."""
    if case.before:
        case.before()
    os.sync()
    return run(case.command, environment)


def _last_line(text: str, status: int) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else f"exit status {status}"
