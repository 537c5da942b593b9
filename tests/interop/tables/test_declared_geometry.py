"""What Parquet and GeoJSON files declare about their geometries: the CRS, the encoding, the edges."""

import json
import sqlite3
from contextlib import closing
from itertools import pairwise

import geopandas
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely
from pyproj import CRS, Geod, Transformer

import cop_zarr
from cop_zarr.errors import InputError, RegionError, SourceError
from cop_zarr.interop.tables import parquet_geometry
from cop_zarr.interop.tables.readers import open_table
from tests.support.tables import POLYGONS, read_vectors, vectors_at

GRADS = "EPSG:4807"
LONS, LATS = [3.0, 10.5, 120.25], [45.0, -10.0, 31.3]
SPHERE = Geod(a=6_371_000, b=6_371_000)


class Wkb(pa.ExtensionType):
    """As geoarrow-pyarrow registers it; pyarrow writes it as Parquet's GEOMETRY or GEOGRAPHY."""

    def __init__(self, **metadata):
        self.text = json.dumps(metadata).encode()
        super().__init__(pa.binary(), "geoarrow.wkb")

    def __arrow_ext_serialize__(self):
        return self.text

    @classmethod
    def __arrow_ext_deserialize__(cls, storage, serialized):
        return cls(**json.loads(serialized))


def in_crs(crs, lons=LONS, lats=LATS):
    return np.column_stack(Transformer.from_crs("OGC:CRS84", crs, always_xy=True).transform(lons, lats))


def points(crs):
    return shapely.points(in_crs(crs))


def write_typed(path, shapes, **metadata):
    """Parquet's own types alone, as DuckDB's ``geoparquet_version 'NONE'``."""
    column = pa.ExtensionArray.from_storage(Wkb(**metadata), pa.array(shapely.to_wkb(shapes), pa.binary()))
    pq.write_table(pa.table({"geom": column}), path, store_schema=False)
    return path


def write_extension(path, column, encoding, **metadata):
    """A column of GeoArrow's, whose extension type is not registered."""
    extension = {
        "ARROW:extension:name": f"geoarrow.{encoding}",
        "ARROW:extension:metadata": json.dumps(metadata),
    }
    schema = pa.schema([pa.field("geom", column.type, metadata=extension)])
    pq.write_table(pa.table([column], schema=schema), path)
    return path


def run(table, store_path, **options):
    out = table.with_name("out.parquet")
    cop_zarr.batch(table, out, store_path, overwrite=True, **options)
    return read_vectors(out)[0]


@pytest.mark.parametrize(
    ("crs", "stated"),
    [
        (GRADS, GRADS),
        (GRADS, CRS(GRADS).to_json_dict()),
        (GRADS, CRS(GRADS).to_json()),
        (GRADS, CRS(GRADS).to_wkt()),
        (GRADS, "srid:4807"),
        (GRADS, "4807"),
        ("EPSG:3857", CRS(3857).to_json_dict()),
        ("EPSG:4326", "EPSG:4326"),
    ],
)
def test_a_declared_crs_is_used(crs, stated, store_path, globe, tmp_path):
    expected = vectors_at(globe, LONS, LATS)
    table = write_typed(tmp_path / "typed.parquet", points(crs), crs=stated)
    np.testing.assert_array_equal(run(table, store_path), expected)
    written = geopandas.read_parquet(tmp_path / "out.parquet")
    assert written.crs.equals(CRS(crs), ignore_axis_order=True)
    wkb = pa.array(shapely.to_wkb(points(crs)))
    table = write_extension(tmp_path / "extension.parquet", wkb, "wkb", crs=stated)
    np.testing.assert_array_equal(run(table, store_path), expected)
    with pytest.raises(RegionError, match=crs):
        run(table, store_path, crs="EPSG:32632")


