"""From source to store: every bit arrives, in bounded memory, and a store is whole or not there."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import fsspec
import numpy as np
import pytest
import rasterio
import zarr

import cop_zarr
from cop_zarr import storage
from cop_zarr.core import product
from cop_zarr.errors import (
    InputError,
    MemoryLimitError,
    SourceError,
    StorageError,
    StoreError,
    StoreExistsError,
    StoreNotFoundError,
)
from cop_zarr.writing.blockwise import BASE_BYTES
from tests.support import factory

ROWS, COLS, BANDS = (300, 337), (580, 633), 3
"""A rectangle with part of the empty columns, aligned to no chunk of 8 x 8 at its end."""


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return factory.write_geotiff(
        tmp_path / "small.tif", rows=ROWS, cols=COLS, bands=BANDS, blockxsize=16, blockysize=16
    )


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out.zarr"


@pytest.fixture
def broken(small: Path) -> Path:
    """A source whose tags are right and whose last tile is noise."""
    path = small.with_name("broken.tif")
    data = bytearray(small.read_bytes())
    data[-40:] = bytes(40)
    path.write_bytes(data)
    with rasterio.open(path) as tiff, pytest.raises(rasterio.errors.RasterioIOError):
        tiff.read()
    return path


def objects(store: Path) -> dict[str, bytes]:
    files = (path for path in store.rglob("*") if path.is_file())
    return {path.relative_to(store).as_posix(): path.read_bytes() for path in files}


def digests(folder: Path) -> dict[str, str]:
    return {key: hashlib.sha256(data).hexdigest() for key, data in objects(folder).items()}


def grid_of(store: str | Path) -> np.ndarray:
    opened = cop_zarr.open(store)
    west, south, east, north = opened.grid.bounds
    if opened.grid.cyclic:
        west, east = west + 0.125, west + 360
    elif west < -180:
        west += 360
    return opened.query((west, max(south, -90), east, min(north, 90)), output="grid").data


def same_bits(one: np.ndarray, other: np.ndarray) -> bool:
    return np.array_equal(one.view("u4"), other.view("u4"))


# Values


def test_the_globe_arrives_bit_for_bit(store_path: Path, source: Path, globe: np.ndarray) -> None:
    with rasterio.open(source) as tiff:
        assert same_bits(tiff.read(), globe)
    assert same_bits(zarr.open(store_path, mode="r")["embedding"][:], globe)
    valid = globe.any(axis=0)
    assert np.array_equal(zarr.open(store_path, mode="r")["valid"][:], valid)
    store = cop_zarr.open(store_path)
    assert np.array_equal(store.valid, valid)
    for west, east, columns in [(-180, 0, (0, 721)), (0, 179, (720, 1437)), (178, -179, (1432, 1445))]:
        answer = store.query((west, -90, east, 90), output="grid")
        first, stop = answer.meta["cols"]
        assert (first, stop) == columns
        assert same_bits(answer.data, globe.take(range(first, stop), axis=2, mode="wrap"))
        assert np.array_equal(answer.valid, valid.take(range(first, stop), axis=1, mode="wrap"))


@pytest.mark.parametrize(
    ("rows", "cols"),
    [
        ((0, 40), (0, 40)),
        ((681, 721), (1400, 1440)),
        ((301, 320), (1425, 1462)),  # over the antimeridian
        ((296, 310), (720, 2160)),  # 0 … 360
        ((360, 361), (0, 1440)),  # the equator
        ((0, 721), (77, 78)),  # a meridian
        ((13, 14), (21, 22)),  # one cell
        ((13, 30), (21, 40)),
    ],
)
@pytest.mark.parametrize("bands", [1, 3])
def test_a_part_of_the_globe_arrives_bit_for_bit(
    tmp_path: Path, out: Path, rows: tuple[int, int], cols: tuple[int, int], bands: int
) -> None:
    path = factory.write_geotiff(tmp_path / "a.tif", rows=rows, cols=cols, bands=bands)
    report = cop_zarr.ingest(path, out)
    with rasterio.open(path) as tiff:
        values, bounds = tiff.read(), tiff.bounds
    assert same_bits(zarr.open(out, mode="r")["embedding"][:], values)
    assert same_bits(grid_of(out), values)
    assert tuple(cop_zarr.open(out).grid.bounds) == (bounds.left, bounds.bottom, bounds.right, bounds.top)
    valid = values.any(axis=0)
    assert np.array_equal(cop_zarr.open(out).valid, valid)
    assert (report.valid_cells, report.total_cells) == (valid.sum(), valid.size)


def test_the_smallest_bits_survive(tmp_path: Path, out: Path) -> None:
    bits = np.zeros((2, 24, 32), "u4")
    bits[0, 3, 4] = 0x80000000  # -0.0, alone in its chunk
    bits[0, 11, 12] = 0x7F800001  # a signalling NaN with a payload
    bits[1, 12, 13] = 0xFFC12345  # a negative quiet NaN with a payload
    bits[1, 20, 20] = 0x00000001  # the smallest subnormal
    bits[0, 20, 28] = 0xFF800000  # -inf
    path = factory.write_geotiff(tmp_path / "a.tif", bits.view("f4"), rows=ROWS, cols=COLS)
    report = cop_zarr.ingest(path, out)
    assert np.array_equal(zarr.open(out, mode="r")["embedding"][:].view("u4"), bits)
    assert np.array_equal(grid_of(out).view("u4"), bits)
    # -0.0 is no data, and yet its chunk is kept
    assert np.argwhere(cop_zarr.open(out).valid).tolist() == [[11, 12], [12, 13], [20, 20], [20, 28]]
    assert report.chunks_stored == 4
    assert cop_zarr.verify(out, path).ok


def test_chunks_without_data_have_no_object(store_path: Path, globe: np.ndarray) -> None:
    padded = np.pad(globe.any(axis=0), ((0, 7), (0, 0)))
    held = padded.reshape(91, 8, 180, 8).any(axis=(1, 3))
    expected = {f"embedding/c/0/{row}/{col}" for row, col in np.argwhere(held)}
    found = {key for key in digests(store_path) if key.startswith("embedding/c/")}
    assert found == expected
    assert 0 < len(found) < held.size


def test_a_source_without_data_becomes_a_store_without_chunks(tmp_path: Path, out: Path) -> None:
    path = factory.write_geotiff(tmp_path / "a.tif", np.zeros((2, 20, 20), "f4"))
    report = cop_zarr.ingest(path, out)
    assert (report.valid_cells, report.chunks_stored, report.chunks_total) == (0, 0, 9)
    assert not (out / "embedding" / "c").exists()
    assert not zarr.open(out, mode="r")["embedding"][:].any()
    assert cop_zarr.verify(out, path).ok


@pytest.mark.parametrize(
    "profile",
    [
        {"interleave": "band", "blockxsize": 16, "blockysize": 32},
        {"tiled": False, "blockxsize": None, "blockysize": 5},
        {"tiled": False, "blockxsize": None, "blockysize": 37, "interleave": "band"},
        {"compress": None, "bigtiff": "YES", "endianness": "BIG"},
        {"compress": "zstd", "predictor": 3},
    ],
)
def test_the_container_makes_no_difference(
    small: Path, tmp_path: Path, profile: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    other = factory.write_geotiff(tmp_path / "other.tif", rows=ROWS, cols=COLS, bands=BANDS, **profile)
    cop_zarr.ingest(small, tmp_path / "a.zarr")
    cop_zarr.ingest(other, tmp_path / "b.zarr")
    one, two = digests(tmp_path / "a.zarr"), digests(tmp_path / "b.zarr")
    for each in (one, two):
        del each["zarr.json"], each["integrity/root.json"]  # they name the source
    assert one == two


# Reproducible bytes


def test_workers_and_runs_make_no_difference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = factory.write_geotiff(tmp_path / "a.tif", rows=(0, 300), cols=(0, 700), bands=8)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    seen = []
    for run, workers in enumerate([1, 2, 4, 4]):
        cop_zarr.ingest(source, tmp_path / str(run), workers=workers)
        seen.append(digests(tmp_path / str(run)))
    assert seen[0] == seen[1] == seen[2] == seen[3]
    assert cop_zarr.open(tmp_path / "0").info()["created"] == "2023-11-14T22:13:20+00:00"


def test_the_time_of_making_is_recorded(small: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    before = time.time()
    cop_zarr.ingest(small, out)
    created = np.datetime64(cop_zarr.open(out).info()["created"].removesuffix("+00:00"), "s")
    assert int(before) <= created.astype(int) <= time.time()


# Reports, plans, progress


def test_the_report_counts_what_is_there(small: Path, out: Path) -> None:
    report = cop_zarr.ingest(small, out)
    values, written = factory.truth(ROWS, COLS, BANDS), objects(out)
    valid = values.any(axis=0)
    held = np.pad(valid, ((0, 3), (0, 3))).reshape(5, 8, 7, 8).any(axis=(1, 3))
    assert report.store == str(out)
    assert (report.valid_cells, report.total_cells) == (valid.sum(), 37 * 53)
    assert (report.chunks_stored, report.chunks_total) == (held.sum(), 35)
    assert report.store_bytes == sum(map(len, written.values()))
    assert report.source == {
        "url": str(small),
        "bytes": small.stat().st_size,
        "sha256": hashlib.sha256(small.read_bytes()).hexdigest(),
        "published": False,
        "synthetic": False,
        "container": "float32, tiled, pixel-interleaved, compression deflate, predictor none",
    }
    assert cop_zarr.open(out).source == report.source
    json.dumps(report.source)


def test_progress_ends_at_the_decoded_size(small: Path, out: Path) -> None:
    seen: list[tuple[int, int]] = []
    cop_zarr.ingest(small, out, progress=lambda done, total: seen.append((done, total)))
    total = 37 * 53 * BANDS * 4
    assert {entry[1] for entry in seen} == {total}
    assert len(seen) == 12  # tiles of 16 x 16
    assert seen[-1][0] == total
    assert [entry[0] for entry in seen] == sorted({entry[0] for entry in seen})


def test_a_plan_says_what_would_be_done_and_does_nothing(
    source: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    plan = cop_zarr.plan_ingest(source, out, workers=3)
    tile = 256 * 256 * 16 * 4
    assert (plan.source, plan.store) == (str(source), str(out))
    assert plan.source_bytes == source.stat().st_size
    assert plan.layout.shape == (16, 721, 1440)
    assert (plan.blocks, plan.workers) == (18, 3)
    assert BASE_BYTES + 3 * tile < plan.memory_bytes < BASE_BYTES + 6 * tile
    assert plan.info.compression == "deflate"
    assert not out.exists()
    assert not out.with_name("out.zarr.partial").exists()


def test_a_plan_takes_as_many_workers_as_memory_allows(
    source: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    whole = cop_zarr.plan_ingest(source, out, workers=4)
    one = (whole.memory_bytes - BASE_BYTES) // 4
    for count in (1, 2, 3):
        plan = cop_zarr.plan_ingest(source, out, workers=4, memory=BASE_BYTES + count * one + one // 2)
        assert plan.workers == count
        assert plan.memory_bytes == BASE_BYTES + count * one


def test_plan_and_ingest_do_not_show_credentials(small: Path, tmp_path: Path) -> None:
    plan = cop_zarr.plan_ingest(small, "memory://key:secret@bucket/a.zarr")
    assert plan.store == "memory://bucket/a.zarr"
    with fsspec.open(f"memory://{tmp_path.name}/copy.tif", "wb") as copy:
        copy.write(small.read_bytes())
    url = f"memory://me:secret@{tmp_path.name}/copy.tif"
    fsspec.filesystem("memory").pipe_file(f"/me:secret@{tmp_path.name}/copy.tif", small.read_bytes())
    report = cop_zarr.ingest(url, tmp_path / "b.zarr")
    assert report.source["url"] == f"memory://{tmp_path.name}/copy.tif"
    assert b"secret" not in b"".join(objects(tmp_path / "b.zarr").values())


@pytest.mark.parametrize("workers", [0, -1, "two", 1.5])
def test_nonsense_for_workers(small: Path, out: Path, workers: object) -> None:
    with pytest.raises(InputError, match="workers must be a whole number of at least 1"):
        cop_zarr.ingest(small, out, workers=workers)
    assert not out.exists()


def test_the_environment_names_the_number_of_workers(
    source: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setenv("COP_ZARR_WORKERS", "2")
    assert cop_zarr.plan_ingest(source, out).workers == 2
    monkeypatch.delenv("COP_ZARR_WORKERS")
    assert cop_zarr.plan_ingest(source, out).workers == 4


# The published file


@pytest.mark.parametrize("strict", [False, True])
def test_the_published_file_is_known_by_its_digest(
    small: Path, out: Path, strict: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(product, "SHA256", hashlib.sha256(small.read_bytes()).hexdigest())
    assert cop_zarr.ingest(small, out, strict=strict).source["published"] is True
    assert cop_zarr.open(out).source["published"] is True


def test_another_file_is_ingested_and_recorded_as_such(small: Path, out: Path) -> None:
    assert cop_zarr.ingest(small, out).source["published"] is False
    assert cop_zarr.open(out).source["published"] is False


def test_strict_refuses_another_file_and_writes_nothing(small: Path, out: Path) -> None:
    with pytest.raises(SourceError, match="is not the published file") as caught:
        cop_zarr.ingest(small, out, strict=True)
    assert hashlib.sha256(small.read_bytes()).hexdigest() in str(caught.value)
    assert sorted(path.name for path in out.parent.iterdir()) == ["small.tif"]


# Where to


def test_parents_are_made(small: Path, tmp_path: Path) -> None:
    cop_zarr.ingest(small, tmp_path / "a" / "b" / "c.zarr")
    assert same_bits(grid_of(tmp_path / "a" / "b" / "c.zarr"), factory.truth(ROWS, COLS, BANDS))
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["c.zarr"]


def test_into_an_empty_folder(small: Path, out: Path) -> None:
    out.mkdir()
    cop_zarr.ingest(small, out)
    assert cop_zarr.verify(out, small).ok


def test_through_a_symbolic_link(small: Path, tmp_path: Path, out: Path) -> None:
    (tmp_path / "disk").mkdir()
    out.symlink_to(tmp_path / "disk" / "real.zarr")
    cop_zarr.ingest(small, out)
    assert out.is_symlink()
    assert cop_zarr.verify(out, small).ok


@pytest.mark.parametrize("kind", ["memory", "file", "relative"])
def test_into_a_url(small: Path, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    url = {
        "memory": f"memory://{tmp_path.name}/deep/out.zarr",
        "file": f"file://{tmp_path}/deep/out.zarr",
        "relative": "deep/out.zarr",
    }[kind]
    cop_zarr.ingest(small, url)
    assert same_bits(grid_of(url), factory.truth(ROWS, COLS, BANDS))
    embedding = zarr.open(url, mode="r")["embedding"][:]
    assert same_bits(embedding, factory.truth(ROWS, COLS, BANDS))
    assert cop_zarr.verify(url, small).ok


def test_every_place_gets_the_same_bytes(
    small: Path, tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    cop_zarr.ingest(small, out)
    cop_zarr.ingest(small, f"memory://{tmp_path.name}/out.zarr")
    fs, root = fsspec.filesystem("memory"), f"/{tmp_path.name}/out.zarr/"
    assert {key.removeprefix(root): fs.cat(key) for key in fs.find(root)} == objects(out)


# Places that are taken


def no_store(place: Path) -> None:
    place.mkdir()
    (place / "thesis.txt").write_text("years of work")


def other_zarr(place: Path) -> None:
    zarr.create_group(place, attributes={"mine": True}).create_array("a", data=np.arange(3))


def store_with_more(place: Path) -> None:
    factory.write_geotiff(place.with_name("x.tif"), rows=ROWS, cols=COLS, bands=1)
    cop_zarr.ingest(place.with_name("x.tif"), place)
    (place / "notes.txt").write_text("mine")


def zarr_within(place: Path) -> None:
    place.mkdir()
    other_zarr(place / "embedding")


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize(
    "occupy", [no_store, other_zarr, store_with_more, zarr_within], ids=lambda make: make.__name__
)
def test_what_is_not_ours_is_never_touched(
    small: Path, out: Path, occupy: Callable[[Path], None], overwrite: bool
) -> None:
    occupy(out)
    before = digests(out)
    with pytest.raises(StoreExistsError, match="name another place"):
        cop_zarr.ingest(small, out, overwrite=overwrite)
    assert digests(out) == before
    assert not out.with_name("out.zarr.partial").exists()


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_file_is_never_replaced(small: Path, out: Path, overwrite: bool) -> None:
    out.write_text("mine")
    with pytest.raises((StoreExistsError, StorageError)):
        cop_zarr.ingest(small, out, overwrite=overwrite)
    assert out.read_text() == "mine"


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_is_not_ours_in_memory_is_never_touched(small: Path, tmp_path: Path, overwrite: bool) -> None:
    fs = fsspec.filesystem("memory")
    fs.pipe_file(f"/{tmp_path.name}/out.zarr/thesis.txt", b"years of work")
    with pytest.raises(StoreExistsError, match="name another place"):
        cop_zarr.ingest(small, f"memory://{tmp_path.name}/out.zarr", overwrite=overwrite)
    assert fs.find(f"/{tmp_path.name}") == [f"/{tmp_path.name}/out.zarr/thesis.txt"]


@pytest.mark.parametrize("remote", [False, True])
def test_a_store_is_replaced_if_asked_to(small: Path, tmp_path: Path, out: Path, remote: bool) -> None:
    where = f"memory://{tmp_path.name}/out.zarr" if remote else str(out)
    bigger = factory.write_geotiff(tmp_path / "big.tif", rows=(0, 90), cols=(0, 90), bands=2)
    cop_zarr.ingest(bigger, where)
    with pytest.raises(StoreExistsError, match="--overwrite"):
        cop_zarr.ingest(small, where)
    assert same_bits(grid_of(where), factory.truth((0, 90), (0, 90), 2))
    cop_zarr.ingest(small, where, overwrite=True)
    assert same_bits(grid_of(where), factory.truth(ROWS, COLS, BANDS))
    report = cop_zarr.verify(where, small)
    assert report.ok  # no object of the old store is left


def test_a_store_of_a_newer_format_is_ours_to_replace(small: Path, out: Path) -> None:
    out.mkdir()
    newer = {"attributes": {"cop_zarr": {"format": "cop-zarr", "version": 99}}}
    (out / "zarr.json").write_text(json.dumps(newer))
    cop_zarr.ingest(small, out, overwrite=True)
    assert cop_zarr.verify(out, small).ok


def test_the_default_store_is_opened_anew(
    small: Path, tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COP_ZARR_STORE", str(out))
    box = (-28, 9, -25, 12)
    cop_zarr.ingest(small)
    first = cop_zarr.query(box).data
    values = factory.truth(ROWS, COLS, BANDS)
    doubled = factory.write_geotiff(tmp_path / "twice.tif", 2 * values, rows=ROWS, cols=COLS)
    cop_zarr.ingest(doubled, overwrite=True)
    assert first.any()
    assert np.array_equal(cop_zarr.query(box).data, 2 * first)


# Failures


def test_a_source_that_fails_leaves_nothing(broken: Path, out: Path) -> None:
    before = sorted(path.name for path in out.parent.iterdir())
    with pytest.raises(SourceError, match="is damaged"):
        cop_zarr.ingest(broken, out)
    assert sorted(path.name for path in out.parent.iterdir()) == before


def test_a_source_that_fails_leaves_nothing_in_memory(broken: Path, tmp_path: Path) -> None:
    url = f"memory://{tmp_path.name}/out.zarr"
    with pytest.raises(SourceError):
        cop_zarr.ingest(broken, url)
    assert fsspec.filesystem("memory").find(f"/{tmp_path.name}") == []
    with pytest.raises(StoreNotFoundError):
        cop_zarr.open(url)


def test_the_old_store_survives_a_failed_ingest(small: Path, broken: Path, out: Path) -> None:
    cop_zarr.ingest(small, out)
    before = digests(out)
    with pytest.raises(SourceError):
        cop_zarr.ingest(broken, out, overwrite=True)
    assert digests(out) == before
    assert not out.with_name("out.zarr.partial").exists()
    assert not out.with_name("out.zarr.old").exists()


@pytest.mark.parametrize("key", ["embedding/c/0/2/3", "ingest/blocks/0-0.json", "valid/c/0/0", "zarr.json"])
def test_a_disk_that_fails_leaves_what_can_be_gone_on_with(
    small: Path, out: Path, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        for name in ("write", "replace"):
            method = getattr(storage.LocalFolder, name)

            def full(
                self: storage.LocalFolder,
                to: str,
                data: bytes,
                method: Callable[[storage.LocalFolder, str, bytes], None] = method,
            ) -> None:
                if to == key:
                    raise StorageError("No space left on device")
                method(self, to, data)

            patch.setattr(storage.LocalFolder, name, full)
        with pytest.raises(
            StorageError, match=r"No space left.*kept: resume with --resume \(resume=True\)"
        ):
            cop_zarr.ingest(small, out)
    assert sorted(path.name for path in out.parent.iterdir()) == ["out.zarr.partial", "small.tif"]
    with pytest.raises(StoreNotFoundError):
        cop_zarr.open(out)
    with pytest.raises((StoreError, StoreNotFoundError)):
        cop_zarr.open(out.with_name("out.zarr.partial"))
    cop_zarr.ingest(small, out, resume=True)
    assert sorted(path.name for path in out.parent.iterdir()) == ["out.zarr", "small.tif"]
    assert cop_zarr.verify(out, small).ok


def test_a_folder_that_cannot_be_written(small: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="file"):
        cop_zarr.ingest(small, tmp_path / "file" / "out.zarr")


def test_an_interrupt_leaves_what_can_be_gone_on_with(small: Path, out: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cop_zarr.ingest(small, out, progress=interrupt)
    assert sorted(path.name for path in out.parent.iterdir()) == ["out.zarr.partial", "small.tif"]
    for flags in ({}, {"strict": True}):
        with pytest.raises(StoreExistsError, match="--resume"):
            cop_zarr.ingest(small, out, **flags)
    cop_zarr.ingest(small, out, resume=True)
    assert sorted(path.name for path in out.parent.iterdir()) == ["out.zarr", "small.tif"]
    assert cop_zarr.verify(out, small).ok


@pytest.mark.parametrize("old", [False, True])
def test_a_killed_ingest_leaves_no_store_that_opens(small: Path, out: Path, old: bool) -> None:
    if old:
        cop_zarr.ingest(small, out)
        before = digests(out)
    script = """
        import os, signal, sys, cop_zarr
        def kill(done, total):
            if done > total // 2:
                os.kill(os.getpid(), signal.SIGKILL)
        cop_zarr.ingest(sys.argv[1], sys.argv[2], overwrite=True, progress=kill)
    """
    command = [sys.executable, "-c", textwrap.dedent(script), small, out]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    partial = out.with_name("out.zarr.partial")
    with pytest.raises((StoreError, StoreNotFoundError)):
        cop_zarr.open(partial)
    if old:
        assert digests(out) == before
    else:
        with pytest.raises(StoreNotFoundError):
            cop_zarr.open(out)
    with pytest.raises(StoreExistsError, match="unfinished ingest"):
        cop_zarr.ingest(small, out)
    cop_zarr.ingest(small, out, overwrite=True)
    assert not partial.exists()
    assert cop_zarr.verify(out, small).ok


def test_an_object_store_holds_no_store_that_opens_while_it_is_written(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"memory://{tmp_path.name}/out.zarr"
    cop_zarr.ingest(small, url)
    write, written = storage.RemoteFolder.write, []

    def watch(self: storage.RemoteFolder, key: str, data: bytes) -> None:
        if key != "ingest/lock" and (key != "ingest/job.json" or written):
            with pytest.raises((StoreError, StoreNotFoundError)):
                cop_zarr.open(url)
        written.append(key)
        write(self, key, data)

    monkeypatch.setattr(storage.RemoteFolder, "write", watch)
    monkeypatch.setattr(storage.RemoteFolder, "replace", watch)
    cop_zarr.ingest(small, url, overwrite=True)
    assert [key for key in written if key != "ingest/lock"][-1] == "zarr.json"
    assert len(written) > 10
    cop_zarr.open(url)
    assert not any("ingest/" in key for key in fsspec.filesystem("memory").find(f"/{tmp_path.name}"))


# Memory


@pytest.mark.parametrize("memory", [0, 1 << 20, BASE_BYTES])
def test_less_memory_than_nothing_takes_is_refused(small: Path, out: Path, memory: int) -> None:
    with pytest.raises(MemoryLimitError, match="memory must be more than the 160 MiB"):
        cop_zarr.ingest(small, out, memory=memory)
    assert not out.exists()


def test_a_segment_beyond_the_memory_allowed_is_refused(tmp_path: Path, out: Path) -> None:
    one = {"tiled": False, "blockxsize": None, "blockysize": 400, "compress": None}
    path = factory.write_geotiff(tmp_path / "a.tif", np.zeros((16, 400, 800), "f4"), **one)
    memory = BASE_BYTES + (400 * 800 * 16 * 4)  # the segment encoded and decoded takes twice that
    with pytest.raises(MemoryLimitError, match="Allow as much"):
        cop_zarr.ingest(path, out, memory=memory)
    assert sorted(found.name for found in tmp_path.iterdir()) == ["a.tif"]


PEAK = """
    import sys, cop_zarr
    def peak():
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) << 10 for line in status if line.startswith("VmHWM"))
    small, heavy, out, memory = sys.argv[1:]
    cop_zarr.ingest(small, out + ".small", workers=4)
    before = peak()
    cop_zarr.ingest(heavy, out, memory=int(memory), workers=4)
    print(before, peak())
