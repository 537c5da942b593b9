"""The published Copernicus-Embed product: facts, each with its source.

The product is the 0.25° embedding map of Wang et al., "Towards a Unified Copernicus Foundation Model
for Earth Vision" (arXiv 2503.11849), redistributed as one GeoTIFF in the Hugging Face dataset
``torchgeo/copernicus_embed``.
"""

MODEL = "copernicus"
"""The name that rs-embed gives this model, kept so that results of both can be compared."""

YEAR = 2021
"""The only year of the product (the Sentinel data of Copernicus-Pretrain are of 2021)."""

STEP_DEG = 0.25
"""Width and height of a cell in degrees: the ERA5 grid (the GeoTIFF's ModelPixelScale tag)."""

LATTICE_ROWS = 721
LATTICE_COLS = 1440
"""Cells of the whole globe: centres at lat 90 - 0.25 i and lon -180 + 0.25 j (the GeoTIFF's shape)."""

LATTICE_NORTH = 90 + STEP_DEG / 2
LATTICE_WEST = -180 - STEP_DEG / 2
"""Outer corner of cell (0, 0): the GeoTIFF's ModelTiepoint tag, 90.125° N 180.125° W."""

BANDS = 768
"""Length of one embedding (the GeoTIFF's SamplesPerPixel tag; ViT-Base of Copernicus-FM)."""

MAX_BANDS = 65_535
"""A TIFF's SamplesPerPixel is a 16-bit number: no source has more, and no store may claim more."""

CRS = "EPSG:4326"

REPOSITORY = "torchgeo/copernicus_embed"
REVISION = "435b4a7bdce6f6fdbf4272f9d6e54f2604f35fdb"
FILENAME = "embed_map_310k.tif"
URL = f"https://huggingface.co/datasets/{REPOSITORY}/resolve/{REVISION}/{FILENAME}"
SHA256 = "38f6fd15b20153f7b3ba2d7b38fb9ef56b751dfcb42e17cc1b02aad1580a59ad"
"""Where the file is published, pinned, and its digest (the dataset's LFS pointer)."""

LICENSE = "CC-BY-4.0"
CITATION = (
    "Wang et al., Towards a Unified Copernicus Foundation Model for Earth Vision, 2025, "
    "https://arxiv.org/abs/2503.11849"
)
MODEL_URL = "https://huggingface.co/wangyi111/Copernicus-FM"
PRETRAIN_URL = "https://huggingface.co/datasets/wangyi111/Copernicus-Pretrain"
"""The encoder and the Sentinel-1/2/3/5P and DEM data that it was run on (the paper, section 5)."""
