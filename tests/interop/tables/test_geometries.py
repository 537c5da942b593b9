"""Geometries as bytes and text: curves, open rings, and what would end the process."""

import json
import math
import struct

import geopandas
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyogrio
import pytest
import shapely

import cop_zarr
from cop_zarr.errors import RegionError
from cop_zarr.interop.tables import nesting
from cop_zarr.interop.tables.geometries import parse
from tests.support.tables import POLYGONS, read_vectors

POINT = struct.pack("<BIdd", 1, 1, 1.0, 2.0)
ARCS = [(10, 45), (11, 46), (12, 45), (11, 44), (10, 45)]
CIRCLE = struct.pack("<BIIBII", 1, 10, 1, 1, 8, 5) + np.array(ARCS, "<f8").tobytes()
"""CURVEPOLYGON (CIRCULARSTRING …): a circle of radius 1 around 11, 45."""

OPEN_RING = struct.pack("<BIII", 1, 3, 1, 3) + np.array([(10, 40), (12, 40), (11, 42)], "<f8").tobytes()


def collections(depth, kind=7, inside=POINT, order="<"):
    header = struct.pack(f"{order}BII", order == "<", kind, 1)
    return header * depth + inside


def one(value):
    shapes, wrong = parse(np.array([value, None], object)[:1])
    return shapes[0], wrong.get(0)


@pytest.mark.parametrize(
    "value",
    [
        collections(1_100),
        collections(20_000),  # without a guard, the end of the process
        collections(20_000, kind=6),
        collections(20_000, kind=12),
        collections(20_000, order=">"),
        collections(20_000, kind=3007),
        b"\1\7\0\0\0\2\0\0\0" + POINT + collections(20_000),
        "GEOMETRYCOLLECTION (" * 100_000 + "POINT (1 2)" + ")" * 100_000,
    ],
)
def test_deep_nesting(value):
    shape, wrong = one(value)
    assert shape is None
    assert "deep" in wrong


@pytest.mark.parametrize("kind", [2, 3, 4, 5, 6, 7, 8, 10, 12, 17])
def test_counts_beyond_the_end(kind):
    for count in (9, 4_000_000_000, 2**32 - 1):
        assert one(struct.pack("<BII", 1, kind, count) + b"\0" * 16)[0] is None


def test_nesting_that_is_allowed():
    text = "GEOMETRYCOLLECTION (" * 30 + POLYGONS[2].wkt + ")" * 30
    wkb = collections(30, inside=POLYGONS[2].wkb)
    assert one(text)[0].area == one(wkb)[0].area == POLYGONS[2].area
    many = shapely.MultiPolygon([shapely.box(i, 0, i + 0.5, 1, ccw=False) for i in range(300)])
    for value in (many.wkb, many.wkt, shapely.to_wkb(many, byte_order=0)):
        assert one(value)[0].equals(many)


def test_unclosed_rings():
    """Closed, and nothing else is altered: neither a crossing ring nor repeated vertices."""
    assert one(OPEN_RING)[0].equals(POLYGONS[0])
    assert one("POLYGON ((10 40, 12 40, 11 42))")[0].equals(POLYGONS[0])
    bowtie = shapely.Polygon([(10, 40), (12, 42), (12, 42), (12, 40), (10, 42)])
    assert one(bowtie.wkb)[0].wkb == bowtie.wkb
    assert one(OPEN_RING[:-8])[0] is None


def test_open_rings_over_the_antimeridian(store, store_path, tmp_path):
    """Not closed, or a digit off, with a jump: the same region in every format."""
    ring = [(178.6, -18.3), (-178.4, -18.1), (-178.2, -16.4), (178.5, -16.2)]
    documents = [
        {"type": "Polygon", "coordinates": [list(map(list, [*ring, *end]))]}
        for end in ([], [ring[0]], [(math.nextafter(178.6, 0), -18.3)])
    ]
    header = struct.pack("<BIII", 1, 3, 1, 4) + np.array(ring, "<f8").tobytes()
    wkt = "POLYGON ((" + ", ".join(f"{lon} {lat}" for lon, lat in ring) + "))"
    pq.write_table(pa.table({"wkb": [header]}), tmp_path / "b.parquet")
    pq.write_table(
        pa.table({"wkt": [header.hex(), wkt, *map(json.dumps, documents)]}), tmp_path / "t.parquet"
    )
    expected = store.query(shapely.Polygon([(lon % 360, lat) for lon, lat in ring]))
    found = store.query_many(documents)
    for name in ("b", "t"):
        cop_zarr.batch(tmp_path / f"{name}.parquet", tmp_path / f"{name}.npy", store_path)
        found = np.vstack([found, np.load(tmp_path / f"{name}.npy")])
    assert len(found) == 9
    np.testing.assert_allclose(found, np.tile(expected.data, (9, 1)), rtol=1e-5)
    np.testing.assert_array_equal(store.query(documents[0]).data, found[0])