"""
"""Print the peak of memory before and after an ingest; what any ingest takes is in the first."""


@pytest.fixture(scope="module")
def heavy() -> np.ndarray:
    """Values of 120 MiB."""
    return factory.truth((100, 500), (600, 1400), 98)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize(
    "profile",
    [
        {"tiled": False, "blockxsize": None, "blockysize": 400, "interleave": "band"},
        {"tiled": False, "blockxsize": None, "blockysize": 1, "interleave": "band"},
        {"tiled": False, "blockxsize": None, "blockysize": 3, "interleave": "pixel"},
        {"blockxsize": 128, "blockysize": 128, "interleave": "pixel"},
        {"blockxsize": 400, "blockysize": 400, "interleave": "band"},
    ],
    ids=["whole planes", "rows of planes", "rows", "tiles", "tiles of planes"],
)
def test_memory_is_bounded_whatever_the_layout(
    heavy: np.ndarray, small: Path, tmp_path: Path, out: Path, profile: dict
) -> None:
    path = factory.write_geotiff(
        tmp_path / "a.tif", heavy, rows=(100, 500), cols=(600, 1400), compress=None, **profile
    )
    allowed, slack = 32 << 20, 16 << 20
    command = [sys.executable, "-c", textwrap.dedent(PEAK), small, path, out, str(BASE_BYTES + allowed)]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    before, peak = map(int, printed.split())
    assert before <= BASE_BYTES
    assert peak - before <= allowed + slack < heavy.nbytes / 2
    assert same_bits(zarr.open(out, mode="r")["embedding"][:, 190:230], heavy[:, 190:230])


def test_overwrite_refuses_a_strange_file_however_deep(small: Path, out: Path) -> None:
    cop_zarr.ingest(small, out)
    (out / "embedding" / "notes.txt").write_text("mine")
    with pytest.raises(StoreExistsError, match=r"embedding/notes\.txt"):
        cop_zarr.ingest(small, out, overwrite=True)
    assert (out / "embedding" / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("epoch", ["abc", "99999999999999"])
def test_a_fixed_time_that_is_none(
    small: Path, out: Path, monkeypatch: pytest.MonkeyPatch, epoch: str
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", epoch)
    with pytest.raises(InputError, match=f"SOURCE_DATE_EPOCH must be .*{epoch}"):
        cop_zarr.ingest(small, out)
    assert not out.exists()


def test_a_source_that_changes_meanwhile_is_refused(small: Path, out: Path, tmp_path: Path) -> None:
    """Its digest would not be that of the values."""
    copy = tmp_path / "copy.tif"
    copy.write_bytes(small.read_bytes())

    def change(done: int, total: int) -> None:
        os.utime(copy, (1, 1))

    with pytest.raises(SourceError, match="it was changed while it was read"):
        cop_zarr.ingest(copy, out, progress=change)
    assert not out.exists()
