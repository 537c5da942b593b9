"""``cop-zarr query``: answers as ``Store.query`` gives them, held against independent computations."""

import csv
import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from pyproj import Transformer


def answer_of(result):
    assert (result.exit_code, result.stderr) == (0, "")
    return json.loads(result.stdout)


def test_a_box_gives_one_json_object(run, box, data):
    answer = answer_of(run("query", "a.zarr", *box))
    assert answer["data"] == pytest.approx(data.mean(axis=(1, 2), dtype="f8"), rel=1e-6)
    assert answer["meta"]["bbox_4326"] == [20, 38, 22, 40]
    assert answer["meta"]["store"] == "a.zarr"
    answer = answer_of(run("query", "a.zarr", *box, "--output", "grid", "--year", 2021))
    assert answer["data"] == data.tolist()
    answer = answer_of(run("query", "a.zarr", "--point", 22, 38, "--buffer", 60_000))
    expected = {"type": "PointBuffer", "lon": 22, "lat": 38, "buffer_m": 60_000, "shape": "box"}
    assert answer["meta"]["roi"] == expected


@pytest.mark.parametrize("kind", ["Polygon", "Feature", "FeatureCollection"])
def test_geojson_from_a_file_or_stdin(run, data, parts, polygon, kind):
    feature = {"type": "Feature", "properties": None, "geometry": polygon}
    document = {"Polygon": polygon, "Feature": feature}.get(kind, {"type": kind, "features": [feature]})
    text = json.dumps(document)
    Path("region.geojson").write_text("\ufeff" + text, "utf-8")  # as Windows writes it
    for name, stdin in (("region.geojson", None), ("-", text)):
        answer = answer_of(run("query", "a.zarr", "--geojson", name, stdin=stdin))
        assert answer["data"] == pytest.approx((data * parts).sum(axis=(1, 2)) / parts.sum(), rel=1e-6)
        assert answer["meta"]["weights"] == "coverage"
        assert answer["meta"]["roi"]["type"] == "Polygon"
        assert answer["meta"]["total_cells"] == (parts > 0).sum()


COMBINATIONS = [
    *itertools.product(["mean", "sum", "std"], ["auto", "none"], ["include", "skip"]),
    *itertools.product(["min", "max"], ["auto"], ["include", "skip"]),
    ("mean", "coverage", "skip"),
]


@pytest.mark.parametrize("combination", COMBINATIONS, ids="-".join)
def test_pooling_weights_and_empty(run, data, parts, polygon, combination):
    pooling, weights, empty = combination
    options = ("--pooling", pooling, "--weights", weights, "--empty", empty)
    answer = answer_of(run("query", "a.zarr", "--geojson", "-", *options, stdin=json.dumps(polygon)))
    weighing = None if weights == "none" or pooling in {"min", "max"} else "coverage"
    counts = parts if weighing else parts > 0
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
    found = {name: answer["meta"][name] for name in ("pooling", "weights", "empty")}
    assert found == {"pooling": pooling, "weights": weighing, "empty": empty}


def test_weights_by_area(run, box, data):
    """Areas of a box's rows by the sines of their edges: right within the flattening, 1/298."""
    answer = answer_of(run("query", "a.zarr", *box, "--weights", "area"))
    rows = -np.diff(np.sin(np.radians(np.clip(40.125 - 0.25 * np.arange(10), 38, 40))))
    cols = np.diff(np.clip(19.875 + 0.25 * np.arange(10), 20, 22))
    expected = np.einsum("brc,r,c->b", data, rows / rows.sum(), cols / cols.sum())
    assert answer["data"] == pytest.approx(expected, rel=1e-4)
    assert answer["meta"]["weights"] == "area"


def test_less_than_a_cell(run, data):
    """Near the corner of four cells: all four, one, and between their centres."""
    cells = data[:, 4:6, 4:6].astype("f8")
    expected = {
        "touch": cells.mean(axis=(1, 2)),
        "nearest": cells[:, 0, 0],
        "bilinear": np.einsum("brc,rc->b", cells, [[0.36, 0.24], [0.24, 0.16]]),
    }
    assert len(np.unique(list(expected.values()), axis=0)) == 3
    for rule, vector in expected.items():
        result = run("query", "a.zarr", "--bbox", 21.05, 38.85, 21.15, 38.95, "--subpixel", rule)
        answer = answer_of(result)
        assert answer["data"] == pytest.approx(vector, rel=1e-6), rule
        assert answer["meta"]["subpixel"] == rule


def in_crs(crs, points):
    return np.column_stack(
        Transformer.from_crs("OGC:CRS84", crs, always_xy=True).transform(*np.transpose(points))
    )


