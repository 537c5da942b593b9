"""rs-embed's own calls, before and after ``import cop_zarr.interop.rs_embed``: the same to the last bit.

rs-embed needs Python 3.12, and its requirements (PyTorch, Earth Engine, ...) serve other models. In an
environment that has this project's extra ``test``, this is enough::

    pip install --no-deps rs-embed==0.3.1

rs-embed takes no file of less than 700 MiB for its GeoTIFF. The one here has 16 bands; a hole at its end
makes it large enough, and takes no room on the disk.
"""

import os
import subprocess
import sys

import numpy as np
import pytest

from tests.support import factory

rs_embed = pytest.importorskip("rs_embed")

from rs_embed.core.errors import ModelError, RSEmbedError  # noqa: E402  # only if it is installed

from cop_zarr.interop import rs_embed as interop  # noqa: E402

MIN_BYTES = 700 * 1024 * 1024
YEAR = rs_embed.TemporalSpec.year(2021)
MEAN, MAX = rs_embed.OutputSpec.pooled(), rs_embed.OutputSpec.pooled(pooling="max")
GRID = rs_embed.OutputSpec.grid()
BOX, SMALL_BOX = rs_embed.BBox(-180, 50, -179, 51), rs_embed.BBox(10, 10, 10.1, 10.1)

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*not directly memory-mappable"),
    pytest.mark.filterwarnings("ignore:.*fixed product grid"),
    pytest.mark.filterwarnings("ignore:creating"),
]


def noise():
    """Values whose float32 sums depend on their order."""
    values = factory.truth(bands=16)
    random = np.random.default_rng(7).standard_normal(values.shape, "f4")
    return np.where(values == 0, values, random)


def write_large_geotiff(folder, values=None, name="embed_map_310k.tif", **options):
    path = factory.write_geotiff(folder / name, values, **options)
    os.truncate(path, MIN_BYTES)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder as ``RS_EMBED_COP_DIR`` names it."""
    return write_large_geotiff(tmp_path_factory.mktemp("rs-embed"), noise()).parent


@pytest.fixture(autouse=True)
def _settings(folder, monkeypatch):
    monkeypatch.setenv("RS_EMBED_COP_DIR", str(folder))
    monkeypatch.delenv("COP_ZARR_STORE", raising=False)
    yield
    interop.install()


def ask_one(spatial, output=MEAN, temporal=YEAR, **more):
    return rs_embed.get_embedding("copernicus", spatial=spatial, temporal=temporal, output=output, **more)


def ask_many(spatials, output=MEAN):
    return rs_embed.get_embeddings_batch("copernicus", spatials=spatials, temporal=YEAR, output=output)


def outcome(ask, *args, **more):
    """An answer, or an error's type and text."""
    try:
        return ask(*args, **more)
    except (RSEmbedError, OSError) as error:
        return type(error), str(error)


def before_and_after(ask):
    """What rs-embed answers by itself, and with the store."""
    interop.uninstall()
    before = ask()
    interop.install()
    return before, ask()


def assert_same(before, after):
    """Two answers, two errors, or two lists of these."""
    assert type(before) is type(after)
    if isinstance(before, list):
        assert len(before) == len(after)
        for one, other in zip(before, after, strict=True):
            assert_same(one, other)
    elif isinstance(before, tuple):
        assert before == after
    else:
        one, other = np.asarray(before.data), np.asarray(after.data)
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one.view("u4"), other.view("u4"))
        assert type(before.data) is type(after.data)
        assert_same_meta(before.meta, after.meta)
        if hasattr(before.data, "attrs"):
            assert (before.data.dims, before.data.name) == (after.data.dims, after.data.name)
            assert list(before.data.coords) == list(after.data.coords)
            assert_same_meta(before.data.attrs, after.data.attrs)


def assert_same_meta(before, after):
    assert list(before) == list(after)
    assert (before["backend"], after["backend"]) == ("vendored_geotiff", "cop_zarr")
    assert {**before, "backend": None} == {**after, "backend": None}


def random_boxes(count, seed):
    rng = np.random.default_rng(seed)
    found = []
    while len(found) < count:
        width, height = np.exp(rng.uniform(np.log(0.31), np.log(40), 2)).tolist()
        west, south = rng.uniform(-180, 179.6), rng.uniform(-90, 89.6)
        found.append(rs_embed.BBox(west, south, min(west + width, 180.0), min(south + height, 90.0)))
    return found


