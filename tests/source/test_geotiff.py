"""What GDAL writes is what is read, whatever the container; what cannot be ingested is refused."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import numpy as np
import pytest
import rasterio
import tifffile
from affine import Affine

from cop_zarr.core.grid import Grid
from cop_zarr.errors import MemoryLimitError, SourceError
from cop_zarr.source.geotiff import GeoTiff
from cop_zarr.source.tags import GeoTiffInfo
from tests.support import factory

ROWS, COLS = (300, 361), (600, 645)
SHAPE = 61, 45
TILES = {"blockxsize": 32, "blockysize": 16}
STRIPS = {"tiled": False, "blockxsize": None, "blockysize": 5}


def any_bits(bands: int, shape: tuple[int, int] = SHAPE) -> np.ndarray:
    """Every kind of float32: NaNs of many sorts, infinities, -0.0, subnormals; and empty cells."""
    rng = np.random.default_rng(bands)
    values = rng.integers(0, 2**32, (bands, *shape), dtype="u4")
    values[:, rng.random(shape) < 0.3] = 0
    values.flat[:4] = [0x80000000, 0x7F800000, 0x7F800001, 1]  # -0.0, inf, signalling NaN, subnormal
    return values.view("f4")


def read(path: Path, chunk_cells: int = 8, max_bytes: int = 1 << 28) -> tuple[GeoTiffInfo, np.ndarray]:
    """Put a file's blocks together, and see that they are a partition along the chunks' edges."""
    with GeoTiff(path) as tiff:
        rows, cols = tiff.info.grid.shape
        out = np.full((tiff.info.bands, rows, cols), 7, "f4")
        met = np.zeros((rows, cols), int)
        for block in tiff.blocks(chunk_cells, max_bytes):
            assert block.row % chunk_cells == block.col % chunk_cells == 0
            assert block.row_stop % chunk_cells == 0 or block.row_stop == rows
            assert block.col_stop % chunk_cells == 0 or block.col_stop == cols
            assert tiff.block_memory(block) <= max_bytes
            window = np.s_[block.row : block.row_stop, block.col : block.col_stop]
            with tiff.buffer() as buffer:
                out[:, *window] = np.moveaxis(tiff.read(block, buffer), -1, 0)
            met[window] += 1
        assert (met == 1).all()
        return tiff.info, out


def same_bits(one: np.ndarray, other: np.ndarray) -> bool:
    return np.array_equal(one.view("u4"), other.view("u4"))


def write_tags(path: Path, values: np.ndarray, tags: list, **options: object) -> Path:
    """Write tags that GDAL would not: values (rows, cols, bands), georeferencing as given."""
    planar = "contig" if values.shape[-1] > 1 else None
    options = {"planarconfig": planar, "photometric": "minisblack", "metadata": None, **options}
    tifffile.imwrite(path, values if planar else values[..., 0], extratags=tags, **options)
    return path


SCALE = (33550, "d", 3, (0.25, 0.25, 0.0), True)
TIE = (33922, "d", 6, (0.0, 0.0, 0.0, -30.125, 15.125, 0.0), True)
KEYS = (34735, "H", 16, (1, 1, 0, 3, 1024, 0, 1, 2, 1025, 0, 1, 1, 2048, 0, 1, 4326), True)
PLACED = Affine(0.25, 0, -30.125, 0, -0.25, 15.125)
"""What the three tags above say: lattice row 300, column 600."""


# Containers

CODECS = [(None, 1), *itertools.product(["deflate", "lzw", "zstd"], [1, 2, 3])]
HEADERS = {
    ("LITTLE", "NO"): b"II\x2a\0",
    ("LITTLE", "YES"): b"II\x2b\0",
    ("BIG", "NO"): b"MM\0\x2a",
    ("BIG", "YES"): b"MM\0\x2b",
}


@pytest.mark.parametrize("bands", [1, 3])
@pytest.mark.parametrize("interleave", ["pixel", "band"])
@pytest.mark.parametrize("blocks", [TILES, STRIPS], ids=["tiled", "striped"])
@pytest.mark.parametrize("codec", CODECS)
def test_every_container_gives_the_bits_that_gdal_wrote(
    tmp_path: Path, bands: int, interleave: str, blocks: dict, codec: tuple
) -> None:
    values, (compress, predictor) = any_bits(bands), codec
    profile = {"interleave": interleave, "compress": compress, **blocks}
    if compress:
        profile["predictor"] = predictor
    for (endianness, bigtiff), header in HEADERS.items():
        path = factory.write_geotiff(
            tmp_path / f"{endianness}{bigtiff}.tif",
            values,
            rows=ROWS,
            cols=COLS,
            endianness=endianness,
            bigtiff=bigtiff,
            **profile,
        )
        assert path.read_bytes()[:4] == header
        info, found = read(path)
        assert same_bits(found, values)
        assert info == GeoTiffInfo(
            grid=Grid(300, 600, *SHAPE),
            bands=bands,
            dtype="float32",
            layout=f"{'striped' if blocks is STRIPS else 'tiled'}, "
            f"{'band-sequential' if interleave == 'band' else 'pixel-interleaved'}",
            compression={None: "none", "lzw": "LZW", "zstd": "ZSTD"}.get(compress, compress),
            predictor=("none", "horizontal", "floating point")[predictor - 1],
            synthetic=False,
        )


@pytest.mark.parametrize("rows_per_strip", [1, 3, 8, 60, 500])
@pytest.mark.parametrize("interleave", ["pixel", "band"])
@pytest.mark.parametrize("chunk_cells", [8, 7])
def test_strips_of_any_height_become_blocks_of_whole_chunks(
    tmp_path: Path, rows_per_strip: int, interleave: str, chunk_cells: int
) -> None:
    values = any_bits(3)
    strips = {**STRIPS, "blockysize": rows_per_strip, "interleave": interleave}
    path = factory.write_geotiff(tmp_path / "a.tif", values, rows=ROWS, cols=COLS, **strips)
    assert same_bits(read(path, chunk_cells)[1], values)


@pytest.mark.parametrize("max_bytes", [30_000, 45_000, 100_000, 1 << 30])
@pytest.mark.parametrize("rows_per_strip", [4, 13, 61])
def test_band_sequential_strips_fit_the_memory_allowed(
    tmp_path: Path, max_bytes: int, rows_per_strip: int
) -> None:
    values = any_bits(7)
    strips = {**STRIPS, "blockysize": rows_per_strip, "interleave": "band"}
    path = factory.write_geotiff(tmp_path / "a.tif", values, rows=ROWS, cols=COLS, **strips)
    if 3 * rows_per_strip * 45 * 4 + 8 * 45 * 7 * 4 > max_bytes:  # a strip thrice, a row of chunks
        with pytest.raises(MemoryLimitError):
            read(path, max_bytes=max_bytes)
    else:
        found = read(path, max_bytes=max_bytes)[1]  # read() sees that each block is within it
        assert same_bits(found, values)


def test_blocks_that_were_never_written_hold_zeros(tmp_path: Path) -> None:
    values = np.zeros((3, *SHAPE), "f4")
    values[:, :16, :32] = 5
    for interleave in ("pixel", "band"):
        path = factory.write_geotiff(
            tmp_path / f"{interleave}.tif",
            values,
            rows=ROWS,
            cols=COLS,
            interleave=interleave,
            sparse_ok=True,
            **TILES,
        )
        with tifffile.TiffFile(path) as tiff:
            assert 0 in tiff.pages[0].databytecounts
        assert same_bits(read(path)[1], values)


def test_a_cloud_optimized_file(tmp_path: Path) -> None:
    values = factory.truth(ROWS, COLS, 3)
    plain = {"tiled": None, "interleave": None, "blockxsize": None, "blockysize": None}
    path = factory.write_geotiff(
        tmp_path / "a.tif", values, rows=ROWS, cols=COLS, driver="COG", blocksize=16, **plain
    )
    with tifffile.TiffFile(path) as tiff:
        assert len(tiff.pages) > 1  # with overviews
    assert same_bits(read(path)[1], values)


@pytest.mark.parametrize("dtype", ["f8", "f2"])
@pytest.mark.parametrize("predictor", [False, True])
@pytest.mark.parametrize(("byteorder", "tile"), [("<", (16, 32)), (">", None)])
def test_other_floats_become_float32(
    tmp_path: Path, dtype: str, predictor: bool, byteorder: str, tile: tuple | None
) -> None:
    values = np.random.default_rng(0).normal(size=(*SHAPE, 3)).astype(dtype)
    values[0, 0] = [np.inf, -0.0, np.nan]
    path = write_tags(
        tmp_path / "a.tif",
        values,
        [SCALE, TIE, KEYS],
        tile=tile,
        compression="zlib",
        predictor=3 if predictor else None,
        byteorder=byteorder,
    )
    info, found = read(path)
    assert info.dtype == {"f8": "float64", "f2": "float16"}[dtype]
    assert same_bits(found, np.moveaxis(values.astype("f4"), -1, 0).copy())
    assert info.grid == Grid(300, 600, *SHAPE)


def test_float64_beyond_float32_is_refused(tmp_path: Path) -> None:
    values = np.ones((*SHAPE, 1))
    values[9, 9] = 1e39
    path = write_tags(tmp_path / "a.tif", values, [SCALE, TIE, KEYS])
    with pytest.raises(SourceError, match="beyond float32"):
        read(path)


# Georeferencing


@pytest.mark.parametrize("point", [False, True])
@pytest.mark.parametrize("kind", ["matrix", "tie elsewhere"])
def test_other_georeferencing_tags(tmp_path: Path, kind: str, point: bool) -> None:
    half = 0.125 if point else 0.0
    west, north = -30.125 + half, 15.125 - half
    matrix = (0.25, 0, 0, west, 0, -0.25, 0, north, 0, 0, 0, 0, 0, 0, 0, 1)
    tie = (8.0, 12.0, 0.0, west + 2, north - 3, 0.0)
    tags = {
        "matrix": [(34264, "d", 16, matrix, True)],
        "tie elsewhere": [SCALE, (33922, "d", 6, tie, True)],
    }[kind]
    keys = list(KEYS[3])
    keys[11] = 2 if point else 1
    values = np.moveaxis(factory.truth(ROWS, COLS, 2), 0, -1)
    path = write_tags(tmp_path / "a.tif", values, [*tags, (34735, "H", 16, tuple(keys), True)])
    with rasterio.open(path) as tiff:
        assert tiff.transform == PLACED  # GDAL understands the tags so
    assert read(path)[0].grid == Grid(300, 600, *SHAPE)


@pytest.mark.parametrize(
    ("placed", "why"),
    [
        (PLACED @ Affine.translation(0.5, 0), "half"),
        (PLACED @ Affine.translation(0.001, 0), "lattice"),
        (Affine(0.25, 0, -180, 0, -0.25, 90), "half"),
        (PLACED @ Affine.scale(2, 2), "0.5"),
        (PLACED @ Affine.scale(1, 0.5), "0.125"),
        (PLACED @ Affine.scale(1.0001, 1.0001), "0.25"),
        (PLACED @ Affine.rotation(10), "rotated"),
        (PLACED @ Affine.shear(10, 0), "rotated"),
        (PLACED @ Affine.scale(1, -1), "south-up"),
        (PLACED @ Affine.scale(-1, 1), "mirrored"),
        (Affine(0.25, 0, -30.125, 0, -0.25, 97.125), "a.tif"),
        (Affine(0.25, 0, -30.125, 0, -0.25, -80.125), "a.tif"),
    ],
)
def test_a_grid_off_the_lattice_is_refused(tmp_path: Path, placed: Affine, why: str) -> None:
    path = factory.write_geotiff(tmp_path / "a.tif", rows=ROWS, cols=COLS, bands=1, transform=placed)
    with pytest.raises(SourceError, match=why):
        GeoTiff(path)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize(
    "profile",
    [
        {"crs": "EPSG:4258"},
        {"crs": "EPSG:3857"},
        {"crs": "+proj=longlat +R=6371000"},
        {"crs": None},
        {"transform": None},
        {"transform": None, "crs": None},
    ],
)
def test_another_crs_or_no_georeferencing_is_refused(tmp_path: Path, profile: dict) -> None:
    path = factory.write_geotiff(tmp_path / "a.tif", rows=ROWS, cols=COLS, bands=1, **profile)
    with pytest.raises(SourceError, match=r"EPSG:4326|georeferencing"):
        GeoTiff(path)


def test_control_points_are_no_grid(tmp_path: Path) -> None:
    ties = (0.0, 0.0, 0.0, -30.125, 15.125, 0.0, 45.0, 61.0, 0.0, -18.875, -0.125, 0.0)
    values = np.ones((*SHAPE, 1), "f4")
    two = (33922, "d", 12, ties, True)
    with pytest.raises(SourceError, match="georeferencing"):
        GeoTiff(write_tags(tmp_path / "a.tif", values, [two, KEYS]))
    with pytest.raises(SourceError, match="2 tie points"):
        GeoTiff(write_tags(tmp_path / "b.tif", values, [two, KEYS, SCALE]))


# Contents


@pytest.mark.parametrize(
    ("profile", "word"),
    [
        *(({"dtype": dtype}, "floating point") for dtype in ("uint8", "int16", "uint32", "complex64")),
        *(({"compress": compress}, "compression") for compress in ("lzma", "packbits", "lerc")),
    ],
)
def test_other_contents_are_refused(tmp_path: Path, profile: dict, word: str) -> None:
    values = np.ones((1, 8, 8), profile.get("dtype", "f4"))
    path = factory.write_geotiff(tmp_path / "a.tif", values, **profile)
    with pytest.raises(SourceError, match=word):
        GeoTiff(path)


def test_a_nodata_value_of_zero_is_what_the_product_means(tmp_path: Path) -> None:
    path = factory.write_geotiff(tmp_path / "a.tif", rows=ROWS, cols=COLS, bands=1, nodata=0)
    assert same_bits(read(path)[1], factory.truth(ROWS, COLS, 1))


@pytest.mark.parametrize(
    ("nodata", "dtype", "expected"),
    [
        ("0", "f4", np.nan),
        ("nan", "f4", np.nan),
        ("-9999", "f4", -9999),
        ("-inf", "f4", -np.inf),
        ("-3.4028234663852886e+38", "f4", np.finfo("f4").min),
        ("-3.40282346638529e+38", "f4", np.finfo("f4").min),  # 15 digits, which are beyond float32
        ("-1.7976931348623157e+308", "f8", np.nan),  # no float32 value is it, so no cell can be it
        ("1e-300", "f8", np.nan),
    ],
)
def test_the_nodata_tag_is_read(tmp_path: Path, nodata: str, dtype: str, expected: float) -> None:
    tag = (42113, "s", 0, nodata, True)
    path = write_tags(tmp_path / "a.tif", np.ones((*SHAPE, 1), dtype), [SCALE, TIE, KEYS, tag])
    np.testing.assert_equal(read(path)[0].missing, float(expected))


def test_a_nodata_tag_that_is_no_number_is_refused(tmp_path: Path) -> None:
    path = factory.write_geotiff(tmp_path / "a.tif", rows=ROWS, cols=COLS, bands=1, nodata=-77777)
    path.write_bytes(path.read_bytes().replace(b"-77777\0", b"absent\0"))
    with pytest.raises(SourceError, match="absent"):
        GeoTiff(path)
    with rasterio.open(path, "r+") as tiff:
        tiff.nodata = np.nan
    assert same_bits(read(path)[1], factory.truth(ROWS, COLS, 1))


def test_a_segment_that_is_left_out_has_no_value_where_a_nodata_tag_says_so(tmp_path: Path) -> None:
    for nodata in (None, np.nan):
        path = tmp_path / f"{nodata}.tif"
        values = np.zeros((2, 32, 32), "f4") if nodata is None else np.full((2, 32, 32), nodata, "f4")
        values[0, :16, :16] = 1
        profile = {"interleave": "band", "blockxsize": 16, "blockysize": 16, "SPARSE_OK": "TRUE"}
        factory.write_geotiff(path, values, nodata=nodata, **profile)
        with rasterio.open(path) as tiff:
            assert np.array_equal(tiff.read(), values, equal_nan=True)
        assert np.array_equal(read(path)[1], values, equal_nan=True)


@pytest.mark.parametrize("second", ["image", "mask"])
def test_a_second_image_is_refused(tmp_path: Path, second: str) -> None:
    path = tmp_path / "a.tif"
    if second == "image":
        with tifffile.TiffWriter(path) as tiff:
            for _ in range(2):
                tiff.write(np.ones(SHAPE, "f4"), extratags=[SCALE, TIE, KEYS], metadata=None)
    else:
        factory.write_geotiff(path, rows=ROWS, cols=COLS, bands=1, **TILES)
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as tiff:
            tiff.write_mask(np.eye(*SHAPE, dtype="u1") * 255)
    with pytest.raises(SourceError, match="2 images"):
        GeoTiff(path)


def test_an_overview_before_its_image_is_told_from_it(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    values = np.moveaxis(factory.truth(ROWS, COLS, 2), 0, -1)
    with tifffile.TiffWriter(path) as tiff:
        options = {"photometric": "minisblack", "planarconfig": "contig", "metadata": None}
        tiff.write(values[::2, ::2], subfiletype=1, **options)
        tiff.write(values, extratags=[SCALE, TIE, KEYS], **options)
    assert same_bits(read(path)[1], factory.truth(ROWS, COLS, 2))


# Damage


@pytest.mark.parametrize(
    "data", [b"", b"II, but no TIFF", b"II*\0" + b"\xff" * 20, bytes(1000), b"PK\x03\x04"]
)
def test_what_is_no_tiff_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.tif").write_bytes(data)
    with pytest.raises(SourceError, match=r"s3://bucket/a\.tif"):
        GeoTiff(tmp_path / "a.tif", "s3://bucket/a.tif")


LAYOUTS = {
    "published": {},
    "uncompressed": {"compress": None},
    "band-sequential": {"interleave": "band", "compress": "lzw", "predictor": 3},
    "striped BigTIFF": {**STRIPS, "bigtiff": "YES", "compress": "zstd"},
}


@pytest.mark.parametrize("profile", LAYOUTS.values(), ids=LAYOUTS)
def test_a_file_cut_short_anywhere_is_refused(tmp_path: Path, profile: dict) -> None:
    path = factory.write_geotiff(
        tmp_path / "a.tif", rows=(0, 40), cols=(0, 48), bands=5, **{**TILES, **profile}
    )
    data = path.read_bytes()
    for length in [*range(20), *range(20, 1500, 31), *range(1500, len(data), 501), len(data) - 1]:
        path.write_bytes(data[:length])
        with pytest.raises(SourceError):
            read(path)
    with pytest.raises(SourceError, match=f"{len(data):,}.*{len(data) - 1:,}"):
        GeoTiff(path)


@pytest.mark.parametrize(
    ("compress", "damage"),
    [(None, "cut"), *itertools.product(["deflate", "lzw", "zstd"], ["zeros", "noise", "cut"])],
)
def test_a_damaged_tile_is_refused(tmp_path: Path, compress: str | None, damage: str) -> None:
    path = factory.write_geotiff(
        tmp_path / "a.tif", any_bits(3), rows=ROWS, cols=COLS, compress=compress, **TILES
    )
    with tifffile.TiffFile(path) as tiff:
        offset, length = tiff.pages[0].dataoffsets[3], tiff.pages[0].databytecounts[3]
    if damage == "cut":
        shorten(path, 3, length // 2)
    else:
        noise = {"zeros": bytes(length), "noise": np.random.default_rng(0).bytes(length)}
        data = bytearray(path.read_bytes())
        data[offset : offset + length] = noise[damage]
        path.write_bytes(data)
    with pytest.raises(SourceError, match="segment 3"):
        read(path)


def shorten(path: Path, tile: int, length: int) -> None:
    """Have a file say that one of its tiles is shorter than it is."""
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        counts = list(tiff.pages[0].databytecounts)
        counts[tile] = length
        tiff.pages[0].tags["TileByteCounts"].overwrite(counts, dtype="Q" if tiff.is_bigtiff else "I")


def test_a_file_that_shrinks_while_it_is_read_is_refused(tmp_path: Path) -> None:
    path = factory.write_geotiff(tmp_path / "a.tif", any_bits(3), rows=ROWS, cols=COLS, **TILES)
    with GeoTiff(path) as tiff:
        blocks = tiff.blocks(8, 1 << 28)
        with path.open("r+b") as file:
            file.truncate(1000)
        last = max(blocks, key=lambda block: tiff._offsets[block.segments[0]])
        with pytest.raises(SourceError, match="cut short"):
            tiff.read(last)


def test_a_pipe_is_refused_at_once(tmp_path):
    """A file is read in no order, and twice: for its values and for its SHA-256."""
    os.mkfifo(tmp_path / "a.tif")
    with pytest.raises(SourceError, match="pipe"):
        GeoTiff(tmp_path / "a.tif")
