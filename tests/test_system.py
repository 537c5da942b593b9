"""The same answers and files where Windows' system calls are missing and its refusals are imitated."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fsspec
import numpy as np
import pytest
from click.testing import CliRunner
from pyarrow import parquet

import cop_zarr
from cop_zarr import errors, system
from cop_zarr.cli import main
from cop_zarr.storage import fetch, local_path
from tests.support import factory

ROWS, COLS, BANDS = (200, 237), (1000, 1053), 5

IMITATED = """
import json, sys
from pathlib import Path
from tests.support.windows import imitate
imitate()
from tests.test_system import use_everything
print(json.dumps(use_everything(Path(sys.argv[1]), Path(sys.argv[2]))))
"""


def use_everything(source, folder):
    """Ingest, replace, damage and repair a store, and ask it in every way; what was found, as JSON."""
    place = folder / "a.zarr"
    place.mkdir()  # an empty folder is taken
    cop_zarr.ingest(source, place)
    found = {}
    cop_zarr.ingest(source, place, overwrite=True)
    found["interrupted"] = interrupted_and_resumed(source, folder / "b.zarr")
    found["replaced"] = replaced_while_it_is_read(source, place)
    found["damaged"], found["repaired"] = damaged_and_repaired(source, place)
    found["files"] = len(list(place.rglob("*")))

    store = cop_zarr.open(f"file://{place}")
    box = (71, 32.5, 75, 38)
    found["grid"] = store.query(box, output="grid").data.tolist()
    ring = {"type": "Polygon", "coordinates": [[[71, 33], [75, 33], [73, 38], [71, 33]]]}
    answers = store.query(box), store.query(ring), *store.query_many([box, ring])
    found["answers"] = [np.asarray(answer).tolist() for answer in answers]
    found["sample"] = store.sample([72.0, 73.5], [35.0, 36.25]).tolist()
    found["saved"] = saved(place, box, folder / "a.npy")
    found["cached"] = from_memory_through_a_cache(source, folder, box)
    found["table"] = table(store, folder)
    found["copied"] = fetched(source, folder / "copy.tif")
    found["names"] = sorted(path.name for path in folder.iterdir())
    return found


def interrupted_and_resumed(source, place):
    """An ingest that stops half way, another that is refused meanwhile, and the rest."""
    busy = []

    def stop(done, total):
        with pytest.raises(errors.StoreBusyError):
            cop_zarr.ingest(source, place, resume=True)
        busy.append(done)
        if len(busy) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cop_zarr.ingest(source, place, progress=stop)
    cop_zarr.ingest(source, place, resume=True)
    return cop_zarr.verify(place, source).ok


def replaced_while_it_is_read(source, place):
    """On Windows the ingest fails while a program has a file of the store open; a resumed one succeeds."""
    with (place / "zarr.json").open():
        if system.WINDOWS:
            with pytest.raises(errors.AccessError):
                cop_zarr.ingest(source, place, overwrite=True)
            assert cop_zarr.verify(place, source).ok
    cop_zarr.ingest(source, place, resume=True)
    return cop_zarr.verify(place, source).ok


def damaged_and_repaired(source, place):
    chunk = next(path for path in place.rglob("embedding/c/**/*") if path.is_file())
    chunk.write_bytes(b"damage")
    damaged = cop_zarr.verify(place, source).ok
    cop_zarr.repair(place, source)
    return damaged, cop_zarr.verify(place, source).ok


def saved(store, box, path):
    """What the command writes."""
    command = ["query", str(store), "--bbox", *map(str, box), "--to", str(path)]
    for more in ([], ["--overwrite"]):
        assert CliRunner().invoke(main, [*command, *more]).exit_code == 0
    return np.load(path).tolist()


def from_memory_through_a_cache(source, folder, box):
    url = "memory://system/a.zarr"
    cop_zarr.ingest(source, url, overwrite=True)
    found = [cop_zarr.open(url, cache_dir=folder / "cache").query(box).data.tolist() for _ in range(2)]
    assert list((folder / "cache").rglob("embedding*"))
    return found


def table(store, folder):
    (folder / "places.csv").write_text("lon,lat\n72,35\n73.5,36.25\n")
    for overwrite in (False, True):
        cop_zarr.batch(folder / "places.csv", folder / "out.parquet", store, overwrite=overwrite)
    cop_zarr.batch(folder / "places.csv", folder / "out.npy", store)
    return parquet.read_table(folder / "out.parquet").column("embedding").to_pylist()


def fetched(source, path):
    with fsspec.open("memory://system/source.tif", "wb") as file:
        file.write(source.read_bytes())
    fetch("memory://system/source.tif", path)
    return path.read_bytes() == source.read_bytes()


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What is found in this process, and in one that imitates Windows."""
    folders = [tmp_path_factory.mktemp(name) for name in ("here", "imitated", "source")]
    source = factory.write_geotiff(
        folders[2] / "a.tif", rows=ROWS, cols=COLS, bands=BANDS, blockxsize=16, blockysize=16
    )
    command = [sys.executable, "-c", IMITATED, str(source), str(folders[1])]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as imitation:
        here = use_everything(source, folders[0])
        printed = imitation.stdout.read()
    return json.loads(json.dumps(here)), json.loads(printed)


