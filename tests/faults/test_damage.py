"""Every kind of damage to every object: found by ``verify`` and by the next query, mended by ``repair``.

A damage counts as mended when the store is byte for byte what it was. ``-s`` prints how many there were.
"""

from __future__ import annotations

import json
import shutil
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cop_zarr
from cop_zarr.errors import ChunkError, StoreError
from cop_zarr.format import chunk_reader as chunks
from tests.support import factory
from tests.support.servers import S3, s3_server

ROWS, COLS, BANDS = (300, 321), (590, 613), 3
"""3 x 3 chunks, cut at the south and the east edge; the first column of chunks is empty."""

ROOT, COPY, TABLE, VALID = (
    "zarr.json",
    "integrity/root.json",
    "integrity/embedding/c/0/0/0",
    "valid/c/0/0",
)
CHUNKS = [f"embedding/c/0/{row}/{col}" for row in range(3) for col in (1, 2)]
ARRAYS = ["embedding", "valid", "latitude", "longitude", "band", "spatial_ref", "integrity/embedding"]
COORDINATES = ["latitude/c/0", "longitude/c/0", "band/c/0", "spatial_ref/c"]

KINDS = {
    "root": [ROOT],
    "copy of the root": [COPY],
    "metadata": [*(f"{name}/zarr.json" for name in ARRAYS), "integrity/zarr.json"],
    "chunk": CHUNKS,
    "table": [TABLE],
    "mask": [VALID],
    "coordinate": COORDINATES,
}
"""Every object of the store."""

UNTOUCHED = {COPY, *KINDS["metadata"], *COORDINATES}
"""What no query, no opening and no ``info`` reads: it is there for other readers and for ``repair``, and
only ``verify`` notices damage to it."""

KEYS = [key for keys in KINDS.values() for key in keys]

BOX = (-32.5, 10, -27, 15)
"""All of the store."""

STRAYS = ["embedding/c/0/0/0", "embedding/c/0/3/1", "embedding/c/0/1/1.0123abcd.partial", "ingest/job.json"]
"""Objects that nothing records, and that might be taken for a part of the store."""

Objects = dict[str, bytes]
Changes = dict[str, bytes | None]


# Damages: what becomes of which objects; None is deleted


def flip(good: Objects, key: str, rng: np.random.Generator) -> Changes:
    """One bit; of zarr.json, one that JSON sees."""
    while True:
        data = bytearray(good[key])
        data[rng.integers(len(data))] ^= 1 << int(rng.integers(8))
        if key != ROOT or not same_json(bytes(data), good[key]):
            return {key: bytes(data)}


def truncate(good: Objects, key: str, rng: np.random.Generator) -> Changes:
    return {key: good[key][: rng.integers(1, len(good[key]))]}


def shorten(good: Objects, key: str, rng: np.random.Generator) -> Changes:
    return {key: good[key][:-1]}


def empty(good: Objects, key: str, rng: np.random.Generator) -> Changes:
    return {key: b""}


def extend(good: Objects, key: str, rng: np.random.Generator) -> Changes:
    return {key: good[key] + b"\0"}


def double(good: Objects, key: str, rng: np.random.Generator) -> Changes:
    return {key: good[key] * 2}


def zeros(good: Objects, key: str, rng: np.random.Generator) -> Changes:
    return {key: bytes(len(good[key]))}


def delete(good: Objects, key: str, rng: np.random.Generator) -> Changes:
    return {key: None}


def swap_with_its_like(good: Objects, key: str, rng: np.random.Generator) -> Changes:
    """With another object of its kind; with any one if there is none."""
    alike = next(keys for keys in KINDS.values() if key in keys)
    return _swap(good, key, [other for other in alike if good[other] != good[key]] or KEYS, rng)


def swap_with_any(good: Objects, key: str, rng: np.random.Generator) -> Changes:
    return _swap(good, key, KEYS, rng)


def _swap(good: Objects, key: str, others: list[str], rng: np.random.Generator) -> Changes:
    different = [other for other in others if good[other] != good[key]]
    other = different[rng.integers(len(different))]
    return {key: good[other], other: good[key]}


Damage = Callable[[Objects, str, np.random.Generator], Changes]
DAMAGES: dict[Damage, int] = {
    flip: 4,
    truncate: 2,
    shorten: 1,
    empty: 1,
    extend: 1,
    double: 1,
    zeros: 1,
    delete: 1,
    swap_with_its_like: 1,
    swap_with_any: 1,
}
"""And how often each is done to each object."""


