"""Find the source GeoTIFF: a file, a URL, a folder, or the published file on its hub."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path

from cop_zarr.core import product, settings
from cop_zarr.core.progress import Progress
from cop_zarr.core.wording import advice
from cop_zarr.errors import InputError, SourceError, SourceNotFoundError
from cop_zarr.source.hub import cached_file, download_published
from cop_zarr.storage import (
    TIMEOUT_SECONDS,
    StorageOptions,
    expanded,
    local_file,
    local_path,
    place,
    redact,
)

PATTERN = "embed_map_*.tif"


@contextmanager
def locate(
    source: str | os.PathLike[str] | None,
    options: StorageOptions | None,
    *,
    download: bool,
    progress: Progress | None = None,
    timeout: float = TIMEOUT_SECONDS,
) -> Iterator[tuple[Path, str]]:
    """Give a source's path on a disk, and its URL for messages.

    A file at an fsspec URL is copied to a temporary file. A folder must hold one ``embed_map_*.tif``. None
    is what :func:`default_source` finds.
    """
    if source is None:
        path = default_source(download=download, progress=progress, timeout=timeout)
        yield path, str(path)
        return
    url, options = place(source, options)
    path_given = local_path(url)
    if path_given is not None and _is_folder(path_given):
        found = _find(path_given)
        if found is None:
            raise SourceNotFoundError(f"the folder {url} {_what_is_in(path_given)}")
        yield found, str(found)
        return
    with local_file(url, options, progress, timeout) as path:
        yield path, redact(url)


def default_source(
    *, download: bool, progress: Progress | None = None, timeout: float = TIMEOUT_SECONDS
) -> Path:
    """Find the GeoTIFF in the default folder or the hub's cache, or download it into that folder."""
    found = find_default()
    if found is not None:
        return found
    folder = expanded(settings.source_folder())
    if not download:
        raise InputError(
            f"there is no {PATTERN} in {folder} ({settings.SOURCE_VARIABLE}); the published file would be "
            f"downloaded from {product.URL}"
        )
    return download_published(folder, progress, timeout)


def find_default() -> Path | None:
    """The GeoTIFF that ``RS_EMBED_COP_DIR`` names or whose folder it names, or that of the hub's cache."""
    path = expanded(settings.source_folder())
    return (path if not _is_folder(path) and path.exists() else _find(path)) or cached_file()


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError as error:
        raise SourceError(f"cannot read {path}: {error.strerror}") from error


def _what_is_in(folder: Path) -> str:
    """What a folder holds in place of a source."""
    if (folder / "zarr.json").exists():
        return f"is a Zarr store, and no source; {advice('cop-zarr copy', 'cop_zarr.copy')} copies a store"
    others = sorted(path.name for path in folder.glob("*.tif"))
    named = f"; name one of its other files: {', '.join(others[:3])}" if others else ""
    return f"holds no file named {PATTERN}{named}"


def _find(folder: Path) -> Path | None:
    """The one ``embed_map_*.tif`` of a folder; None if there is none."""
    try:
        names = os.listdir(folder)  # noqa: PTH208  # glob() ignores a folder that may not be read
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise SourceError(f"cannot read {folder}: {error.strerror}") from error
    found = sorted(folder / name for name in names if fnmatch(name, PATTERN))
    if len(found) > 1:
        several = ", ".join(path.name for path in found)
        raise InputError(f"the folder {folder} holds {len(found)} sources ({several}); name one of them")
    return found[0] if found else None
