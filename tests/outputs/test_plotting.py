"""Plots: colours, coastlines and weights against independent computations, read from the pixels."""

import subprocess
import sys

import matplotlib as mpl
import numpy as np
import pytest
import shapely
from matplotlib.figure import Figure

import cop_zarr
from cop_zarr import errors
from cop_zarr.core.grid import Window
from cop_zarr.outputs.plotting.axes import fit_figure
from cop_zarr.outputs.plotting.extent import bbox_extent, coastlines
from cop_zarr.outputs.plotting.save import save_plot
from cop_zarr.source.synthetic import LATTICE
from tests.support import factory
from tests.support.pictures import pixels

ROWS, COLS = (150, 170), (760, 784)  # 52.625 … 47.625 N, 9.875 … 15.875 E
HERE = {"rows": ROWS, "cols": COLS}
GREY = (230, 232, 234)


def ingested(folder, values, **place):
    """An open store of these values, ``(bands, rows, cols)``."""
    source = factory.write_geotiff(folder / "source.tif", values.astype("f4"), **(place or HERE))
    cop_zarr.ingest(source, folder / "a.zarr")
    return cop_zarr.open(folder / "a.zarr")


@pytest.fixture(scope="module")
def vectors():
    """Cells that vary in ten directions, in each less than in the last, far from 0; a sixth is empty."""
    random = np.random.default_rng(7)
    mixing = np.linalg.qr(random.normal(size=(10, 10)))[0] * np.geomspace(8, 0.5, 10)[:, None]
    values = 40 + np.einsum("rck,kb->brc", random.normal(size=(20, 24, 10)), mixing)
    values[:, random.random((20, 24)) < 1 / 6] = 0
    return values.astype("f4")


@pytest.fixture(scope="module")
def small(vectors, tmp_path_factory):
    return ingested(tmp_path_factory.mktemp("small"), vectors)


def truth(vectors):
    """Axes by singular values of all cells at once, shares of variance, and colours by sorting."""
    valid = (vectors != 0).any(axis=0)
    cells = vectors[:, valid].T.astype("f8")
    centred = cells - cells.mean(axis=0)
    _, sizes, axes = np.linalg.svd(centred, full_matrices=False)
    axes = np.array([axis if axis[np.abs(axis).argmax()] > 0 else -axis for axis in axes[:3]])
    image = np.zeros((*valid.shape, 3))
    for channel, axis in enumerate(axes):
        scores = centred @ axis
        ordered = np.sort(scores)
        low, high = (
            np.interp(part * (len(ordered) - 1), range(len(ordered)), ordered) for part in (0.02, 0.98)
        )
        image[valid, channel] = np.clip((scores - low) / (high - low), 0, 1) * 255
    return axes, (sizes**2 / (sizes**2).sum())[:3], image, valid


def check_colours(ax, cells, west, north, shown=(slice(None), slice(None))):
    """Compare the pixels of a part of cells with the truth; west, north is the centre of its first."""
    _, _, image, valid = truth(cells)
    image, valid = image[shown], valid[shown]
    at = pixels(ax)
    for row, col in np.ndindex(valid.shape):
        expected = image[row, col] if valid[row, col] else GREY
        assert np.abs(at(west + 0.25 * col, north - 0.25 * row) - expected).max() <= 1, (row, col)


def plot(store, *args, **options):
    ax = Figure(figsize=(9, 7), dpi=100).add_subplot()
    assert store.plot(*args, ax=ax, **options) is ax
    return ax


def texts(ax):
    return [text.get_text() for text in ax.texts]