def boxes_on_edges():
    """Boxes whose edges are cell edges, or one bit to either side."""
    rng, found = np.random.default_rng(3), []
    for _ in range(60):
        west, south = -180.125 + 0.25 * rng.integers(1, 1400), -90.125 + 0.25 * rng.integers(1, 690)
        edges = [west, south, west + 0.25 * rng.integers(1, 9), south + 0.25 * rng.integers(1, 9)]
        for bits in range(3):
            moved = [float(np.nextafter(edge, edge + rng.integers(-1, 2) * bits)) for edge in edges]
            found.append(rs_embed.BBox(*moved))
    return found


def random_points(count):
    rng = np.random.default_rng(5)
    draws = np.column_stack(
        [rng.uniform(-180, 180, count), rng.uniform(-90, 90, count), 10 ** rng.uniform(4, 6, count)]
    )
    return [rs_embed.PointBuffer(*draw) for draw in draws.tolist()]


SPECIAL = [
    rs_embed.BBox(-180, -90, 180, 90),
    BOX,
    rs_embed.BBox(179, 50, 180, 51),
    rs_embed.BBox(179.5, -20, 179.875, -19),
    rs_embed.BBox(0, 89.5, 2, 90),
    rs_embed.BBox(0, -90, 2, -89.6),
    rs_embed.BBox(-64.1, 5, -63.85, 6),  # a quarter of a degree, less one bit
    SMALL_BOX,
    rs_embed.BBox(10, 10, 10.25, 10.25),
    rs_embed.BBox(10.125, 10.125, 10.375, 10.375),
    rs_embed.BBox(-180, 0, 180, 0.3),  # whole rows
    rs_embed.BBox(170, 0, -170, 10),  # malformed for rs-embed, as are the next
    rs_embed.BBox(10, 10, 10, 11),
    rs_embed.BBox(-190, 0, -180, 10),
    rs_embed.BBox(0, 80, 1, 91),
    rs_embed.BBox(0, 0, 1, 1, crs="EPSG:3857"),
    rs_embed.BBox(float("nan"), 0, 1, 1),
    rs_embed.PointBuffer(lon=121.5, lat=31.2, buffer_m=30_000),
    rs_embed.PointBuffer(lon=121.5, lat=31.2, buffer_m=5_000),
    rs_embed.PointBuffer(lon=179.9, lat=0, buffer_m=40_000),
    rs_embed.PointBuffer(lon=-179.9, lat=60, buffer_m=40_000),
    rs_embed.PointBuffer(lon=10, lat=89.9, buffer_m=40_000),
    rs_embed.PointBuffer(lon=10, lat=-90, buffer_m=100_000),
    rs_embed.PointBuffer(lon=10, lat=50, buffer_m=-1),
    "a box",
    None,
]


@pytest.mark.parametrize("output", [MEAN, MAX, GRID], ids=["mean", "max", "grid"])
@pytest.mark.parametrize(
    ("regions", "min_answers", "min_errors"),
    [
        (SPECIAL, 10, 10),
        ([*random_boxes(60, seed=1), *boxes_on_edges(), *random_points(60)], 150, 1),
        pytest.param(random_boxes(300, seed=6) + random_points(200), 400, 1, marks=pytest.mark.slow),
    ],
    ids=["special", "few", "many"],
)
def test_single_regions(regions, min_answers, min_errors, output):
    before, after = before_and_after(lambda: [outcome(ask_one, region, output) for region in regions])
    assert_same(before, after)
    errors = sum(isinstance(each, tuple) for each in before)
    assert errors >= min_errors
    assert len(before) - errors >= min_answers


@pytest.mark.parametrize("workers", ["1", "4"])
@pytest.mark.parametrize("output", [MEAN, GRID], ids=["mean", "grid"])
def test_batch(output, workers, monkeypatch):
    monkeypatch.setenv("RS_EMBED_COPERNICUS_BATCH_WORKERS", workers)
    boxes = [box for box in random_boxes(120, seed=2) if box.maxlon < 180 and box.maxlat < 90]
    assert len(boxes) > 60
    assert_same(*before_and_after(lambda: ask_many(boxes, output)))


