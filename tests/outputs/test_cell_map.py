"""Maps: files as GDAL and xarray read them, and pictures by their pixels, against grids made with NumPy."""

import pickle
import re
import shutil
import subprocess
import sys

import matplotlib as mpl
import numpy as np
import pytest
import rasterio
import rioxarray  # noqa: F401  # the accessor .rio
import shapely
import xarray as xr
from matplotlib.figure import Figure

import cop_zarr
from cop_zarr import errors
from tests.support import factory
from tests.support.pictures import pixels

GREY = (230, 232, 234)
PLACES = {
    "europe": ((150, 170), (760, 784)),
    "antimeridian": ((400, 410), (1430, 1450)),
    "pole": ((711, 721), (0, 40)),
    "from 0 to 360": ((300, 303), (720, 2160)),
    "column": ((300, 320), (700, 701)),
    "row": ((333, 334), (700, 730)),
    "tiles": ((0, 258), (1000, 1260)),
}


@pytest.fixture(scope="module", params=PLACES)
def place(request, tmp_path_factory):
    """An open store of a part of the globe, and the values of its cells by GDAL."""
    rows, cols = PLACES[request.param]
    folder = tmp_path_factory.mktemp(request.param)
    source = factory.write_geotiff(folder / "a.tif", rows=rows, cols=cols, bands=2)
    cop_zarr.ingest(source, folder / "a.zarr")
    with rasterio.open(source) as tif:
        return cop_zarr.open(folder / "a.zarr"), tif.read(), tif.transform


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """52.625 … 47.625 N, 9.875 … 15.875 E; some cells are empty."""
    folder = tmp_path_factory.mktemp("small")
    cop_zarr.ingest(
        factory.write_geotiff(folder / "a.tif", rows=(150, 170), cols=(760, 784), bands=2),
        folder / "a.zarr",
    )
    return cop_zarr.open(folder / "a.zarr")


def drawn(seed, shape, kind):
    """Random numbers of a kind."""
    random = np.random.default_rng(seed)
    if kind == "bool":
        return random.random(shape) < 0.5
    if kind.startswith(("int", "uint")):
        return random.integers(0, 200, shape).astype(kind)
    values = random.normal(size=shape).astype(kind)
    values[::7] = np.nan
    values[3:4] = np.inf
    return values


@pytest.mark.parametrize(
    ("kind", "count"),
    [("bool", None), ("uint8", 3), ("int64", 1), ("float16", None), ("float32", 3), ("float64", 1)],
)
def test_geotiff_is_what_gdal_reads(place, tmp_path, kind, count):
    """Each cell's number is where the source has the cell; all others are nodata, and declared so."""
    store, truth, transform = place
    valid = (truth != 0).any(axis=0)
    values = drawn(1, (valid.sum(), *([count] if count else [])), kind)
    store.map(values, name="number").save(tmp_path / "a.tif")
    with rasterio.open(tmp_path / "a.tif") as tif:
        assert tif.crs.to_epsg() == 4326
        assert tif.transform == transform
        assert (tif.count, tif.shape) == (count or 1, valid.shape)
        assert tif.tags()["AREA_OR_POINT"] == "Area"
        assert tif.compression.name == "deflate"
        assert tif.descriptions[0] == ("number 0" if count == 3 else "number")
        assert "synthetic" not in tif.tags()
        assert tif.tags()["source_sha256"] == store.source["sha256"]
        found, dtype, masks = tif.read(), tif.dtypes[0], tif.read_masks()
        if kind.startswith("float"):
            assert dtype == ("float64" if kind == "float64" else "float32")
            assert np.isnan(tif.nodata)
        else:
            assert (dtype, tif.nodata) == ("uint8", 255)
    for band, expected in zip(found, values.reshape(len(values), -1).T, strict=True):
        np.testing.assert_array_equal(band[valid], expected.astype(dtype))
        np.testing.assert_array_equal(band[~valid], np.full((~valid).sum(), tif.nodata, dtype))
    np.testing.assert_array_equal(masks[0] == 255, valid & ~np.isnan(found[0].astype("f8")))


