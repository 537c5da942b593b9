"""The command line as a user meets it: what it prints where, and how it ends."""

import csv
import itertools
import json
import os
import re
import select
import shutil
import subprocess
import sys
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import shapely
from click.testing import CliRunner
from pyproj import Transformer

import cop_zarr
from cop_zarr.cli import main
from cop_zarr.cli import quickstart as tour
from cop_zarr.cli.options import SIZE_UNITS, Size
from cop_zarr.core.grid import Grid
from cop_zarr.core.reducers import REDUCERS
from cop_zarr.querying import options as words
from cop_zarr.source import synthetic
from tests.support import factory, proxy, servers

BOX = ("20", "38", "22", "40")
PROGRAM = [sys.executable, "-c", "from cop_zarr.cli import main; main(prog_name='cop-zarr')"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a source, its store, and the same values somewhere else; no test changes it."""
    place = tmp_path_factory.mktemp("cli")
    for name, cols in {"a": (800, 824), "elsewhere": (900, 924)}.items():
        factory.write_geotiff(place / f"{name}.tif", rows=(200, 220), cols=cols, bands=4)
    cop_zarr.ingest(place / "a.tif", place / "a.zarr")
    return place


@pytest.fixture
def run(place, tmp_path, monkeypatch):
    """Run a command in a folder of the test's own, beside a.tif and a.zarr."""
    (tmp_path / "a.tif").symlink_to(place / "a.tif")
    (tmp_path / "elsewhere.tif").symlink_to(place / "elsewhere.tif")
    shutil.copytree(place / "a.zarr", tmp_path / "a.zarr")
    monkeypatch.chdir(tmp_path)
    for variable in ("COP_ZARR_STORE", "COP_ZARR_WORKERS"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("RS_EMBED_COP_DIR", str(tmp_path))

    def invoke(*arguments, stdin=None, catch=False):
        result = CliRunner().invoke(main, list(map(str, arguments)), input=stdin)
        if not catch and result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return invoke


@pytest.fixture
def data():
    """What BOX holds."""
    return factory.truth((200, 209), (800, 809), 4)


def damage(store="a.zarr"):
    """Make a chunk under BOX one byte longer."""
    with Path(store, "embedding/c/0/0/0").open("ab") as file:
        file.write(b"\0")


def failed(result, status, message):
    """Whether a command ended with this status and message, with nothing on stdout."""
    assert result.exit_code == status, result.output
    assert result.stdout == ""
    assert re.search(message, result.stderr), result.stderr
    assert "Traceback" not in result.output
    return True


def listed():
    """What lies in the working directory."""
    return sorted(path.name for path in Path().iterdir())


# query


def test_query_prints_one_json_object(run, data):
    result = run("query", "a.zarr", "--bbox", *BOX)
    assert (result.exit_code, result.stderr) == (0, "")
    answer = json.loads(result.stdout)
    assert answer["data"] == pytest.approx(data.mean(axis=(1, 2), dtype="f8"), rel=1e-6)
    assert answer["meta"]["bbox_4326"] == [20, 38, 22, 40]
    assert answer["meta"]["store"] == "a.zarr"


def test_query_options(run, data):
    result = run("query", "a.zarr", "--bbox", *BOX, "--pooling", "max", "--year", 2021)
    assert json.loads(result.stdout)["data"] == data.max(axis=(1, 2)).tolist()
    result = run("query", "a.zarr", "--bbox", *BOX, "--output", "grid")
    assert json.loads(result.stdout)["data"] == data.tolist()
    result = run("query", "a.zarr", "--point", 22, 38, "--buffer", 60_000)
    assert json.loads(result.stdout)["meta"]["roi"] == {
        "type": "PointBuffer", "lon": 22, "lat": 38, "buffer_m": 60_000, "shape": "box"
    }  # fmt: skip


TRIANGLE = [[20.1, 38.05], [21.9, 38.4], [20.9, 39.95], [20.1, 38.05]]
POLYGON = {"type": "Polygon", "coordinates": [TRIANGLE]}
FEATURE = {"type": "Feature", "properties": None, "geometry": POLYGON}


@pytest.fixture
def parts():
    """How much of each cell of BOX lies in TRIANGLE, by shapely."""
    west, north = 19.875 + 0.25 * np.arange(9), 40.125 - 0.25 * np.arange(9)[:, None]
    cells = shapely.box(west, north - 0.25, west + 0.25, north)
    return shapely.area(shapely.intersection(cells, shapely.Polygon(TRIANGLE))) * 16


@pytest.mark.parametrize(
    "document",
    [POLYGON, FEATURE, {"type": "FeatureCollection", "features": [FEATURE]}],
    ids=lambda d: d["type"],
)
def test_query_of_a_geojson_file(run, data, parts, document):
    Path("region.geojson").write_text(json.dumps(document))
    expected = (data * parts).sum(axis=(1, 2)) / parts.sum()
    for name, stdin in (("region.geojson", None), ("-", json.dumps(document))):
        result = run("query", "a.zarr", "--geojson", name, stdin=stdin)
        assert (result.exit_code, result.stderr) == (0, "")
        answer = json.loads(result.stdout)
        assert answer["data"] == pytest.approx(expected, rel=1e-6)
        assert answer["meta"]["weights"] == "coverage"
        assert answer["meta"]["roi"]["type"] == "Polygon"
        assert answer["meta"]["total_cells"] == (parts > 0).sum()


WORDS = [
    *itertools.product(["mean", "sum", "std"], ["auto", "none", "coverage"], ["include", "skip"]),
    *itertools.product(["min", "max"], ["auto", "none"], ["include", "skip"]),
]


@pytest.mark.parametrize("words", WORDS, ids="-".join)
def test_query_words(run, data, parts, words):
    pooling, weights, empty = words
    options = ("--pooling", pooling, "--weights", weights, "--empty", empty)
    answer = json.loads(
        run("query", "a.zarr", "--geojson", "-", *options, stdin=json.dumps(POLYGON)).stdout
    )
    effective_weights = None if weights == "none" or pooling in {"min", "max"} else "coverage"
    counts = parts if effective_weights else parts > 0
    if empty == "skip":
        counts = counts * data.any(axis=0)
    cells, counts = data[:, counts > 0].astype("f8"), counts[counts > 0]
    mean = np.average(cells, axis=1, weights=counts)
    expected = {
        "mean": mean,
        "sum": cells @ counts,
        "std": np.sqrt(np.average((cells - mean[:, None]) ** 2, axis=1, weights=counts)),
        "min": cells.min(axis=1),
        "max": cells.max(axis=1),
    }[pooling]
    assert answer["data"] == pytest.approx(expected, rel=1e-6)
    asked = {name: answer["meta"][name] for name in ("pooling", "weights", "empty")}
    assert asked == {"pooling": pooling, "weights": effective_weights, "empty": empty}


def test_query_weighs_by_area(run, data):
    """Rows of a box, by the sines of their edges: within the flattening, 1/298."""
    answer = json.loads(run("query", "a.zarr", "--bbox", *BOX, "--weights", "area").stdout)
    edges = np.clip(40.125 - 0.25 * np.arange(10), 38, 40)
    rows = -np.diff(np.sin(np.radians(edges)))
    cols = np.diff(np.clip(19.875 + 0.25 * np.arange(10), 20, 22))
    expected = np.einsum("brc,r,c->b", data, rows / rows.sum(), cols / cols.sum())
    assert answer["data"] == pytest.approx(expected, rel=1e-4)
    plain = json.loads(run("query", "a.zarr", "--bbox", *BOX, "--weights", "none").stdout)
    assert plain["data"] != pytest.approx(expected, rel=1e-3)
    assert answer["meta"]["weights"] == "area"


def test_query_of_less_than_a_cell(run, data):
    """Beside the corner of four cells: by one cell, by all four, and between their centres."""
    cells = data[:, 4:6, 4:6].astype("f8")
    expected = {
        "touch": cells.mean(axis=(1, 2)),
        "nearest": cells[:, 0, 0],
        "bilinear": cells[:, 0, 0] * 0.36
        + cells[:, 0, 1] * 0.24
        + cells[:, 1, 0] * 0.24
        + cells[:, 1, 1] * 0.16,
    }
    assert len(np.unique(list(expected.values()), axis=0)) == 3
    for rule, vector in expected.items():
        result = run("query", "a.zarr", "--bbox", 21.05, 38.85, 21.15, 38.95, "--subpixel", rule)
        answer = json.loads(result.stdout)
        assert answer["data"] == pytest.approx(vector, rel=1e-6), rule
        assert answer["meta"]["subpixel"] == rule


def in_crs(crs, points):
    return np.column_stack(
        Transformer.from_crs("OGC:CRS84", crs, always_xy=True).transform(*np.transpose(points))
    )


def test_query_in_another_crs(run, parts):
    """Mercator keeps a box a box; a UTM point is where pyproj says; a polygon's vertices are converted."""
    corners = in_crs("EPSG:3857", [[20, 38], [22, 40]]).ravel().tolist()
    answer = json.loads(run("query", "a.zarr", "--bbox", *corners, "--crs", "EPSG:3857").stdout)
    assert answer["meta"]["bbox_4326"] == pytest.approx([20, 38, 22, 40], abs=1e-9)
    assert answer["meta"]["roi"]["given"] == {"coordinates": corners, "crs": "EPSG:3857"}
    assert answer["meta"]["total_cells"] == 81
    x, y = in_crs("EPSG:32634", [[21.5, 38.5]])[0]
    options = ("--buffer", 30_000, "--shape", "circle", "--crs", "EPSG:32634")
    answer = json.loads(run("query", "a.zarr", "--point", x, y, *options).stdout)
    roi = answer["meta"]["roi"]
    assert (roi["lon"], roi["lat"]) == pytest.approx((21.5, 38.5), abs=1e-9)
    assert (roi["shape"], roi["buffer_m"], answer["meta"]["weights"]) == ("circle", 30_000, "coverage")
    assert answer["meta"]["input_crs"] == roi["given"]["crs"] == "EPSG:32634"
    document = {"type": "Polygon", "coordinates": [in_crs("EPSG:3857", TRIANGLE).tolist()]}
    options = ("--geojson", "-", "--crs", "EPSG:3857", "--output", "grid", "--to", "a.npz")
    assert run("query", "a.zarr", *options, stdin=json.dumps(document)).exit_code == 0
    with np.load("a.npz") as file:
        np.testing.assert_allclose(file["weights"], parts[: len(file["weights"])], atol=2e-2)  # edges curve
        assert json.loads(str(file["meta"]))["input_crs"] == "EPSG:3857"


def test_query_repairs_when_told_to(run, data):
    """A bow tie: two triangles that meet in its middle, (21, 39)."""
    bow = {"type": "Polygon", "coordinates": [[[20, 38], [22, 40], [22, 38], [20, 40], [20, 38]]]}
    command = ("query", "a.zarr", "--geojson", "-", "--weights", "none")
    assert failed(run(*command, stdin=json.dumps(bow)), 2, r"Self-intersection\[21 39\]; .*--repair")
    result = run(*command, "--repair", stdin=json.dumps(bow))
    row, col = np.abs(np.indices((9, 9)) - 4)
    answer = json.loads(result.stdout)
    assert answer["data"] == pytest.approx(data[:, row <= col].mean(axis=1, dtype="f8"), rel=1e-6)
    assert answer["meta"]["total_cells"] == (row <= col).sum()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "<stdin> is not JSON"),
        ("{", "<stdin> is not JSON"),
        ("[" * 100_000, "<stdin> is not JSON"),
        (b"\xff\xfe", "<stdin> is not JSON"),
        ("null", "GeoJSON"),
        ("7", "GeoJSON"),
        ("[20, 38, 22, 40]", "GeoJSON"),
        ("{}", "got a GeoJSON type None"),
        ('{"type": "Point", "coordinates": [20, 38]}', "got a GeoJSON type 'Point'"),
        ('{"type": "Polygon", "coordinates": []}', "the geometry is empty"),
        ('{"type": "Polygon", "coordinates": [[[0, 0], [1, 1]]]}', "at least four positions"),
        ('{"type": "Polygon", "coordinates": [[[0, 0], [1, NaN], [1, 1], [0, 0]]]}', "finite coordinates"),
        (json.dumps(POLYGON).replace("[20.1, 38.05]", "[20.1, 138.05]"), "latitudes must lie within"),
        (json.dumps(POLYGON).replace("20.", "120.").replace("21.", "121."), "lies outside the store"),
    ],
)  # fmt: skip
def test_query_refuses_what_is_no_region(run, text, message):
    assert failed(run("query", "a.zarr", "--geojson", "-", stdin=text), 2, message)


