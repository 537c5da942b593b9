"""Files of regions and points become files of vectors, read by geopandas, pyarrow, xarray and NumPy."""

import subprocess
import sys

import geopandas
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely
import xarray as xr
from pyproj import Transformer

import cop_zarr
from cop_zarr.errors import InputError, RegionError
from tests.support.tables import POLYGONS, read_vectors, vectors_at, write_csv, write_points, write_polygons


@pytest.mark.usefixtures("small_parts")
def test_points(points, store_path, globe, tmp_path):
    table, lons, lats = points
    calls = []
    report = cop_zarr.batch(
        table, tmp_path / "out.parquet", store_path, progress=lambda *call: calls.append(call)
    )
    found, written = read_vectors(tmp_path / "out.parquet")
    np.testing.assert_array_equal(found, vectors_at(globe, lons, lats), strict=True)
    assert written.column_names == ["name", "n", "lon", "lat", "embedding"]
    assert pa.types.is_fixed_size_list(written.schema.field("embedding").type)
    assert written.column("name").to_pylist() == [f"00{i}" for i in range(500)]  # identifiers, not numbers
    assert written.schema.field("n").type == pa.int64()
    np.testing.assert_array_equal(written.column("lon").to_numpy(), lons)
    assert (report.rows, report.bands, report.resumed_rows, report.refused) == (500, 16, 0, 0)
    assert calls[-1] == (500, 500)
    assert calls == sorted(calls)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.parquet", "points.csv"]


@pytest.mark.parametrize("suffix", [".geojson", ".gpkg", ".fgb", ".shp", ".parquet"])
@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:3857"])
def test_polygons(suffix, crs, store, store_path, tmp_path):
    crs = "EPSG:4326" if suffix == ".geojson" else crs
    shapes = geopandas.GeoSeries(POLYGONS[:3], crs="EPSG:4326").to_crs(crs)
    table = write_polygons(tmp_path / f"rois{suffix}", list(shapes), crs)
    cop_zarr.batch(table, tmp_path / "out.parquet", store_path, empty="skip", weights="area")
    found, _ = read_vectors(tmp_path / "out.parquet")
    written = geopandas.read_parquet(tmp_path / "out.parquet")
    assert written.crs.equals(geopandas.GeoSeries(crs=crs).crs, ignore_axis_order=True)
    assert written["name"].tolist() == ["r0", "r1", "r2"]
    assert written.geometry.geom_equals(shapes).all()
    expected = [store.query(shape, crs=crs, empty="skip", weights="area").data for shape in shapes]
    np.testing.assert_array_equal(found, expected)


def test_boxes(store, store_path, tmp_path):
    boxes = [(176.5, -19, -178.5, -16), (10, 40, 12, 42), (350, 50, 355, 52)]
    table = write_csv(tmp_path / "boxes.csv", ["minlon", "minlat", "maxlon", "maxlat"], boxes)
    cop_zarr.batch(table, tmp_path / "out.geoparquet", store_path)
    np.testing.assert_array_equal(
        read_vectors(tmp_path / "out.geoparquet")[0], store.query_many(boxes), strict=True
    )
    over_antimeridian = geopandas.read_parquet(tmp_path / "out.geoparquet").geometry[0]
    halves = shapely.box(176.5, -19, 180, -16), shapely.box(-180, -19, -178.5, -16)
    assert over_antimeridian.equals(shapely.union(*halves))


def test_boxes_are_written_as_they_are_queried(store, store_path, tmp_path):
    boxes = [
        *((350, 50, 10, 52), (350, 50, 370, 52), (-190, 0, -170, 5), (170, 0, 190, 5), (540, 0, 550, 5)),
        *((0, -10, 360, 10), (-180.125, -90.125, 179.875, 90.125), (-360, 5, -350, 6), (3, 4, 1, 6)),
    ]
    table = write_csv(tmp_path / "boxes.csv", ["minlon", "minlat", "maxlon", "maxlat"], boxes)
    cop_zarr.batch(table, tmp_path / "out.geoparquet", store_path, weights="coverage")
    written = geopandas.read_parquet(tmp_path / "out.geoparquet").geometry
    assert (np.abs(written.bounds[["minx", "maxx"]]) <= 180).all(axis=None)
    expected = store.query_many(boxes, weights="coverage")
    np.testing.assert_array_equal(read_vectors(tmp_path / "out.geoparquet")[0], expected)
    found = store.query_many(written, weights="coverage")
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_a_multipoint_of_one_point_is_a_point(store, store_path, tmp_path):
    table = tmp_path / "a.csv"
    table.write_text('wkt\n"MULTIPOINT ((11.5 48.1))"\n"MULTIPOINT ((11.5 48.1), (12 48))"\n')
    report = cop_zarr.batch(table, tmp_path / "out.npy", store_path, on_error="nan")
    assert (report.rows, report.refused) == (2, 1)
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy")[0], store.sample(11.5, 48.1))