@pytest.mark.parametrize(
    ("limits", "dtype", "nodata"),
    [
        ((0, 254), "uint8", 255),
        ((0, 255), "int16", -32768),
        ((-1, 3), "int16", -32768),
        ((-32767, 32767), "int16", -32768),
        ((-32768, 0), "int32", -(2**31)),
        ((0, 2**31 - 1), "int32", -(2**31)),
        ((-(2**31), 0), "float64", np.nan),
        ((-(2**53), 2**53), "float64", np.nan),
    ],
)
def test_integers_get_the_smallest_type_that_has_a_nodata_value(small, tmp_path, limits, dtype, nodata):
    values = np.resize(limits, small.valid.sum())
    found = small.map(values, name="n")
    found.save(tmp_path / "a.tif")
    found.save(tmp_path / "a.nc")
    with rasterio.open(tmp_path / "a.tif") as tif:
        assert tif.dtypes == (dtype,)
        np.testing.assert_equal(tif.nodata, nodata)
        np.testing.assert_array_equal(tif.read(1)[small.valid], values)
    with xr.open_dataset(tmp_path / "a.nc", mask_and_scale=False) as raw:
        assert raw.n.dtype == dtype
        np.testing.assert_array_equal(raw.n.values[small.valid], values)
        np.testing.assert_equal(raw.n.values[~small.valid], nodata)
    np.testing.assert_array_equal(found.to_xarray().n.values[small.valid], values)


def test_a_large_file_is_a_bigtiff(small, tmp_path, monkeypatch):
    monkeypatch.setattr("cop_zarr.outputs.geotiff.BIG_BYTES", 20 * 24 * 8 * 2)
    for count, version in ((2, 42), (3, 43)):
        values = drawn(8, (small.valid.sum(), count), "float64")
        small.map(values).save(tmp_path / "a.tif", overwrite=True)
        assert int.from_bytes((tmp_path / "a.tif").read_bytes()[2:4], sys.byteorder) == version
        with rasterio.open(tmp_path / "a.tif") as tif:
            np.testing.assert_array_equal(tif.read()[:, small.valid], values.T)


def test_made_up_values_are_marked_everywhere(small, tmp_path):
    facts = {**small._facts, "synthetic": True}
    found = cop_zarr.CellMap(small.valid, grid=small.grid, valid=small.valid, name="land", facts=facts)
    assert "synthetic" in repr(found)
    found.save(tmp_path / "a.tif")
    with rasterio.open(tmp_path / "a.tif") as tif:
        assert tif.tags()["synthetic"] == "True"
    assert found.to_xarray().attrs["synthetic"] == 1
    assert "SYNTHETIC" in picture(found).get_title()


@pytest.mark.parametrize("suffix", ["nc", "zarr"])
@pytest.mark.parametrize(("kind", "count"), [("bool", None), ("int16", 4), ("float32", None)])
def test_netcdf_and_zarr_are_read_as_the_dataset(place, tmp_path, suffix, kind, count):
    store, truth, _ = place
    valid = (truth != 0).any(axis=0)
    values = drawn(2, (valid.sum(), *([count] if count else [])), kind)
    found = store.map(values, name="number")
    dataset, path = found.to_xarray(), tmp_path / f"a.{suffix}"
    found.save(path)
    with xr.open_dataset(path, decode_coords="all") if suffix == "nc" else xr.open_zarr(path) as read:
        read.load()
    if suffix == "nc":
        xr.testing.assert_equal(read, dataset)
        assert read.number.attrs == dataset.number.attrs
        assert read.attrs == dataset.attrs
        assert read.rio.crs.to_epsg() == 4326
        assert "_FillValue" not in read.latitude.encoding
    expected = np.full((count or 1, *valid.shape), np.nan)
    expected[:, valid] = values.reshape(len(values), -1).T
    np.testing.assert_array_equal(read.number.values, expected if count else expected[0])
    np.testing.assert_array_equal(read.valid.values, valid)
    np.testing.assert_array_equal(read.latitude, store.grid.latitudes)
    np.testing.assert_array_equal(read.longitude, store.grid.longitudes)
    assert read.number.dims == (("band",) if count else ()) + ("latitude", "longitude")


