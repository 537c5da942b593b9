"""What is timed as a whole process: ``whole_process.py NAME ARGUMENTS…``.

Boxes are given in degrees, windows as rows and columns. Imports are part of what is timed, so each function
has its own, and there is no parser of arguments.
"""

import sys


def cop_zarr(store: str, *box: str) -> None:
    """Open the store and pool a box."""
    import cop_zarr

    print(cop_zarr.open(store).query(tuple(map(float, box))).data.mean())


def zarr(store: str, *window: str) -> None:
    """Open the store with zarr-python and pool a window."""
    import zarr

    rows, cols = _slices(window)
    print(zarr.open_group(store, mode="r")["embedding"][:, rows, cols].mean(axis=(1, 2)).mean())


def tensorstore(store: str, *window: str) -> None:
    """Open the store with TensorStore and pool a window."""
    import tensorstore

    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{store}/embedding/"}}
    rows, cols = _slices(window)
    array = tensorstore.open(spec, read=True).result()
    print(array[:, rows, cols].read().result().mean(axis=(1, 2)).mean())


def xarray(store: str, *window: str) -> None:
    """Open the store with xarray and pool a window."""
    import xarray

    rows, cols = _slices(window)
    cells = xarray.open_zarr(store, chunks=None).embedding.isel(latitude=rows, longitude=cols)
    print(cells.mean(("latitude", "longitude")).values.mean())


def rasterio(tif: str, *window: str) -> None:
    """Open the GeoTIFF with rasterio and pool a window."""
    import rasterio
    from rasterio.windows import Window

    with rasterio.open(tif) as source:
        print(source.read(window=Window.from_slices(*_slices(window))).mean(axis=(1, 2)).mean())


def rs_embed(*box: str) -> None:
    """Pool a box with rs-embed; ``RS_EMBED_COP_DIR`` names the folder of its GeoTIFF."""
    from rs_embed import BBox, OutputSpec, TemporalSpec, get_embedding

    spatial, year = BBox(*map(float, box)), TemporalSpec.year(2021)
    pooled = OutputSpec.pooled()
    answer = get_embedding("copernicus", spatial=spatial, temporal=year, output=pooled, backend="auto")
    print(answer.data.mean())


def to_zarr(tif: str, store: str) -> None:
    """Write a store with rioxarray and xarray, in chunks of the same size."""
    import rioxarray

    embedding = rioxarray.open_rasterio(tif).rename("embedding")
    chunks = (embedding.sizes["band"], 8, 8)
    embedding.to_dataset().to_zarr(store, encoding={"embedding": {"chunks": chunks}})


def scikit_learn(store: str, count: str) -> None:
    """Read all cells, and derive their principal components and scores in memory."""
    from sklearn.decomposition import PCA

    import cop_zarr

    vectors = cop_zarr.open(store).cells().vectors
    print(PCA(int(count), copy=False).fit_transform(vectors).std(axis=0))


def decode(tif: str, threads: str) -> None:
    """Decode every tile of the GeoTIFF and drop it: the limit of any ingest."""
    import os
    from concurrent.futures import ThreadPoolExecutor

    import imagecodecs
    import tifffile

    with tifffile.TiffFile(tif) as tiff:
        page = tiff.pages.first
        # the largest first, as the ingest takes them
        tiles = sorted(zip(page.databytecounts, page.dataoffsets, strict=True), reverse=True)
        decoded_bytes = page.tilelength * page.tilewidth * page.samplesperpixel * 4
    descriptor = os.open(tif, os.O_RDONLY)

    def decode_tile(tile: tuple[int, int]) -> int:
        return len(imagecodecs.deflate_decode(os.pread(descriptor, *tile), out=decoded_bytes))

    with ThreadPoolExecutor(int(threads)) as pool:
        print(sum(pool.map(decode_tile, tiles)))


def _slices(window: tuple[str, ...]) -> tuple[slice, slice]:
    top, bottom, left, right = map(int, window)
    return slice(top, bottom), slice(left, right)


globals()[sys.argv[1]](*sys.argv[2:])
