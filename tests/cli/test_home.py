"""``~`` in a path that a variable or an argument names: the home folder, never a folder of that name."""

from pathlib import Path

import numpy as np
import pytest

import cop_zarr
from cop_zarr.errors import InputError
from cop_zarr.source import locate
from cop_zarr.storage import expanded
from tests.cli.conftest import BOX

UNKNOWN = "~nobody-of-this-name/x"


@pytest.fixture
def home(run, tmp_path, monkeypatch):
    """The home folder, with the files of ``run``; the working directory is an empty one."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("HOME", str(tmp_path))
    yield tmp_path
    assert list(work.iterdir()) == []


def test_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert expanded("~") == tmp_path
    assert expanded("~/a") == expanded(Path("~/a")) == tmp_path / "a"
    assert expanded("~root/a") == Path("~root").expanduser() / "a"
    assert expanded("a/~/b") == Path("a/~/b")
    monkeypatch.chdir(tmp_path)
    assert expanded("./~a") == expanded(expanded("./~a")) == tmp_path / "~a"
    for unknown in (UNKNOWN, "~$a.csv", Path("~+")):
        with pytest.raises(InputError) as caught:
            expanded(unknown)
        assert expanded(str(caught.value).rpartition(": ")[2]) == tmp_path / unknown  # as it advises


def test_variables(home, run, monkeypatch, data):
    monkeypatch.setenv("RS_EMBED_COP_DIR", "~/source")
    monkeypatch.setenv("COP_ZARR_STORE", "~/source/b.zarr")
    (home / "source").mkdir()
    (home / "a.tif").rename(home / "source" / "embed_map_1k.tif")
    assert locate.find_default() == home / "source" / "embed_map_1k.tif"
    assert cop_zarr.ingest().store == str(home / "source" / "b.zarr")
    answer = cop_zarr.query(tuple(map(float, BOX)))
    np.testing.assert_allclose(answer.data, data.mean(axis=(1, 2), dtype="f8"), rtol=1e-6)
    monkeypatch.setenv("RS_EMBED_COP_DIR", UNKNOWN)
    with pytest.raises(InputError, match="~nobody"):
        cop_zarr.ingest(overwrite=True)
    monkeypatch.setenv("COP_ZARR_STORE", UNKNOWN)
    with pytest.raises(InputError, match="~nobody"):
        cop_zarr.query(tuple(map(float, BOX)))


def test_arguments(home, run, data):
    mean = data.mean(axis=(1, 2), dtype="f8")
    cop_zarr.ingest("~/a.tif", "~/b.zarr")
    assert cop_zarr.verify("~/b.zarr", "~/a.tif").ok
    np.testing.assert_allclose(cop_zarr.open("~/b.zarr").query((20, 38, 22, 40)).data, mean, rtol=1e-6)
    assert (
        cop_zarr.synthesize(Path("~/c.tif"), grid=cop_zarr.open("~/b.zarr").grid, bands=1) == home / "c.tif"
    )
    (home / "points.csv").write_text("lon,lat\n20,39\n")
    assert cop_zarr.batch("~/points.csv", "~/points.npy", "~/b.zarr").rows == 1
    np.testing.assert_array_equal(np.load(home / "points.npy")[0], data[:, 4, 0])
    for call in (
        lambda: cop_zarr.ingest(UNKNOWN, "~/d.zarr"),
        lambda: cop_zarr.ingest("~/a.tif", UNKNOWN),
        lambda: cop_zarr.open(UNKNOWN),
        lambda: cop_zarr.open("~/b.zarr", cache_dir=UNKNOWN),
        lambda: cop_zarr.batch(UNKNOWN, "~/e.npy", "~/b.zarr"),
        lambda: cop_zarr.batch("~/points.csv", f"{UNKNOWN}.npy", "~/b.zarr"),
        lambda: cop_zarr.synthesize(UNKNOWN),
    ):
        with pytest.raises(InputError, match="~nobody"):
            call()


def test_cache_folder(home, run):
    store = cop_zarr.open("~/a.zarr", cache_dir="~/cache")
    store.query((20, 38, 22, 40))
    assert [path.name for path in (home / "cache").iterdir()] == [f"{store.sha256}.cop-zarr-cache"]


def test_options_of_commands(home, run):
    (home / "roi.json").write_text(
        '{"type": "Polygon", "coordinates": [[[20,38],[22,38],[22,40],[20,38]]]}'
    )
    (home / "points.csv").write_text("lon,lat\n20,39\n")
    assert run("query", "~/a.zarr", "--geojson=~/roi.json", "--to=~/a.npy").exit_code == 0
    assert run("plot", "~/a.zarr", "--to=~/a.png", "--geojson=~/roi.json").exit_code == 0
    assert run("batch", "~/a.zarr", "~/points.csv", "--to=~/b.npy", "--cache-dir=~/kept").exit_code == 0
    assert run("synth", "--to=~/s.tif", "--bands", 1, "--bbox", *BOX).exit_code == 0
    assert run("verify", "~/a.zarr", "--source=~/a.tif").exit_code == 0
    assert {"a.npy", "a.png", "b.npy", "kept", "s.tif"} <= {path.name for path in home.iterdir()}
    (home / "work" / "-").symlink_to(home / "roi.json")
    assert run("query", "~/a.zarr", "--geojson", "./-").exit_code == 0  # a file, not stdin
    (home / "work" / "-").unlink()
    run.fails("query", "~/a.zarr", "--geojson", UNKNOWN, word="~nobody")
    run.fails("query", "~/a.zarr", "--bbox", *BOX, "--to", f"{UNKNOWN}.npy", word="~nobody")
    run.fails("plot", "~/a.zarr", "--to", f"{UNKNOWN}.png", word="~nobody")
    run.fails("info", UNKNOWN, word="~nobody")