def test_a_whole_grid_and_the_order_of_cells_are_the_same(place):
    store, truth, _ = place
    cells = store.cells()
    for of_cells, of_grid in ((cells.vectors, truth.transpose(1, 2, 0)), (cells.vectors[:, 1], truth[1])):
        np.testing.assert_array_equal(store.map(of_cells).values, of_cells)
        np.testing.assert_array_equal(store.map(of_grid).values, of_cells)
        np.testing.assert_array_equal(store.map(of_grid.tolist()).values, of_cells)


def test_a_map_holds_its_own_values_and_needs_no_store(small, tmp_path):
    folder = tmp_path / "moved.zarr"
    shutil.copytree(small.url, folder)
    values = np.arange(small.valid.sum(), dtype=">i4")
    found = cop_zarr.open(folder).map(values, name="cell")
    shutil.rmtree(folder)
    values[:] = 0
    again = pickle.loads(pickle.dumps(found))
    again.save(tmp_path / "a.tif")
    with rasterio.open(tmp_path / "a.tif") as tif:
        np.testing.assert_array_equal(tif.read(1)[small.valid], np.arange(small.valid.sum()))
    again.save(tmp_path / "a.png")
    assert repr(again) == f"<CellMap cell ({len(values)},) int32>"


WRONG_VALUES = {
    "short": lambda n: np.zeros(n - 1),
    "none": lambda _: np.zeros(0),
    "number": lambda _: 5,
    "bands first": lambda _: np.zeros((3, 20, 24)),
    "transposed": lambda _: np.zeros((24, 20)),
    "too deep": lambda n: np.zeros((n, 1, 1)),
    "no band": lambda n: np.zeros((n, 0)),
    "text": lambda n: np.full(n, "forest"),
    "objects": lambda n: np.full(n, None),
    "complex": lambda n: np.zeros(n, "c16"),
    "times": lambda n: np.zeros(n, "M8[s]"),
    "ragged": lambda _: [[1, 2], [3]],
    "masked": lambda n: np.ma.masked_less(np.arange(n), 3),
    "huge": lambda n: np.full(n, 2**53 + 1),
    "a set": lambda n: set(range(n)),
}


def test_a_grid_that_may_be_numbers_of_cells(tmp_path):
    values = np.zeros((2, 3, 4), "f4")
    values[:, [0, 1, 2], [3, 0, 1]] = 1
    factory.write_geotiff(tmp_path / "a.tif", values, rows=(150, 153), cols=(760, 764))
    cop_zarr.ingest(tmp_path / "a.tif", tmp_path / "a.zarr")
    store = cop_zarr.open(tmp_path / "a.zarr")
    with pytest.raises(errors.InputError):
        store.map(np.arange(12.0).reshape(3, 4))
    np.testing.assert_array_equal(store.map(np.arange(12.0).reshape(3, 4, 1)).values[:, 0], [3, 4, 9])


@pytest.mark.parametrize("case", WRONG_VALUES)
def test_wrong_values(small, case):
    cells = int(small.valid.sum())
    with pytest.raises(errors.InputError) as raised:
        small.map(WRONG_VALUES[case](cells))
    if case in {"short", "none", "bands first", "transposed", "too deep"}:
        message = str(raised.value)
        assert {str(cells), "(20, 24)"} <= {word for word in (str(cells), "(20, 24)") if word in message}
        assert str(WRONG_VALUES[case](cells).shape) in message


def test_named_cures_work(small):
    """What the messages advise."""
    cells = int(small.valid.sum())
    bands_first = np.zeros((3, 20, 24))
    assert small.map(np.moveaxis(bands_first, 0, -1)).values.shape == (cells, 3)
    region = small.cells((12, 49, 14, 51))
    grid = np.full(small.grid.shape, np.nan)
    grid[region.rows, region.cols] = region.vectors[:, 0]
    assert np.isfinite(small.map(grid).values).sum() == len(region)
    names = np.array(["forest", "sea"])[np.arange(cells) % 2]
    assert small.map(np.unique(names, return_inverse=True)[1]).values.max() == 1
    masked = np.ma.masked_less(np.arange(cells, dtype="f8"), 3)
    assert np.isnan(small.map(masked.filled(np.nan)).values).sum() == 3