@pytest.mark.parametrize(
    ("bbox", "shown"),
    [
        (None, ((0, 20), (0, 24))),
        ((12, 48.75, 14.5, 51.5), ((4, 16), (8, 19))),
        ((0, 50, 12, 80), ((0, 11), (0, 9))),
    ],
)
@pytest.mark.parametrize("colours_of", ["store", "shown"])
def test_colours_are_those_of_all_cells_or_of_those_shown(small, vectors, bbox, shown, colours_of):
    """All of the store, a part of it, and a box that goes beyond it."""
    ax = plot(small, bbox, colours_of=colours_of)
    rows, cols = shown
    shown = slice(*rows), slice(*cols)
    place = 10 + 0.25 * cols[0], 52.5 - 0.25 * rows[0]
    if colours_of == "store":
        check_colours(ax, vectors, *place, shown)
    else:
        check_colours(ax, vectors[:, *shown], *place)
    assert ax.get_xlim() == (9.875 + 0.25 * cols[0], 9.875 + 0.25 * cols[1])
    assert ax.get_ylim() == (52.625 - 0.25 * rows[1], 52.625 - 0.25 * rows[0])


def test_antimeridian_is_unwrapped(tmp_path):
    random = np.random.default_rng(3)
    values = random.normal(size=(4, 40, 1440)).astype("f4") * np.array([4, 3, 2, 1], "f4")[:, None, None]
    values[:, random.random((40, 1440)) < 0.3] = 0
    store = ingested(tmp_path, values, rows=(390, 430), cols=(0, 1440))
    window = slice(10, 21), slice(13)  # lattice columns 1434 … 1446, rows 400 … 410
    ax = plot(store, (178.5, -12.4, -178.5, -10))
    check_colours(ax, np.roll(values, 6, axis=2), 178.5, -10, window)
    labels = [label.get_text() for label in ax.get_xticklabels()]
    assert {"179°E", "180°", "179°W"} <= set(labels)


@pytest.mark.parametrize("seed", range(2))
def test_coastlines_are_the_edges_between_data_and_none(small, seed):
    mask = np.random.default_rng(seed).random((20, 24)) < 0.3 + 0.4 * seed
    shown = bbox_extent(small.grid, mask, (10.5, 48, 15, 52))
    window, edges = shown.window, []
    for row in range(window.row, window.row_stop):
        for col in range(window.col, window.col_stop):
            west, north = 9.875 + 0.25 * col, 52.625 - 0.25 * row
            if col + 1 < window.col_stop and mask[row, col] != mask[row, col + 1]:
                edges.append([(west + 0.25, north), (west + 0.25, north - 0.25)])
            if row + 1 < window.row_stop and mask[row, col] != mask[row + 1, col]:
                edges.append([(west, north - 0.25), (west + 0.25, north - 0.25)])
    found = shapely.linestrings(coastlines(shown))
    assert shapely.union_all(found).equals(shapely.union_all(shapely.linestrings(edges)))
    assert len(found) < len(edges)
    assert shapely.length(found).sum() == 0.25 * len(edges)


FULL = 255 * np.array(mpl.colormaps["Blues"](0.58)[:3])
POLYGON = shapely.Polygon(
    [(10.4, 49.1), (13.9, 48.4), (14.6, 51.2), (11.1, 51.9)], [[(12, 50), (13, 50), (12.4, 50.8)]]
)


@pytest.mark.parametrize("empty", ["include", "skip"])
def test_cells_of_a_query_bear_their_weights(small, empty):
    region = shapely.box(11.3, 49.3, 13.4, 50.9) - shapely.box(12, 50, 12.5, 50.3)
    ax = plot(small, region=region, empty=empty)
    at = pixels(ax)
    written = {text.get_position(): text.get_text() for text in ax.texts if text.get_position() != (0, -44)}
    for row, col in np.ndindex(20, 24):
        lon, lat = 10 + 0.25 * col, 52.5 - 0.25 * row
        cell = shapely.box(lon - 0.125, lat - 0.125, lon + 0.125, lat + 0.125)
        part = cell.intersection(region).area / cell.area
        counts = part > 0 and (empty == "include" or small.valid[row, col])
        text = written.pop((lon, lat), None)
        if not counts:
            assert text is None
        elif text == "<0.01":
            assert part < 0.005
        else:
            assert abs(float(text) - part) <= 0.00501
            shade = at(lon - 0.06, lat + 0.085) if small.valid[row, col] else None
            if shade is not None and part > 0.999:
                assert np.abs(shade - FULL).max() <= 1
    assert all("pooling" in text for text in written.values())


