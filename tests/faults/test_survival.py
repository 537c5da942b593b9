"""Killed, cut off, out of room or of power: an ingest is whole, or is resumed to the same bytes."""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest

import cop_zarr
from cop_zarr.errors import (
    StorageError,
    StoreBusyError,
    StoreError,
    StoreNotFoundError,
)
from cop_zarr.source.geotiff import Block, GeoTiff
from cop_zarr.storage import local
from cop_zarr.storage.exchange import exchange
from tests.support import factory
from tests.support.patience import STUCK_SECONDS, until
from tests.support.proxy import TRANSIENT, AfterWrite, Proxy, fault_proxy, seeded
from tests.support.servers import S3

pytestmark = pytest.mark.usefixtures("fixed_time")

ROWS, COLS, BANDS = (300, 396), (572, 732), 16
"""15 tiles of 32 x 32, 240 chunks of which 33 have no data."""

Tree = dict[str, bytes | None]


@pytest.fixture(scope="module")
def part(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("part") / "part.tif"
    return factory.write_geotiff(path, rows=ROWS, cols=COLS, bands=BANDS, blockxsize=32, blockysize=32)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four tiles, 12 chunks of which 2 have no data."""
    path = tmp_path_factory.mktemp("tiny") / "tiny.tif"
    size = {"rows": (300, 324), "cols": (590, 622), "bands": 2}
    return factory.write_geotiff(path, **size, blockxsize=16, blockysize=16)


@pytest.fixture(scope="module")
def whole(part: Path, tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """What an undisturbed run makes of :func:`part`."""
    return made_of(part, tmp_path_factory.mktemp("whole"))


@pytest.fixture(scope="module")
def tiny_whole(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """What an undisturbed run makes of :func:`tiny`."""
    return made_of(tiny, tmp_path_factory.mktemp("tiny-whole"))


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of another source."""
    place = tmp_path_factory.mktemp("old")
    source = factory.write_geotiff(place / "old.tif", rows=(0, 40), cols=(0, 40), bands=2)
    cop_zarr.ingest(source, place / "old.zarr")
    return place / "old.zarr"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A place with nothing else beside it."""
    (tmp_path / "stores").mkdir()
    return tmp_path / "stores" / "out.zarr"


def made_of(source: Path, place: Path, **options: Any) -> Tree:
    cop_zarr.ingest(source, place / "a.zarr", **options)
    return tree(place / "a.zarr")


def tree(place: Path) -> Tree:
    """Every file's bytes; an empty folder has None."""
    found: Tree = {}
    for parent, folders, files in os.walk(place):
        inside = Path(parent).relative_to(place)
        found |= {(inside / name).as_posix(): Path(parent, name).read_bytes() for name in files}
        if not folders and not files:
            found[inside.as_posix()] = None
    return found


def beside(out: Path) -> list[str]:
    return sorted(path.name for path in out.parent.iterdir())


def work(out: Path) -> Path:
    """Where its journal is."""
    return out.with_name(f"{out.name}.partial")


def staging(out: Path) -> Path:
    """Where it is written."""
    return work(out) / "store"


def opens(place: Path | str, **options: Any) -> bool:
    try:
        cop_zarr.open(place, **options)
    except (StoreError, StoreNotFoundError):
        return False
    return True


MAIN = "from cop_zarr.cli import main; main()"

SLOW = f"""
import time
from cop_zarr.writing.journal import Journal
record = Journal.record
Journal.record = lambda *block: (record(*block), time.sleep(0.5))
{MAIN}"""
"""An ingest that pauses after each block, so that a signal finds it at work on any machine."""


def command(*arguments: object, program: str = MAIN) -> list[str]:
    return [sys.executable, "-c", program, "ingest", *map(str, arguments)]


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments), capture_output=True, text=True, check=False, timeout=STUCK_SECONDS
    )


