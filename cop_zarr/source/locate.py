"""Find the source GeoTIFF: a file, a URL, a folder, or the published file on its hub."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fnmatch import fnmatch
from pathlib import Path

from cop_zarr.core import product, settings
from cop_zarr.core.progress import Progress
from cop_zarr.errors import DownloadError, InputError, SourceError, SourceNotFoundError
from cop_zarr.storage import (
    PARTIAL_SUFFIX,
    TIMEOUT_SECONDS,
    StorageOptions,
    expanded,
    fetch,
    local_file,
    local_path,
    place,
    redact,
    sha256_of,
)

PATTERN = "embed_map_*.tif"

HUB = "https://huggingface.co"
"""Where the file is published, unless ``HF_ENDPOINT`` names a mirror."""


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
    is the default folder, into which the published file is downloaded if ``download`` allows it.
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
            raise SourceNotFoundError(f"the folder {url} holds no file named {PATTERN}")
        yield found, str(found)
        return
    with local_file(url, options, progress, timeout) as path:
        yield path, redact(url)


def default_source(
    *, download: bool, progress: Progress | None = None, timeout: float = TIMEOUT_SECONDS
) -> Path:
    """Find the GeoTIFF in the default folder, or download it there."""
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
    """The GeoTIFF that ``RS_EMBED_COP_DIR`` names or whose folder it names; None if it is not there."""
    path = expanded(settings.source_folder())
    return path if not _is_folder(path) and path.exists() else _find(path)


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError as error:
        raise SourceError(f"cannot read {path}: {error.strerror}") from error


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


def download_published(folder: Path, progress: Progress | None, timeout: float) -> Path:
    """Download the published file into a folder.

    What has arrived is kept in ``<name>.partial``, from which the next call continues, even after a kill.
    The file gets its name only when its SHA-256 is the published one. (huggingface_hub is not used: since
    its version 1.19 it starts from the beginning in every process.) Raises DownloadError if the hub cannot
    be reached, or sends another file.
    """
    url = product.URL.replace(HUB, (os.environ.get("HF_ENDPOINT") or HUB).rstrip("/"), 1)
    final = folder / product.FILENAME
    partial = final.with_name(final.name + PARTIAL_SUFFIX)
    is_new = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        fetch(url, partial, None, progress, timeout)
    except (SourceNotFoundError, OSError) as error:
        if is_new:
            with suppress(OSError):
                folder.rmdir()  # unless something has arrived
        raise DownloadError(
            f"cannot download the published file: {error}. Start again to continue where it stopped, or "
            f"download {redact(url)} by other means and name the file"
        ) from error
    sha256 = sha256_of(partial)
    if sha256 != product.SHA256:
        partial.unlink(missing_ok=True)
        raise DownloadError(
            f"the file downloaded from {redact(url)} is not the published one: its SHA-256 is {sha256}, "
            f"{product.SHA256} is expected. It has been removed; start again, and if the same file is sent "
            "again, a proxy or mirror is changing it"
        )
    partial.replace(final)
    return final
