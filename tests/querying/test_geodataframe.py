"""GeoDataFrames and GeoSeries as regions: taken with their CRS, given back with vectors."""

import subprocess
import sys

import numpy as np
import pytest
import shapely

from cop_zarr.errors import InputError, RegionError

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
    bare = flat.geometry.set_crs(None, allow_override=True)
    np.testing.assert_array_equal(store.query_many(bare, crs="EPSG:3857"), expected)


def test_rows_and_bounds_of_a_frame(store, frame):
    """A row has lost the CRS, and so have the bounds."""
    expected = store.query_many(frame.geometry)
    for rows in (frame.itertuples(), [row for _, row in frame.iterrows()], frame.iterfeatures()):
        np.testing.assert_array_equal(store.query_many(rows), expected)
    found = store.query_many(frame.bounds)
    assert list(found.columns) == ["minx", "miny", "maxx", "maxy", "embedding"]
    np.testing.assert_array_equal(np.stack(found.embedding), store.query_many(frame.bounds.to_numpy()))
    assert np.isfinite(np.stack(found.embedding)).all()
    with pytest.raises(InputError, match="sample"):
        store.query_many(frame.set_geometry(frame.representative_point()), on_error="nan")


def test_vectors_go_to_out_and_to_parquet(store, frame, tmp_path):
    out = np.zeros((3, store.bands), "f4")
    assert store.query_many(frame, out=out) is out
    np.testing.assert_array_equal(out, store.query_many(SHAPES))
    store.query_many(frame).to_parquet(tmp_path / "out.parquet")
    again = geopandas.read_parquet(tmp_path / "out.parquet")
    np.testing.assert_array_equal(np.stack(again.embedding), out)


@pytest.mark.parametrize(
    ("change", "options", "error"),
    [
        (lambda frame: frame.set_crs(None, allow_override=True), {}, InputError),
        (lambda frame: frame.set_crs(None, allow_override=True).geometry, {}, InputError),
        (lambda frame: frame, {"crs": "EPSG:3857"}, RegionError),
        (lambda frame: frame.drop(columns="geometry"), {}, InputError),
        (lambda _: geopandas.GeoDataFrame({"name": ["a"]}), {}, InputError),
        (lambda frame: frame.assign(embedding=0), {}, InputError),
    ],
    ids=[
        "no CRS",
        "series without CRS",
        "another CRS",
        "no geometry",
        "never a geometry",
        "its own embedding",
    ],
)
def test_refused(store, frame, change, options, error):
    with pytest.raises(error) as raised:
        store.query_many(change(frame), **options)
    assert type(raised.value) is error


def test_a_row_without_geometry(store, frame):
    frame.loc[3, "geometry"] = None
    with pytest.raises(RegionError, match="1"):
        store.query_many(frame)
    found = store.query_many(frame, on_error="nan")
    assert np.isnan(found.embedding[3]).all()
    np.testing.assert_array_equal(found.embedding[5], store.query(SHAPES[2]).data)
    empty = store.query_many(frame.iloc[:0])
    assert len(empty) == 0
    assert "embedding" in empty.columns


def test_points(store):
    """As Store.sample takes them; a MultiPoint of one is a point, and a row without one has no vector."""
    lons, lats = [3.0, 10.5, 120.25], [45.0, -10.0, 31.3]
    frame = geopandas.GeoDataFrame(
        {"n": [1, 2, 3]}, geometry=geopandas.points_from_xy(lons, lats), crs=4326, index=[7, 3, 5]
    )
    expected = store.sample(lons, lats)
    for crs in ("EPSG:4326", "EPSG:3857", "EPSG:4807"):
        there = frame.to_crs(crs)
        found = store.sample(there)
        assert_geodataframe_equal(found.drop(columns="embedding"), there)
        np.testing.assert_array_equal(np.stack(found.embedding), expected)
        np.testing.assert_array_equal(store.sample(there.geometry, crs=crs), expected)
        np.testing.assert_array_equal(store.sample(there.geometry.values), expected)
        with pytest.raises(RegionError, match="EPSG:32632"):
            store.sample(there, crs="EPSG:32632")
    bare = there.set_crs(None, allow_override=True)
    np.testing.assert_array_equal(np.stack(store.sample(bare, crs="EPSG:4807").embedding), expected)
    frame.loc[3, "geometry"], frame.loc[5, "geometry"] = None, shapely.MultiPoint([(120.25, 31.3)])
    with pytest.raises(RegionError, match="position 1"):
        store.sample(frame)
    found = store.sample(frame.geometry, on_error="nan")
    np.testing.assert_array_equal(found[[0, 2]], expected[[0, 2]])
    assert np.isnan(found[1]).all()
    empty = geopandas.GeoSeries([shapely.Point(), None, shapely.Point(10.5, -10, 300)], crs=4326)
    assert np.isnan(store.sample(empty, on_error="nan")).all(axis=1).tolist() == [True, True, False]
    out = np.zeros((3, store.bands), "f4")
    assert store.sample(frame, out=out, on_error="nan") is out
    frame.loc[3, "geometry"] = SHAPES[0]
    for given in (frame, bare, frame.n, [1, 2], 5, shapely.Point(1, 2), frame.drop(columns="geometry")):
        with pytest.raises(InputError):
            store.sample(given)


def test_geopandas_is_not_imported(store_path):
    code = (
        f"import cop_zarr, sys; cop_zarr.open({str(store_path)!r}).query_many([(10, 40, 12, 42)]); "
        "assert not {'geopandas', 'pandas', 'pyarrow'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
