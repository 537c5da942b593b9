"""Geometries in text: of PostGIS (EWKT, hexadecimal EWKB) and of Earth Engine (GeoJSON)."""

import csv
import json

import numpy as np
import pytest
import shapely
from pyproj import Transformer

import cop_zarr
from cop_zarr.errors import RegionError
from cop_zarr.interop.tables.geometries import parse
from tests.support.tables import POLYGONS, vectors_at

POINTS = [shapely.Point(11.5, 48.1), shapely.Point(121.5, 31.2), shapely.Point(178.44, -18.14)]

WRITERS = {
    "wkt": shapely.to_wkt,
    "ewkt": lambda shape: f"SRID={shapely.get_srid(shape)};{shapely.to_wkt(shape, rounding_precision=-1)}",
    "hex": lambda shape: shapely.to_wkb(shape, hex=True),
    "ewkb": lambda shape: shapely.to_wkb(shape, hex=True, include_srid=True).lower(),
    "bytea": lambda shape: "\\x" + shapely.to_wkb(shape).hex(),
    "geojson": shapely.to_geojson,
    "feature": lambda shape: f'{{"type": "Feature", "geometry": {shapely.to_geojson(shape)}}}',
}


def write_table(path, column, texts):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["id", column], *enumerate(texts)])
    return path


@pytest.mark.parametrize("form", WRITERS)
def test_text_is_read(form, store, store_path, globe, tmp_path):
    shapes = [shapely.set_srid(shape, 4326) for shape in POINTS + POLYGONS[:3]]
    table = write_table(tmp_path / "t.csv", ".geo", map(WRITERS[form], shapes))
    cop_zarr.batch(table, tmp_path / "o.npy", store_path)
    found = np.load(tmp_path / "o.npy")
    lons, lats = ([getattr(point, axis) for point in POINTS] for axis in "xy")
    np.testing.assert_array_equal(found[:3], vectors_at(globe, lons, lats))
    np.testing.assert_array_equal(found[3:], [store.query(shape) for shape in POLYGONS[:3]])


@pytest.mark.parametrize("form", ["ewkt", "ewkb", "geojson"])
def test_a_crs_in_the_text_is_used(form, store_path, globe, tmp_path):
    to_mercator = Transformer.from_crs(4326, 3857, always_xy=True).transform
    moved = [shapely.set_srid(shapely.Point(to_mercator(p.x, p.y)), 3857) for p in POINTS]
    texts = [WRITERS[form](shape) for shape in moved]
    if form == "geojson":
        member = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::3857"}}
        texts = [json.dumps(json.loads(text) | {"crs": member}) for text in texts]
    table = write_table(tmp_path / "t.csv", "geom", texts)
    cop_zarr.batch(table, tmp_path / "o.npy", store_path)
    lons, lats = ([getattr(point, axis) for point in POINTS] for axis in "xy")
    np.testing.assert_array_equal(np.load(tmp_path / "o.npy"), vectors_at(globe, lons, lats))
    with pytest.raises(RegionError, match="EPSG:3857"):
        cop_zarr.batch(table, tmp_path / "p.npy", store_path, crs="EPSG:4326")


def test_rows_in_another_crs_are_refused(store_path, tmp_path):
    texts = ["SRID=4326;POINT(1 2)", "SRID=3857;POINT(1 2)", "POINT(1 2)", "SRID=77;POINT(1 2)"]
    table = write_table(tmp_path / "t.csv", "geom", texts)
    report = cop_zarr.batch(table, tmp_path / "o.npy", store_path, on_error="nan")
    assert [row for row, _ in report.refusals] == [1, 3]


@pytest.mark.parametrize(
    "text",
    [
        *("01", "0101000000zz", "\\x0", "SRID=4326;", "SRID=x;POINT(1 2)", "{", "[1, 2]"),
        *('{"type": "Point"}', '{"type": "Point", "coordinates": ["a", 2]}'),
        '{"type": "Polygon", "coordinates": [[[0, 0], [1]]]}',
    ],
)
def test_other_text_is_refused(text):
    shapes, wrong = parse(np.array([text, "POINT (1 2)"], object))
    assert shapes[0] is None
    assert shapes[1] == shapely.Point(1, 2)
    assert list(wrong) == [0]


def test_text_that_would_end_the_process():
    deep = '{"type":"GeometryCollection","geometries":['
    wkb = "010700000001000000" * 20_000 + shapely.to_wkb(shapely.Point(1, 2), hex=True)
    shapes, wrong = parse(np.array([deep * 200_000, wkb, "GEOMETRYCOLLECTION(" * 200_000], object))
    assert (shapes == None).all()  # noqa: E711  # elementwise
    assert sorted(wrong) == [0, 1, 2]


def test_an_open_ring_of_geojson_is_closed():
    shapes, _ = parse(np.array(['{"type":"Polygon","coordinates":[[[0,0],[1,0],[1,1]]]}'], object))
    assert shapes[0].equals(shapely.Polygon([(0, 0), (1, 0), (1, 1)]))