def test_geoarrow_extensions(store_path, globe, tmp_path):
    shapes = points(GRADS)
    wkb, wkt = pa.array(shapely.to_wkb(shapes)), pa.array(shapely.to_wkt(shapes, rounding_precision=-1))
    native = pa.StructArray.from_arrays(list(map(pa.array, shapely.get_coordinates(shapes).T)), ["x", "y"])
    for column, encoding in (
        (wkt, "wkt"),
        (wkt.cast(pa.string_view()), "wkt"),
        (wkb.cast(pa.binary_view()), "wkb"),
        (wkb.cast(pa.large_binary()), "wkb"),
        (native, "point"),
    ):
        table = write_extension(tmp_path / "t.parquet", column, encoding, crs=GRADS)
        np.testing.assert_array_equal(run(table, store_path), vectors_at(globe, LONS, LATS))


def test_a_crs_that_is_not_declared(store_path, globe, tmp_path):
    """Parquet's types and GeoParquet mean degrees, unless told otherwise; GeoArrow does not say."""
    expected = vectors_at(globe, LONS, LATS)
    for crs in (None, GRADS):
        shapes = points(crs or "OGC:CRS84")
        typed = write_typed(tmp_path / "typed.parquet", shapes)
        np.testing.assert_array_equal(run(typed, store_path, crs=crs), expected)
        geo = {"version": "1.1.0", "primary_column": "g", "columns": {"g": {"encoding": "WKB"}}}
        table = pa.table({"g": shapely.to_wkb(shapes)}).replace_schema_metadata({"geo": json.dumps(geo)})
        pq.write_table(table, tmp_path / "geo.parquet")
        np.testing.assert_array_equal(run(tmp_path / "geo.parquet", store_path, crs=crs), expected)
    arrow = write_extension(tmp_path / "a.parquet", pa.array(shapely.to_wkb(shapes)), "wkb")
    with pytest.raises(InputError, match="crs="):
        run(arrow, store_path)
    np.testing.assert_array_equal(run(arrow, store_path, crs=GRADS), expected)


def test_two_columns_of_geometries(store_path, globe, tmp_path):
    """Each in its own CRS, GeoParquet's primary one by default; both are declared in the output."""
    frame = geopandas.GeoDataFrame(
        {"other": geopandas.GeoSeries(points(GRADS), crs=GRADS)}, geometry=points(3857), crs=3857
    )
    frame.to_parquet(tmp_path / "t.parquet")
    expected = vectors_at(globe, LONS, LATS)
    for columns in (None, ["geometry"], ["other"]):
        np.testing.assert_array_equal(run(tmp_path / "t.parquet", store_path, columns=columns), expected)
    written = geopandas.read_parquet(tmp_path / "out.parquet")
    assert written.active_geometry_name == "other"
    assert (written.geometry.crs, written["geometry"].crs) == (GRADS, "EPSG:3857")
    table = pq.read_table(tmp_path / "t.parquet").replace_schema_metadata()
    for name, crs in (("geometry", 3857), ("other", 4807)):
        column = pa.ExtensionArray.from_storage(Wkb(crs=f"EPSG:{crs}"), table[name].combine_chunks())
        table = table.set_column(table.schema.get_field_index(name), name, column)
    pq.write_table(table, tmp_path / "t.parquet")
    with pytest.raises(InputError, match="columns="):
        run(tmp_path / "t.parquet", store_path)
    np.testing.assert_array_equal(run(tmp_path / "t.parquet", store_path, columns=["other"]), expected)


def test_native_encodings(store, store_path, tmp_path):
    """Every kind as geopandas writes it, with nulls; from any row on."""
    holed = shapely.Polygon([(10, 40), (14, 40), (12, 44)], [[(11.5, 41), (12.5, 41), (12, 42)]])
    kinds = [
        [holed, None, POLYGONS[0]],
        [POLYGONS[2], None, shapely.MultiPolygon([holed])],
        [shapely.MultiPoint([(1, 2), (3, 4)]), None],
        [shapely.MultiLineString([[(1, 2), (3, 4)], [(1, 2), (3, 9)]]), shapely.MultiLineString()],
        [shapely.LineString([(1, 2), (3, 4), (5, 7)]), None],
        [shapely.Point(1, 2), shapely.Point(), None],
    ]
    table = tmp_path / "t.parquet"
    for shapes in kinds:
        frame = geopandas.GeoDataFrame(geometry=shapes, crs=4326)
        for interleaved in (True, False):
            arrow = frame.to_arrow(geometry_encoding="geoarrow", interleaved=interleaved)
            pq.write_table(pa.table(arrow), table)
            for first in (0, 1):
                (batch,) = open_table(table).read(first)
                read = shapely.from_wkb(batch["geometry"].to_pylist())
                assert shapely.to_wkt(read).tolist() == shapely.to_wkt(shapes[first:]).tolist()
    frame = geopandas.GeoDataFrame(geometry=kinds[0], crs=4326)
    frame.to_parquet(table, geometry_encoding="geoarrow", schema_version="1.1.0")
    cop_zarr.batch(table, tmp_path / "o.npy", store_path, on_error="nan")
    found = np.load(tmp_path / "o.npy")
    np.testing.assert_array_equal(found[[0, 2]], store.query_many([holed, POLYGONS[0]]))
    assert np.isnan(found[1]).all()


