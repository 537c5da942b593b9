"""Every kind of damage to every object: found by ``verify`` and by the next query, repaired by ``repair``.

A damage counts as repaired when the store is byte for byte what it was. ``--all -s`` does all of them, and
prints how many there were.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cop_zarr
from cop_zarr.errors import ChunkError, StoreError
from cop_zarr.format import object_reader
from tests.support import factory
from tests.support.servers import S3

ROWS, COLS, BANDS = (300, 321), (590, 613), 3
"""3 x 3 chunks, cut at the south and the east edge; the first column of chunks is empty."""

ROOT, COPY, TABLE, VALID = "zarr.json", "integrity/root.json", "integrity/embedding/c/0/0/0", "valid/c/0/0"
CHUNKS = [f"embedding/c/0/{row}/{col}" for row in range(3) for col in (1, 2)]
ARRAYS = ["embedding", "valid", "latitude", "longitude", "band", "spatial_ref", "integrity/embedding"]
METADATA = [*(f"{name}/zarr.json" for name in ARRAYS), "integrity/zarr.json"]
COORDINATES = ["latitude/c/0", "longitude/c/0", "band/c/0", "spatial_ref/c"]
KINDS = [[ROOT], [COPY], METADATA, CHUNKS, [TABLE], [VALID], COORDINATES]
KEYS = [key for keys in KINDS for key in keys]
"""Every object of the store."""

UNTOUCHED = {COPY, *METADATA, *COORDINATES}
"""What no query, no opening and no ``info`` reads: it is there for other readers and for ``repair``, and
only ``verify`` notices damage to it."""

BOX = (-32.5, 10, -27, 15)
"""All of the store."""

STRAYS = ["embedding/c/0/0/0", "embedding/c/0/3/1", "embedding/c/0/1/1.0123abcd.partial", "ingest/job.json"]
"""Objects that nothing records, and that might be taken for a part of the store."""

Objects = dict[str, bytes]
Changes = dict[str, bytes | None]
Damage = Callable[[Objects, str, np.random.Generator], Changes]


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


def swap_with_its_like(good: Objects, key: str, rng: np.random.Generator) -> Changes:
    """With another object of its kind; with any one if there is none."""
    alike = next(keys for keys in KINDS if key in keys)
    different = [other for other in alike if good[other] != good[key]]
    if not different:
        return swap_with_any(good, key, rng)
    other = different[rng.integers(len(different))]
    return {key: good[other], other: good[key]}


def swap_with_any(good: Objects, key: str, rng: np.random.Generator) -> Changes:
    different = [other for other in KEYS if good[other] != good[key]]
    other = different[rng.integers(len(different))]
    return {key: good[other], other: good[key]}


DAMAGES: dict[str, tuple[Damage, int]] = {
    "flip": (flip, 4),
    "truncate": (truncate, 2),
    "shorten": (lambda good, key, _: {key: good[key][:-1]}, 1),
    "empty": (lambda _good, key, _: {key: b""}, 1),
    "extend": (lambda good, key, _: {key: good[key] + b"\0"}, 1),
    "double": (lambda good, key, _: {key: good[key] * 2}, 1),
    "zeros": (lambda good, key, _: {key: bytes(len(good[key]))}, 1),
    "delete": (lambda _good, key, _: {key: None}, 1),
    "swap with its like": (swap_with_its_like, 1),
    "swap with any": (swap_with_any, 1),
}
"""And how often each is done to each object."""


def same_json(one: bytes, other: bytes) -> bool:
    try:
        return bool(json.loads(one) == json.loads(other))
    except ValueError:
        return False


# Places: a store whose objects are read and damaged without cop_zarr


class Disk:
    def __init__(self, path: Path) -> None:
        self.url, self.options = str(path), None
        self._path = path

    def objects(self) -> Objects:
        paths = [path for path in self._path.rglob("*") if path.is_file()]
        return {path.relative_to(self._path).as_posix(): path.read_bytes() for path in paths}

    def change(self, changes: Changes) -> None:
        for key, data in changes.items():
            if data is None:
                (self._path / key).unlink()
            else:
                (self._path / key).parent.mkdir(parents=True, exist_ok=True)
                (self._path / key).write_bytes(data)


class Bucket:
    def __init__(self, server: S3) -> None:
        self.url, self.options = server.place(), server.options
        self._server = server

    def objects(self) -> Objects:
        return self._server.objects(self.url)

    def change(self, changes: Changes) -> None:
        for key, data in changes.items():
            if data is None:
                self._server.delete(f"{self.url}/{key}")
            else:
                self._server.put(f"{self.url}/{key}", data)


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
def bucket(good: Objects, s3: S3) -> Bucket:
    """The store on S3; each test leaves it as it was."""
    place = Bucket(s3)
    place.change(dict(good))
    return place


@pytest.fixture(scope="module")
def tally() -> Iterator[Counter[str]]:
    """Damages done, by where; printed with -s."""
    counts: Counter[str] = Counter()
    yield counts
    print(f"\ndamages found, and repaired byte for byte: {dict(counts)}, {counts.total()} in all")  # noqa: T201


# What must become of a damage


def check_found_and_repaired(place: Disk | Bucket, good: Objects, changes: Changes, source: Path) -> None:
    """Do damage, have it found by everybody who should, repair it, and find nothing but the good store."""
    options: dict[str, Any] = {"storage_options": place.options}
    opened = cop_zarr.open(place.url, **options)
    place.change(changes)
    damaged = {key for key, data in changes.items() if data != good.get(key)}
    strays = damaged - good.keys()
    damaged -= strays
    assert damaged
    check_verified(place, damaged, strays)
    check_queried(place, damaged)
    if damaged.isdisjoint({*CHUNKS, VALID}):  # a store that is open already knows the rest
        check_values(opened)
    else:
        with pytest.raises(ChunkError):
            opened.query(BOX, output="grid")
    report = cop_zarr.repair(place.url, source, **options)
    assert report.ok
    assert set(report.rewritten) == damaged
    assert set(report.removed) == strays
    assert place.objects() == good
    after = cop_zarr.verify(place.url, source, **options)
    assert after.ok, after.problems
    assert after.values_compared == 21 * 23 * BANDS
    check_values(opened)


def check_verified(place: Disk | Bucket, damaged: set[str], strays: set[str]) -> None:
    if ROOT in damaged:
        with pytest.raises(StoreError, match="cop-zarr repair"):
            cop_zarr.verify(place.url, storage_options=place.options)
        return
    report = cop_zarr.verify(place.url, storage_options=place.options)
    assert not report.ok
    keys = {problem.key for problem in report.problems}
    assert keys == (damaged.difference(CHUNKS) if TABLE in damaged else damaged | strays)
    assert report.listed == (TABLE not in damaged)
    assert report.damaged_chunks == (0 if TABLE in damaged else len(damaged.intersection(CHUNKS)))
    for problem in report.problems:
        if problem.key in CHUNKS:
            west, south, east, north = problem.bbox
            lon, lat = first_cell(problem.key)
            assert (west, north) == (lon - 0.125, lat + 0.125)
            assert west < east <= west + 2
            assert north - 2 <= south < north


def check_queried(place: Disk | Bucket, damaged: set[str]) -> None:
    if damaged & {ROOT, TABLE}:
        with pytest.raises(StoreError if ROOT in damaged else ChunkError, match="cop-zarr repair"):
            cop_zarr.open(place.url, storage_options=place.options)
        return
    store = cop_zarr.open(place.url, storage_options=place.options)
    for key in damaged.intersection(CHUNKS):
        lon, lat = first_cell(key)
        with pytest.raises(ChunkError) as error:
            store.sample(lon, lat)
        for part in (f"{place.url}/{key}", f"{lat:g}", f"{lon:g}", f"cop-zarr repair {place.url}"):
            assert part in str(error.value)
    if VALID in damaged:
        for ask in (store.info, lambda: store.sample(*first_cell(CHUNKS[0]), empty="skip")):
            with pytest.raises(ChunkError, match=VALID):
                ask()
    if damaged.issubset(UNTOUCHED):
        check_values(store)
    else:
        with pytest.raises(ChunkError, match="|".join(damaged)):
            store.query(BOX)


def check_values(store: cop_zarr.Store) -> None:
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


# The tests


def test_these_are_all_objects_and_the_untouched_are_untouched(
    good: Objects, good_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sorted(good) == sorted(KEYS)
    read, seen = cop_zarr.storage.LocalFolder.read, set()

    def watched(self: Any, key: str, *limit: int) -> bytes:
        data = read(self, key, *limit)
        seen.add(key)  # info looks for components, too, which this store has not
        return data

    monkeypatch.setattr(cop_zarr.storage.LocalFolder, "read", watched)
    store = cop_zarr.open(good_store)
    check_values(store)
    store.query(BOX, empty="skip")
    store.sample(*first_cell(CHUNKS[0]), method="bilinear", empty="skip")
    assert seen == set(good) - UNTOUCHED


@pytest.mark.parametrize(
    ("key", "name"),
    [
        pytest.param(key, name, marks=() if (at - number) % len(DAMAGES) == 0 else pytest.mark.slow)
        for at, key in enumerate(KEYS)
        for number, name in enumerate(DAMAGES)
    ],
)
def test_on_a_disk(
    *, disk: Disk, good: Objects, source: Path, tally: Counter[str], key: str, name: str
) -> None:
    """By default each object once, and each damage twice."""
    damage, times = DAMAGES[name]
    rng = np.random.default_rng(list(f"{key}/{name}".encode()))
    for _ in range(times):
        check_found_and_repaired(disk, good, damage(good, key, rng), source)
        tally["one by one on a disk"] += 1


@pytest.mark.parametrize("kept", [ROOT, COPY])
def test_all_but_one_object_is_gone(disk: Disk, good: Objects, source: Path, kept: str) -> None:
    check_found_and_repaired(disk, good, dict.fromkeys(key for key in KEYS if key != kept), source)


def test_several_at_once_on_a_disk(
    disk: Disk, good: Objects, source: Path, tally: Counter[str], pytestconfig: pytest.Config
) -> None:
    for trial in range(pytestconfig.getoption("--trials")):
        changes = drawn(good, np.random.default_rng(trial))
        check_found_and_repaired(disk, good, changes, source)
        tally["several at once on a disk"] += len(changes)


def drawn(good: Objects, rng: np.random.Generator) -> Changes:
    """Damage to any number of objects, and strays; zarr.json and its copy are not both hit."""
    changes: Changes = {}
    damages = [damage for damage, _ in DAMAGES.values()]
    for key in rng.choice(KEYS, rng.integers(2, len(KEYS)), replace=False).tolist():
        changes |= damages[rng.integers(len(damages))](good, key, rng)
    if ROOT in changes:
        changes.pop(COPY, None)
    return changes | dict.fromkeys(rng.choice(STRAYS, rng.integers(3), replace=False).tolist(), b"?")


def test_a_change_of_the_root_that_json_does_not_see(disk: Disk, good: Objects, source: Path) -> None:
    """The store is the same; zarr.json and its copy are made equal again."""
    disk.change({ROOT: good[ROOT] + b" \n"})
    check_values(cop_zarr.open(disk.url))
    [problem] = cop_zarr.verify(disk.url).problems
    assert problem.key == COPY
    assert cop_zarr.repair(disk.url, source).ok
    assert cop_zarr.verify(disk.url, source).ok
    after = disk.objects()
    assert after[ROOT] == after[COPY]
    assert {key: after[key] for key in KEYS if key not in {ROOT, COPY}} == {
        key: good[key] for key in KEYS if key not in {ROOT, COPY}
    }


@pytest.mark.parametrize("digit", [b"0", b"3", b"q", b"\xb1"])
def test_a_flipped_bit_in_the_format_version(disk: Disk, good: Objects, source: Path, digit: bytes) -> None:
    """Which may look like a format of the future."""
    before = rb"\"format\": \"cop-zarr\", \"version\": 1"
    assert good[ROOT].count(before) == 1
    disk.change({ROOT: good[ROOT].replace(before, before[:-1] + digit)})
    for ask in (cop_zarr.open, cop_zarr.verify):
        with pytest.raises(StoreError):
            ask(disk.url)
    assert cop_zarr.repair(disk.url, source).rewritten == [ROOT]
    assert disk.objects() == good


S3_DAMAGES = ["flip", "truncate", "empty", "extend", "delete", "swap with its like"]
S3_KEYS = [ROOT, COPY, "embedding/zarr.json", TABLE, VALID, "latitude/c/0", CHUNKS[-1]]


@pytest.mark.slow
def test_on_s3(
    *,
    bucket: Bucket,
    good: Objects,
    source: Path,
    tally: Counter[str],
    pytestconfig: pytest.Config,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(object_reader, "SHORT_PAUSES", (0.01, 0.01))
    for number, key in enumerate(S3_KEYS):
        for turn in (0, 3):
            name = S3_DAMAGES[(number + turn) % len(S3_DAMAGES)]
            changes = DAMAGES[name][0](good, key, np.random.default_rng([number, turn]))
            check_found_and_repaired(bucket, good, changes, source)
            tally["one by one on S3"] += 1
    for trial in range((pytestconfig.getoption("--trials") + 7) // 8):
        changes = drawn(good, np.random.default_rng([trial, 1]))
        check_found_and_repaired(bucket, good, changes, source)
        tally["several at once on S3"] += len(changes)
