"""The forms that a region is given in: each is the box, the disc or the polygon that its names say."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pytest
import shapely

import cop_zarr
from cop_zarr.errors import InputError, RegionError, RegionWarning
from cop_zarr.querying.many_regions import as_region_list
from cop_zarr.regions import footprint
from cop_zarr.regions.forms import EDGES

BOX = (120.0, 30.0, 122.0, 33.0)
SQUARE = shapely.box(*BOX)
LINE, POINT = shapely.LineString([(120, 30), (122, 33)]), shapely.Point(121, 31)
MERCATOR = (13358338.895192828, 3503549.8435043753, 13580977.876779376, 3895303.9633938935)


def named(kind, fields):
    """An object of a kind with these fields, in another order than that of the edges."""
    fields = dict(sorted(fields.items(), key=lambda item: item[0][::-1]))
    if kind == "namedtuple":
        return NamedTuple("Found", [(name, object) for name in fields])(**fields)
    if kind == "row":
        return pytest.importorskip("pandas").Series(fields)
    return dict(fields) if kind == "mapping" else SimpleNamespace(**fields)


KINDS = pytest.mark.parametrize("kind", ["mapping", "namedtuple", "row", "object"])


@KINDS
@pytest.mark.parametrize("names", EDGES, ids=lambda names: names[0])
def test_edges_are_found_by_name(kind, names):
    """Not by order: as torchgeo's (minx, maxx, miny, maxy)."""
    given = named(kind, {**dict(zip(names, BOX, strict=True)), "name": "a"})
    assert footprint(given) == footprint(BOX)
    with pytest.raises(InputError, match="one"):
        as_region_list(given)


@KINDS
def test_a_declared_crs_is_used(kind):
    """As an object of rs-embed declares it, and a box of odc.geo."""
    edges = dict(zip(EDGES[0], BOX, strict=True))
    assert footprint(named(kind, {**edges, "crs": "EPSG:4326"})) == footprint(BOX)
    flat = named(kind, {**dict(zip(EDGES[4], MERCATOR, strict=True)), "crs": "EPSG:3857"})
    for crs in (None, 3857):
        found = footprint(flat, crs)
        assert found.bounds == pytest.approx(BOX, abs=1e-9)
        assert found.input_crs == "EPSG:3857"
    with pytest.raises(RegionError, match="EPSG:32633"):
        footprint(flat, 32633)


@KINDS
def test_a_point_with_a_radius(kind):
    given = named(kind, {"lon": 121, "lat": 31, "buffer_m": 30_000, "crs": "EPSG:4326"})
    assert footprint(given) == cop_zarr.PointBuffer(121, 31, 30_000).footprint


@pytest.mark.parametrize("given", [BOX, cop_zarr.PointBuffer(121, 31, 30_000, "circle")])
def test_the_record_of_a_region_is_that_region(given):
    """What ``meta["roi"]`` says."""
    assert footprint(json.loads(json.dumps(footprint(given).roi))) == footprint(given)


def test_rs_embeds_own_objects():
    rs_embed = pytest.importorskip("rs_embed")
    assert footprint(rs_embed.BBox(*BOX)) == footprint(BOX)
    found = footprint(rs_embed.PointBuffer(lon=121, lat=31, buffer_m=30_000))
    assert found == cop_zarr.PointBuffer(121, 31, 30_000).footprint


@pytest.mark.parametrize(
    "given", [(120, 30, -5, 122, 33, 900), [120, 30, 0, 122, 33, 0], np.array(BOX), np.array(BOX, "f4")]
)
def test_numbers(given):
    """Six are a bbox of GeoJSON with heights."""
    assert footprint(given) == footprint(BOX)


@pytest.fixture
def frame():
    geopandas = pytest.importorskip("geopandas")
    shapes = [SQUARE, shapely.Polygon([(10, 40), (12, 40), (11, 43)])]
    return geopandas.GeoDataFrame({"name": ["a", "b"]}, geometry=shapes, crs=4326)


def test_rows_of_a_geodataframe(frame):
    for table in (frame, frame.rename_geometry("outline"), frame.assign(name=[1, 2], minx=0)):
        for row, shape in enumerate(frame.geometry):
            named_tuple = list(table.itertuples())[row]
            for given in (table.iloc[row], named_tuple, named_tuple._asdict()):
                assert footprint(given) == footprint(shape)
    assert footprint(frame.bounds.iloc[1]) == footprint((10, 40, 12, 43))
    assert footprint(frame.iloc[:1].total_bounds) == footprint(BOX)
    with pytest.raises(RegionError, match="several"):
        footprint(frame.rename_geometry("a").assign(b=frame.geometry).iloc[0])
    with pytest.raises(RegionError, match="None"):
        footprint(frame.assign(geometry=None).iloc[0])