@pytest.mark.parametrize("where", ["type", "extension", "geo"])
@pytest.mark.parametrize("crs", ["OGC:CRS84", GRADS])
def test_spherical_edges(where, crs, store, store_path, tmp_path):
    """Great circles, here in pieces of 20 km by Geod; points are points."""
    ring = [(-120, 44), (-80, 44), (-80, 50), (-120, 50), (-120, 44)]
    path = [(a, *SPHERE.npts(*a, *b, 200)) for a, b in pairwise(ring)]
    expected = store.query(shapely.Polygon([tuple(place) for edge in path for place in edge])).data
    polygon = shapely.Polygon(in_crs(crs, *zip(*ring, strict=True)))
    shapes = [polygon, shapely.Point(in_crs(crs, [3.0], [45.0])[0])]
    table = tmp_path / "t.parquet"
    if where == "type":
        write_typed(table, shapes, crs=crs, edges="spherical")
    elif where == "extension":
        write_extension(table, pa.array(shapely.to_wkb(shapes)), "wkb", crs=crs, edges="spherical")
    else:
        column = {
            "encoding": "WKB",
            "geometry_types": [],
            "crs": CRS(crs).to_json_dict(),
            "edges": "spherical",
        }
        geo = {"version": "1.1.0", "primary_column": "g", "columns": {"g": column}}
        pq.write_table(
            pa.table({"g": shapely.to_wkb(shapes)}).replace_schema_metadata({"geo": json.dumps(geo)}), table
        )
    found = run(table, store_path)
    np.testing.assert_allclose(found[0], expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(found[1:], [store.sample(3.0, 45.0)])
    assert np.abs(store.query(shapely.Polygon(ring)).data - expected).max() > 1e-3
    written = json.loads(pq.read_schema(tmp_path / "out.parquet").metadata[b"geo"])
    assert [column["edges"] for column in written["columns"].values()] == ["spherical"]


@pytest.mark.parametrize(
    "geo",
    [
        "[" * 100_000,
        '{"primary_column": "g", "columns": {"g": {"encoding": "WKB", "edges": "bent"}}}',
        '{"primary_column": "g", "columns": {"g": {"encoding": "WKT"}}}',
        '{"primary_column": "g", "columns": {"g": {"encoding": 5}}}',
        '{"primary_column": "g", "columns": {"g": []}}',
        '{"primary_column": "g", "columns": []}',
    ],
)
def test_metadata_that_cannot_be_read(geo, tmp_path):
    pq.write_table(pa.table({"g": [b""]}).replace_schema_metadata({"geo": geo}), tmp_path / "t.parquet")
    with pytest.raises(SourceError):
        open_table(tmp_path / "t.parquet")


def test_contradictions_and_unknown_crs(store, store_path, tmp_path):
    table = write_typed(tmp_path / "t.parquet", points(GRADS), crs=GRADS)
    column = {"encoding": "WKB", "crs": CRS(3857).to_json_dict()}
    geo = {"primary_column": "geom", "columns": {"geom": column}}
    column = pa.ExtensionArray.from_storage(Wkb(crs=GRADS), pq.read_table(table)["geom"].combine_chunks())
    pq.write_table(pa.table({"geom": column}).replace_schema_metadata({"geo": json.dumps(geo)}), table)
    with pytest.raises(SourceError, match="contradicts"):
        open_table(table)
    deep = json.loads("[" * 900 + "]" * 900)
    for crs in ("EPSG:1", "somewhere", {"type": "GeographicCRS"}, {"a": deep}):
        wkb = pa.array(shapely.to_wkb(points(GRADS)))
        with pytest.raises(InputError, match="crs="):
            run(write_extension(table, wkb, "wkb", crs=crs), store_path)
        np.testing.assert_array_equal(
            run(table, store_path, crs=GRADS), store.sample(LONS, LATS), strict=True
        )


def test_a_pyarrow_that_does_not_know_the_type(monkeypatch, tmp_path):
    """As pyarrow 20 says of GEOMETRY: refused, unless GeoParquet's metadata say the same."""
    table = write_typed(tmp_path / "t.parquet", points(GRADS), crs=GRADS)
    monkeypatch.setattr(parquet_geometry, "_logical_types", lambda _: [("geom", {"Type": "Undefined"})])
    with pytest.raises(SourceError, match="pip"):
        open_table(table)
    frame = geopandas.GeoDataFrame({"geom": points(GRADS)}, geometry="geom", crs=GRADS)
    frame.to_parquet(table)
    assert open_table(table).geometry_column == "geom"


@pytest.mark.parametrize("undefined", [-1, 0])
def test_a_geopackage_of_undefined_crs(undefined, store, store_path, tmp_path):
    """As ArcGIS and others write it; and a Shapefile on a local grid."""
    frame = geopandas.GeoDataFrame(geometry=points("EPSG:32632"), crs=32632)
    frame.to_file(tmp_path / "t.gpkg")
    with closing(sqlite3.connect(tmp_path / "t.gpkg")) as database:
        for table in ("gpkg_contents", "gpkg_geometry_columns"):
            database.execute(f"UPDATE {table} SET srs_id = {undefined}")
        database.commit()
    frame.to_file(tmp_path / "t.shp")
    (tmp_path / "t.prj").write_text('LOCAL_CS["A grid",UNIT["metre",1]]')
    for name in ("t.gpkg", "t.shp"):
        with pytest.raises(InputError, match="crs="):
            run(tmp_path / name, store_path)
        found = run(tmp_path / name, store_path, crs="EPSG:32632")
        np.testing.assert_array_equal(found, store.sample(LONS, LATS))


@pytest.mark.parametrize("suffix", [".geojson", ".geojsonl"])
def test_geojson_without_a_crs_member(suffix, store, store_path, tmp_path):
    """GDAL says EPSG:4326 of it, which another CRS replaces; a property is no member."""
    table, expected = tmp_path / f"t{suffix}", store.sample(LONS, LATS)

    def write(shapes):
        frame = geopandas.GeoDataFrame({"crs": ['"crs": {'] * 3}, geometry=shapes)
        lines = [json.dumps(feature) for feature in frame.iterfeatures()]
        table.write_text(frame.to_json() if suffix == ".geojson" else "\n".join(lines))

    write(points("EPSG:32632"))
    with pytest.raises(RegionError, match="crs="):
        run(table, store_path)
    np.testing.assert_array_equal(run(table, store_path, crs="EPSG:32632"), expected)
    write(points("OGC:CRS84"))
    np.testing.assert_array_equal(run(table, store_path), expected)


def test_geojson_with_a_crs_member(store, store_path, tmp_path):
    for crs in ("EPSG:3857", "EPSG:4326"):
        frame = geopandas.GeoDataFrame(geometry=points(crs), crs=crs)
        frame.to_file(tmp_path / "t.geojson", RFC7946="NO")
        document = json.loads((tmp_path / "t.geojson").read_text())
        last = {"type": document.pop("type"), "features": document.pop("features"), **document}
        (tmp_path / "last.geojson").write_text(json.dumps(last))
        for name in ("t.geojson", "last.geojson"):
            np.testing.assert_array_equal(run(tmp_path / name, store_path), store.sample(LONS, LATS))
            with pytest.raises(RegionError, match=crs):
                run(tmp_path / name, store_path, crs="EPSG:32632")