def test_query_of_a_file_that_is_absent_or_one_too_many(run):
    assert failed(run("query", "a.zarr", "--geojson", "no.json"), 2, "'no.json': No such file")
    Path("a.json").write_text(json.dumps(POLYGON))
    assert failed(run("query", "a.zarr", "--geojson", "a.json", "--bbox", *BOX), 2, "name one region")
    command = ("query", "a.zarr", "--geojson", "a.json")
    assert failed(run(*command, "--point", 1, 2, "--buffer", 3), 2, "name one region")
    assert failed(run(*command, "--buffer", 3), 2, "go with --point LON LAT")
    assert failed(run("query", "no.zarr", "--geojson", "a.json"), 1, "there is no store at no.zarr")
    assert failed(run(*command, "--crs", "x"), 2, "crs='x'")
    damage()
    assert failed(run(*command), 1, "is damaged: it has .*cop-zarr repair")


def test_negative_numbers_are_no_options(run, store_path):
    result = run("query", store_path, "--bbox", -61, -4, -59.5, -2)
    assert json.loads(result.stdout)["meta"]["bbox_4326"] == [-61, -4, -59.5, -2]
    result = run("query", "--point", -60, -3, "--buffer", 30_000, store_path)
    assert json.loads(result.stdout)["meta"]["roi"]["lat"] == -3
    result = run("query", store_path, "--bbox", 179, -1, -179, "-.5")
    assert json.loads(result.stdout)["meta"]["cols"] == [1436, 1445]