def test_curves():
    for value in (CIRCLE, "CURVEPOLYGON (CIRCULARSTRING (10 45, 11 46, 12 45, 11 44, 10 45))"):
        shape, _ = one(value)
        assert shape.geom_type == "Polygon"
        assert shape.area == pytest.approx(math.pi, rel=2e-5)
    assert one(b"\1\x0a\0\0\x20" + struct.pack("<I", 3857) + CIRCLE[5:])[0].area > 3
    assert "curves" in one("CURVEPOLYGON (CIRCULARSTRING (10 45, 11 46))")[1]
    assert pyogrio.get_gdal_config_option("OGR_ARC_STEPSIZE") is None


def test_curves_in_collections():
    line, surface = shapely.LineString([(0, 0), (1, 1)]).wkb, struct.pack("<BII", 1, 12, 1) + CIRCLE
    mixed = struct.pack("<BII", 1, 7, 4) + CIRCLE + line + collections(20, inside=CIRCLE) + surface
    text = "CURVEPOLYGON (CIRCULARSTRING (10 45, 11 46, 12 45, 11 44, 10 45))"
    for value, circles in (
        (mixed, 3),
        (b"\1\7\0\0\x20" + struct.pack("<I", 3857) + mixed[5:], 3),
        (collections(1, inside=CIRCLE), 1),
        (f"GEOMETRYCOLLECTION ({text}, POINT (1 2), GEOMETRYCOLLECTION ({text}))", 2),
    ):
        assert one(value)[0].area == pytest.approx(circles * math.pi, rel=2e-5)
    assert one(mixed)[0].geoms[1].wkb == line


def test_a_geometry_that_is_too_large(monkeypatch):
    assert one(POLYGONS[0].wkb)[0].equals(POLYGONS[0])
    monkeypatch.setattr(nesting, "MAX_BYTES", 30)
    for value in (POLYGONS[0].wkb, POLYGONS[0].wkt, POLYGONS[0].wkb.hex()):
        shape, wrong = one(value)
        assert shape is None
        assert "MiB" in wrong


def test_curves_in_a_geopackage(store, store_path, tmp_path):
    surface = struct.pack("<BII", 1, 12, 1) + CIRCLE
    wkb = np.array([CIRCLE, surface, POLYGONS[0].wkb], object)
    options = {"geometry_type": "Unknown", "crs": "EPSG:4326", "driver": "GPKG"}
    pyogrio.raw.write(tmp_path / "c.gpkg", wkb, [np.arange(3)], np.array(["n"]), **options)
    cop_zarr.batch(tmp_path / "c.gpkg", tmp_path / "c.parquet", store_path)
    found, _ = read_vectors(tmp_path / "c.parquet")
    circle = shapely.Point(11, 45).buffer(1, quad_segs=1000)
    expected = store.query_many([circle, circle, POLYGONS[0]])
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert geopandas.read_parquet(tmp_path / "c.parquet").geometry[0].area == pytest.approx(
        math.pi, rel=2e-5
    )
    cop_zarr.batch(tmp_path / "c.gpkg", tmp_path / "c.npy", store_path, weights="area")


def test_one_bad_row_ends_no_batch(store, store_path, tmp_path):
    rows = [OPEN_RING, collections(20_000), struct.pack("<BII", 1, 7, 4_000_000_000), POLYGONS[1].wkb]
    pq.write_table(pa.table({"wkb": rows}), tmp_path / "t.parquet")
    with pytest.raises(RegionError, match="row 2 "):
        cop_zarr.batch(tmp_path / "t.parquet", tmp_path / "o.parquet", store_path)
    for out in ("o.parquet", "o.zarr"):
        report = cop_zarr.batch(tmp_path / "t.parquet", tmp_path / out, store_path, on_error="nan")
        assert [row for row, _ in report.refusals] == [1, 2]
    written = geopandas.read_parquet(tmp_path / "o.parquet")
    np.testing.assert_array_equal(written.embedding[0], store.query(POLYGONS[0]).data)
    np.testing.assert_array_equal(written.embedding[3], store.query(POLYGONS[1]).data)
    assert written.wkb[0].equals(POLYGONS[0])