def same_json(one: bytes, other: bytes) -> bool:
    try:
        return bool(json.loads(one) == json.loads(other))
    except ValueError:
        return False


# Places


class Place(ABC):
    """Where a store lies, and how its objects are read and damaged without cop_zarr."""

    def __init__(self, url: str, options: dict[str, Any] | None) -> None:
        self.url, self.options = url, options

    def open(self) -> cop_zarr.Store:
        return cop_zarr.open(self.url, storage_options=self.options)

    def verify(self, source: Path | None = None) -> cop_zarr.VerificationReport:
        return cop_zarr.verify(self.url, source, storage_options=self.options)

    def repair(self, source: Path) -> cop_zarr.RepairReport:
        return cop_zarr.repair(self.url, source, storage_options=self.options)

    def change(self, changes: Changes) -> None:
        for key, data in changes.items():
            if data is None:
                self.delete(key)
            else:
                self.put(key, data)

    @abstractmethod
    def objects(self) -> Objects: ...

    @abstractmethod
    def put(self, key: str, data: bytes) -> None: ...

    @abstractmethod
    def delete(self, key: str) -> None: ...


class Disk(Place):
    def __init__(self, path: Path) -> None:
        super().__init__(str(path), None)
        self._path = path

    def objects(self) -> Objects:
        paths = [path for path in self._path.rglob("*") if path.is_file()]
        return {path.relative_to(self._path).as_posix(): path.read_bytes() for path in paths}

    def put(self, key: str, data: bytes) -> None:
        (self._path / key).parent.mkdir(parents=True, exist_ok=True)
        (self._path / key).write_bytes(data)

    def delete(self, key: str) -> None:
        (self._path / key).unlink()


class Bucket(Place):
    def __init__(self, server: S3) -> None:
        super().__init__(server.place(), server.options)
        self._server = server

    def objects(self) -> Objects:
        return self._server.objects(self.url)

    def put(self, key: str, data: bytes) -> None:
        self._server.put(f"{self.url}/{key}", data)

    def delete(self, key: str) -> None:
        self._server.delete(f"{self.url}/{key}")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("damage") / "small.tif"
    return factory.write_geotiff(path, rows=ROWS, cols=COLS, bands=BANDS)


@pytest.fixture(scope="module")
def good_store(source: Path) -> Path:
    cop_zarr.ingest(source, source.with_name("good.zarr"))
    return source.with_name("good.zarr")


@pytest.fixture(scope="module")
def good(good_store: Path) -> Objects:
    return Disk(good_store).objects()


@pytest.fixture
def disk(good_store: Path, tmp_path: Path) -> Disk:
    return Disk(shutil.copytree(good_store, tmp_path / "store.zarr"))


@pytest.fixture(scope="module")
def s3() -> Iterator[S3]:
    with s3_server() as server:
        yield server


@pytest.fixture(scope="module")
def bucket(s3: S3, good: Objects) -> Bucket:
    """The store on S3; each test leaves it as it was."""
    place = Bucket(s3)
    place.change(dict(good))
    return place


@pytest.fixture(scope="module")
def tally() -> Iterator[Counter[str]]:
    """Damages done, by where; printed with -s."""
    counts: Counter[str] = Counter()
    yield counts
    print(f"\ndamages found, and mended byte for byte: {dict(counts)}, {counts.total()} in all")  # noqa: T201


@pytest.fixture
def trials(request: pytest.FixtureRequest) -> int:
    return int(request.config.getoption("--trials", default=8))


# What must become of a damage


def see_it_found_and_mended(place: Place, good: Objects, changes: Changes, source: Path) -> None:
    """Do damage, have it found by everybody who should, mend it, and find nothing but the good store."""
    opened = place.open()
    place.change(changes)
    damaged = {key for key, data in changes.items() if data != good.get(key)}
    strays = damaged - good.keys()
    damaged -= strays
    assert damaged
    see_it_verified(place, damaged, strays)
    see_it_queried(place, damaged)
    if damaged.isdisjoint({*CHUNKS, VALID}):  # a store that is open already knows the rest
        see_the_truth(opened)
    else:
        with pytest.raises(ChunkError, match="is damaged"):
            opened.query(BOX, output="grid")
    report = place.repair(source)
    assert report.ok
    assert set(report.rewritten) == damaged
    assert set(report.removed) == strays
    assert place.objects() == good
    after = place.verify(source)
    assert after.ok, after.problems
    assert after.values_compared == 21 * 23 * BANDS