def test_store_left_out(run, monkeypatch):
    assert failed(run("query", "--bbox", *BOX), 1, r"no store at data/copernicus_embed\.zarr")
    monkeypatch.setenv("COP_ZARR_STORE", "a.zarr")
    assert run("query", "--bbox", *BOX).exit_code == 0
    assert run("info").exit_code == 0
    assert run("verify").exit_code == 0


@pytest.mark.parametrize("output", ["pooled", "grid"])
def test_query_to_files(run, data, output):
    expected = data if output == "grid" else data.mean(axis=(1, 2), dtype="f8").astype("f4")
    for kind in ("json", "npy", "npz", "csv"):
        result = run("query", "a.zarr", "--bbox", *BOX, "--output", output, "--to", f"out.{kind}")
        assert (result.exit_code, result.stdout) == (0, "")
        assert re.match(rf"out\.{kind}: .* float32 numbers of 81 cells, \d+ with data\n$", result.stderr)
    found = json.loads(Path("out.json").read_bytes())["data"]
    np.testing.assert_allclose(np.array(found, "f4"), expected, rtol=1e-6)
    np.testing.assert_allclose(np.load("out.npy"), expected, rtol=1e-6)
    with np.load("out.npz") as file:
        np.testing.assert_allclose(file["data"], expected, rtol=1e-6)
    with Path("out.csv").open() as file:
        _, *rows = csv.reader(file)
    if output == "pooled":
        np.testing.assert_allclose(np.array(rows[0], "f4"), expected, rtol=1e-6)
    else:
        values = np.array([row[4:] for row in rows], "f4").reshape(9, 9, 4)
        np.testing.assert_array_equal(values.transpose(2, 0, 1), expected)
        assert [rows[0][:2], rows[-1][:2]] == [["40.0", "20.0"], ["38.0", "22.0"]]


def test_existing_output_is_kept(run):
    Path("out.npy").write_text("precious")
    command = ("query", "a.zarr", "--bbox", *BOX, "--to", "out.npy")
    assert failed(run(*command), 1, r"out\.npy exists; replace it with --overwrite")
    assert Path("out.npy").read_text() == "precious"
    assert run(*command, "--overwrite").exit_code == 0
    assert np.load("out.npy").shape == (4,)