def test_another_crs(run, parts, polygon):
    """Mercator keeps a box a box; a UTM point is where pyproj says; a polygon's vertices are converted."""
    corners = in_crs("EPSG:3857", [[20, 38], [22, 40]]).ravel().tolist()
    meta = answer_of(run("query", "a.zarr", "--bbox", *corners, "--crs", "EPSG:3857"))["meta"]
    assert meta["bbox_4326"] == pytest.approx([20, 38, 22, 40], abs=1e-9)
    assert meta["roi"]["given"] == {"coordinates": corners, "crs": "EPSG:3857"}
    assert meta["total_cells"] == 81
    x, y = in_crs("EPSG:32634", [[21.5, 38.5]])[0]
    options = ("--buffer", 30_000, "--shape", "circle", "--crs", "EPSG:32634")
    meta = answer_of(run("query", "a.zarr", "--point", x, y, *options))["meta"]
    roi = meta["roi"]
    assert (roi["lon"], roi["lat"]) == pytest.approx((21.5, 38.5), abs=1e-9)
    assert (roi["shape"], roi["buffer_m"], meta["weights"]) == ("circle", 30_000, "coverage")
    assert meta["input_crs"] == roi["given"]["crs"] == "EPSG:32634"
    document = {**polygon, "coordinates": [in_crs("EPSG:3857", polygon["coordinates"][0]).tolist()]}
    options = ("--geojson", "-", "--crs", "EPSG:3857", "--output", "grid", "--to", "a.npz")
    assert run("query", "a.zarr", *options, stdin=json.dumps(document)).exit_code == 0
    with np.load("a.npz") as file:
        np.testing.assert_allclose(file["weights"], parts[: len(file["weights"])], atol=2e-2)  # edges curve
        assert json.loads(str(file["meta"]))["input_crs"] == "EPSG:3857"


def test_repair(run, data):
    """A bow tie: two triangles that meet in its middle, (21, 39)."""
    bow = {"type": "Polygon", "coordinates": [[[20, 38], [22, 40], [22, 38], [20, 40], [20, 38]]]}
    command = ("query", "a.zarr", "--geojson", "-", "--weights", "none")
    run.fails(*command, word="--repair", stdin=json.dumps(bow))
    row, col = np.abs(np.indices((9, 9)) - 4)
    answer = answer_of(run(*command, "--repair", stdin=json.dumps(bow)))
    assert answer["data"] == pytest.approx(data[:, row <= col].mean(axis=1, dtype="f8"), rel=1e-6)
    assert answer["meta"]["total_cells"] == (row <= col).sum()


def test_negative_numbers_are_not_options(run, store_path):
    meta = answer_of(run("query", store_path, "--bbox", -61, -4, -59.5, -2))["meta"]
    assert meta["bbox_4326"] == [-61, -4, -59.5, -2]
    meta = answer_of(run("query", "--point", -60, -3, "--buffer", 30_000, store_path))["meta"]
    assert meta["roi"]["lat"] == -3
    meta = answer_of(run("query", store_path, "--bbox", 179, -1, -179, "-.5"))["meta"]
    assert meta["cols"] == [1436, 1445]


@pytest.mark.parametrize("output", ["pooled", "grid"])
def test_files(run, box, data, output):
    expected = data if output == "grid" else data.mean(axis=(1, 2), dtype="f8").astype("f4")
    for kind in ("json", "npy", "npz", "csv"):
        result = run("query", "a.zarr", *box, "--output", output, "--to", f"out.{kind}")
        assert (result.exit_code, result.stdout) == (0, "")
        assert result.stderr.startswith(f"out.{kind}: ")
        assert "81 cells" in result.stderr
    found = json.loads(Path("out.json").read_bytes())["data"]
    np.testing.assert_allclose(np.array(found, "f4"), expected, rtol=1e-6)
    np.testing.assert_allclose(np.load("out.npy"), expected, rtol=1e-6)
    with np.load("out.npz") as file:
        np.testing.assert_allclose(file["data"], expected, rtol=1e-6)
    with Path("out.csv").open() as file:
        _, *rows = csv.reader(file)
    values = np.array(rows, "f4")
    if output == "grid":
        assert [rows[0][:2], rows[-1][:2]] == [["40.0", "20.0"], ["38.0", "22.0"]]
        values = values[:, 4:].T.reshape(expected.shape)
    np.testing.assert_allclose(values.reshape(expected.shape), expected, rtol=1e-6)


