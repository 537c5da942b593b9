"""The files of the page, as they are handed out."""

from __future__ import annotations

import html
import re
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable

INDEX = "index.html"


@cache
def page_files() -> dict[str, bytes]:
    """The page's files by name; those in folders have names with slashes."""
    return dict(_files(files("cop_zarr.explorer") / "page", ""))


def _files(folder: Traversable, prefix: str) -> list[tuple[str, bytes]]:
    found = []
    for each in folder.iterdir():
        name = f"{prefix}{each.name}"
        found += _files(each, f"{name}/") if each.is_dir() else [(name, each.read_bytes())]
    return found


def page_of(*, store: str, components: str = "", store_name: str = "") -> dict[str, bytes]:
    """The page's files, told where the store is, where its components, and what people call the store.

    The places are URLs, absolute or relative to the page. By default, the components are in the store, and
    its name is its URL.
    """
    index = page_files()[INDEX].decode()
    for name, value in {"store": store, "components": components, "store-name": store_name}.items():
        index = _with_setting(index, name, value)
    return {**page_files(), INDEX: index.encode()}


def _with_setting(index: str, name: str, value: str) -> str:
    tag = f'<meta name="{name}" content="{html.escape(value)}"'
    return re.sub(rf'<meta name="{name}" content="[^"]*"', lambda _: tag, index, count=1)