def test_output_is_looked_at_before_the_store(run):
    assert failed(run("query", "no.zarr", "--bbox", *BOX, "--to", "a.xyz"), 2, "must end in one of")


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        ((), 2, "name one region: --bbox W S E N, --point LON LAT --buffer M, or --geojson FILE"),
        (("--bbox", 1, 2, 3), 2, "'--bbox' requires 4 arguments"),
        (("--bbox", "a", 2, 3, 4), 2, "'a' is not a valid float"),
        (("--bbox", "nan", 2, 3, 4), 2, "minlon must be a finite number"),
        (("--bbox", 38, 120, 40, 122), 2, "are latitude and longitude swapped?"),
        (("--bbox", 20, 40, 22, 38), 2, "minlat must be less than maxlat"),
        (("--bbox", 20, 38, 20.1, 40), 2, "less than one cell of 0.25°"),
        (("--bbox", 100, 38, 102, 40), 2, "lies outside the store, which covers lon 19.875"),
        (("--bbox", *BOX, "--point", 1, 2, "--buffer", 3), 2, "name one region"),
        (("--point", 1, 2), 2, "goes with --buffer M; for the cell at a point: --buffer 1 --subpixel near"),
        (("--buffer", 5), 2, "name one region"),
        (("--bbox", *BOX, "--buffer", 5), 2, "--buffer M and --shape go with --point LON LAT"),
        (("--bbox", *BOX, "--shape", "circle"), 2, "--buffer M and --shape go with --point LON LAT"),
        (("--point", 20, 38, "--buffer", 5, "--shape", "disc"), 2, "'disc' is not one of 'box', 'circle'"),
        (("--bbox", *BOX, "--repair"), 2, "--repair goes with --geojson FILE"),
        (
            ("--bbox", *BOX, "--crs", "EPSG:0"),
            2,
            "PROJ makes no coordinate reference system of crs='EPSG:0'",
        ),
        (("--bbox", *BOX, "--crs", ""), 2, "PROJ makes no coordinate reference system of crs=''"),
        (("--bbox", *BOX, "--crs", "EPSG:5773"), 2, "has no x and y on the Earth"),
        (("--bbox", 0, 0, 1e9, 1e9, "--crs", "EPSG:3857"), 2, "lies off the map of EPSG:3857"),
        (("--point", 1e9, 0, "--buffer", 9e4, "--crs", "EPSG:32634"), 2, "off the map of EPSG:32634"),
        (
            ("--bbox", *BOX, "--weights", "None"),
            2,
            "'None' is not one of 'auto', 'none', 'coverage', 'area'",
        ),
        (("--bbox", *BOX, "--weights", "area", "--pooling", "max"), 2, "weights='area'"),
        (("--bbox", *BOX, "--output", "grid", "--empty", "skip"), 2, "empty='skip'"),
        (("--bbox", *BOX, "--subpixel", "bilinear", "--pooling", "sum"), 2, "take pooling='mean', or sub"),
        (
            ("--bbox", 20, 38, 20.1, 40, "--subpixel", "raise"),
            2,
            "'touch' pools .* 'nearest' .* 'bilinear'",
        ),
        (("--point", 20, 38, "--buffer", -5), 2, "buffer_m must be at least .*; got -5 m"),
        (("--bbox", *BOX, "--year", 2020), 2, "2021 and no other; got year=2020"),
        (("--bbox", *BOX, "--pooling", "median"), 2, "'median' is not one of"),
        (("--bbox", *BOX, "--output", "table"), 2, "'table' is not one of"),
        (("--bbox", *BOX, "--output", "grid", "--max-bytes", "1K"), 2, "more than max_bytes=1,024"),
        (("--bbox", *BOX, "--max-bytes", "lots"), 2, "'lots' is not a size such as 512MB"),
        (("--bbox", *BOX, "--to", "a.txt"), 2, r"a\.txt must end in one of \.json"),
        (("--bbox", *BOX, "--to", "no/a.npy"), 1, r"cannot write no/a\.npy: No such file"),
        (("--bbox", *BOX, "--colour"), 2, "No such option"),
        (("--bbox", *BOX, "b.zarr"), 2, "unexpected extra argument"),
    ],
)
def test_query_refuses(run, arguments, status, message):
    assert failed(run("query", "a.zarr", *arguments), status, message)


@pytest.mark.parametrize("command", ["info", "verify", "query"])
@pytest.mark.parametrize(
    ("store", "status", "message"),
    [
        ("no.zarr", 1, "there is no store at no.zarr; make one with: cop-zarr ingest SOURCE no.zarr"),
        ("memory://no.zarr", 1, "there is no store at memory://no.zarr"),
        ("a.tif", 1, "is not a folder"),
        (".", 1, "is not a cop-zarr store"),
        ("nonsense://me:secret@x/a.zarr", 2, "cannot open nonsense://x/a.zarr"),
    ],
)
def test_what_is_no_store(run, command, store, status, message):
    options = ("--bbox", *BOX) if command == "query" else ()
    assert failed(run(command, store, *options), status, message)


def test_damage_is_status_1(run):
    damage()
    assert failed(run("query", "a.zarr", "--bbox", *BOX), 1, "is damaged: it has .*cop-zarr repair")
    result = run("verify", "a.zarr")
    assert result.exit_code == 1
    assert result.stdout.startswith("embedding/c/0/0/0: it has ")
    assert "a.zarr is DAMAGED" in result.stdout
    result = run("verify", "a.zarr", "--json")
    assert result.exit_code == 1
    report = json.loads(result.stdout)
    assert report["ok"] is False
    assert [problem["key"] for problem in report["problems"]] == ["embedding/c/0/0/0"]


def test_workers_that_are_none(run, monkeypatch):
    monkeypatch.setenv("COP_ZARR_WORKERS", "many")
    assert failed(run("info", "a.zarr"), 2, "COP_ZARR_WORKERS must be a whole number")
    assert failed(run("verify", "a.zarr", "--workers", 0), 2, "workers must be a whole number")


# info, verify, ingest, synth, quickstart


def test_info(run, place):
    text = run("info", "a.zarr").stdout
    facts = ["20 x 24 cells of 0.25°", "bands    4", "2021", "NOT the published file", "CC-BY-4.0", "arXiv"]
    assert not [fact for fact in facts if fact.lower() not in text.lower()]
    info = json.loads(run("info", "a.zarr", "--json").stdout)
    assert info == cop_zarr.open("a.zarr").info()


