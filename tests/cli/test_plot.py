"""``cop-zarr plot`` writes what ``Store.plot`` draws."""

import json
from pathlib import Path

import numpy as np
import pytest
import shapely
from click.testing import CliRunner

import cop_zarr
from cop_zarr.cli import main
from tests.support import factory

plotting = pytest.importorskip("cop_zarr.outputs.plotting.save")

POLYGON = shapely.Polygon([(10.4, 49.1), (13.9, 48.4), (14.6, 51.2), (11.1, 51.9)])
GEOJSON = json.dumps(shapely.geometry.mapping(POLYGON))


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A store around POLYGON: 52.625 … 47.625 N, 9.875 … 15.875 E."""
    folder = tmp_path_factory.mktemp("plot")
    values = np.random.default_rng(7).normal(40, 8, size=(5, 20, 24)).astype("f4")
    factory.write_geotiff(folder / "a.tif", values, rows=(150, 170), cols=(760, 784))
    cop_zarr.ingest(folder / "a.tif", folder / "a.zarr")
    return cop_zarr.open(folder / "a.zarr")


@pytest.fixture
def run(small, tmp_path, monkeypatch):
    """Run ``cop-zarr plot a.zarr`` in a folder with a.geojson and old.png."""
    monkeypatch.chdir(tmp_path)
    Path("a.zarr").symlink_to(small.url)
    Path("a.geojson").write_text(GEOJSON)
    Path("old.png").write_bytes(b"old")

    def invoke(*arguments, stdin=None):
        return CliRunner().invoke(main, ["plot", "a.zarr", *map(str, arguments)], input=stdin)

    return invoke


DISC = cop_zarr.PointBuffer(12, 50, 60_000, "circle")
AROUND_DISC = DISC.footprint.bounds.on_earth
MERCATOR = (1224514, 6106854, 1447153, 6621293)


@pytest.mark.parametrize(
    ("options", "arguments"),
    [
        ((), {}),
        (("--bbox", 11, 48, 13, 51), {"bbox": (11, 48, 13, 51)}),
        (("--bbox", *MERCATOR, "--crs", "EPSG:3857"), {"bbox": cop_zarr.BBox.from_crs(MERCATOR, crs=3857)}),
        (("--geojson", "a.geojson"), {"bbox": POLYGON.bounds}),
        (("--point", 12, 50, "--buffer", 60_000, "--shape", "circle"), {"bbox": AROUND_DISC}),
        (
            ("--show", "weights", "--geojson", "a.geojson", "--weights", "none", "--empty", "skip"),
            {"region": POLYGON, "weights": None, "empty": "skip"},
        ),
        (("--show", "weights", "--bbox", "11,48,13,51"), {"region": (11, 48, 13, 51)}),
        (
            ("--show", "weights", "--point", 12, 50, "--buffer", 60_000, "--shape", "circle",
             "--extent", 10, 48, 15, 52),
            {"region": DISC, "bbox": (10, 48, 15, 52)},
        ),
        (
            ("--show", "weights", "--point", 12, 50, "--buffer", 10, "--subpixel", "bilinear"),
            {"region": cop_zarr.PointBuffer(12, 50, 10), "subpixel": "bilinear"},
        ),
    ],
)  # fmt: skip
def test_it_writes_what_the_method_draws(run, small, options, arguments):
    done = run("--to", "out.png", "--dpi", 50, *options)
    assert (done.exit_code, done.stderr) == (0, ""), done.output
    assert done.stdout.startswith("out.png: ")
    plotting.save_plot(Path("api.png"), lambda ax: small.plot(**arguments, ax=ax), dpi=50)
    assert Path("out.png").read_bytes() == Path("api.png").read_bytes()


def test_geojson_from_stdin(run):
    assert run("--to", "out.svg", "--show", "weights", "--geojson", "-", stdin=GEOJSON).exit_code == 0
    assert Path("out.svg").read_text().count("<svg ") == 1


@pytest.mark.parametrize(
    ("arguments", "status", "word"),
    [
        (("--to", "out.jpg"), 2, ".svg"),
        ((), 2, "--to OUT. A .png"),
        (("out.png",), 2, "--to out.png"),
        (("out.png", "--to", "other.png"), 2, "too many"),
        (("--to", "old.png"), 1, "--overwrite"),
        (("--to", "a.geojson", "--overwrite"), 2, ".svg"),
        (("--to", "out.png", "--bbox", "11 48 13"), 2, "--bbox"),
        (("--to", "out.png", "--region", "a.geojson"), 2, "--show weights"),
        (("--to", "out.png", "--geojson", "nothing.geojson"), 1, "No such file"),
        (("--to", "out.png", "--bbox", "11 48 13 51", "--point", 12, 50, "--buffer", 9), 2, "one region"),
        (("--to", "out.png", "--point", 12, 50), 2, "--buffer M"),
        (("--to", "out.png", "--crs", "EPSG:3857"), 2, "--bbox"),
        (("--to", "out.png", "--repair"), 2, "--geojson FILE"),
        (("--to", "out.png", "--weights", "area"), 2, "--show weights"),
        (("--to", "out.png", "--extent", "11 48 13 51"), 2, "--show weights"),
        (("--to", "out.png", "--show", "weights"), 2, "--bbox"),
        (("--to", "out.png", "--bbox", 100, 0, 110, 10), 2, "outside"),
        (("--to", "out.png", "--width", 1), 2, "5 to 60 inches"),
        (("--to", "out.png", "--dpi", 1e6), 2, "--dpi"),
    ],
)
def test_wrong_usage_writes_nothing(run, arguments, status, word):
    before = sorted(Path().iterdir())
    done = run(*arguments)
    assert done.exit_code == status, done.output
    assert word in done.output
    assert sorted(Path().iterdir()) == before
    assert Path("old.png").read_bytes() == b"old"


def test_the_store_of_the_environment_and_the_report(run, monkeypatch):
    assert run("--to", "plain.png", "--dpi", 40).exit_code == 0
    monkeypatch.setenv("COP_ZARR_STORE", "a.zarr")
    done = CliRunner().invoke(main, ["plot", "--to", "environment.png", "--dpi", "40", "--json"])
    assert (done.exit_code, done.stderr) == (0, ""), done.output
    report, written = json.loads(done.stdout), Path("environment.png").read_bytes()
    assert report == {
        "out": "environment.png",
        "store": "a.zarr",
        "show": "embeddings",
        "bytes": len(written),
    }
    assert Path("plain.png").read_bytes() == written
    assert "--to map.png" in CliRunner().invoke(main, ["plot", "map.png"]).stderr


def test_overwrite(run):
    assert run("--to", "old.png", "--overwrite", "--bbox", "11 48 13 51", "--dpi", 40).exit_code == 0
    assert Path("old.png").read_bytes().startswith(b"\x89PNG")