def test_what_is_found_is_the_same(found):
    here, imitated = found
    assert imitated == here
    assert (here["interrupted"], here["replaced"], here["copied"]) == (True, True, True)
    assert (here["damaged"], here["repaired"]) == (False, True)
    assert here["names"] == [
        "a.npy",
        "a.zarr",
        "b.zarr",
        "cache",
        "copy.tif",
        "out.npy",
        "out.parquet",
        "places.csv",
    ]


def test_what_is_found_is_right(found):
    values = factory.truth()
    rows, cols = slice(208, 231), slice(1004, 1021)
    for each in found:
        np.testing.assert_array_equal(each["grid"], values[:BANDS, rows, cols])
        mean = values[:BANDS, rows, cols].astype("f8").mean((1, 2))
        np.testing.assert_allclose(each["answers"][0], mean, rtol=1e-6)
        np.testing.assert_allclose(each["cached"], [mean, mean], rtol=1e-6)
        points = values[:BANDS, [220, 215], [1008, 1014]].T
        np.testing.assert_array_equal(each["sample"], points)
        np.testing.assert_array_equal(each["table"], points)


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("C:\\data\\a.zarr", "C:\\data\\a.zarr"),
        ("C:/data/a.zarr", "C:/data/a.zarr"),
        ("\\\\server\\share\\a.zarr", "\\\\server\\share\\a.zarr"),
        ("file:///C:/data/a.zarr", "C:/data/a.zarr"),
        ("file://C:/data/a.zarr", "C:/data/a.zarr"),
        ("file:///data/a.zarr", "/data/a.zarr"),
        ("s3://C:/data", None),
    ],
)
def test_paths_with_drives(monkeypatch, url, path):
    monkeypatch.setattr(system, "WINDOWS", True)
    assert local_path(url) == (None if path is None else Path(path))


def test_files_are_read_and_written_at_places(monkeypatch, tmp_path):
    """Without pread and pwrite, by several threads at once."""
    monkeypatch.setattr(system, "WINDOWS", True)
    pieces = [bytes([number]) * 1000 for number in range(200)]
    with (tmp_path / "a").open("w+b", buffering=0) as file, ThreadPoolExecutor(8) as pool:
        places = range(0, 200_000, 1000)
        assert set(pool.map(lambda data, at: system.write_at(file.fileno(), data, at), pieces, places)) == {
            1000
        }
        assert list(pool.map(lambda at: system.read_at(file.fileno(), 1000, at), places)) == pieces
