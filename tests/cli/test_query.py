"""``cop-zarr query``: what ``Store.query`` answers, as JSON or a file, and what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
import shapely

import cop_zarr
from cop_zarr.cli.query import answer_text
from cop_zarr.outputs.files import save
from tests.support import factory

POLYGON = {"type": "Polygon", "coordinates": [[[20.1, 38.05], [21.9, 38.4], [20.9, 39.95], [20.1, 38.05]]]}
BOW_TIE = {"type": "Polygon", "coordinates": [[[20, 38], [22, 40], [22, 38], [20, 40], [20, 38]]]}
SMALL = (21.05, 38.85, 21.15, 38.95)
MERCATOR = (2226389.8158654715, 4579425.812870097, 2449028.7974520186, 4865942.279503176)


def answer_of(result):
    assert (result.exit_code, result.stderr) == (0, "")
    return json.loads(result.stdout)


def test_a_box_gives_one_json_object(run, box, data):
    answer = answer_of(run("query", "a.zarr", *box))
    assert answer["data"] == pytest.approx(data.mean(axis=(1, 2), dtype="f8"), rel=1e-6)
    assert answer["meta"]["bbox_4326"] == [20, 38, 22, 40]
    assert answer["meta"]["store"] == "a.zarr"


POINT = ("--point", 22, 38, "--buffer", 6e4)


@pytest.mark.parametrize(
    ("arguments", "roi", "options"),
    [
        (("--bbox", 20, 38, 22, 40, "--pooling", "std"), (20, 38, 22, 40), {"pooling": "std"}),
        (POINT, cop_zarr.PointBuffer(22, 38, 6e4), {}),
        ((*POINT, "--shape", "circle"), cop_zarr.PointBuffer(22, 38, 6e4, "circle"), {}),
        (("--geojson", "a.json", "--weights", "none"), POLYGON, {"weights": None}),
        (("--geojson", "a.json", "--empty", "skip"), POLYGON, {"empty": "skip"}),
        (("--geojson", "bow.json", "--repair"), BOW_TIE, {"repair": True}),
        (("--bbox", *MERCATOR, "--crs", "EPSG:3857"), MERCATOR, {"crs": "EPSG:3857"}),
        (("--bbox", *SMALL, "--subpixel", "bilinear"), SMALL, {"subpixel": "bilinear"}),
    ],
)
def test_answers_are_those_of_python(run, arguments, roi, options):
    Path("a.json").write_text("\ufeff" + json.dumps(POLYGON), "utf-8")  # as Windows writes it
    Path("bow.json").write_text(json.dumps(BOW_TIE))
    expected = cop_zarr.open("a.zarr").query(roi, **options)
    answer = answer_of(run("query", "a.zarr", *arguments))
    assert answer == {"meta": expected.meta, "data": expected.data.astype(float).tolist()}


@pytest.mark.parametrize(
    ("roi", "options", "words"),
    [
        ((20, 38, 22, 40), {}, [" of 81 with data; the others count as zeros (--empty skip", "(box)"]),
        (
            (20, 38, 22, 40),
            {"empty": "skip", "weights": "area"},
            [" of 81 with data\n", "--weights area"],
        ),
        ((20, 40, 20.1, 40.1), {"empty": "skip", "subpixel": "touch"}, ["0 of 1 with data\n", "all NaN"]),
        ((20, 40, 20.1, 40.1), {"subpixel": "touch"}, ["0 of 1 with data\n", "all zero"]),
        (cop_zarr.PointBuffer(21, 39, 1), {"subpixel": "nearest"}, ["--subpixel nearest", "around 21 39"]),
        (shapely.box(21, 38, 22, 39), {"pooling": "std"}, ["Polygon, 5 vertices", "--pooling std"]),
    ],
)
def test_a_summary_for_terminals(run, data, roi, options, words):
    values = data.copy()
    values[:, 0, 0] = 0
    factory.write_geotiff(Path("sea.tif"), values, rows=(200, 209), cols=(800, 809))
    cop_zarr.ingest("sea.tif", "sea.zarr")
    answer = cop_zarr.open("sea.zarr").query(roi, **options)
    text = answer_text(answer)
    assert not [word for word in words if word not in text]
    norm = np.linalg.norm(answer.data.astype("f8"))
    assert (f"norm {norm:.5g}\n" in text) == (answer.meta["valid_cells"] > 0)


def test_a_point_in_another_crs(run):
    point = ("--point", 543599.0624165226, 4261411.853788227, "--crs", "EPSG:32634")
    meta = answer_of(run("query", "a.zarr", *point, "--buffer", 30_000))["meta"]
    assert (meta["roi"]["lon"], meta["roi"]["lat"]) == pytest.approx((21.5, 38.5), abs=1e-9)


def test_geojson_from_stdin(run):
    feature = {"type": "Feature", "properties": None, "geometry": POLYGON}
    document = {"type": "FeatureCollection", "features": [feature]}
    answer = answer_of(run("query", "a.zarr", "--geojson", "-", stdin=json.dumps(document)))
    assert answer["data"] == cop_zarr.open("a.zarr").query(POLYGON).data.astype(float).tolist()


def test_negative_numbers_are_not_options(run, store_path):
    meta = answer_of(run("query", store_path, "--bbox", -61, -4, -59.5, -2))["meta"]
    assert meta["bbox_4326"] == [-61, -4, -59.5, -2]
    meta = answer_of(run("query", "--point", -60, -3, "--buffer", 30_000, store_path))["meta"]
    assert meta["roi"]["lat"] == -3
    meta = answer_of(run("query", store_path, "--bbox", 179, -1, -179, "-.5"))["meta"]
    assert meta["cols"] == [1436, 1445]


@pytest.mark.parametrize(
    "words",
    [
        ("--bbox", "-61,-4,-59.5,-2"),
        ("--bbox=-61,-4,-59.5,-2",),
        ("--bbox", " -61, -4,  -59.5 -2 "),
        ("--bbox", "[-61, -4, -59.5, -2]"),
        ("--bbox", "-61,", "-4,", "-59.5,", "-2"),
    ],
)
def test_numbers_may_be_joined(run, store_path, words):
    expected = run("query", store_path, "--bbox", -61, -4, -59.5, -2).stdout
    assert run("query", store_path, *words).stdout == expected
    assert run("query", *words, "--", store_path).stdout == expected
    near = ("--buffer", 30_000)
    assert run("query", store_path, "--point", "-60,-3", *near).stdout == (
        run("query", store_path, "--point", -60, -3, *near).stdout
    )


@pytest.mark.parametrize(
    "command", [("synth", "--to", "out.tif", "--bands", 1), ("plot", "a.zarr", "--to", "out.png")]
)
def test_a_box_may_be_joined_in_every_command(run, command):
    if command[0] == "plot":
        pytest.importorskip("matplotlib")
    assert run(*command, "--bbox", "20,38,22,40").exit_code == 0
    [made] = Path().glob("out.*")
    joined = made.read_bytes()
    assert run(*command, "--bbox", 20, 38, 22, 40, "--overwrite").exit_code == 0
    assert made.read_bytes() == joined


def test_several_features_are_noted_and_the_command_for_each_works(run):
    shapes = [shapely.box(20, 38, 21, 39), shapely.box(21, 39, 22, 40)]
    geometries = [shape.__geo_interface__ for shape in shapes]
    features = [{"type": "Feature", "properties": {}, "geometry": geometry} for geometry in geometries]
    Path("two.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    store = cop_zarr.open("a.zarr")
    result = run("query", "a.zarr", "--geojson", "two.geojson")
    assert json.loads(result.stdout)["data"] == store.query(shapely.union_all(shapes)).data.tolist()
    command = result.stderr.rpartition("cop-zarr ")[2].split()
    parquet = pytest.importorskip("pyarrow.parquet")
    pytest.importorskip("pyogrio")
    assert run(*command).exit_code == 0
    found = parquet.read_table("OUT.parquet").column("embedding").to_pylist()
    np.testing.assert_array_equal(np.array(found, "f4"), store.query_many(shapes))


def test_lines_beside_polygons_are_said_on_stderr(run):
    line = {"type": "LineString", "coordinates": [[20, 38], [21, 39]]}
    document = {"type": "GeometryCollection", "geometries": [POLYGON, line]}
    result = run("query", "a.zarr", "--geojson", "-", stdin=json.dumps(document))
    answer = json.loads(result.stdout)
    assert answer["data"] == cop_zarr.open("a.zarr").query(POLYGON).data.astype(float).tolist()
    assert answer["meta"]["roi"]["dropped"] == {"LineString": 1}
    assert result.stderr.startswith("Warning: ")
    assert "1 LineString" in result.stderr


@pytest.mark.parametrize("kind", ["json", "npy", "npz", "csv"])
def test_files(run, box, kind):
    """The same as Embedding.save writes."""
    result = run("query", "a.zarr", *box, "--output", "grid", "--to", f"out.{kind}")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith(f"out.{kind}: ")
    assert "81 cells" in result.stdout
    save(cop_zarr.open("a.zarr").query((20, 38, 22, 40), output="grid"), Path(f"expected.{kind}"))
    assert Path(f"out.{kind}").read_bytes() == Path(f"expected.{kind}").read_bytes()


def test_existing_output_is_kept(run, box):
    Path("out.npy").write_text("precious")
    command = ("query", "a.zarr", *box, "--to", "out.npy")
    run.fails(*command, status=1, word="--overwrite")
    assert Path("out.npy").read_text() == "precious"
    assert run(*command, "--overwrite").exit_code == 0
    assert np.load("out.npy").shape == (4,)


@pytest.mark.parametrize(
    ("text", "status", "word"),
    [
        ("", 1, "<stdin>"),
        ("[" * 100_000, 1, "<stdin>"),
        (b"\xff\xfe", 1, "<stdin>"),
        ("[20, 38, 22, 40]", 1, "GeoJSON"),
        (json.dumps(BOW_TIE), 2, "--repair"),
    ],
)
def test_geojson_that_is_no_region(run, text, status, word):
    run.fails("query", "a.zarr", "--geojson", "-", stdin=text, status=status, word=word)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ((), "--bbox W S E N"),
        (("--bbox", 1, 2, 3), "4 numbers, W S E N; got 1 2 3"),
        (("--bbox", "1,2,3,4,5"), "4 numbers"),
        (("--bbox", "a", 2, 3, 4), "'a'"),
        (("--bbox", 20, 38, 20.1, 40), "--subpixel touch"),
        (("--bbox", 100, 38, 102, 40), "outside"),
        (("--bbox", 20, 38, 22, 40, "--point", 1, 2, "--buffer", 3), "one region"),
        (("--geojson", "a.json", "--point", 1, 2, "--buffer", 3), "one region"),
        (("--geojson", "a.json", "--buffer", 3), "--point LON LAT"),
        (("--point", 1, 2), "--subpixel nearest"),
        (("--buffer", 5), "one region"),
    ],
)
def test_wrong_regions(run, arguments, word):
    Path("a.json").write_text(json.dumps(POLYGON))
    run.fails("query", "a.zarr", *arguments, word=word)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("--buffer", 5), "--point LON LAT"),
        (("--shape", "circle"), "--point LON LAT"),
        (("--repair",), "--geojson"),
        (("--overwrite",), "--to"),
        (("--weights", "None"), "'None'"),
        (("--weights", "area", "--pooling", "max"), "--weights area"),
        (("--year", 2020), "2020"),
        (("--output", "grid", "--max-bytes", "1K", "--to", "a.npy"), "1,024"),
        (("--output", "grid"), "--to OUT.npz"),
        (("--output", "grid", "--json"), "--to OUT.npz"),
        (("--max-bytes", "lots"), "'lots'"),
        (("--to", "a.txt"), ".json"),
        (("--colour",), "--colour"),
        (("b.zarr",), "b.zarr"),
        (("--cache-disk-bytes", "1MB"), "--cache-dir"),
        (("--cache-dir", "kept", "--cache-disk-bytes", "0"), "--cache-disk-bytes"),
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
