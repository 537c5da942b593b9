"""Read a TIFF's tags: they give a grid, or an error that says why the file cannot be ingested.

Tags are not trusted: before anything is decoded, sizes must be whole numbers, and the file must have as
many segments as the image needs.
"""

from __future__ import annotations

import math
import os
import struct
from dataclasses import dataclass
from typing import Any, BinaryIO, NoReturn

import numpy as np
import tifffile

from cop_zarr.core.grid import Grid
from cop_zarr.core.product import CRS, STEP_DEG
from cop_zarr.errors import GridError, SourceError
from cop_zarr.source.preflight import check_directories

COMPRESSIONS = {1: "none", 5: "LZW", 8: "deflate", 32946: "deflate", 34926: "ZSTD", 50000: "ZSTD"}
PREDICTORS = {1: "none", 2: "horizontal", 3: "floating point"}

PARSER_ERRORS = (
    tifffile.TiffFileError,
    struct.error,
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What tifffile raises on tags that make no sense, as the fuzzer in tests/support/fuzz.py finds."""

REDUCED_IMAGE = 1
"""Bit of the NewSubfileType tag (TIFF 6.0, section 8): an overview, not an image of its own."""

GEOGRAPHIC = 2
PIXEL_IS_POINT = 2
"""Values of GTModelTypeGeoKey and GTRasterTypeGeoKey (OGC GeoTIFF 1.1)."""

SYNTHETIC_MARK = "synthetic"
"""Name of the item in the GDAL metadata tag that marks a made-up file."""


@dataclass(frozen=True)
class GeoTiffInfo:
    """A source's tags, read."""

    grid: Grid
    """Where its cells are, from the georeferencing tags."""
    bands: int
    dtype: str
    """Type of the stored values; they become float32."""
    layout: str
    compression: str
    predictor: str
    synthetic: bool
    """Whether the file says that its values are made up."""
    nodata: str | None = None
    """The GDAL_NODATA tag."""

    @property
    def fills_nodata(self) -> bool:
        """Whether cells of a segment that the file leaves out have no value, as GDAL reads them."""
        return bool(_number(self.nodata))

    @property
    def missing(self) -> float:
        """The number that stands for no value in a band, besides NaN; NaN if there is no other."""
        number = _number(self.nodata) or math.nan
        with np.errstate(over="ignore"):
            stored = float(np.float32(number))
        return stored if stored and math.isinf(stored) == math.isinf(number) else math.nan

    @property
    def container(self) -> str:
        """The container, in one line."""
        return f"{self.dtype}, {self.layout}, compression {self.compression}, predictor {self.predictor}"


def inspect(file: BinaryIO, name: str) -> tuple[Any, GeoTiffInfo]:
    """Parse the tags of an open file: its one image, as a tifffile.TiffPage ready to decode, and its facts.

    Raises SourceError if the file cannot be ingested; the message names it ``name``, and says why.
    """
    try:
        check_directories(file)
        with tifffile.TiffFile(file, name="source.tif") as tiff:
            page = _only_image(tiff)
            page.decode  # noqa: B018  # makes the decoder now, where its errors are caught
            _check_image(page)
            _check_segments(page, os.fstat(file.fileno()).st_size)
            return page, _info(page)
    except SourceError as error:
        raise SourceError(f"cannot ingest {name}: {error}") from error.__cause__
    except PARSER_ERRORS as error:
        raise SourceError(f"cannot ingest {name}: it is not a readable TIFF file ({error})") from error


def _only_image(tiff: tifffile.TiffFile) -> Any:
    pages = (page.aspage() for page in tiff.pages)
    images = [page for page in pages if not page.subfiletype & REDUCED_IMAGE]
    if len(images) != 1:
        _fail(f"it holds {len(images)} images; one is expected")
    return images[0]


def _info(page: Any) -> GeoTiffInfo:
    metadata = page.tags.valueof("GDAL_METADATA") or ""
    return GeoTiffInfo(
        grid=_grid(page, page.geotiff_tags),
        bands=page.samplesperpixel,
        dtype=str(page.dtype),
        layout=f"{'tiled' if page.is_tiled else 'striped'}, "
        f"{'pixel-interleaved' if page.planarconfig == 1 else 'band-sequential'}",
        compression=COMPRESSIONS[page.compression],
        predictor=PREDICTORS[page.predictor],
        synthetic=f'name="{SYNTHETIC_MARK}"' in metadata,
        nodata=page.tags.valueof("GDAL_NODATA"),
    )


def _check_image(page: Any) -> None:
    """Check that the image's values can be stored as they are."""
    if page.sampleformat != 3 or page.dtype is None or page.dtype.kind != "f":
        _fail(f"its values are {page.dtype}; floating point is expected")
    if page.imagedepth != 1:
        _fail(f"it is {page.imagedepth} cells deep; a flat image is expected")
    if page.compression not in COMPRESSIONS:
        known = ", ".join(sorted(set(COMPRESSIONS.values())))
        _fail(f"its compression {page.compression!r} is not one of {known}")
    if page.predictor not in PREDICTORS:
        _fail(f"its predictor {page.predictor!r} is not one of 1, 2, 3")
    nodata = page.tags.valueof("GDAL_NODATA")
    if nodata is not None and _number(nodata) is None:
        _fail(
            f"its nodata value is {nodata!r}; a number is expected; set it with rasterio: "
            "rasterio.open(path, 'r+').nodata = float('nan')"
        )


def _check_segments(page: Any, file_bytes: int) -> None:
    """Check that there are as many segments as needed, and that the file holds all of them."""
    segment = (page.tilelength, page.tilewidth) if page.is_tiled else (page.rowsperstrip, page.imagewidth)
    numbers = (*segment, page.imagelength, page.imagewidth, page.samplesperpixel)
    extents = (*page.dataoffsets, *page.databytecounts)
    if not all(type(number) is int and number >= 0 for number in extents) or not all(
        type(number) is int and number > 0 for number in numbers
    ):
        _fail("its sizes or offsets are not whole numbers")
    expected = -(-page.imagelength // segment[0]) * -(-page.imagewidth // segment[1])
    if page.planarconfig == 2:
        expected *= page.samplesperpixel
    if not len(page.dataoffsets) == len(page.databytecounts) == expected:
        _fail(f"it lists {len(page.dataoffsets)} segments where {expected} are needed")
    end = max(map(sum, zip(page.dataoffsets, page.databytecounts, strict=True)))
    if end > file_bytes:
        _fail(f"it is truncated: its data end at byte {end:,}, the file at {file_bytes:,}")


def _grid(page: Any, geo: dict[str, Any]) -> Grid:
    """Find the grid in the georeferencing tags; an absent one is not guessed."""
    if not geo or not ({"ModelPixelScale", "ModelTransformation"} & geo.keys()):
        _fail("it has no georeferencing tags, so the position of its cells is unknown")
    code = int(geo.get("GeographicTypeGeoKey", 0))
    if int(geo.get("GTModelTypeGeoKey", 0)) != GEOGRAPHIC or code != int(CRS.partition(":")[2]):
        found = geo.get("ProjectedCSTypeGeoKey", geo.get("GeographicTypeGeoKey", "no known CRS"))
        _fail(f"its CRS is {found!s}; {CRS} is expected")
    a, b, c, d, e, f = _transform(geo)
    if b or d:
        _fail("it is rotated; rows must run west to east")
    if e > 0 or a < 0:
        _fail("it is south-up or mirrored; north-up, west-left is expected")
    if max(abs(a - STEP_DEG), abs(-e - STEP_DEG)) * max(page.shape) > STEP_DEG * 1e-3:
        _fail(f"its cells are {a} x {-e} degrees; {STEP_DEG} is expected")
    if int(geo.get("GTRasterTypeGeoKey", 1)) == PIXEL_IS_POINT:  # tags give a cell's centre
        c, f = c - STEP_DEG / 2, f + STEP_DEG / 2
    try:
        return Grid.from_corner(c, f, page.imagelength, page.imagewidth)
    except GridError as error:
        _fail(str(error), error)


def _transform(geo: dict[str, Any]) -> tuple[float, ...]:
    """Affine coefficients (a, b, c, d, e, f) from whichever tags the file has."""
    if "ModelTransformation" in geo:
        matrix = np.asarray(geo["ModelTransformation"], float).reshape(4, 4)
        return tuple(matrix[:2, [0, 1, 3]].ravel().tolist())
    tie = np.asarray(geo.get("ModelTiepoint", ()), float).ravel()
    if tie.size != 6:
        _fail(f"it has {tie.size // 6} tie points; one is expected")
    scale_x, scale_y, *_ = geo["ModelPixelScale"]
    return scale_x, 0.0, tie[3] - tie[0] * scale_x, 0.0, -scale_y, tie[4] + tie[1] * scale_y


def _fail(why: str, cause: BaseException | None = None) -> NoReturn:
    raise SourceError(why) from cause


def _number(text: object) -> float | None:
    try:
        return float(text)  # type: ignore[arg-type]  # a tag's value
    except (TypeError, ValueError):
        return None
