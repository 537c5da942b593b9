"""``cop-zarr similar``: what is printed, and files read back by other libraries."""

import csv
import json
from pathlib import Path

import geopandas
import numpy as np
import pytest
import shapely

import cop_zarr

PLACE = ("--point", "21.3", "39.1")


@pytest.fixture
def expected():
    return cop_zarr.open("a.zarr").similar((21.3, 39.1), k=4, exclude_km=60)


ASKED = ("similar", "a.zarr", *PLACE, "-k", "4", "--exclude-km", "60")


def test_json_and_text(run, expected):
    printed = json.loads(run(*ASKED, "--json").stdout)
    assert printed == {"metric": "cosine", "matches": expected.records()}
    lines = run(*ASKED).stdout.splitlines()
    assert [float(line.split()[1]) for line in lines[1:]] == expected.lon.tolist()


@pytest.mark.parametrize("name", ["a.geojson", "a.csv", "a.parquet", "a.GeoParquet"])
def test_files(run, expected, name):
    result = run(*ASKED, "--to", name)
    assert (result.exit_code, result.stdout, result.stderr) == (0, f"{name}: 4 cells\n", "")
    if name.endswith("csv"):
        with Path(name).open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert [row["rank"] for row in rows] == ["1", "2", "3", "4"]
        found = {key: np.array([float(row[key]) for row in rows]) for key in rows[0]}
    else:
        table = geopandas.read_file(name) if name.endswith("json") else geopandas.read_parquet(name)
        assert table.crs.to_authority() in {("EPSG", "4326"), ("OGC", "CRS84")}
        np.testing.assert_array_equal((table.geometry.x, table.geometry.y), (expected.lon, expected.lat))
        found = {"lon": table.geometry.x, "lat": table.geometry.y, **table}
        if "embedding" in table:
            np.testing.assert_array_equal(np.array(list(table["embedding"])), expected.vectors)
    for column, values in expected.fields().items():
        np.testing.assert_array_equal(found[column], values)


def test_picture_and_report(run):
    printed = run(*ASKED, "--to", "a.png", "--json").stdout
    assert json.loads(printed)["out"] == "a.png"
    assert Path("a.png").read_bytes()[:4] == b"\x89PNG"
    run.fails(*ASKED, "--to", "a.png", status=1, word="--overwrite")
    assert run(*ASKED, "--to", "a.png", "--overwrite").exit_code == 0


def test_places_and_options(run):
    features = [
        {"type": "Feature", "properties": {}, "geometry": {"type": "Point", "coordinates": [21.3, 38.6]}},
        {
            "type": "Feature",
            "properties": {},
            "geometry": {
                "type": "Polygon",
                "coordinates": [[[22, 38], [23, 38], [23, 39], [22, 39], [22, 38]]],
            },
        },
    ]
    Path("a.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    options = ("-k", 3, "--spacing-km", 50, "--within-bbox", "20 37 26 39.5", "--json")
    names = (
        "--geojson",
        "a.geojson",
        "--bbox",
        "20,38,21,39",
        "--not-point",
        24,
        39,
        "--not-point",
        "24,37",
    )
    result = run("similar", "a.zarr", *names, *options)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    box, outline = (20.0, 38.0, 21.0, 39.0), features[1]["geometry"]
    expected = cop_zarr.open("a.zarr").similar(
        [box, (21.3, 38.6), outline], [(24, 39), (24, 37)], k=3, spacing_km=50, within=(20, 37, 26, 39.5)
    )
    assert found["matches"] == expected.records()


def test_another_crs(run):
    table = geopandas.GeoSeries([shapely.Point(21.3, 38.6), shapely.box(22, 38, 23, 39)], crs=4326)
    moved, options = table.to_crs(3857), {"k": 3, "exclude_km": 30}
    store = cop_zarr.open("a.zarr")
    moved.to_file("declared.geojson", driver="GeoJSON")
    Path("a.geojson").write_text(moved.to_json(drop_id=True))
    asked = ("similar", "a.zarr", "-k", 3, "--exclude-km", 30, "--json")
    expected = store.similar(list(table), **options).records()
    for names in (("declared.geojson",), ("a.geojson", "--crs", "EPSG:3857")):
        assert json.loads(run(*asked, "--geojson", *names).stdout)["matches"] == expected
    x, y = moved.iloc[0].x, moved.iloc[0].y
    bounds = moved.iloc[1].bounds
    names = ("--point", x, y, "--buffer", 40_000, "--bbox", *bounds, "--within-bbox", *bounds)
    places, within = [cop_zarr.PointBuffer(21.3, 38.6, 40_000), table.iloc[1]], table.iloc[1]
    expected = store.similar(places, within=within, **(options | {"exclude_km": 0}))
    found = json.loads(run(*asked, *names, "--exclude-km", 0, "--crs", "EPSG:3857").stdout)["matches"]
    assert [(cell["lon"], cell["lat"]) for cell in found] == list(
        zip(expected.lon, expected.lat, strict=True)
    )


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ((), "--point"),
        ((*PLACE, "-k", "0"), "-k must"),
        ((*PLACE, "-k", "1000"), "1,000"),
        ((*PLACE, "--metric", "l2", "--not-point", "21", "39"), "negatives"),
        ((*PLACE, "--exclude-km", "-1"), "--exclude-km"),
        ((*PLACE, "--to", "a.tif"), ".geojson"),
        ((*PLACE, "--overwrite"), "--to"),
        ((*PLACE, "--within", "20 37 26 39.5"), "--within-bbox W S E N"),
        ((*PLACE, "--within-bbox", "20 37 26 39.5", "--within-geojson", "-"), "one region"),
        ((*PLACE, "--shape", "box", "--bbox", "20 38 21 39", "--crs", "EPSG:0"), "EPSG:0"),
        (("--geojson", "declared.geojson", "--crs", "EPSG:3857"), "but --crs EPSG:3857 was given"),
        (("--bbox", "20 38 21 39", "--buffer", "9"), "--point"),
        (("--point", "50", "10"), "outside"),
    ],
    ids=[
        "no place",
        "k=0",
        "k",
        "negatives",
        "distance",
        "suffix",
        "overwrite",
        "within",
        "two regions",
        "crs",
        "another crs",
        "buffer",
        "outside",
    ],
)
def test_wrong_usage(run, arguments, word):
    declared = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32634"}}
    point = {"type": "Point", "coordinates": [500_000, 4_300_000], "crs": declared}
    Path("declared.geojson").write_text(json.dumps(point))
    run.fails("similar", "a.zarr", *arguments, status=2, word=word)
