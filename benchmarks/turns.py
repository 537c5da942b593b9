"""Ask everybody everything, side by side: in each round, each case of every peer in turn."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.questions import Question
from benchmarks.workers import COP_ZARR, LIMIT, Peer, Worker, WorkerError

LIMIT_SECONDS = 2.0
"""A worker begins no further turn of a case once its turns in this round took so long."""

PATIENCE_SECONDS = 4.0
"""What took longer than this in the first round is not asked again, unless a bar needs it in each."""


@dataclass
class Answers:
    """What one peer took for one case.

    Attributes
    ----------
    rounds : list of list of float
        Seconds of each turn, by round; None of them if the case is not supported.
    requests : list of int
        Requests of each turn, if they were counted.
    share : float
        Part of the work that was done; the seconds are those of all of it.
    peak_bytes : int
        Largest resident set of a process that answers this case once.
    difference : float or None
        Largest absolute difference from this project's answer.
    same : bool or None
        Whether the answers are the same but for rounding.
    failure : str
        What went wrong, if something did.
    """

    rounds: list[list[float]] = field(default_factory=list)
    requests: list[int] = field(default_factory=list)
    share: float = 1.0
    peak_bytes: int = 0
    difference: float | None = None
    same: bool | None = None
    failure: str = ""

    @property
    def seconds(self) -> list[float]:
        """Of all turns."""
        return [second for turns in self.rounds for second in turns]

    @property
    def medians(self) -> list[float | None]:
        """Of each round; None if it was not asked in it."""
        return [statistics.median(turns) if turns else None for turns in self.rounds]


Table = dict[str, dict[str, Answers]]
"""By case and by peer."""


def ratio(mine: Answers | None, theirs: Answers | None) -> float | None:
    """How many times as long one takes as the other: the median of the rounds' ratios."""
    if mine is None or theirs is None:
        return None
    pairs = zip(mine.medians, theirs.medians, strict=False)
    ratios = [one / other for one, other in pairs if one is not None and other]
    return statistics.median(ratios) if ratios else None


class Inquiry:
    """All questions to all workers, and what was answered.

    Parameters
    ----------
    asked : sequence of Question
        The cases.
    peers : sequence of Peer
        Who is asked, in this order.
    setting, environment : mapping of str to str
        Of the workers.
    report : callable
        Called with a line of text now and then.
    """

    def __init__(
        self,
        asked: Sequence[Question],
        peers: Sequence[Peer],
        setting: Mapping[str, str],
        environment: Mapping[str, str],
        report: Callable[[str], None],
    ) -> None:
        self.table: Table = {one.case: {} for one in asked}
        self._asked, self._peers, self._report = asked, peers, report
        self._setting, self._environment = setting, environment
        self._workers: dict[tuple[str, ...], Worker] = {}

    def check(self, folder: Path) -> None:
        """Hold every answer against this project's, before anything is timed."""
        kept = str(folder / "answers.npz")
        for question in self._asked:
            if question.case == "remote/open":
                continue
            self._report(f"compare answers: {question.case}")
            self._worker(self._peers[0]).ask(question.case, save=kept)
            for peer in self._peers[1:]:
                if peer.name != LIMIT and (said := self._ask(peer, question, against=kept)):
                    found = self.table[question.case].setdefault(peer.name, Answers())
                    found.same, found.difference = said["same"], said["difference"]
        Path(kept).unlink(missing_ok=True)

    def round(self, number: int, wanted: Collection[tuple[str, str]], turns: int, counter: int) -> None:
        """One turn of everybody at everything.

        Parameters
        ----------
        number : int
            Of the round, from 1.
        wanted : collection of (str, str)
            Cases and peers that are asked in every round, however long they take.
        turns : int
            Most turns of a case.
        counter : int
            The port where requests over the network are counted.
        """
        for question in self._asked:
            self._report(f"round {number}: {question.case}")
            options: dict[str, Any] = {"turns": min(turns, question.turns), "limit_s": LIMIT_SECONDS}
            if question.group == "remote":
                options["counter"] = counter
            for peer in self._peers:
                if self._is_given_up(question, peer, wanted, number):
                    continue
                if said := self._ask(peer, question, **options):
                    self._note(question, peer, number, said)

    def peaks(self) -> None:
        """Measure memory: every case once, in a worker of its own."""
        for question in self._asked:
            if question.peak:
                self._report(f"memory: {question.case}")
                for name, found in self.table[question.case].items():
                    peer = next(one for one in self._peers if one.name == name)
                    if peer.fresh and name != LIMIT and not found.failure:
                        self._peak(peer, question, found)

    def ask(self, name: str, case: str, **options: object) -> dict[str, Any]:
        """Ask the peer of a name something that is in no table."""
        peer = next(one for one in self._peers if one.name == name)
        return self._worker(peer).ask(case, **options)

    def close(self) -> None:
        """End all workers."""
        for worker in self._workers.values():
            worker.close()

    def _peak(self, peer: Peer, question: Question, found: Answers) -> None:
        worker = Worker(peer, self._setting, self._environment)
        try:
            said = worker.ask(peer.way + question.case, turns=1, warm=False)
            found.peak_bytes = said["peak_bytes"]
        except WorkerError as error:
            if peer.name == COP_ZARR:
                raise
            self._report(f"{peer.name}, memory of {question.case}: {error}")
        finally:
            worker.close()

    def _note(self, question: Question, peer: Peer, number: int, said: Mapping[str, Any]) -> None:
        found = self.table[question.case].setdefault(peer.name, Answers())
        found.rounds += [[] for _ in range(number - len(found.rounds))]
        found.rounds[number - 1] += said["seconds"]
        found.requests += said["requests"]
        found.share = said["share"]
        if not peer.fresh and not found.peak_bytes:
            found.peak_bytes = said["peak_bytes"]

    def _is_given_up(
        self, question: Question, peer: Peer, wanted: Collection[tuple[str, str]], number: int
    ) -> bool:
        """Whether a peer cannot answer, or takes too long for another round."""
        found = self.table[question.case].get(peer.name)
        if found is None:
            return number > 1
        if found.failure or number == 1:
            return bool(found.failure)
        needed = peer.name in {COP_ZARR, LIMIT} or (question.case, peer.name) in wanted
        real = max(found.seconds, default=0) * found.share
        return not needed and real > PATIENCE_SECONDS

    def _ask(self, peer: Peer, question: Question, **options: object) -> dict[str, Any] | None:
        """Ask; None if it is not supported, or failed: a peer's failure is a result, ours an error."""
        try:
            said = self._worker(peer).ask(peer.way + question.case, **options)
        except WorkerError as error:
            if peer.name == COP_ZARR:
                raise
            self._report(f"{peer.name}, {question.case}: {error}")
            self.table[question.case].setdefault(peer.name, Answers()).failure = str(error)
            return None
        return None if said.get("unsupported") else said

    def _worker(self, peer: Peer) -> Worker:
        """The worker of a peer; peers that differ in their way only have one together."""
        key = (peer.python, peer.script, *peer.arguments)
        if key not in self._workers:
            self._workers[key] = Worker(peer, self._setting, self._environment)
        return self._workers[key]