@contextlib.contextmanager
def started(*arguments: object, program: str = MAIN) -> Iterator[subprocess.Popen[str]]:
    """An ingest in a process of its own, which does not outlive the context."""
    # nohup ignores SIGHUP, a shell that runs this in the background SIGINT; a child would ignore them, too
    ignored = [n for n in (signal.SIGHUP, signal.SIGINT) if signal.getsignal(n) is signal.SIG_IGN]
    for number in ignored:
        signal.signal(number, signal.SIG_DFL)
    try:
        process = subprocess.Popen(
            command(*arguments, program=program), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
    finally:
        for number in ignored:
            signal.signal(number, signal.SIG_IGN)
    with process:
        try:
            yield process
        finally:
            process.kill()


# Killed on a disk


def phase(out: Path, whole: Tree) -> str:
    """How far an ingest has come, by what it left."""
    if (work(out) / "replaced").exists() or (work(out).exists() and tree(out) == whole):
        return "publishing"
    if (staging(out) / "embedding" / "zarr.json").exists():
        return "metadata"
    return "blocks" if (work(out) / "ingest" / "blocks").exists() else "begun or done"


def check_stopped(out: Path, whole: Tree, before: Tree) -> None:
    """Nothing is taken for a store but the old one and the new one, each of them whole."""
    found = tree(out)
    if opens(out):
        assert found in (whole, before)
    else:
        # where names cannot be exchanged there is none between two renames; then the new one is whole
        assert found == {}
        assert not before or (opens(staging(out)) and (work(out) / "replaced" / "zarr.json").exists())
    if opens(staging(out)) and found != whole:  # then it is the old one
        assert tree(staging(out)) == whole


def without_work(found: Tree) -> Tree:
    """Leave out what an ingest keeps for itself."""
    return {key: data for key, data in found.items() if key.partition("/")[0] != "ingest"}


def check_whole(out: Path, whole: Tree) -> None:
    assert tree(out) == whole
    assert beside(out) == [out.name]


def begin_with(old: Path | None, out: Path) -> tuple[Tree, list[str]]:
    """Put an old store in the place, if there is one; what is there, and the flags to replace it."""
    if old is None:
        return {}, []
    shutil.copytree(old, out)
    return tree(out), ["--overwrite"]


FORKER = """
    import os, signal, sys
    import cop_zarr, cop_zarr.writing.ingest, numcodecs, tifffile, imagecodecs, google_crc32c
    WATCHED = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate"}
    def child(source, out, flags, kill_at, since):
        import threading
        count, begun, lock = 0, False, threading.Lock()
        def operation(path):
            nonlocal count, begun
            if str(path).startswith(out):
                with lock:
                    begun = begun or str(path).startswith(since)
                    if begun and count == kill_at:
                        os.kill(os.getpid(), signal.SIGKILL)
                    count += begun
        def hook(event, arguments):
            if event in WATCHED:
                operation(arguments[0])
        fsync = os.fsync
        def watched_fsync(descriptor):
            operation(os.readlink(f"/proc/self/fd/{descriptor}"))
            fsync(descriptor)
        os.fsync = watched_fsync
        sys.addaudithook(hook)
        flags = set(flags.split(",")) - {""}
        if "renames" in flags:
            cop_zarr.storage.local.exchange = lambda *_: False
        cop_zarr.ingest(source, out, **dict.fromkeys(flags - {"renames"}, True))
        return count
    for line in sys.stdin:
        source, out, flags, kill_at, since = line.rstrip("\\n").split("\\t")
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                os.write(writer, str(child(source, out, flags, int(kill_at), since)).encode())
                os._exit(0)
            except BaseException:
                import traceback
                traceback.print_exc()
                os._exit(1)
        os.close(writer)
        said = os.read(reader, 100).decode()
        os.close(reader)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), said or "-", flush=True)
"""
"""Forks an ingest per line of input, which dies at its nth operation on a store's files, or on from one."""


class Forker:
    """Runs ingests that die at an operation of our choice."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._in: IO[str] = process.stdin  # type: ignore[assignment]
        self._out: IO[str] = process.stdout  # type: ignore[assignment]

    def ingest(
        self, source: Path, out: Path, *flags: str, kill_at: int = -1, since: Path | None = None
    ) -> int | None:
        """The number of operations, from the first one on a file on; None if the process was killed."""
        line = [str(source), str(out), ",".join(flags), str(kill_at), str(since or out)]
        self._in.write("\t".join(line) + "\n")
        self._in.flush()
        status, said = self._out.readline().split()
        assert int(status) in {0, -signal.SIGKILL}
        return int(said) if status == "0" else None


@pytest.fixture(scope="module")
def forker() -> Iterator[Forker]:
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(FORKER)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield Forker(process)
        process.stdin.close()  # type: ignore[union-attr]


@pytest.mark.slow
@pytest.mark.parametrize(
    "flags",
    [[], ["shards"], ["overwrite"], ["overwrite", "renames"]],
    ids=["new", "with shards", "over an old store", "over one where names cannot be exchanged"],
)
def test_killed_at_any_operation(
    tiny: Path,
    tiny_whole: Tree,
    part: Path,
    old: Path,
    tmp_path: Path,
    *,
    forker: Forker,
    trials: int,
    flags: list[str],
) -> None:
    out = tmp_path / "stores" / "out.zarr"
    out.parent.mkdir()
    replaces = "overwrite" in flags
    if "shards" in flags:  # of which the tiny source has one only
        tiny, tiny_whole = part, made_of(part, tmp_path, shards=True)
    begin_with(old if replaces else None, out)
    total = forker.ingest(tiny, out, *flags)
    assert total is not None
    shutil.rmtree(out.parent)
    out.parent.mkdir()
    begin_with(old if replaces else None, out)
    # from there on one thread works alone: it always needs the same number of operations
    ending = staging(out) / "embedding" / "zarr.json"
    last = forker.ingest(tiny, out, *flags, since=ending)
    assert last is not None
    phases = Counter[str]()
    # all of them with --trials 50; and always those of the end
    step = max(1, total // trials) if trials < 50 else 1
    moments: list[tuple[int, Path | None]] = [
        (moment, None) for moment in range(trials % step, total, step)
    ]
    moments += [(moment, ending) for moment in range(last - 12, last)]
    for moment, since in moments:
        shutil.rmtree(out.parent)
        out.parent.mkdir()
        before, _ = begin_with(old if replaces else None, out)
        if forker.ingest(tiny, out, *flags, kill_at=moment, since=since) is not None:
            assert since is None  # threads do not always need the same number of operations
            continue
        phases[phase(out, tiny_whole)] += 1
        check_stopped(out, tiny_whole, before)
        again = random.Random(moment).randrange(total)  # and killed again, if it takes so long
        forker.ingest(tiny, out, *flags, "resume", kill_at=again)
        check_stopped(out, tiny_whole, before)
        assert forker.ingest(tiny, out, *flags, "resume") is not None
        check_whole(out, tiny_whole)
    print(f"\n{phases.total()} of {total} operations, {last} of them at the end: {dict(phases)}")  # noqa: T201
    assert {"blocks", "metadata", "publishing"} <= set(phases)


# What is finished is not done again


@pytest.mark.parametrize("workers", [1, 2])
def test_a_resumed_run_does_only_what_is_left(
    part: Path, whole: Tree, out: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    stop_after(part, out, 6, workers=workers)
    records = [json.loads(path.read_bytes()) for path in (work(out) / "ingest" / "blocks").iterdir()]
    windows = {tuple(record["record"]["window"]) for record in records}
    finished = {
        f"embedding/c/0/{row}/{col}"
        for top, bottom, left, right in windows
        for row in range(top // 8, bottom // 8)
        for col in range(left // 8, right // 8)
    } & set(whole)
    assert 6 <= len(windows) <= 6 + workers
    assert len(finished) > 50
    before = {key: identity(staging(out) / key) for key in finished}
    read, decoded = GeoTiff.read, []

    def watch(self: GeoTiff, block: Block, buffer: np.ndarray | None = None) -> np.ndarray:
        decoded.append((block.row, block.row_stop, block.col, block.col_stop))
        return read(self, block, buffer)

    monkeypatch.setattr(GeoTiff, "read", watch)
    cop_zarr.ingest(part, out, resume=True, workers=workers)
    assert len(decoded) == len(set(decoded)) == 15 - len(windows)
    assert not set(decoded) & windows
    assert {key: identity(out / key) for key in finished} == before
    check_whole(out, whole)


def test_a_resumed_run_may_cut_the_source_otherwise(
    part: Path, whole: Tree, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a machine with more memory: into whole rows of tiles."""
    blocks = GeoTiff.blocks

    def whole_rows(self: GeoTiff, *arguments: int, **options: int) -> list[Block]:
        rows: dict[int, list[int]] = {}
        for block in blocks(self, *arguments, **options):
            rows.setdefault(block.row, []).extend(block.segments)
        width = COLS[1] - COLS[0]
        return [Block(row, row + 32, 0, width, tuple(segments)) for row, segments in rows.items()]

    stop_after(part, out, 6, workers=1)
    monkeypatch.setattr(GeoTiff, "blocks", whole_rows)
    cop_zarr.ingest(part, out, resume=True)
    check_whole(out, whole)


def identity(path: Path) -> tuple[int, int, int]:
    found = path.stat()
    return found.st_ino, found.st_mtime_ns, found.st_size


def stop_after(source: Path, out: Path | str, blocks: int, **options: Any) -> None:
    """Interrupt an ingest when so many blocks are done."""
    calls = 0

    def progress(done: int, total: int) -> None:
        nonlocal calls
        calls += 1
        if calls == blocks:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cop_zarr.ingest(source, out, progress=progress, **options)


# Power loss


@pytest.fixture(scope="module")
def left(part: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a killed ingest leaves, in its NAME.partial."""
    out = tmp_path_factory.mktemp("left") / "out.zarr"
    with started(part, out, "--workers", 1) as process:
        until(lambda: len(list(work(out).glob("ingest/blocks/*-*.json"))) >= 6)
        process.kill()
        process.wait()
    assert not out.exists()
    assert staging(out).exists()
    return work(out)


def recorded_chunk(partial: Path) -> Path:
    """A chunk that a record vouches for, with data."""
    for record in sorted((partial / "ingest" / "blocks").glob("*-*.json")):
        row, _, col, stop = json.loads(record.read_bytes())["record"]["window"]
        found = [
            place
            for number in range(col // 8, stop // 8)
            if (place := partial / f"store/embedding/c/0/{row // 8}/{number}").exists()
        ]
        if found:
            return found[-1]
    raise AssertionError


def record(partial: Path) -> Path:
    return max((partial / "ingest" / "blocks").glob("*-*.json"))


def change(which: Callable[[Path], Path], how: Callable[[bytes], bytes], partial: Path) -> None:
    path = which(partial)
    path.write_bytes(how(path.read_bytes()))


def strew(*keys: str) -> Callable[[Path], None]:
    def strewn(partial: Path) -> None:
        for key in keys:
            path = partial / key if key.startswith("ingest/") else partial / "store" / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"what power loss has left of it")

    return strewn


DAMAGES = {
    "halve a chunk": partial(change, recorded_chunk, lambda data: data[: len(data) // 2]),
    "flip a bit of a chunk": partial(
        change, recorded_chunk, lambda data: data[:50] + bytes([data[50] ^ 4]) + data[51:]
    ),
    "garble a record": partial(change, record, lambda data: random.Random(1).randbytes(len(data))),
    "strays": strew(
        "embedding/c/0/0/0",  # without data
        "embedding/c/0/900/3",
        "embedding/c/0/3/3.0123abcd.partial",
        "ingest/job.json.0123abcd.partial",
        "integrity/root.json",
        "zarr.json",
        "embedding/zarr.json",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_what_was_not_on_the_disk_is_done_again(
    part: Path, whole: Tree, left: Path, out: Path, damage: Callable[[Path], None]
) -> None:
    shutil.copytree(left, work(out))
    damage(work(out))
    assert not opens(out)
    assert not opens(staging(out))
    cop_zarr.ingest(part, out, resume=True)
    check_whole(out, whole)


@dataclass
class Disk:
    """What has been written, and what of it has reached the disk."""

    events: list[tuple[str, str, str]]

    def watch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        fsync, rename, replace = os.fsync, os.rename, os.replace
        opened, mkdir = io.open, os.mkdir

        def watched_fsync(descriptor: int) -> None:
            path = Path(f"/proc/self/fd/{descriptor}").readlink()
            fsync(descriptor)
            self.events.append(("sync", str(path), ""))

        def moving(move: Callable[[Any, Any], None], one: Any, other: Any) -> None:
            move(one, other)
            self.events.append(("move", os.fspath(one), os.fspath(other)))

        def watched_open(path: Any, mode: str = "r", *rest: Any, **options: Any) -> Any:
            if "w" in mode:
                self.events.append(("write", os.fspath(path), ""))
            return opened(path, mode, *rest, **options)

        def watched_mkdir(path: Any, *rest: Any) -> None:
            mkdir(path, *rest)
            self.events.append(("make", os.fspath(path), ""))

        def watched_exchange(one: Any, other: Any) -> bool:
            done = exchange(one, other)
            if done:
                self.events += [("move", os.fspath(one), os.fspath(other)), ("move", "", os.fspath(one))]
            return done

        monkeypatch.setattr(local, "exchange", watched_exchange)
        monkeypatch.setattr(os, "fsync", watched_fsync)
        monkeypatch.setattr(os, "rename", partial(moving, rename))
        monkeypatch.setattr(os, "replace", partial(moving, replace))
        monkeypatch.setattr(io, "open", watched_open)
        monkeypatch.setattr(os, "mkdir", watched_mkdir)

    def unsafe(self, stop: int) -> set[str]:
        """Files and folders whose bytes or names might not have survived at an event."""
        dirty: set[str] = set()
        for kind, path, other in self.events[:stop]:
            if kind == "sync":
                dirty.discard(path)
                continue
            dirty |= {path, str(Path(path).parent)} if kind != "move" else {str(Path(other).parent)}
            if kind == "move":
                if path in dirty:
                    dirty.add(other)
                dirty.discard(path)
        return dirty

    def moves(self, end: str) -> list[int]:
        found = (
            number
            for number, (kind, _, other) in enumerate(self.events)
            if kind == "move" and other.endswith(end)
        )
        return list(found)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize("replaces", [False, True])
def test_everything_is_on_the_disk_before_it_is_called_done(
    part: Path, whole: Tree, old: Path, out: Path, *, monkeypatch: pytest.MonkeyPatch, replaces: bool
) -> None:
    begin_with(old if replaces else None, out)
    disk = Disk([])
    with monkeypatch.context() as patch:
        disk.watch(patch)
        cop_zarr.ingest(part, out, overwrite=replaces, workers=2)
    base = str(staging(out))
    records = [
        (number, other)
        for number, (kind, _, other) in enumerate(disk.events)
        if kind == "move" and "/ingest/blocks/" in other
    ]
    assert len(records) == 15
    vouched = set()
    for number, path in records:
        row, col = (int(text) // 8 for text in Path(path).stem.split("-"))
        chunks = {
            f"{base}/embedding/c/0/{row + down}/{col + right}" for down in range(4) for right in range(4)
        } & {f"{base}/{key}" for key in whole}
        vouched |= chunks
        written = {path for kind, path, _ in disk.events[:number] if kind == "write"}
        assert chunks <= written
        assert not chunks & disk.unsafe(number)
        # and the record itself is on the disk when it gets its name
        assert disk.events[number][1] not in disk.unsafe(number)
    assert vouched == {f"{base}/{key}" for key in whole if key.startswith("embedding/c/")}
    (root,) = disk.moves(f"{base}/zarr.json")
    files = {f"{base}/{key}" for key in whole} - {f"{base}/zarr.json"}
    assert not files & disk.unsafe(root)
    published = disk.moves(str(out))[-1]
    assert published > root
    assert not {path for path in disk.unsafe(published) if path.startswith(base)}
    assert ("sync", str(out.parent), "") in disk.events[published:]
    assert all(kind != "write" for kind, *_ in disk.events[published:])


# Two at once


def test_a_second_ingest_refuses_while_one_is_at_work(part: Path, whole: Tree, out: Path) -> None:
    with started(part, out) as first:
        until((staging(out) / "embedding").exists)
        os.kill(first.pid, signal.SIGSTOP)
        try:
            for flags in (["--resume"], ["--overwrite"]):
                second = run(part, out, *flags)
                assert second.returncode == 1
                assert "Traceback" not in second.stderr
            with pytest.raises(StoreBusyError):
                cop_zarr.ingest(part, out, resume=True)
        finally:
            os.kill(first.pid, signal.SIGCONT)
        assert first.wait(STUCK_SECONDS) == 0
    check_whole(out, whole)


# A full disk


PAGE = os.sysconf("SC_PAGESIZE")


def pages(whole: Tree) -> int:
    return sum(-(-len(data or b"") // PAGE) for data in whole.values())


@pytest.mark.parametrize("room", [0.02, 0.3, 1, -2])
def test_a_full_disk(part: Path, whole: Tree, volume: Callable[[int], Path], room: float) -> None:
    """Full after a share of the store, or so many pages before its end with the journal."""
    records = 15 + 1
    most = pages(whole) + records
    place = volume(PAGE * int(room * pages(whole) if room > 0 else most + room))
    out = place / "out.zarr"
    for again in (False, True):
        with pytest.raises(StorageError, match="resume=True"):
            cop_zarr.ingest(part, out, resume=again)
        assert not opens(out)
        assert not opens(staging(out))
        assert not out.exists()
    volume(64 << 20)
    before = {path: identity(path) for path in work(out).glob("ingest/blocks/*-*.json")}
    cop_zarr.ingest(part, out, resume=True)
    if room != 0.3:  # where blocks that are written at once may fill the disk before one is whole
        assert (len(before) > 0) == (room != 0.02)
    check_whole(out, whole)


# Asked to stop


@pytest.mark.parametrize(
    ("number", "status"),
    [
        (signal.SIGTERM, 128 + signal.SIGTERM),
        pytest.param(signal.SIGHUP, 128 + signal.SIGHUP, marks=pytest.mark.slow),
        pytest.param(signal.SIGINT, 1, marks=pytest.mark.slow),
    ],
)
def test_asked_to_stop(part: Path, whole: Tree, old: Path, out: Path, *, number: int, status: int) -> None:
    before, flags = begin_with(old, out)
    with started(part, out, *flags, program=SLOW) as process:
        until(lambda: any(work(out).glob("ingest/blocks/*-*.json")))
        process.send_signal(number)
        said, complaint = process.communicate(timeout=STUCK_SECONDS)
    assert process.returncode == status
    assert said == ""
    assert "--resume" in complaint
    assert "Traceback" not in complaint
    assert tree(out) == before
    assert not opens(staging(out))
    assert not (work(out) / "ingest" / "lock").exists()
    finished = {path.name: identity(path) for path in staging(out).glob("embedding/c/0/*/*")}
    assert finished
    again = run(part, out, "--resume")  # it remembers that it may overwrite
    assert again.returncode == 0, again.stderr
    check_whole(out, whole)


# An object store


@pytest.fixture(scope="module")
def proxy(s3: S3) -> Iterator[Proxy]:
    with fault_proxy(s3.endpoint) as running:
        yield running


@pytest.fixture
def via(s3: S3, proxy: Proxy) -> Iterator[dict[str, Any]]:
    """Storage options that lead through the proxy, which is as new."""
    proxy.schedule = None
    proxy.reset_counts()
    yield s3.through(proxy.url)
    proxy.schedule = None
    proxy.restore()


@pytest.fixture(scope="module")
def requests(s3: S3, proxy: Proxy, tiny: Path, tiny_whole: Tree) -> int:
    """Requests of an undisturbed run over an old store; what it makes is what a disk has."""
    url = s3.place()
    for _ in range(2):
        proxy.reset_counts()
        cop_zarr.ingest(tiny, url, overwrite=True, storage_options=s3.through(proxy.url))
        assert s3.objects(url) == tiny_whole
    return len(proxy.requests)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["cut", "killed"])
def test_stopped_at_any_moment_on_an_object_store(
    s3: S3,
    proxy: Proxy,
    via: dict[str, Any],
    tiny: Path,
    tiny_whole: Tree,
    *,
    requests: int,
    old: Path,
    trials: int,
    how: str,
) -> None:
    """Every other time over an old store."""
    stopped, trials = 0, max(trials // 2, 4)
    for trial in range(trials):
        url, before = s3.place(), tree(old) if trial % 2 else {}
        for key, data in before.items():
            s3.put(f"{url}/{key}", data or b"")
        moment = int((trial + random.Random(f"{how}/{trial}").random()) / trials * requests) + 1
        proxy.reset_counts()
        flags = {"overwrite": True} if before else {}
        stopped += (cut_off if how == "cut" else shot)(proxy, moment, tiny, url, via, **flags)
        found = s3.objects(url)
        if opens(url, storage_options=s3.options):
            assert without_work({**found}) in (tiny_whole, before)
        else:
            assert "zarr.json" not in found
        cop_zarr.ingest(tiny, url, resume=True, storage_options=via, **flags)
        assert s3.objects(url) == tiny_whole
    print(f"\n{stopped} of {trials} {how} on S3")  # noqa: T201
    assert stopped >= trials // 2


def cut_off(proxy: Proxy, moment: int, source: Path, url: str, via: dict[str, Any], **flags: bool) -> bool:
    """Ingest, and cut the connection at a request; whether that made it fail."""
    over = threading.Event()

    def watch() -> None:
        until(lambda: len(proxy.requests) >= moment or over.is_set())
        if not over.is_set():
            proxy.cut()

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        cop_zarr.ingest(source, url, timeout=0.4, storage_options=via, **flags)
    except StorageError as error:
        complaint = str(error)
    else:
        return False
    finally:
        over.set()
        watcher.join()
        settle(proxy)
        proxy.restore()
    written = [got.path for got in proxy.requests if got.method == "PUT" and got.status == 200]
    if any("/ingest/blocks/" in path for path in written) and ".zarr/zarr.json" not in written[-1]:
        assert "resume=True" in complaint
    return True


def shot(proxy: Proxy, moment: int, source: Path, url: str, via: dict[str, Any], **flags: bool) -> bool:
    """Ingest in a process that is killed at a request; whether it was."""
    options = [f"--{flag}" for flag in flags]
    with started(source, url, *options, "--storage-options", json.dumps(via)) as process:
        until(lambda: len(proxy.requests) >= moment or process.poll() is not None)
        process.kill()
        status = process.wait()
    settle(proxy)
    return status == -signal.SIGKILL


def settle(proxy: Proxy) -> None:
    """Let the server do what it was asked to do before."""
    until(lambda: proxy._engine.under_way == 0)


@pytest.mark.slow
def test_faults_that_pass_are_survived(
    s3: S3, proxy: Proxy, via: dict[str, Any], tiny: Path, tiny_whole: Tree
) -> None:
    url = s3.place()
    proxy.schedule = seeded(1, 0.15, [*TRANSIENT, AfterWrite()])
    cop_zarr.ingest(tiny, url, storage_options=via)
    assert sum(got.fault is not None for got in proxy.requests) > 2
    assert s3.objects(url) == tiny_whole
