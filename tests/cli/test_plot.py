"""``cop-zarr plot`` writes what ``Store.plot`` draws."""

import itertools
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


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--bbox", 11, 48, 13, 51, "--weights", "auto"),
        ("--region", "a.geojson", "--weights", "none", "--empty", "skip"),
        ("--region", "11,48,13,51"),
        ("--region", "1224514 6106854 1447153 6621293", "--crs", "EPSG:3857"),
        ("--point", 12, 50, "--buffer", 60_000, "--shape", "circle", "--bbox", 10, 48, 15, 52),
        ("--point", 12, 50, "--buffer", 10, "--subpixel", "bilinear"),
    ],
)
def test_it_writes_what_the_method_draws(run, small, options):
    done = run("out.png", "--dpi", 50, *options)
    assert (done.exit_code, done.stdout) == (0, ""), done.output
    names = dict(itertools.pairwise(options))
    bbox = options[options.index("--bbox") + 1 :][:4] if "--bbox" in options else None
    expected = {}
    if "--region" in options:
        text = names["--region"].replace(",", " ")
        expected["region"] = POLYGON if "geojson" in text else [float(word) for word in text.split()]
    if "--point" in options:
        expected["region"] = cop_zarr.PointBuffer(12, 50, names["--buffer"], names.get("--shape", "box"))
    for word in ("weights", "empty", "subpixel", "crs"):
        if f"--{word}" in options:
            expected[word] = None if names[f"--{word}"] == "none" else names[f"--{word}"]
    plotting.save_plot(Path("api.png"), lambda ax: small.plot(bbox, **expected, ax=ax), dpi=50)
    assert Path("out.png").read_bytes() == Path("api.png").read_bytes()


def test_geojson_from_stdin(run):
    assert run("out.svg", "--region", "-", stdin=GEOJSON).exit_code == 0
    assert Path("out.svg").read_text().count("<svg ") == 1


@pytest.mark.parametrize(
    ("arguments", "status", "word"),
    [
        (("out.jpg",), 2, ".svg"),
        ((), 2, "--to OUT"),
        (("out.png", "--to", "other.png"), 2, "one picture"),
        (("--to", "out.jpg"), 2, ".svg"),
        (("--to", "old.png"), 1, "--overwrite"),
        (("a.geojson", "--overwrite"), 2, ".svg"),
        (("out.png", "--region", "11 48 13"), 2, "four numbers"),
        (("out.png", "--region", "nothing.geojson"), 2, "No such file"),
        (("out.png", "--region", "11 48 13 51", "--point", 12, 50, "--buffer", 9), 2, "one region"),
        (("out.png", "--point", 12, 50), 2, "--buffer M"),
        (("out.png", "--repair"), 2, "--region FILE"),
        (("out.png", "--weights", "area"), 2, "--region"),
        (("out.png", "--bbox", 100, 0, 110, 10), 2, "outside"),
        (("out.png", "--width", 1), 2, "5 to 60 inches"),
        (("out.png", "--dpi", 1e6), 2, "dpi"),
        (("old.png",), 1, "--overwrite"),
    ],
)
def test_wrong_usage_writes_nothing(run, arguments, status, word):
    before = sorted(Path().iterdir())
    done = run(*arguments)
    assert done.exit_code == status, done.output
    assert word in done.output
    assert sorted(Path().iterdir()) == before
    assert Path("old.png").read_bytes() == b"old"


def test_the_picture_may_be_named_by_an_option_and_the_store_by_the_environment(run, monkeypatch):
    assert run("plain.png", "--dpi", 40).exit_code == 0
    assert run("--to", "option.png", "--dpi", 40).exit_code == 0
    monkeypatch.setenv("COP_ZARR_STORE", "a.zarr")
    done = CliRunner().invoke(main, ["plot", "--to", "environment.png", "--dpi", "40"])
    assert (done.exit_code, done.stdout) == (0, ""), done.output
    plain = Path("plain.png").read_bytes()
    assert Path("option.png").read_bytes() == Path("environment.png").read_bytes() == plain
    wrong = CliRunner().invoke(main, ["plot", "map.png"])
    assert wrong.exit_code == 2
    assert "--to map.png" in wrong.output


def test_overwrite(run):
    assert run("old.png", "--overwrite", "--region", "11 48 13 51", "--dpi", 40).exit_code == 0
    assert Path("old.png").read_bytes().startswith(b"\x89PNG")
