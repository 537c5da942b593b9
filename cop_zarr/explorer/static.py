"""Write the page into a folder, to lie beside a store anywhere."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import quote

from cop_zarr.errors import InputError, StoreExistsError
from cop_zarr.explorer.page import page_files, page_of
from cop_zarr.format.layout import COMPONENTS, ROOT
from cop_zarr.storage import Folder, disk_errors, local_path, replacing

HUB = "https://huggingface.co"
_HUB_PLACE = re.compile(r"hf://((?:datasets/|spaces/)?[^/]+/[^/@]+)(?:@([^/]+))?/(.+?)/*")


def check_page_folder(folder: Path, *, overwrite: bool) -> None:
    """Raise an error unless the page may be written into a folder, before the work is done."""
    with disk_errors(f"cannot write {folder}"):
        if (folder / ROOT).exists():
            raise InputError(f"{folder} is a store; name a folder beside it for the page")
        there = sorted(name for name in page_files() if (folder / name).exists())
        is_file = folder.exists() and not folder.is_dir()
    if is_file:
        raise StoreExistsError(f"{folder} is a file; name a folder for the page")
    if there and not overwrite:
        raise StoreExistsError(f"{folder} holds {there[0]}; replace the page with overwrite=True")


def make_folder(folder: Path) -> Path:
    """Make a folder, unless it is there."""
    with disk_errors(f"cannot create {folder}"):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def write_page(folder: Path, store_url: str, *, has_components: bool) -> list[str]:
    """Write the page into a folder, each file as a whole; return the names of the files.

    ``has_components`` is whether the folder holds the store's components.
    """
    make_folder(folder)
    page = page_of(store=store_url, components=f"./{COMPONENTS}/" if has_components else "")
    for name, data in page.items():
        path = make_folder((folder / name).parent) / Path(name).name
        with replacing(path) as partial:
            partial.write_bytes(data)
    return sorted(page)


def find_store(store: Folder, folder: Path) -> str:
    """Where the page in a folder finds a store: its URL, or for one that no browser can open, relative.

    A store on a disk is found where it lies seen from the folder, so that both can be moved together. One
    on object storage is expected beside the folder.
    """
    path = local_path(store.url)
    if path is not None:
        try:
            relative = os.path.relpath(path, folder)  # by their names, as browsers follow them
        except ValueError:  # on another drive
            raise InputError(f"{folder} must be on the drive of {path}; name a folder beside it") from None
        return quote(Path(relative).as_posix()) + "/"
    if store.url.startswith(("http://", "https://")):
        return f"{store.url.rstrip('/')}/"
    if found := _HUB_PLACE.fullmatch(store.url):
        repository, revision, inside = found.groups()
        return f"{HUB}/{repository}/resolve/{revision or 'main'}/{quote(inside)}/"
    if "::" in store.url or store.url.startswith("zip://"):
        raise InputError(f"a browser cannot open {store.url}: unpack it, and name the folder")
    return f"../{quote(store.url.rstrip('/').rpartition('/')[2])}/"