SLIVERS = shapely.GeometryCollection([SQUARE, LINE, shapely.GeometryCollection([POINT, POINT])])


@pytest.mark.parametrize("given", [SLIVERS, json.loads(shapely.to_geojson(SLIVERS))], ids=type)
def test_lines_and_points_beside_polygons_are_left_out_and_said(given):
    with pytest.warns(RegionWarning, match="LineString"):
        found = footprint(given)
    assert found.geometry.equals(SQUARE)
    assert found.roi["dropped"] == {"LineString": 1, "Point": 2}
    assert "dropped" not in footprint(SQUARE).roi


def feature(shape):
    geometry = None if shape is None else shape.__geo_interface__
    return {"type": "Feature", "properties": {}, "geometry": geometry, "bbox": list(BOX)}


NO_REGIONS = {
    "point": (POINT, "sample"),
    "point as a MultiPoint": (shapely.MultiPoint([POINT]), "sample"),
    "features of points": ({"type": "FeatureCollection", "features": [feature(POINT)]}, "sample"),
    "two numbers": ((121, 31), "sample"),
    "line": (LINE, "buffer"),
    "lines": (feature(shapely.MultiLineString([LINE, LINE])), "buffer"),
    "ring": (SQUARE.exterior, "Polygon"),
    "no geometry": (feature(None), "empty"),
    "empty collection": (shapely.GeometryCollection([shapely.Polygon(), shapely.Point()]), "empty"),
    "mappings": ([feature(SQUARE), feature(SQUARE)], "query_many"),
    "WKT": (SQUARE.wkt, "from_wkt"),
    "WKB": (SQUARE.wkb, "from_wkb"),
    "three edges": ({"minx": 120, "miny": 30, "maxx": 122}, "minlon"),
    "two boxes": (dict.fromkeys((*EDGES[1], *EDGES[3]), 1), "boxes"),
    "Esri": ({**dict(zip(EDGES[2], BOX, strict=True)), "spatialReference": {"wkid": 102100}}, "crs="),
    "matplotlib's box": (SimpleNamespace(x0=120, bounds=(120, 30, 2, 3)), "four numbers"),
}


@pytest.mark.parametrize(("given", "word"), NO_REGIONS.values(), ids=NO_REGIONS)
def test_no_regions(given, word):
    with pytest.raises(RegionError, match=word):
        footprint(given)


def test_the_advice_for_a_line_works():
    geopandas = pytest.importorskip("geopandas")
    lines = geopandas.GeoSeries([shapely.LineString([(11, 47), (11.3, 47.3)])], crs=4326)
    found = footprint(lines.to_crs(lines.estimate_utm_crs()).buffer(500))
    assert found.bounds == pytest.approx(lines.total_bounds, abs=0.01)
    assert found.geometry.contains(lines[0])


@pytest.mark.parametrize(
    "rois",
    [
        [POINT, None, POINT],
        [shapely.MultiPoint([POINT])],
        np.array([[121, 31], [122, 31]]),
        [feature(POINT)],
        [POINT.__geo_interface__],
    ],
)
def test_many_points_are_no_regions(rois):
    """With on_error="nan" each would be a row of NaN."""
    with pytest.raises(InputError, match="sample"):
        as_region_list(rois)


@pytest.mark.parametrize(
    "rois", [BOX, list(BOX), np.array(BOX), range(6), SQUARE, "a.gpkg", feature(SQUARE)]
)
def test_one_region_is_not_many(rois):
    with pytest.raises(InputError):
        as_region_list(rois)


@pytest.mark.parametrize(
    ("given", "advice"),
    [
        ("a.geojson", r"json\.load\(open\('a\.geojson'\)\)"),
        (Path("districts.gpkg"), r"batch\(\).*query_many"),
        ("POINT (1 2)", r"shapely\.from_wkt"),
        (11.5, r"a point \(lon, lat\)"),
    ],
)
def test_what_to_do_with_a_file_or_a_number(given, advice):
    with pytest.raises(RegionError, match=advice):
        footprint(given)
