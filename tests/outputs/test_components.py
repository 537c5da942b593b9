"""Components as Datasets and files: merged with fields of ERA5's shape, coordinates equal to the bit."""

import numpy as np
import pytest

import cop_zarr
from cop_zarr import errors
from tests.support import factory

xr = pytest.importorskip("xarray")


@pytest.fixture(scope="module")
def found(store):
    return store.components(3)


def era5(dtype, hours=2):
    """A field as the Climate Data Store gives it: from north to south, longitudes 0 to 359.75."""
    latitude, longitude = np.linspace(90, -90, 721, dtype=dtype), np.arange(1440, dtype=dtype) / 4
    values = (latitude[:, None] * 1000 + longitude).astype("f4") + np.zeros((hours, 1, 1), "f4")
    along = {"valid_time": np.arange(hours), "latitude": latitude, "longitude": longitude}
    return xr.Dataset({"t2m": (tuple(along), values)}, along)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("first", ["era5", "components"])
def test_merge_with_a_field_of_era5(found, globe, dtype, first):
    field, scores = era5(dtype), found.to_xarray("0..360")
    pair = [field, scores] if first == "era5" else [scores, field]
    merged = xr.merge(pair, join="exact", compat="no_conflicts", combine_attrs="drop_conflicts")
    assert dict(merged.sizes) == {"valid_time": 2, "latitude": 721, "longitude": 1440, "component": 3}
    valid = (globe != 0).any(axis=0)
    for lat, lon, row, col in ((48.25, 11.5, 167, 766), (-33.5, 289.25, 494, 437), (90, 180, 0, 0)):
        cell = merged.sel(latitude=lat, longitude=lon)
        assert cell.t2m.values[0] == np.float32(lat * 1000 + lon)
        if valid[row, col]:
            expected = (globe[:, row, col] - found.mean) @ found.axes.T
            np.testing.assert_allclose(cell.scores, expected, rtol=1e-5)
        else:
            assert np.isnan(cell.scores).all()
    outer = xr.merge(pair, join="outer", compat="no_conflicts", combine_attrs="drop_conflicts")
    assert dict(outer.sizes) == dict(merged.sizes)  # not one coordinate beside another


def test_coordinates_and_attributes(found, store, globe):
    dataset = found.to_xarray()
    np.testing.assert_array_equal(dataset.latitude, store.grid.latitudes)
    np.testing.assert_array_equal(dataset.longitude, store.grid.longitudes)
    valid = (globe != 0).any(axis=0)
    np.testing.assert_array_equal(dataset.scores.values[:, valid].T, found.scores)
    np.testing.assert_array_equal(dataset.remainder.values[valid], found.remainder)
    assert np.isnan(dataset.scores.values[:, ~valid]).all()
    assert dataset.component.values.tolist() == [1, 2, 3]
    np.testing.assert_allclose(dataset.explained_variance_ratio, found.explained_variance_ratio, rtol=1e-6)
    assert {dataset[name].dtype.name for name in ("scores", "remainder")} == {"float32"}
    assert dataset.latitude.attrs["standard_name"] == "latitude"
    assert dataset.longitude.attrs["units"] == "degrees_east"
    assert dataset.scores.attrs.keys() == {"long_name", "units"}
    assert dataset.attrs["Conventions"].startswith("CF-")
    assert dataset.spatial_ref.attrs["crs_wkt"].startswith("GEOGCRS")
    moved = found.to_xarray("0..360")
    back = moved.assign_coords(longitude=(moved.longitude + 180) % 360 - 180).sortby("longitude")
    xr.testing.assert_equal(back, dataset)
    assert moved.longitude.values[[0, -1]].tolist() == [0, 359.75]


@pytest.mark.parametrize(
    ("cols", "longitudes", "first", "last"),
    [
        ((1430, 1454), "-180..180", -180, 179.75),  # 177.5 to 183.25
        ((1430, 1454), "0..360", 177.5, 183.25),
        ((710, 734), "0..360", 0, 359.75),  # -2.5 to 3.25
        ((710, 734), "-180..180", -2.5, 3.25),
    ],
)
def test_stores_over_a_seam(tmp_path, cols, longitudes, first, last):
    source = factory.write_geotiff(tmp_path / "a.tif", rows=(200, 220), cols=cols, bands=4)
    cop_zarr.ingest(source, tmp_path / "a.zarr")
    store = cop_zarr.open(tmp_path / "a.zarr")
    found = store.components()
    dataset = found.to_xarray(longitudes)
    assert dataset.longitude.values[[0, -1]].tolist() == [first, last]
    assert (np.diff(dataset.longitude) > 0).all()
    cells = store.cells()
    for number in range(0, len(cells), 37):
        lon = cells.lon[number] % 360 if longitudes == "0..360" else cells.lon[number]
        place = dataset.sel(latitude=cells.lat[number], longitude=lon)
        np.testing.assert_array_equal(place.scores, found.scores[number])


@pytest.mark.parametrize("given", ["0-360", None, 360])
def test_longitudes_that_are_refused(found, given):
    with pytest.raises(errors.InputError):
        found.to_xarray(given)


def test_order_is_that_of_cells_and_maps(store, found):
    cells = store.cells((120, 30, 122, 32))
    numbers = np.flatnonzero(store.valid).searchsorted(cells.rows * 1440 + cells.cols)
    np.testing.assert_allclose(found.transform(cells.vectors), found.scores[numbers], rtol=1e-5, atol=1e-2)
    assert store.map(found.scores).values.shape == (len(found.scores), 3)
