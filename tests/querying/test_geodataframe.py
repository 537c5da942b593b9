"""GeoDataFrames and GeoSeries as regions: taken with their CRS, given back with vectors."""

import subprocess
import sys

import numpy as np
import pytest
import shapely

import cop_zarr
from cop_zarr.errors import InputError, RegionError
from tests.support import factory

geopandas = pytest.importorskip("geopandas")
assert_geodataframe_equal = pytest.importorskip("geopandas.testing").assert_geodataframe_equal

SHAPES = [
    shapely.Polygon([(10, 40), (12, 40), (11, 42)]),
    shapely.box(-75, -12, -70.3, -9.8),
    shapely.MultiPolygon([shapely.box(20, 50, 21, 51), shapely.box(22, 50, 23, 51.3)]),
]


@pytest.fixture
def frame():
    """Three regions with a name and an index of their own."""
    names = {"name": ["a", "b", "c"], "area": [1.0, 2.0, 3.0]}
    return geopandas.GeoDataFrame(names, geometry=SHAPES, crs="EPSG:4326", index=[7, 3, 5])


def test_a_frame_comes_back_with_vectors(store, frame):
    before = frame.copy()
    found = store.query_many(frame, weights="area")
    assert isinstance(found, geopandas.GeoDataFrame)
    assert list(found.columns) == ["name", "area", "geometry", "embedding"]
    assert list(found.index) == [7, 3, 5]
    assert found.crs == frame.crs
    assert_geodataframe_equal(found.drop(columns="embedding"), before)
    assert_geodataframe_equal(frame, before)  # nothing was done to the caller's
    expected = np.stack([store.query(shape, weights="area").data for shape in SHAPES])
    np.testing.assert_array_equal(np.stack(found.embedding), expected, strict=True)


def test_the_frames_own_crs_is_used(store, frame):
    flat = frame.to_crs("EPSG:3857")
    expected = [store.query(shape, crs="EPSG:3857").data for shape in flat.geometry]
    np.testing.assert_array_equal(np.stack(store.query_many(flat).embedding), expected)
    np.testing.assert_array_equal(np.stack(store.query_many(flat, crs=3857).embedding), expected)
    for several in (flat.geometry, flat.geometry.values):  # the GeometryArray
        np.testing.assert_array_equal(store.query_many(several), expected)


def test_vectors_go_to_out(store, frame):
    out = np.zeros((3, store.bands), "f4")
    assert store.query_many(frame, out=out) is out
    np.testing.assert_array_equal(out, store.query_many(SHAPES))


def test_a_frame_survives_parquet(store, frame, tmp_path):
    found = store.query_many(frame)
    found.to_parquet(tmp_path / "out.parquet")
    again = geopandas.read_parquet(tmp_path / "out.parquet")
    np.testing.assert_array_equal(np.stack(again.embedding), np.stack(found.embedding))


def test_no_crs_is_refused(store, frame):
    bare = frame.set_crs(None, allow_override=True)
    for several in (bare, bare.geometry):
        with pytest.raises(InputError, match=r"does not say which CRS .* name it with crs="):
            store.query_many(several)
        np.testing.assert_array_equal(
            np.asarray(store.query_many(bare.geometry, crs="EPSG:4326")), store.query_many(SHAPES)
        )


def test_another_crs_is_refused(store, frame):
    with pytest.raises(RegionError, match=r"EPSG:4326.*EPSG:3857"):
        store.query_many(frame, crs="EPSG:3857")


def test_no_geometry_is_refused(store, frame):
    with pytest.raises(InputError, match=r"no column of geometries; its columns are name, area\. Make a"):
        store.query_many(frame.drop(columns="geometry"))
    with pytest.raises(InputError, match="no column of geometries"):
        store.query_many(geopandas.GeoDataFrame({"name": ["a"]}))


def test_vectors_are_not_replaced_in_silence(store, frame):
    with pytest.raises(InputError, match="has a column 'embedding' already"):
        store.query_many(store.query_many(frame))


def test_a_row_without_geometry(store, frame):
    frame.loc[3, "geometry"] = None
    with pytest.raises(RegionError, match=r"region 1: .*None"):
        store.query_many(frame)
    told = []
    found = store.query_many(frame, on_error=lambda number, error: told.append((number, str(error))))
    assert np.isnan(found.embedding[3]).all()
    np.testing.assert_array_equal(found.embedding[5], store.query(SHAPES[2]).data)
    assert [number for number, _ in told] == [1]
    assert "None" in told[0][1]


def test_an_empty_frame(store, frame):
    found = store.query_many(frame.iloc[:0])
    assert len(found) == 0
    assert "embedding" in found.columns


def test_points_are_told_where_to_go(store, frame):
    with pytest.raises(RegionError, match=r"Store\.sample"):
        store.query_many(frame.set_geometry(frame.representative_point()))


def test_geopandas_is_not_imported(store_path):
    code = (
        f"import cop_zarr, sys; cop_zarr.open({str(store_path)!r}).query_many([(10, 40, 12, 42)]); "
        "assert not {'geopandas', 'pandas', 'pyarrow'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("method", ["nearest", "bilinear"])
def test_each_refused_point_is_told(store, method):
    told = []
    lon, lat = [10, 400, 20, np.nan], [40, 0, -91, 3]
    found = store.sample(lon, lat, method=method, on_error=lambda *each: told.append(each))
    assert np.isnan(found).all(axis=1).tolist() == [False, True, True, True]
    assert [number for number, _ in told] == [1, 2, 3]
    assert all(type(error) is RegionError for _, error in told)
    assert str(told[0][1]).endswith(
        "got lon=400.0, lat=0.0; if it is in another CRS, name it (crs=, --crs)"
    )


def test_each_point_outside_a_part_is_told_once(tmp_path):
    part = factory.write_geotiff(tmp_path / "part.tif", rows=(100, 140), cols=(700, 740))
    cop_zarr.ingest(part, tmp_path / "part.zarr")
    told = []
    store = cop_zarr.open(tmp_path / "part.zarr")
    store.sample([0, -100, 999], [60, 60, 60], on_error=lambda *each: told.append(each))
    assert [number for number, _ in told] == [2, 1]
    assert "is outside the store" in str(told[1][1])