def test_points_and_polygons_as_wkt(store, store_path, globe, tmp_path):
    rows = [(i, f'"{shape.wkt}"') for i, shape in enumerate([*POLYGONS, shapely.Point(11.5, 48.1)])]
    table = write_csv(tmp_path / "mixed.csv", ["id", "wkt"], rows)
    cop_zarr.batch(table, tmp_path / "out.geoparquet", store_path)
    found, _ = read_vectors(tmp_path / "out.geoparquet")
    np.testing.assert_array_equal(found[:4], store.query_many(POLYGONS))
    np.testing.assert_array_equal(found[4:], vectors_at(globe, [11.5], [48.1]))
    written = geopandas.read_parquet(tmp_path / "out.geoparquet")
    assert written.geometry.geom_type.tolist() == ["Polygon", "Polygon", "MultiPolygon", "Polygon", "Point"]
    assert list(written.columns) == ["id", "wkt", "embedding", "geometry"]


def test_options_for_points(points, store, store_path, tmp_path):
    table, lons, lats = points
    cop_zarr.batch(table, tmp_path / "out.geoparquet", store_path, method="bilinear", empty="skip")
    written = geopandas.read_parquet(tmp_path / "out.geoparquet")
    expected = store.sample(lons, lats, method="bilinear", empty="skip")
    np.testing.assert_array_equal(np.array([*written.embedding]), expected, strict=True)
    np.testing.assert_array_equal([written.geometry.x, written.geometry.y], [lons, lats])
    assert written.crs == "EPSG:4326"


def test_buffers(store, store_path, tmp_path):
    table, lons, lats = write_points(tmp_path / "points.csv", 30)
    cop_zarr.batch(table, tmp_path / "out.npy", store_path, buffer_m=40_000, shape="circle", empty="skip")
    regions = [cop_zarr.PointBuffer(*point, 40_000, "circle") for point in zip(lons, lats, strict=True)]
    expected = store.query_many(regions, empty="skip")
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), expected, strict=True)
    with pytest.raises(InputError, match="buffer_m"):
        cop_zarr.batch(write_polygons(tmp_path / "p.shp"), tmp_path / "p.npy", store_path, buffer_m=100)


# CRS and columns


def test_points_in_another_crs(store_path, globe, tmp_path):
    rows = [(500_000, 5_300_000), (400_000, 5_000_000)]
    options = {"columns": ["x", "y"], "crs": "EPSG:32632"}
    table = write_csv(tmp_path / "utm.csv", ["x", "y"], rows)
    cop_zarr.batch(table, tmp_path / "out.npy", store_path, **options)
    to_degrees = Transformer.from_crs("EPSG:32632", "EPSG:4326", always_xy=True)
    expected = vectors_at(globe, *to_degrees.transform(*zip(*rows, strict=True)))
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), expected, strict=True)
    table = write_csv(tmp_path / "off.csv", ["x", "y"], [rows[0], (1e9, 5)])
    with pytest.raises(RegionError, match=r"line 3 .*EPSG:32632"):
        cop_zarr.batch(table, tmp_path / "off.npy", store_path, **options)


@pytest.mark.filterwarnings("ignore:'crs' was not provided:UserWarning")
@pytest.mark.parametrize("suffix", [".gpkg", ".parquet"])
def test_geometries_without_crs(suffix, store, store_path, tmp_path):
    table = write_polygons(tmp_path / f"bare{suffix}", crs=None)
    with pytest.raises(InputError, match="crs="):
        cop_zarr.batch(table, tmp_path / "out.npy", store_path)
    cop_zarr.batch(table, tmp_path / "out.npy", store_path, crs="EPSG:4326")
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), store.query_many(POLYGONS))
    with pytest.raises(RegionError, match="EPSG:3857"):
        cop_zarr.batch(
            write_polygons(tmp_path / f"full{suffix}"), tmp_path / "o.npy", store_path, crs="EPSG:3857"
        )


