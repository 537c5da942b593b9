"""Find the source GeoTIFF: a file, a URL, a folder, or the published file on its hub."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cop_zarr import product, settings
from cop_zarr.errors import DownloadError, InputError, MissingDependencyError, SourceNotFoundError
from cop_zarr.storage import StorageOptions, local_file, local_path, redact

PATTERN = "embed_map_*.tif"
STAGING = ".download"
"""Folder beside the file's final place where a download is kept until its digest is right."""


@contextmanager
def located(
    source: str | os.PathLike[str] | None, options: StorageOptions | None, *, download: bool
) -> Iterator[tuple[Path, str]]:
    """Give a source's path on a disk, and its URL for people.

    Parameters
    ----------
    source : str, path or None
        A file, an fsspec URL (copied to a temporary file), a folder with one ``embed_map_*.tif``, or
        None for the default folder.
    options : mapping, optional
        Passed to the URL's filesystem.
    download : bool
        Whether the published file may be downloaded into a default folder that has none.

    Raises
    ------
    SourceNotFoundError
        If there is nothing at the place named.
    InputError
        If a folder holds several candidates, or the file would have to be downloaded and may not.
    DownloadError
        If the download failed.
    """
    if source is None:
        path = default_source(download=download)
        yield path, str(path)
        return
    url = os.fspath(source)
    path_given = local_path(url)
    if path_given is not None and path_given.is_dir():
        found = find(path_given)
        if found is None:
            raise SourceNotFoundError(f"the folder {url} holds no file named {PATTERN}")
        yield found, str(found)
        return
    with local_file(url, options) as path:
        yield path, redact(url)


def default_source(*, download: bool) -> Path:
    """Find the GeoTIFF in the default folder, or download it there."""
    where = Path(settings.source_folder())
    if where.is_file():
        return where
    found = find(where)
    if found is not None:
        return found
    if not download:
        raise InputError(
            f"there is no {PATTERN} in {where} ({settings.SOURCE_VARIABLE}); the published file would be "
            f"downloaded from {product.URL}"
        )
    return download_published(where)


def find(where: Path) -> Path | None:
    """The one ``embed_map_*.tif`` of a folder; None if there is none.

    Raises
    ------
    InputError
        If there are several.
    """
    found = sorted(where.glob(PATTERN))
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise InputError(f"the folder {where} holds {len(found)} sources ({names}); name one of them")
    return found[0] if found else None


def download_published(where: Path) -> Path:
    """Download the published file into a folder.

    The download is that of huggingface_hub: it shows its progress, goes on where an earlier one was cut
    off, retries, and heeds ``HF_ENDPOINT``, ``HF_TOKEN`` and the usual proxy variables. The file gets its
    name only when its SHA-256 is the published one.

    Raises
    ------
    DownloadError
        If the hub cannot be reached, or gives another file.
    MissingDependencyError
        If huggingface_hub is not installed.
    """
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
    except ImportError as error:
        raise MissingDependencyError(
            'downloading the published file needs an extra: pip install "cop-zarr[download]"; or fetch '
            f"{product.URL} yourself and name the file"
        ) from error
    final, staging = where / product.FILENAME, where / STAGING
    try:
        where.mkdir(parents=True, exist_ok=True)
        fetched = hf_hub_download(
            product.REPOSITORY,
            product.FILENAME,
            repo_type="dataset",
            revision=product.REVISION,
            local_dir=staging,
            endpoint=os.environ.get("HF_ENDPOINT"),
        )
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise DownloadError(
            f"cannot download {product.FILENAME} from {product.REPOSITORY}: {error}. Start again to go on "
            f"where it stopped, or fetch {product.URL} yourself and name the file"
        ) from error
    sha256 = sha256_of(Path(fetched))
    if sha256 != product.SHA256:
        Path(fetched).unlink()
        raise DownloadError(
            f"the file downloaded from {product.REPOSITORY} is not the published one: its SHA-256 is "
            f"{sha256}, {product.SHA256} is expected. It has been removed; start again, and if it comes "
            "again, a proxy or mirror is changing it"
        )
    Path(fetched).replace(final)
    return final


def sha256_of(path: Path) -> str:
    """SHA-256 (hex) of a file."""
    with path.open("rb", buffering=0) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