def test_areas_are_written_in_square_kilometres(small):
    ax = plot(small, region=(12, 50, 12.75, 50.5), weights="area")
    found = small.query((12, 50, 12.75, 50.5), weights="area").weights / 1e6
    numbers = sorted(float(text) for text in texts(ax) if text.isdigit())
    np.testing.assert_allclose(numbers, sorted(found.ravel()), atol=0.5)
    assert "km²" in " ".join(text.get_text() for text in ax.get_legend().get_texts())


def test_outline_is_the_regions(store):
    ax = plot(store, region=(179, -18, -178.6, -16))
    (line,) = [line for line in ax.lines if line.get_color() == "#d55e00"]
    assert np.ptp(line.get_xdata()) == pytest.approx(2.4)
    west, east = ax.get_xlim()
    assert west < line.get_xdata().min() < line.get_xdata().max() < east
    rings = plot(store, region=POLYGON).lines
    assert sorted(len(line.get_xdata()) for line in rings) == [4, 5]
    again = plot(store, (170, -20, -170, -10), region=(-179, -18, -178, -16))  # in the other frame
    assert [line.get_xdata().max() for line in again.lines] == [182]


def test_large_regions_have_no_numbers_and_no_chunk_is_read(watched):
    store, keys = watched
    ax = plot(store, region=shapely.Point(10, 45).buffer(8))
    assert len(ax.texts) == 1  # the caption
    assert not [key for key in keys if key.startswith("embedding/c/")]


@pytest.mark.parametrize("bands", [1, 3])
def test_fewer_components_than_channels(tmp_path, bands):
    values = np.zeros((bands, 20, 24))
    values[0] = 1 + np.arange(480).reshape(20, 24)
    store = ingested(tmp_path, values)
    at = pixels(plot(store))
    assert at(10, 52.5)[0] < at(15.75, 47.75)[0]  # the values grow to the south-east
    assert at(12, 50)[2] == 128


def test_one_cell_and_none(tmp_path):
    values = np.zeros((5, 20, 24))
    for folder, colour in (("none", GREY), ("one", (128, 128, 128))):
        (tmp_path / folder).mkdir()
        assert tuple(pixels(plot(ingested(tmp_path / folder, values)))(12, 50.5)) == colour
        values[:, 8, 8] = [1, 2, 3, 4, 5]


def test_values_that_are_not_finite_or_huge(tmp_path):
    """Cells of NaN and infinity are grey and not counted."""
    values = np.random.default_rng(0).normal(3e37, 1e37, size=(5, 20, 24))
    values[1, 3, 3], values[2, 4, 4] = np.nan, np.inf
    ax = plot(ingested(tmp_path, values))
    at = pixels(ax)
    assert "\nof all 478 cells" in texts(ax)[0]
    assert np.ptp([at(10 + 0.25 * col, 50) for col in range(20)]) > 100
    assert tuple(at(10.75, 51.75)) == tuple(at(11, 51.5)) == GREY


def test_title_and_caption_say_synthetic(tmp_path, small):
    place = LATTICE.part(Window(150, 170, 760, 784))
    cop_zarr.ingest(cop_zarr.synthesize(tmp_path / "a.tif", grid=place, bands=4), tmp_path / "a.zarr")
    for options in ({}, {"region": (12, 50, 13, 51)}):
        ax = plot(cop_zarr.open(tmp_path / "a.zarr"), **options)
        assert "SYNTHETIC" in ax.get_title()
        assert "SYNTHETIC" in texts(ax)[-1]
        assert "CC-BY" not in texts(ax)[-1]
        ax = plot(small, **options)
        assert "SYNTHETIC" not in ax.get_title() + texts(ax)[-1]
        assert "CC-BY-4.0" in texts(ax)[-1]