def test_columns_are_not_in_the_crs_of_the_geometries(store_path, globe, tmp_path):
    frame = geopandas.GeoDataFrame({"lon": [11.5], "lat": [48.1]}, geometry=[POLYGONS[0]], crs=4326)
    frame.to_crs(3035).to_parquet(tmp_path / "t.parquet")
    cop_zarr.batch(tmp_path / "t.parquet", tmp_path / "o.parquet", store_path, columns=["lon", "lat"])
    np.testing.assert_array_equal(
        read_vectors(tmp_path / "o.parquet")[0], vectors_at(globe, [11.5], [48.1])
    )
    assert geopandas.read_parquet(tmp_path / "o.parquet").crs == "EPSG:3035"


# Outputs


@pytest.mark.usefixtures("small_parts")
@pytest.mark.filterwarnings(
    "ignore:The codec `vlen-utf8`:UserWarning", "ignore:Consolidated metadata:UserWarning"
)
def test_zarr(points, store_path, globe, tmp_path):
    table, lons, lats = points
    cop_zarr.batch(table, tmp_path / "out.zarr", store_path)
    dataset = xr.open_zarr(tmp_path / "out.zarr")
    assert dataset.embedding.dims == ("row", "band")
    assert dataset.embedding.dtype == np.float32
    np.testing.assert_array_equal(dataset.embedding.values, vectors_at(globe, lons, lats))
    np.testing.assert_array_equal(dataset.lon.values, lons)


def test_types_of_columns_in_zarr(store_path, tmp_path):
    """Null needs a value that no number has: NaN for integers that float64 holds, else text."""
    columns = {
        "lon": [11.5, 121.5],
        "lat": [48.1, 31.2],
        "whole": [1, 2],
        "gap": [1, None],
        "big": [2**60 + 1, None],
        "flag": [True, False],
        "maybe": [True, None],
        "raw": [b"\x01\xff", None],
    }
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    cop_zarr.batch(tmp_path / "t.parquet", tmp_path / "out.zarr", store_path)
    with xr.open_zarr(tmp_path / "out.zarr", chunks=None) as found:
        assert (found.whole.dtype, found.flag.dtype, found.gap.dtype) == ("i8", "?", "f8")
        np.testing.assert_array_equal(found.gap, [1, np.nan])
        assert found.big.values.tolist() == [str(2**60 + 1), ""]
        assert found.maybe.values.tolist() == ["True", ""]
        assert found.raw.values.tolist() == ["01ff", ""]


@pytest.mark.parametrize("suffix", [".parquet", ".npy", ".zarr", ".geoparquet"])
def test_a_table_without_rows(suffix, store_path, tmp_path):
    table = write_csv(tmp_path / "empty.csv", ["lon", "lat"], [])
    assert cop_zarr.batch(table, tmp_path / f"out{suffix}", store_path).rows == 0
    assert (tmp_path / f"out{suffix}").exists()


def test_output_through_a_link(points, store_path, tmp_path):
    (tmp_path / "far").mkdir()
    (tmp_path / "o.npy").symlink_to(tmp_path / "far" / "real.npy")
    cop_zarr.batch(points[0], tmp_path / "o.npy", store_path)
    assert np.load(tmp_path / "far" / "real.npy").shape == (500, 16)
    assert [path.name for path in (tmp_path / "far").iterdir()] == ["real.npy"]


# Rows without a vector


@pytest.mark.usefixtures("small_parts")
def test_invalid_points(store_path, globe, tmp_path):
    rows = [(1, 11.5, 48.1), (2, "", ""), (3, "west", 5), (4, 1400, 5), (5, 121.5, 31.2), (6, 5, "")] * 40
    table = write_csv(tmp_path / "bad.csv", ["id", "lon", "lat"], rows)
    with pytest.raises(RegionError, match="line 3 "):
        cop_zarr.batch(table, tmp_path / "out.parquet", store_path)
    assert not list(tmp_path.glob("out*"))
    report = cop_zarr.batch(table, tmp_path / "out.parquet", store_path, on_error="nan")
    assert report.refused == 160
    assert len(report.refusals) == 20
    assert [row for row, _ in report.refusals][:5] == [1, 2, 3, 5, 7]
    assert report.places[:5] == ["line 3", "line 4", "line 5", "line 7", "line 9"]
    written = pq.read_table(tmp_path / "out.parquet")
    reasons = written.column("error").to_pylist()
    assert [reason is None for reason in reasons[:6]] == [1, 0, 0, 0, 1, 0]
    vectors = written.column("embedding").to_pylist()
    assert [vector is None for vector in vectors[:6]] == [0, 1, 1, 1, 0, 1]
    np.testing.assert_array_equal(np.array(vectors[4], "f4"), vectors_at(globe, [121.5], [31.2])[0])
    cop_zarr.batch(table, tmp_path / "out.npy", store_path, on_error="nan")
    invalid = np.isnan(np.load(tmp_path / "out.npy")).all(axis=1)
    assert invalid[:6].tolist() == [0, 1, 1, 1, 0, 1]