def test_existing_output_is_kept(run, box):
    Path("out.npy").write_text("precious")
    command = ("query", "a.zarr", *box, "--to", "out.npy")
    run.fails(*command, status=1, word="--overwrite")
    assert Path("out.npy").read_text() == "precious"
    assert run(*command, "--overwrite").exit_code == 0
    assert np.load("out.npy").shape == (4,)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "<stdin>"),
        ("[" * 100_000, "<stdin>"),
        (b"\xff\xfe", "<stdin>"),
        ("null", "GeoJSON"),
        ("[20, 38, 22, 40]", "GeoJSON"),
        ("{}", "GeoJSON"),
        ('{"type": "Point", "coordinates": [20, 38]}', "'Point'"),
        ('{"type": "Polygon", "coordinates": []}', "empty"),
        ('{"type": "Polygon", "coordinates": [[[0, 0], [1, NaN], [1, 1], [0, 0]]]}', "finite"),
        ('{"type": "Polygon", "coordinates": [[[20, 38], [21, 138], [22, 38], [20, 38]]]}', "latitude"),
        ('{"type": "Polygon", "coordinates": [[[120, 38], [121, 39], [122, 38], [120, 38]]]}', "outside"),
    ],
)
def test_geojson_that_is_no_region(run, text, word):
    run.fails("query", "a.zarr", "--geojson", "-", stdin=text, word=word)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ((), "--bbox W S E N"),
        (("--bbox", 1, 2, 3), "4 arguments"),
        (("--bbox", "a", 2, 3, 4), "'a'"),
        (("--bbox", "nan", 2, 3, 4), "minlon"),
        (("--bbox", 38, 120, 40, 122), "swapped"),
        (("--bbox", 20, 40, 22, 38), "minlat"),
        (("--bbox", 20, 38, 20.1, 40), "'touch'"),
        (("--bbox", 100, 38, 102, 40), "outside"),
        (("--bbox", 20, 38, 22, 40, "--point", 1, 2, "--buffer", 3), "one region"),
        (("--bbox", 20, 38, 22, 40, "--geojson", "a.json"), "one region"),
        (("--geojson", "a.json", "--point", 1, 2, "--buffer", 3), "one region"),
        (("--geojson", "a.json", "--buffer", 3), "--point LON LAT"),
        (("--geojson", "a.json", "--crs", "x"), "crs='x'"),
        (("--geojson", "no.json"), "'no.json'"),
        (("--point", 1, 2), "--subpixel nearest"),
        (("--buffer", 5), "one region"),
        (("--point", 20, 38, "--buffer", 5, "--shape", "disc"), "'disc'"),
        (("--point", 20, 38, "--buffer", -5), "buffer_m"),
        (("--point", 1e9, 0, "--buffer", 9e4, "--crs", "EPSG:32634"), "EPSG:32634"),
        (("--bbox", 0, 0, 1e9, 1e9, "--crs", "EPSG:3857"), "EPSG:3857"),
    ],
)
def test_wrong_regions(run, polygon, arguments, word):
    Path("a.json").write_text(json.dumps(polygon))
    run.fails("query", "a.zarr", *arguments, word=word)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("--buffer", 5), "--point LON LAT"),
        (("--shape", "circle"), "--point LON LAT"),
        (("--repair",), "--geojson"),
        (("--overwrite",), "--to"),
        (("--crs", ""), "crs=''"),
        (("--crs", "EPSG:5773"), "x and y"),
        (("--weights", "None"), "'None'"),
        (("--weights", "area", "--pooling", "max"), "weights='area'"),
        (("--output", "grid", "--empty", "skip"), "empty='skip'"),
        (("--subpixel", "bilinear", "--pooling", "sum"), "pooling='mean'"),
        (("--year", 2020), "2020"),
        (("--pooling", "median"), "'median'"),
        (("--output", "table"), "'table'"),
        (("--output", "grid", "--max-bytes", "1K"), "1,024"),
        (("--max-bytes", "lots"), "'lots'"),
        (("--to", "a.txt"), ".json"),
        (("--colour",), "--colour"),
        (("b.zarr",), "b.zarr"),
        (("--cache-disk-bytes", "1MB"), "cache_dir"),
        (("--cache-dir", "kept", "--cache-disk-bytes", "0"), "cache_disk_bytes"),
    ],
)
def test_wrong_options(run, box, arguments, word):
    run.fails("query", "a.zarr", *box, *arguments, word=word)
    assert not Path("kept").exists()


def test_failures_are_status_1(run, box, damage):
    run.fails("query", "a.zarr", *box, "--to", "no/a.npy", status=1, word="no/a.npy")
    run.fails("query", "no.zarr", *box, "--to", "a.xyz", word=".json")  # before the store is opened
    damage()
    run.fails("query", "a.zarr", *box, status=1, word="cop-zarr repair")