def test_verify(run):
    result = run("verify", "a.zarr")
    assert result.exit_code == 0
    assert re.fullmatch(r"a\.zarr is good: [\d,]+ objects checked\n", result.stdout)
    result = run("verify", "a.zarr", "--source", "a.tif")
    assert "1,920 values equal to those of a.tif" in result.stdout
    report = json.loads(run("verify", "a.zarr", "--source", "a.tif", "--json").stdout)
    assert (report["ok"], report["values_compared"], report["problems"]) == (True, 20 * 24 * 4, [])
    assert failed(run("verify", "a.zarr", "--source", "elsewhere.tif"), 2, "not this store's source")
    assert failed(run("verify", "a.zarr", "--source", "no.tif"), 1, "there is no file no.tif")


def test_ingest(run, data):
    result = run("ingest", "a.tif", "new.zarr")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "NOT the published file" in result.stdout
    np.testing.assert_array_equal(
        cop_zarr.open("new.zarr").query(tuple(map(float, BOX)), output="grid").data, data
    )
    assert failed(run("ingest", "a.tif", "new.zarr"), 1, "is a store already; replace it with --overwrite")
    report = json.loads(run("ingest", "a.tif", "new.zarr", "--overwrite", "--json").stdout)
    assert report["store"] == "new.zarr"
    assert report["total_cells"] == 20 * 24
    assert report["source"]["sha256"] == cop_zarr.source.locate.sha256_of(Path("a.tif"))


def test_ingest_dry_run_writes_nothing(run):
    before = listed()
    result = run("ingest", "a.tif", "new.zarr", "--dry-run")
    assert result.exit_code == 0
    assert "20 x 24 cells, 4 bands" in result.stdout
    plan = json.loads(run("ingest", "a.tif", "new.zarr", "--dry-run", "--json").stdout)
    assert plan["store"] == "new.zarr"
    assert plan["info"]["bands"] == 4
    assert listed() == before


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("no.tif", "new.zarr"), 1, "there is no file no.tif"),
        (("a.tif", "new.zarr", "--strict"), 1, "is not the published file: its SHA-256 is"),
        (("a.tif", "new.zarr", "--memory", "1MB"), 2, "memory must be more than"),
        (("a.tif", "new.zarr", "--workers", "0"), 2, "workers must be a whole number"),
        (("a.tif", "new.zarr", "--workers", "x"), 2, "'x' is not a valid integer"),
        (("a.tif", "."), 1, "is not a cop-zarr store; name another place"),
        (("a.tif", "a.tif"), 1, "is not a folder"),
        ((".", "new.zarr"), 1, "holds no file named embed_map_"),
    ],
)
def test_ingest_refuses_and_leaves_nothing(run, arguments, status, message):
    before = listed()
    assert failed(run("ingest", *arguments), status, message)
    assert listed() == before


def test_synth(run):
    result = run("synth", "s.tif", "--bands", 3, "--bbox", 178, 60, -170, 70, "--seed", 5)
    assert result.exit_code == 0
    assert re.fullmatch(r"s\.tif: 41 x 49 cells x 3 bands, synthetic, \d+ KiB\n", result.stdout)
    assert failed(run("synth", "s.tif", "--bands", 3), 1, "s.tif exists; replace it with --overwrite")
    assert run("ingest", "s.tif", "s.zarr").exit_code == 0
    store = cop_zarr.open("s.zarr")
    assert (store.bands, store.source["synthetic"]) == (3, True)
    assert store.grid == Grid(80, 1432, 41, 49)
    assert "SYNTHETIC" in run("info", "s.zarr").stdout
    assert json.loads(run("query", "s.zarr", "--bbox", 179, 65, -179, 66).stdout)["meta"]["synthetic"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--bands", 0), "bands must be 1 to 65,535; got 0"),
        (("--seed", -1), "seed must be 0 or more; got -1"),
        (("--bbox", 1, 2, 1, 4), "wider than 0°"),
    ],
)
def test_synth_refuses(run, arguments, message):
    assert failed(run("synth", "s.tif", *arguments), 2, message)
    assert not Path("s.tif").exists()


def test_quickstart_on_a_stand_in(run, monkeypatch):
    def small(path, **options):
        return synthetic.synthesize(path, grid=synthetic.LATTICE, bands=2, **options)

    monkeypatch.setattr(tour, "synthesize", small)
    result = run("quickstart", "--folder", "tour")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "MADE-UP" in result.stdout
    assert "2,076,480 values equal to the source's" in result.stdout
    for name in tour.PLACES:
        assert name in result.stdout
    (path,) = re.findall(r"cop_zarr\.open\('(.*)'\)\.query\(\(120, 30, 122, 32\)\)", result.stdout)
    assert cop_zarr.open(path).query((120, 30, 122, 32)).meta["synthetic"]


def test_quickstart_takes_the_file_that_is_there(run, monkeypatch, source):
    Path("embed_map_310k.tif").symlink_to(source)
    monkeypatch.setenv("COP_ZARR_STORE", "default.zarr")
    monkeypatch.setattr(tour, "synthesize", None)
    result = run("quickstart")
    assert result.exit_code == 0
    assert "MADE-UP" not in result.stdout
    assert cop_zarr.open("default.zarr").bands == factory.BANDS


# The program itself


def test_version_and_help(run):
    assert run("--version").stdout == f"cop-zarr, version {cop_zarr.__version__}\n"
    assert run("--help").exit_code == run("-h").exit_code == 0
    for name in main.commands:
        page = run(name, "--help")
        assert page.exit_code == 0
        assert "Usage: " in page.stdout