@pytest.mark.parametrize("name", ["", "two words", "valid", "latitude", "a/b", 5, None])
def test_wrong_names(small, name):
    with pytest.raises(errors.InputError):
        small.map(np.zeros(small.valid.sum()), name=name)


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf", "tif", "tiff", "nc", "zarr"])
def test_overwrite(small, tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    for _ in range(2):
        small.map(np.zeros(small.valid.sum(), int), name="old").save(path, overwrite=path.exists())
    with pytest.raises(errors.StoreExistsError):
        small.map(np.ones(small.valid.sum(), int), name="new").save(path)
    assert [found.name for found in tmp_path.iterdir()] == [path.name]
    if suffix == "zarr":
        assert {"old", "valid"} <= set(xr.open_zarr(path).variables)


@pytest.mark.parametrize("what", ["store", "folder", "file"])
def test_only_a_map_is_replaced_by_a_group(small, tmp_path, what):
    path = tmp_path / "a.zarr"
    if what == "store":
        shutil.copytree(small.url, path)
    elif what == "folder":
        path.mkdir()
        (path / "mine.txt").write_text("mine")
    else:
        path.write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(errors.StoreExistsError):
        small.map(np.zeros(small.valid.sum())).save(path, overwrite=True)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("path", "options", "error"),
    [
        ("a.jpg", {}, errors.InputError),
        ("a", {}, errors.InputError),
        ("s3://bucket/a.tif", {}, errors.InputError),
        ("a.tif", {"cmap": "viridis"}, errors.InputError),
        ("a.nc", {"region": (12, 50, 13, 51)}, errors.InputError),
        ("a.png", {"cmap": "nope"}, errors.InputError),
        ("a.png", {"region": (100, 0, 101, 1)}, errors.RegionError),
        ("nowhere/a.tif", {}, errors.StorageError),
        ("nowhere/a.nc", {}, errors.StorageError),
        ("nowhere/a.zarr", {}, errors.StorageError),
        ("nowhere/a.png", {}, errors.StorageError),
    ],
)
def test_a_failed_save_leaves_nothing(small, tmp_path, path, options, error):
    path = path if "://" in path else tmp_path / path
    with pytest.raises(error):
        small.map(np.zeros(small.valid.sum())).save(path, **options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", ["tif", "nc", "zarr"])
def test_an_interrupted_save_leaves_the_old_file(small, tmp_path, monkeypatch, suffix):
    path = tmp_path / f"a.{suffix}"
    old, new = (small.map(np.full(small.valid.sum(), number), name="n") for number in (1.0, 2.0))
    old.save(path)

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("cop_zarr.storage.files.system.sync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        new.save(path, overwrite=True)
    assert [found.name for found in tmp_path.iterdir()] == [path.name]
    read = xr.open_dataset(path, engine={"tif": "rasterio", "nc": "h5netcdf", "zarr": "zarr"}[suffix])
    assert np.nanmax(next(iter(read.data_vars.values()))) == 1


def picture(found, **options):
    ax = Figure(figsize=(9, 7), dpi=100).add_subplot()
    assert found.plot(ax=ax, **options) is ax
    return ax


def check_cells(ax, store, expected):
    """Compare the pixel at each cell's centre with RGB, ``(rows, cols, 3)``, NaN for grey."""
    at = pixels(ax)
    for row, lat in enumerate(store.grid.latitudes):
        for col, lon in enumerate(store.grid.longitudes):
            colour = expected[row, col] if np.isfinite(expected[row, col]).all() else GREY
            assert np.abs(at(lon, lat) - colour).max() <= 1, (row, col)


def on_grid(store, colours):
    grid = np.full((*store.valid.shape, 3), np.nan)
    grid[store.valid] = colours
    return grid


def caption(ax):
    return ax.texts[-1].get_text()


@pytest.mark.parametrize("cmap", [None, "magma"])
def test_numbers_have_the_colours_of_the_bar(small, cmap):
    values = drawn(3, small.valid.sum(), "float64")
    values[np.isinf(values)] = 9
    ax = picture(small.map(values, name="score"), cmap=cmap)
    low, high = np.nanmin(values), np.nanmax(values)
    colours = mpl.colormaps[cmap or "viridis"]((values - low) / (high - low))[:, :3] * 255
    colours[np.isnan(values)] = np.nan
    check_cells(ax, small, on_grid(small, colours))
    (bar,) = ax.child_axes
    np.testing.assert_allclose(bar.get_xlim(), (low, high))
    assert f"NaN ({np.isnan(values).sum()} cells)" in caption(ax)
    assert ax.get_title().endswith(": score")


@pytest.mark.parametrize(("kind", "count"), [("int64", 5), ("bool", 2), ("float32", 3)])
def test_classes_have_the_colours_of_the_legend(small, kind, count):
    classes = np.array([7, -1, 4, 90, 12])[:count]
    values = drawn(4, small.valid.sum(), "int64") % count
    values = values.astype(bool) if kind == "bool" else classes[values].astype(kind)
    ax = picture(small.map(values), categorical=True if kind == "float32" else None)
    legend = ax.get_legend()
    texts = [text.get_text() for text in legend.get_texts()]
    assert texts == [str(value) for value in np.unique(values).tolist()]
    colour = {
        text: np.multiply(patch.get_facecolor()[:3], 255)
        for text, patch in zip(texts, legend.get_patches(), strict=True)
    }
    assert len({tuple(value) for value in colour.values()}) == count
    check_cells(ax, small, on_grid(small, [colour[str(value)] for value in values.tolist()]))
    assert f"{count} classes" in caption(ax)


def test_many_classes_have_a_bar_of_distinct_colours(small):
    values = np.arange(small.valid.sum()) % 40 * 3
    ax = picture(small.map(values))
    assert ax.get_legend() is None
    (bar,) = ax.child_axes
    assert bar.get_xlim() == (-0.5, 39.5)
    ax.figure.draw_without_rendering()
    labels = [label.get_text() for label in bar.get_xticklabels()]
    assert labels == [str(3 * round(tick)) for tick in bar.get_xticks()]
    colours = {tuple(colour) for colour in ax.images[0].get_array()[small.valid]}
    assert len(colours) == 40
    assert not [colour for colour in colours if np.ptp(colour[:3]) < 10]  # grey


@pytest.mark.parametrize("count", [1, 9, 18, 19, 300])
def test_classes_of_any_count_have_colours_of_their_own(small, count):
    ax = picture(small.map(np.arange(small.valid.sum()) % count))
    assert len({tuple(colour) for colour in ax.images[0].get_array()[small.valid]}) == min(count, 256)


def test_colours_are_those_of_the_whole_map(small):
    values = drawn(5, small.valid.sum(), "int64")
    found = small.map(values, name="n")
    for categorical in (True, False):
        whole = picture(found, categorical=categorical).images[0].get_array()
        part = picture(found, categorical=categorical, region=(12, 48.75, 14.5, 51.5))
        np.testing.assert_array_equal(part.images[0].get_array(), whole[4:16, 8:19])
        assert part.get_xlim() == (11.875, 14.625)


def test_three_floats_are_red_green_and_blue(small):
    values = np.random.default_rng(6).normal(size=(small.valid.sum(), 3))
    ax = picture(small.map(values, name="pc"))
    low, high = np.quantile(values, [0.02, 0.98], axis=0)
    check_cells(ax, small, on_grid(small, np.clip((values - low) / (high - low), 0, 1) * 255))
    assert "red, green, blue: pc 0, 1, 2" in caption(ax)


@pytest.mark.parametrize(("count", "band"), [(2, None), (2, 1), (3, 2), (5, 0)])
def test_one_of_several_numbers_is_plotted_and_named(small, count, band):
    values = np.random.default_rng(7).normal(size=(small.valid.sum(), count))
    ax = picture(small.map(values, name="pc"), band=band)
    alone = picture(small.map(values[:, band or 0]))
    np.testing.assert_array_equal(ax.images[0].get_array(), alone.images[0].get_array())
    assert f"pc {band or 0} (of 0 to {count - 1})" in caption(ax)


def test_the_antimeridian_is_unwrapped(store):
    cols = store.valid.nonzero()[1]
    ax = picture(store.map(cols % 9, name="n"), region=(178.5, -12.4, -178.5, -10))
    assert ax.get_xlim() == (178.375, 181.625)
    image = ax.images[0].get_array()
    of_class = {}
    for row in range(11):
        for col in range(13):
            lattice = 400 + row, (1434 + col) % 1440
            if store.valid[lattice]:
                assert of_class.setdefault(lattice[1] % 9, tuple(image[row, col])) == tuple(image[row, col])
            else:
                assert image[row, col, 3] == 0
    assert len(set(of_class.values())) == len(of_class) > 5


def test_a_polygon_has_an_outline(small):
    polygon = shapely.Polygon([(10.4, 49.1), (13.9, 48.4), (14.6, 51.2), (11.1, 51.9)])
    ax = picture(small.map(np.zeros(small.valid.sum())), region=polygon)
    (line,) = ax.lines
    assert line.get_xydata()[:, 0].min() == 10.4
    assert ax.get_xlim() == (10.375, 14.625)


@pytest.mark.parametrize("value", [np.nan, np.inf, 5.0, 1e299])
def test_numbers_without_a_range(small, value):
    values = np.full(small.valid.sum(), value)
    for categorical in (False, True):
        ax = picture(small.map(values), categorical=categorical)
        pixels(ax)
        shown = ax.images[0].get_array()[small.valid]
        assert (shown[:, 3] > 0).all() == (np.isfinite(value) or (categorical and not np.isnan(value)))


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"band": 2}, errors.InputError),
        ({"band": -1}, errors.InputError),
        ({"band": True}, errors.InputError),
        ({"band": 0.5}, errors.InputError),
        ({"cmap": 5}, errors.InputError),
        ({"cmap": "no such"}, errors.InputError),
        ({"ax": 5}, errors.InputError),
        ({"region": (200, 0, 201, 1)}, errors.RegionError),
        ({"region": "x"}, errors.RegionError),
        ({"categorical": "yes"}, errors.InputError),
    ],
)
def test_wrong_options_of_a_plot(small, options, error):
    with pytest.raises(error):
        small.map(np.zeros((small.valid.sum(), 2))).plot(**options)