def see_it_verified(place: Place, damaged: set[str], strays: set[str]) -> None:
    if ROOT in damaged:
        with pytest.raises(StoreError, match=f"Repair it with: cop-zarr repair {place.url} --source TIF"):
            place.verify()
        return
    report = place.verify()
    assert not report.ok
    assert {problem.key for problem in report.problems} == (
        {TABLE} if TABLE in damaged else damaged | strays
    )
    assert report.damaged_chunks == (0 if TABLE in damaged else len(damaged.intersection(CHUNKS)))
    for problem in report.problems:
        if problem.key in CHUNKS:
            west, south, east, north = problem.bbox
            lon, lat = first_cell(problem.key)
            assert (west, north) == (lon - 0.125, lat + 0.125)
            assert west < east <= west + 2
            assert north - 2 <= south < north


def see_it_queried(place: Place, damaged: set[str]) -> None:
    if ROOT in damaged:
        with pytest.raises(StoreError, match=f"cop-zarr repair {place.url} --source TIF"):
            place.open()
        return
    if TABLE in damaged:
        with pytest.raises(ChunkError, match=f"{place.url}/{TABLE} is damaged"):
            place.open()
        return
    store = place.open()
    for key in damaged.intersection(CHUNKS):
        lon, lat = first_cell(key)
        with pytest.raises(ChunkError) as error:
            store.sample(lon, lat)
        assert f"{place.url}/{key} (lat " in str(error.value)
        assert f" … {lat:g}, lon {lon:g} … " in str(error.value)
        assert f"cop-zarr repair {place.url} --source TIF" in str(error.value)
    if VALID in damaged:
        for ask in (store.info, lambda: store.sample(*first_cell(CHUNKS[0]), empty="skip")):
            with pytest.raises(ChunkError, match=f"{place.url}/{VALID} is damaged"):
                ask()
    if damaged.issubset(UNTOUCHED):
        see_the_truth(store)
    else:
        with pytest.raises(ChunkError, match="|".join(damaged)):
            store.query(BOX)


def see_the_truth(store: cop_zarr.Store) -> None:
    """Every way to read a store gives what its source holds."""
    truth = factory.truth(ROWS, COLS, BANDS)
    answer = store.query(BOX, output="grid")
    np.testing.assert_array_equal(answer.data, truth)
    np.testing.assert_array_equal(answer.valid, truth.any(axis=0))
    np.testing.assert_allclose(store.query(BOX).data, truth.mean((1, 2), dtype="f8"), rtol=1e-6)
    assert store.info()["valid_cells"] == truth.any(axis=0).sum()


def first_cell(key: str) -> tuple[float, float]:
    """Longitude and latitude of the centre of a chunk's first cell."""
    row, col = map(int, key.split("/")[3:])
    return -180 + 0.25 * (COLS[0] + 8 * col), 90 - 0.25 * (ROWS[0] + 8 * row)


def seeds(*parts: str) -> np.random.Generator:
    return np.random.default_rng(list("/".join(parts).encode()))


# The tests


