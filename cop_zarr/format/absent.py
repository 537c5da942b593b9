"""The error for a place without a store: what is there instead, and what to do."""

from __future__ import annotations

import shlex
from contextlib import suppress
from pathlib import Path

from cop_zarr.core import settings
from cop_zarr.core.wording import advice
from cop_zarr.errors import StoreError, StoreNotFoundError
from cop_zarr.format.layout import ROOT
from cop_zarr.storage import local_path

TIFF_ENDINGS = (".tif", ".tiff")

TIFF_HEADS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""How classic and BigTIFF files begin."""

MAX_NAMED = 3
"""Stores that a message names."""


def no_store(url: str) -> StoreError | StoreNotFoundError:
    """The error if nothing is there, or a file: a source, perhaps, which has to be ingested first."""
    path = local_path(url)
    if path is not None and path.is_file():
        return _of_file(url, path)
    if url.lower().endswith(TIFF_ENDINGS):
        if path is not None:
            return StoreNotFoundError(f"there is no file {path.absolute()}")
        return StoreError(f"{url} is named as a GeoTIFF, and no store: {_ingest(url, 'STORE')}")
    return StoreNotFoundError(f"there is no store at {url}{_named_by(url)}; {_next_step(url, path)}")


def stores_beside(path: Path) -> list[str]:
    """The stores in the folder of a path, or in a folder."""
    folder = path if path.is_dir() else path.parent
    found = list[Path]()
    with suppress(OSError):
        found = sorted(each for each in folder.glob("*.zarr") if each != path)
    return [str(each) for each in found if (each / ROOT).is_file()]


def _of_file(url: str, path: Path) -> StoreError:
    with suppress(OSError):
        with path.open("rb") as file:
            head = file.read(4)
        if head in TIFF_HEADS:
            made = path.with_suffix(".zarr")
            if (made / ROOT).is_file():
                return StoreError(f"{url} is a GeoTIFF, the source of a store; {_open([str(made)])}")
            return StoreError(f"{url} is a GeoTIFF, the source of a store: {_ingest(url, str(made))}")
        if head == b"PK\3\4":
            return StoreError(
                f"{url} is a ZIP file; name the store in it: zip::{url}, or if it is a folder there, "
                f"zip://NAME.zarr::{url}"
            )
    return StoreError(
        f"{url} is a file, and a store is a folder; for the regions of a file there is "
        + advice("--geojson FILE, and for a vector each, cop-zarr batch", "cop_zarr.batch")
    )


def _ingest(source: str, store: str) -> str:
    return advice(
        f"ingest it first: cop-zarr ingest {shlex.quote(source)} {shlex.quote(store)}",
        f"ingest it first: cop_zarr.ingest({source!r}, {store!r})",
    )


def _open(stores: list[str], *, variable: bool = False) -> str:
    """Say which stores there are, and how to name the first."""
    names = ", ".join(stores[:MAX_NAMED]) + (", …" if len(stores) > MAX_NAMED else "")
    if not variable:
        return f"there is {names}"
    export = f"export {settings.STORE_VARIABLE}={shlex.quote(stores[0])}"
    return advice(
        f"there is {names}: {export}",
        f"there is {names}: cop_zarr.open({stores[0]!r}), or before Python starts, {export}",
    )


def _named_by(url: str) -> str:
    if url != settings.store_url():
        return ""
    return (
        f", which {settings.STORE_VARIABLE} names" if settings.store_is_named() else ", the default place"
    )


def _next_step(url: str, path: Path | None) -> str:
    """Name the stores that are nearby, or the commands that make one."""
    is_default = path is not None and url == settings.store_url()
    folders = [path, Path("data/*"), Path("*")] if is_default else [path]
    found = dict.fromkeys(store for each in folders if each is not None for store in stores_beside(each))
    if found:
        return _open(list(found), variable=is_default)
    if not is_default:
        return advice(
            f"make one with: cop-zarr ingest SOURCE {shlex.quote(url)}",
            f"make one with: cop_zarr.ingest(SOURCE, {url!r})",
        )
    return advice(
        "make one with: cop-zarr quickstart (made-up values, a minute), or cop-zarr ingest (the "
        "published file, 768 MB to download)",
        "make one with: cop_zarr.ingest(), which downloads the published file (768 MB), or in a terminal "
        "with: cop-zarr quickstart (made-up values, a minute)",
    )