@pytest.mark.parametrize("regions", [[], None, [BOX, SMALL_BOX], [BOX, SPECIAL[11]], ["a box"]])
def test_invalid_batch(regions):
    before, after = before_and_after(lambda: outcome(ask_many, regions))
    assert isinstance(before, tuple)
    assert before == after


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("more", "answered"),
    [
        ({"temporal": None}, False),
        ({"temporal": rs_embed.TemporalSpec.year(2020)}, False),
        ({"temporal": rs_embed.TemporalSpec.range("2020-01-01", "2021-01-01")}, False),
        ({"temporal": rs_embed.TemporalSpec.range("2021-03-01", "2021-04-01")}, True),
        ({"backend": "nonsense"}, False),
        ({"variant": "large", "data_dir": "/dev/null"}, False),
        ({"backend": "auto"}, True),
        ({"backend": " LOCAL "}, True),
        ({"backend": "gee"}, True),
    ],
    ids=str,
)
def test_arguments(more, answered):
    before, after = before_and_after(lambda: outcome(ask_one, BOX, **more))
    assert isinstance(before, tuple) != answered, before
    assert_same(before, after)


def ask_model_object():
    return rs_embed.Model("copernicus").get_embedding(BOX, temporal=YEAR)


def ask_as_before_0_3():
    sensor = rs_embed.SensorSpec(collection=f"dir:{os.environ['RS_EMBED_COP_DIR']}", bands=())
    with pytest.warns(DeprecationWarning, match="deprecated"):
        return ask_one(BOX, sensor=sensor)


def ask_with_folder():
    folder = os.environ["RS_EMBED_COP_DIR"]
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("RS_EMBED_COP_DIR", "/nowhere")
        return ask_one(BOX, data_dir=folder)


@pytest.mark.parametrize("ask", [ask_model_object, ask_as_before_0_3, ask_with_folder])
def test_other_ways_to_ask(ask):
    assert_same(*before_and_after(ask))


@pytest.mark.slow
def test_band_sequential_file_is_summed_in_its_own_order(tmp_path):
    """NumPy sums a band's rows pairwise there, and whole rows in one go."""
    layout = {"interleave": "band", "tiled": False, "blockxsize": None, "blockysize": None}
    path = write_large_geotiff(tmp_path, noise(), "embed_map_bands.tif", **layout)
    regions = [*random_boxes(40, seed=4), SPECIAL[0], SPECIAL[10]]
    for output in (MEAN, GRID):
        before, after = before_and_after(
            lambda o=output: [outcome(ask_one, one, o, data_dir=str(path.parent)) for one in regions]
        )
        assert_same(before, after)


def test_a_grid_belongs_to_the_caller():
    first = ask_one(BOX, GRID)
    values = np.array(first.data)
    first.data.data[:] = 7
    np.testing.assert_array_equal(np.asarray(ask_one(BOX, GRID).data), values)


def test_importing_it_after_a_first_use():
    code = (
        "import rs_embed as r, warnings; warnings.simplefilter('ignore')\n"
        "ask = lambda: r.get_embedding('copernicus', spatial=r.BBox(0, 0, 1, 1), "
        "temporal=r.TemporalSpec.year(2021)).meta['backend']\n"
        "one, described = ask(), r.describe_model('copernicus')\n"
        "import cop_zarr.interop.rs_embed\n"
        "print(one, ask(), described == r.describe_model('copernicus'))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["vendored_geotiff", "cop_zarr", "True"]


def test_errors_are_those_of_rs_embed(folder, tmp_path):
    """Of a region, for which no store is created, and of a store of another file."""
    path = write_large_geotiff(tmp_path)
    with pytest.raises(ModelError):
        ask_one(SMALL_BOX, data_dir=str(tmp_path))
    assert list(tmp_path.iterdir()) == [path]
    (tmp_path / "embed_map_310k.zarr").symlink_to(folder / "embed_map_310k.zarr")
    ask_one(BOX)
    with pytest.raises(ModelError, match="another file"):
        ask_one(BOX, data_dir=str(tmp_path))


def test_folder_without_the_file(tmp_path, monkeypatch):
    def offline(**_):
        raise OSError("offline")

    monkeypatch.setattr("rs_embed.embedders.shared.hf_hub_download_cache_first", offline)
    before, after = before_and_after(lambda: outcome(ask_one, BOX, data_dir=str(tmp_path)))
    assert before[0] is ModelError
    assert before == after