def test_these_are_all_objects_and_the_untouched_are_untouched(
    good: Objects, good_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sorted(good) == sorted(KEYS)
    read, seen = cop_zarr.storage.LocalFolder.read, set()

    def watched(self: Any, key: str, *limit: int) -> bytes:
        seen.add(key)
        return read(self, key, *limit)

    monkeypatch.setattr(cop_zarr.storage.LocalFolder, "read", watched)
    store = cop_zarr.open(good_store)
    see_the_truth(store)
    store.query(BOX, empty="skip")
    store.sample(*first_cell(CHUNKS[0]), method="bilinear", empty="skip")
    assert seen == set(good) - UNTOUCHED


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("key", KEYS)
def test_on_a_disk(
    *, disk: Disk, good: Objects, source: Path, tally: Counter[str], key: str, damage: Damage
) -> None:
    rng = seeds(key, damage.__name__)
    for _ in range(DAMAGES[damage]):
        see_it_found_and_mended(disk, good, damage(good, key, rng), source)
        tally["one by one on a disk"] += 1


def test_several_at_once_on_a_disk(
    disk: Disk, good: Objects, source: Path, tally: Counter[str], trials: int
) -> None:
    for trial in range(trials):
        changes = drawn(good, np.random.default_rng(trial))
        see_it_found_and_mended(disk, good, changes, source)
        tally["several at once on a disk"] += len(changes)


def drawn(good: Objects, rng: np.random.Generator) -> Changes:
    """Damage to any number of objects, and strays; zarr.json and its copy are not both hit."""
    changes: Changes = {}
    for key in rng.choice(KEYS, rng.integers(2, len(KEYS)), replace=False).tolist():
        damage = list(DAMAGES)[rng.integers(len(DAMAGES))]
        changes |= damage(good, key, rng)
    if ROOT in changes:
        changes.pop(COPY, None)
    return changes | dict.fromkeys(rng.choice(STRAYS, rng.integers(3), replace=False).tolist(), b"?")


def test_everything_but_the_root_is_gone(disk: Disk, good: Objects, source: Path) -> None:
    changes: Changes = dict.fromkeys([key for key in KEYS if key != ROOT])
    see_it_found_and_mended(disk, good, changes, source)


def test_everything_but_the_copy_of_the_root_is_gone(disk: Disk, good: Objects, source: Path) -> None:
    changes: Changes = dict.fromkeys([key for key in KEYS if key != COPY])
    see_it_found_and_mended(disk, good, changes, source)


@pytest.mark.parametrize("more", [b"\n", b" " * 100])
def test_a_change_of_the_root_that_json_does_not_see(
    disk: Disk, good: Objects, source: Path, more: bytes
) -> None:
    """The store is the same; zarr.json and its copy are made equal again."""
    disk.put(ROOT, good[ROOT] + more)
    see_the_truth(disk.open())
    [problem] = disk.verify().problems
    assert (problem.key, problem.message) == (COPY, "it is not equal to zarr.json")
    assert disk.repair(source).ok
    assert disk.verify(source).ok
    after = disk.objects()
    assert after[ROOT] == after[COPY]
    assert {key: after[key] for key in KEYS if key not in {ROOT, COPY}} == {
        key: good[key] for key in KEYS if key not in {ROOT, COPY}
    }


@pytest.mark.parametrize("digit", [b"0", *(digit for digit in (b"3", b"5", b"9")), b"q", b"\xb1"])
def test_a_flipped_bit_in_the_format_version(
    disk: Disk, good: Objects, source: Path, tally: Counter[str], digit: bytes
) -> None:
    """Which may look like a format of the future."""
    before = b'"format": "cop-zarr",\n      "version": 1'
    assert good[ROOT].count(before) == 1
    disk.put(ROOT, good[ROOT].replace(before, before[:-1] + digit))
    for ask in (disk.open, disk.verify):
        with pytest.raises(StoreError):
            ask()
    assert disk.repair(source).rewritten == [ROOT]
    assert disk.objects() == good
    tally["one by one on a disk"] += 1


S3_KEYS = [
    ROOT,
    COPY,
    "embedding/zarr.json",
    "integrity/zarr.json",
    TABLE,
    VALID,
    "latitude/c/0",
    CHUNKS[-1],
]
S3_DAMAGES: list[Damage] = [flip, truncate, empty, extend, delete, swap_with_its_like]


@pytest.mark.parametrize(
    ("key", "damage"),
    [
        pytest.param(key, S3_DAMAGES[(number + turn) % len(S3_DAMAGES)])
        for number, key in enumerate(S3_KEYS)
        for turn in ((0,) if key in UNTOUCHED else (0, 3))
    ],
)
def test_on_s3(
    *,
    bucket: Bucket,
    good: Objects,
    source: Path,
    tally: Counter[str],
    monkeypatch: pytest.MonkeyPatch,
    key: str,
    damage: Damage,
) -> None:
    monkeypatch.setattr(chunks, "SHORT_PAUSES", (0.01, 0.01))
    see_it_found_and_mended(bucket, good, damage(good, key, seeds("s3", key, damage.__name__)), source)
    tally["one by one on S3"] += 1


def test_several_at_once_on_s3(
    *,
    bucket: Bucket,
    good: Objects,
    source: Path,
    tally: Counter[str],
    trials: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(chunks, "SHORT_PAUSES", (0.01, 0.01))
    for trial in range((trials + 7) // 8):
        changes = drawn(good, np.random.default_rng([trial, 1]))
        see_it_found_and_mended(bucket, good, changes, source)
        tally["several at once on S3"] += len(changes)