@pytest.mark.parametrize("arguments", [("--frobnicate",), ("frobnicate",), ("info", "--frobnicate")])
def test_what_is_no_command(run, arguments):
    assert failed(run(*arguments), 2, "No such (option|command)")


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("0", 0), ("1048576", 1 << 20), ("512MB", 512 << 20), ("512mib", 512 << 20), ("1GiB", 1 << 30),
        ("2G", 2 << 30), ("1.5 GB", 3 << 29), ("3k", 3072), ("1T", 1 << 40), ("7B", 7), (" 7 ", 7),
        (1 << 30, 1 << 30),
    ],
)  # fmt: skip
def test_sizes(text, count):
    assert Size()(text) == count


@pytest.mark.parametrize("text", ["", "-1", "GB", "1 000", "1e9", "1,5G", "1PB", "nan", "1GBs", "0x10"])
def test_what_is_no_size(run, text):
    assert set(SIZE_UNITS) == {"", "K", "M", "G", "T"}
    assert failed(run("verify", "a.zarr", "--memory", text), 2, "is not a size such as 512MB, 1GiB")


def program(*arguments, **options):
    return subprocess.run(
        [*PROGRAM, *map(str, arguments)], capture_output=True, text=True, check=False, **options
    )


def test_program_keeps_results_and_messages_apart(place, tmp_path):
    """No terminal, so no progress: stderr is empty unless there is something to say."""
    done = program("ingest", place / "a.tif", "p.zarr", "--json", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["store"] == "p.zarr"
    done = program("verify", "p.zarr", "--json", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["ok"]
    done = program("query", "p.zarr", "--bbox", *BOX, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("\n") == 1
    damage(tmp_path / "p.zarr")
    done = program("query", "p.zarr", "--bbox", *BOX, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: p.zarr/embedding/c/0/0/0 (lat ")
    assert "Traceback" not in done.stderr
    assert program("query", "p.zarr", "--bbox", 1, 2, cwd=tmp_path).returncode == 2


def test_progress_is_shown_on_a_terminal_alone(place):
    ours, theirs = pytest.importorskip("pty").openpty()
    # without a width, tqdm shows nothing
    pytest.importorskip("termios").tcsetwinsize(theirs, (24, 80))
    command = [*PROGRAM, "verify", place / "a.zarr"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=theirs, check=True, timeout=60)
    shown = b""
    while select.select([ours], [], [], 0)[0]:
        shown += os.read(ours, 10_000)
    os.close(theirs)
    os.close(ours)
    assert b"verify" in shown
    assert b"B/s" in shown
    assert b" is good" in done.stdout
    assert b"B/s" not in done.stdout


def test_reader_that_goes_away(place):
    """``cop-zarr query … | head -c 1`` ends without a traceback."""
    with subprocess.Popen(
        [*PROGRAM, "query", str(place / "a.zarr"), "--bbox", *BOX, "--output", "grid"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as running:  # fmt: skip
        running.stdout.close()
        assert "Traceback" not in running.stderr.read()


LOADED = "import atexit, sys; atexit.register(lambda: print(*sys.modules, file=sys.stderr)); "


@pytest.mark.parametrize(
    ("arguments", "absent"),
    [
        (["--help"], {"numpy", "zarr", "tifffile", "pyproj", "fsspec", "numcodecs", "imagecodecs", "tqdm"}),
        (
            ["query", "--help"],
            {"numpy", "zarr", "tifffile", "pyproj", "fsspec", "numcodecs", "imagecodecs"},
        ),
        (
            ["query", "a.zarr", "--bbox", *BOX],
            {
                "zarr",
                "tifffile",
                "imagecodecs",
                "pyproj",
                "shapely",
                "exactextract",
                "fsspec",
                "tqdm",
                "xarray",
                "cop_zarr.querying.distributed",
                "cop_zarr.interop",
            },
        ),
    ],
    ids=["help", "help of query", "query"],
)
def test_a_command_imports_what_it_needs_alone(place, arguments, absent):
    code = f"{LOADED}from cop_zarr.cli import main; main({arguments!r})"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=place, check=True
    )
    loaded = set(done.stderr.split())
    assert "click" in loaded
    assert not loaded & absent


def test_quickstart_leaves_a_store_that_is_there(run, monkeypatch):
    (Path.cwd() / "embed_map_x.tif").symlink_to("a.tif")
    monkeypatch.setenv("COP_ZARR_STORE", "a.zarr")
    before = Path("a.zarr/zarr.json").read_bytes()
    result = run("quickstart")
    assert result.exit_code == 0, result.output
    assert "a.zarr is there already, and stays" in result.stdout
    assert "outside this store" in result.stdout  # a.zarr covers none of the places
    assert Path("a.zarr/zarr.json").read_bytes() == before


def test_quickstart_takes_a_file_that_the_variable_names(run, monkeypatch):
    monkeypatch.setenv("RS_EMBED_COP_DIR", "a.tif")
    monkeypatch.setenv("COP_ZARR_STORE", "new.zarr")
    result = run("quickstart")
    assert result.exit_code == 0, result.output
    assert "ingested a.tif into new.zarr" in result.stdout


def test_dry_run_refuses_what_the_ingest_would(run):
    assert failed(run("ingest", "a.tif", "a.zarr", "--dry-run"), 1, "is a store already")
    assert failed(run("ingest", "a.tif", "new.zarr", "--dry-run", "--strict"), 1, "not the published")
    assert run("ingest", "a.tif", "a.zarr", "--dry-run", "--overwrite").exit_code == 0


def test_overwrite_without_a_file_is_wrong_usage(run):
    assert failed(run("query", "a.zarr", "--bbox", *BOX, "--overwrite"), 2, "--overwrite goes with --to")


@pytest.mark.parametrize("where", ["", "https://[x"])
def test_a_place_that_is_none(run, where):
    assert failed(run("info", where), 2, "empty text|cannot open")


def test_a_full_device_is_no_traceback(run):
    done = subprocess.run(
        ["sh", "-c", '"$@" > /dev/full', "sh", *PROGRAM, "info", "a.zarr"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "No space left" in done.stderr
    assert "Traceback" not in done.stderr


def test_geojson_as_windows_begins_it(run):
    Path("a.json").write_text("\ufeff" + json.dumps(POLYGON), "utf-8")
    assert run("query", "a.zarr", "--geojson", "a.json").exit_code == 0


@pytest.mark.parametrize("option", ["output", "pooling", "weights", "empty", "subpixel"])
def test_the_words_are_those_of_python(option):
    """The command line writes them down, because --help must not import what knows them."""
    (found,) = [each for each in main.commands["query"].params if each.name == option]
    accepted = {
        "output": get_args(words.Output),
        "pooling": get_args(words.Pooling),
        "weights": ("auto", "none", "coverage", "area"),
        "empty": get_args(words.Empty),
        "subpixel": get_args(words.Subpixel),
    }
    assert tuple(found.type.choices) == accepted[option]
    assert set(get_args(words.Pooling)) == set(REDUCERS)


# By URL, and over a network


@pytest.fixture
def web(run):
    """The URL of the working directory. The server follows no links out of it."""
    data = Path("a.tif").read_bytes()
    Path("a.tif").unlink()
    Path("a.tif").write_bytes(data)
    with servers.static_server(Path.cwd()) as url:
        yield url


def test_commands_by_url(run, web, data):
    """Options may be given for the filesystem, the timeout and a cache."""
    result = run("query", f"{web}/a.zarr", "--bbox", *BOX)
    assert (result.exit_code, result.stderr) == (0, "")
    answer = json.loads(result.stdout)
    assert answer["data"] == pytest.approx(data.mean(axis=(1, 2), dtype="f8"), rel=1e-6)
    assert answer["meta"]["store"] == f"{web}/a.zarr"
    options = ("--timeout", 30, "--storage-options", '{"headers": {"X-Key": "secret"}}')
    assert f"store    {web}/a.zarr (" in run("info", f"{web}/a.zarr", *options).stdout
    result = run("verify", f"{web}/a.zarr", "--source", f"{web}/a.tif", *options, "--source-options", "{}")
    assert result.exit_code == 0
    assert (
        f"1,920 values equal to those of {web}/a.tif\n(objects that do not belong there " in result.stdout
    )
    assert failed(run("ingest", "a.tif", f"{web}/b.zarr"), 2, "http:// places can only be read")
    assert failed(run("repair", f"{web}/a.zarr", "--source", "a.tif"), 2, "http:// places can only be read")
    assert failed(run("info", f"{web}/no.zarr"), 1, f"there is no store at {web}/no.zarr")


def test_storage_options_reach_the_filesystem(run, web):
    """A server that wants a key lets nobody in without."""
    with proxy.fault_proxy(web, lambda *_: proxy.Status(401)) as door:
        url = f"{door.url}/a.zarr"
        assert failed(run("info", url), 1, "access denied .*status 401")
    bad = '{"client_kwargs": {"nonsense": 1}}'
    for command in (
        ("info", f"{web}/a.zarr", "--storage-options", bad),
        ("ingest", f"{web}/a.tif", "b.zarr", "--source-options", bad),
        ("verify", "a.zarr", "--source", f"{web}/a.tif", "--source-options", bad),
    ):
        result = run(*command, catch=True)
        assert result.exit_code != 0
        assert "nonsense" in f"{result.stderr}{result.exception}"
    assert not Path("b.zarr").exists()


def test_options_that_a_filesystem_does_not_know(run, web):
    bad = ("--storage-options", '{"client_kwargs": {"nonsense": 1}}')
    assert failed(run("info", f"{web}/a.zarr", *bad), 2, "nonsense")


def test_a_cache_is_kept(run, web):
    with proxy.fault_proxy(web) as watched:
        command = ("query", f"{watched.url}/a.zarr", "--bbox", *BOX, "--cache-dir", "kept")
        first = run(*command)
        assert (first.exit_code, len(watched.requests)) == (0, 7)
        watched.reset_counts()
        assert run(*command, "--cache-disk-bytes", "1MB").stdout == first.stdout
        assert [got.path for got in watched.requests] == ["/a.zarr/zarr.json"]
    assert len(list(Path("kept").glob("*/*"))) == 6
    result = run(*command[:4], "--bbox", *BOX, "--cache-dir", "a.tif")
    assert result.exit_code in {1, 2}


def test_a_timeout_is_a_message(run, web):
    with proxy.fault_proxy(web, lambda *_: proxy.Stall()) as stalling:
        result = run("info", f"{stalling.url}/a.zarr", "--timeout", 0.3)
        assert failed(result, 1, f"cannot read {stalling.url}/a.zarr/zarr.json: .*Timeout")


WRONG = [
    ("--timeout", "0", "timeout must be a positive number of seconds; got 0"),
    ("--timeout", "-1", "timeout must be a positive number"),
    ("--timeout", "nan", "timeout must be a positive number"),
    ("--timeout", "soon", "'soon' is not a valid float"),
    *(
        (option, text, "it is not a JSON object such as")
        for option in ("--storage-options", "--source-options")
        for text in ('{"secret": "hunter2"', '["hunter2"]', '"hunter2"', "hunter2", "", "null")
    ),
]


@pytest.mark.parametrize(("option", "text", "message"), WRONG)
def test_wrong_options(run, option, text, message):
    """What might be a secret is not repeated."""
    for command in (("ingest", "a.tif", "b.zarr"), ("verify", "a.zarr"), ("repair", "a.zarr")):
        result = run(*command, option, text)
        assert failed(result, 2, message)
        assert "hunter2" not in result.output
    if option != "--source-options":
        assert failed(run("info", "a.zarr", option, text), 2, message)
        assert failed(run("query", "a.zarr", "--bbox", *BOX, option, text), 2, message)
    assert not Path("b.zarr").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--cache-disk-bytes", "1MB"), "cache_disk_bytes goes with cache_dir"),
        (("--cache-dir", "kept", "--cache-disk-bytes", "0"), "cache_disk_bytes must be at least 1"),
        (("--cache-dir", "kept", "--cache-disk-bytes", "much"), "'much' is not a size"),
    ],
)
def test_wrong_caches(run, options, message):
    assert failed(run("query", "a.zarr", "--bbox", *BOX, *options), 2, message)


# Resume and repair


def test_resume(run, place):
    """What Ctrl-C has left is finished; another command says how."""
    layout = Path("b.zarr.partial/ingest")
    layout.mkdir(parents=True)
    job = {"created": "2021-01-01T00:00:00+00:00", "overwrite": False}
    (layout / "job.json").write_text(json.dumps(job))
    assert failed(run("ingest", "a.tif", "b.zarr"), 1, "--resume")
    assert failed(run("info", "b.zarr"), 1, "there is no store at b.zarr")
    result = run("ingest", "a.tif", "b.zarr", "--resume")
    assert (result.exit_code, result.stderr) == (0, "")
    assert run("verify", "b.zarr", "--source", "a.tif").exit_code == 0
    assert not layout.exists()
    before = Path("b.zarr/zarr.json").stat()
    assert run("ingest", "a.tif", "b.zarr", "--resume").exit_code == 0  # it is whole, and stays
    assert Path("b.zarr/zarr.json").stat().st_mtime_ns == before.st_mtime_ns
    result = run("ingest", "elsewhere.tif", "b.zarr", "--resume")
    assert failed(result, 1, "holds a store of another source; replace it with --overwrite")


def test_ctrl_c_keeps_what_is_finished(run, monkeypatch):
    def stopped(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(cop_zarr, "ingest", stopped)
    result = run("ingest", "a.tif", "b.zarr")
    assert result.exit_code == 1
    assert "Stopped. What is finished, if anything, has been kept: go on with --resume." in result.stderr


def test_repair(run):
    """A line for each object, then the verdict; and only what was damaged is written."""
    result = run("repair", "a.zarr", "--source", "a.tif")
    assert (result.exit_code, result.stdout) == (0, "a.zarr is good: 0 objects written anew, 0 removed\n")
    damage()
    Path("a.zarr/valid/c/0/0").unlink()
    Path("a.zarr/embedding/c/0/9").mkdir()
    Path("a.zarr/embedding/c/0/9/9").write_bytes(b"nobody's")
    verified = run("verify", "a.zarr")
    assert verified.exit_code == 1
    assert re.search(
        r"is DAMAGED: 3 problems in \d+ objects checked, 1 chunk concerned\. Repair it with: "
        r"cop-zarr repair a\.zarr --source TIF",
        verified.stdout,
    )
    untouched = Path("a.zarr/embedding/c/0/1/1").stat().st_mtime_ns
    result = run("repair", "a.zarr", "--source", "a.tif")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "embedding/c/0/0/0: written anew",
        "valid/c/0/0: written anew",
        "embedding/c/0/9/9: removed",
        "a.zarr is good: 2 objects written anew, 1 removed",
    ]
    assert run("verify", "a.zarr", "--source", "a.tif").exit_code == 0
    assert Path("a.zarr/embedding/c/0/1/1").stat().st_mtime_ns == untouched


def test_repair_as_json(run):
    damage()
    Path("a.zarr/notes.txt").write_text("precious")
    result = run("repair", "a.zarr", "--source", "a.tif", "--json")
    report = json.loads(result.stdout)
    assert result.exit_code == 1
    assert (report["ok"], report["rewritten"], report["removed"]) == (False, ["embedding/c/0/0/0"], [])
    assert [problem["key"] for problem in report["problems"]] == ["notes.txt"]
    assert Path("a.zarr/notes.txt").read_text() == "precious"
    result = run("repair", "a.zarr", "--source", "a.tif")
    assert result.exit_code == 1
    assert result.stdout.endswith(
        "a.zarr is not all good: 0 objects written anew, 0 removed, 1 problem left\n"
    )


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("no.zarr", "--source", "a.tif"), 1, "there is no store at no.zarr"),
        (("a.zarr", "--source", "no.tif"), 1, "there is no file no.tif"),
        (("a.zarr", "--source", "elsewhere.tif"), 2, "elsewhere.tif is not"),
        (("a.zarr", "b.zarr"), 2, "unexpected extra argument"),
        (("a.zarr", "--workers", "0", "--source", "a.tif"), 2, "workers must be a whole number"),
    ],
)
def test_repair_refuses(run, arguments, status, message):
    assert failed(run("repair", *arguments), status, message)


def test_repair_finds_the_default_source(run):
    Path("embed_map_x.tif").symlink_to("a.tif")
    damage()
    assert run("repair", "a.zarr").exit_code == 0
    assert run("verify", "a.zarr").exit_code == 0


@pytest.mark.parametrize(
    ("command", "options"),
    [
        ("ingest", ["--resume", "--overwrite", "--source-options", "--storage-options", "--timeout"]),
        ("verify", ["--source", "--source-options", "--storage-options", "--timeout", "--json"]),
        ("repair", ["--source", "--source-options", "--storage-options", "--timeout", "--json"]),
        ("info", ["--storage-options", "--timeout", "--json"]),
        ("query", ["--storage-options", "--timeout", "--cache-dir", "--cache-disk-bytes"]),
    ],
)
def test_help_names_the_options(run, command, options):
    page = run(command, "--help").stdout
    assert [option for option in options if not re.search(rf"^ +{option}\b", page, re.MULTILINE)] == []
    assert "Usage: main " + command in page