def test_numbers_too_large_for_colours(small):
    values = np.full(small.valid.sum(), 1e308)
    values[0] = -1e308
    for numbers in (values, np.stack([values] * 3, axis=1)):
        with pytest.raises(errors.InputError):
            small.map(numbers).plot()


def test_a_map_of_no_cell(tmp_path):
    factory.write_geotiff(tmp_path / "a.tif", np.zeros((2, 20, 24), "f4"), rows=(150, 170), cols=(760, 784))
    cop_zarr.ingest(tmp_path / "a.tif", tmp_path / "a.zarr")
    for values in (np.zeros(0), np.zeros(0, int), np.zeros((0, 3))):
        found = cop_zarr.open(tmp_path / "a.zarr").map(values)
        pixels(picture(found))
        for suffix in ("tif", "nc", "zarr"):
            found.save(tmp_path / f"b.{suffix}", overwrite=True)
        assert not found.to_xarray().valid.any()


@pytest.mark.parametrize(
    ("blocked", "suffix", "package"),
    [
        (["matplotlib"], "png", "matplotlib"),
        (["xarray"], "nc", "xarray"),
        (["xarray"], "zarr", "xarray"),
        (["h5netcdf"], "nc", "h5netcdf"),
    ],
)
def test_a_package_that_is_missing_is_named(small, tmp_path, blocked, suffix, package):
    code = (
        "import sys, importlib.util\n"
        f"for name in {blocked}: sys.modules[name] = None\n"
        "import cop_zarr; s = cop_zarr.open(sys.argv[1])\n"
        "s.map(s.valid).save(sys.argv[2])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, small.url, tmp_path / f"a.{suffix}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "MissingDependencyError" in done.stderr.splitlines()[-1]
    assert re.search(f"pip install .*{package}", done.stderr.splitlines()[-1])
    assert not list(tmp_path.iterdir())