def test_progress_ends_at_all(small):
    calls = []
    plot(small, colours_of="shown", progress=lambda done, total: calls.append((done, total)))
    total = 2 * int(small.valid.sum()) * 10 * 4
    assert calls == sorted(calls)
    assert calls[-1] == (total, total)


@pytest.mark.parametrize(
    ("arguments", "options", "error"),
    [
        ((POLYGON,), {}, errors.InputError),
        (((100, 0, 101, 1),), {}, errors.RegionError),
        ((), {"weights": "area"}, errors.InputError),
        ((), {"crs": 3857}, errors.InputError),
        ((), {"region": (12, 50, 12.1, 50.1)}, errors.SubcellError),
        ((), {"ax": "x"}, errors.InputError),
        ((), {"colours_of": "all"}, errors.InputError),
    ],
)
def test_wrong_arguments(small, arguments, options, error):
    with pytest.raises(error):
        small.plot(*arguments, **options)


def test_a_notebook_gets_a_pyplot_figure(small, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "agg")
    plt = pytest.importorskip("matplotlib.pyplot")
    monkeypatch.setattr(plt, "show", lambda *_, **__: pytest.fail("shown"))
    ax = small.plot((12, 48, 14, 52))
    try:
        assert plt.gcf() is ax.figure
        width, height = ax.figure.get_size_inches()
        box = ax.get_position()
        assert box.width * width / (box.height * height) == pytest.approx(2.25 / 4.25)  # 9 x 17 cells
    finally:
        plt.close(ax.figure)


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_the_same_plot_has_the_same_bytes(small, tmp_path, suffix):
    for name, settings in (("a", {}), ("b", {"font.size": 30, "axes.grid": True, "savefig.bbox": "tight"})):
        with mpl.rc_context(settings):
            save_plot(tmp_path / f"{name}.{suffix}", lambda ax: small.plot(region=POLYGON, ax=ax), dpi=60)
    found = (tmp_path / f"a.{suffix}").read_bytes()
    assert found == (tmp_path / f"b.{suffix}").read_bytes()
    assert not [word for word in (b"Software", b"<dc:date>", b"CreationDate") if word in found]
    if suffix == "png":
        assert int.from_bytes(found[16:20]) == 600  # pixels wide


def test_a_failed_plot_leaves_no_file(small, tmp_path):
    def fail(ax):
        raise errors.ChunkError("damaged")

    with pytest.raises(errors.ChunkError):
        save_plot(tmp_path / "a.png", fail)
    with pytest.raises(errors.StorageError):
        save_plot(tmp_path / "nowhere" / "a.png", lambda ax: small.plot(ax=ax))
    assert not list(tmp_path.iterdir())


def test_the_globe_and_cells_smaller_than_pixels(store):
    ax = Figure(figsize=(4, 3), dpi=50).add_subplot()
    store.plot(ax=ax)
    assert (ax.get_xlim(), ax.get_ylim(), ax.get_aspect()) == ((-180.125, 179.875), (-90, 90), 1)
    assert ax.get_images()[0].get_interpolation() == "antialiased"
    fit_figure(ax, 40)
    assert ax.get_images()[0].get_interpolation() == "nearest"


BLOCKED = "import sys; sys.modules['matplotlib'] = None; "
ASK = "import cop_zarr; s = cop_zarr.open(sys.argv[1]); "


def python(code, *arguments):
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, check=False
    )


def test_matplotlib_that_is_missing_is_named(store_path, tmp_path):
    done = python(BLOCKED + ASK + "s.query((120, 30, 122, 32)); s.plot()", store_path)
    assert "MissingDependencyError" in done.stderr.splitlines()[-1]
    assert "pip install 'matplotlib>=" in done.stderr.splitlines()[-1]


def test_pyplot_is_left_alone(store_path):
    draw = (
        "from matplotlib.figure import Figure; ax = Figure().add_subplot(); "
        "s.plot((0, 0, 9, 9), colours_of='shown', ax=ax); "
    )
    done = python("import sys; " + ASK + draw + "print('matplotlib.pyplot' in sys.modules)", store_path)
    assert done.stdout == "False\n", done.stderr