BOWTIE = shapely.Polygon([(10, 40), (12, 42), (12, 40), (10, 42)])


def test_invalid_geometries(store, store_path, tmp_path):
    """Absent, crossing itself, no WKB, no WKT."""
    write_polygons(tmp_path / "rois.gpkg", [POLYGONS[0], None, BOWTIE])
    wkb = [shapely.to_wkb(POLYGONS[0]), b"\x01\x02"]
    pq.write_table(pa.table({"wkb": wkb}), tmp_path / "t.parquet")
    write_csv(tmp_path / "w.csv", ["wkt"], [(f'"{POLYGONS[0].wkt}"',), ('"POLYGON ((0 0, 1"',)])
    for name, place, words in (
        ("rois.gpkg", "feature 2 ", ["", "repair=True"]),
        ("t.parquet", "row 2 ", ["WKB"]),
        ("w.csv", "line 3 ", ["WKT"]),
    ):
        out = tmp_path / f"{name}.geoparquet"
        with pytest.raises(RegionError, match=place):
            cop_zarr.batch(tmp_path / name, out, store_path)
        report = cop_zarr.batch(tmp_path / name, out, store_path, on_error="nan")
        assert [row for row, _ in report.refusals] == [1, 2][: len(words)]
        written = geopandas.read_parquet(out)
        np.testing.assert_array_equal(written.embedding[0], store.query(POLYGONS[0]).data)
        assert not [
            word for word, reason in zip(words, written.error[1:], strict=True) if word not in reason
        ]


# Arguments


@pytest.mark.parametrize(
    ("options", "error", "word"),
    [
        ({"buffer_m": -5, "on_error": "nan"}, RegionError, "buffer_m"),
        ({"shape": "round"}, InputError, "shape"),
        ({"method": "cubic"}, InputError, "method"),
        ({"pooling": "median"}, InputError, "pooling"),
        ({"on_error": "skip"}, InputError, "on_error"),
        ({"columns": "lon,lat"}, InputError, "columns"),
        ({"layer": "x"}, InputError, "layer"),
    ],
)
def test_invalid_options(options, error, word, points, store_path):
    with pytest.raises(error, match=word):
        cop_zarr.batch(points[0], points[0].with_name("o.npy"), store_path, **options)
    assert not list(points[0].parent.glob("o.npy*"))


@pytest.mark.parametrize(
    ("name", "out"),
    [
        ("..", "o.zarr"),
        ("a/b", "o.zarr"),
        ("embedding", "o.parquet"),
        ("error", "o.parquet"),
    ],
)
def test_column_names_that_an_output_cannot_have(name, out, store_path, tmp_path):
    table = write_csv(tmp_path / "t.csv", [name, "lon", "lat"], [(0, 1, 2)])
    with pytest.raises(InputError, match="column"):
        cop_zarr.batch(table, tmp_path / out, store_path)


def test_an_output_is_not_the_table(store_path, tmp_path):
    table = write_polygons(tmp_path / "t.parquet")
    with pytest.raises(InputError, match="table"):
        cop_zarr.batch(table, table, store_path, overwrite=True)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_table(store_path, tmp_path):
    pytest.importorskip("resource")
    lons = np.tile(np.linspace(-179, 179, 1000), 300).tolist()
    code = (
        "import sys, resource, cop_zarr; from cop_zarr.interop.tables import runner; "
        "runner.PART_BYTES = 1 << 20; cop_zarr.batch(*sys.argv[1:]); "
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    peaks = []
    for count in (20_000, 300_000):
        table = write_csv(tmp_path / f"{count}.csv", ["lon", "lat"], ((lon, 45) for lon in lons[:count]))
        program = [sys.executable, "-c", code, str(table), str(tmp_path / f"{count}.npy"), str(store_path)]
        peaks.append(int(subprocess.run(program, capture_output=True, text=True, check=True).stdout))
    assert peaks[1] < peaks[0] + 40_000  # KiB; the vectors of the larger are 19 MB, its table 6
