"""The published file: in the cache of the Hugging Face hub's own programs, or downloaded from the hub."""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from pathlib import Path

from cop_zarr.core import product, settings
from cop_zarr.core.progress import Progress
from cop_zarr.errors import DownloadError, SourceNotFoundError
from cop_zarr.storage import PARTIAL_SUFFIX, fetch, redact, sha256_of

HUB = "https://huggingface.co"
"""Where the file is published, unless ``HF_ENDPOINT`` names a mirror."""

logger = logging.getLogger(__name__)


def cached_file() -> Path | None:
    """The published file in the hub's cache, if it is there, and its SHA-256 is the published one.

    It is there under its revision, as a link to ``blobs/<SHA-256>`` where the system has links; the blob
    may also be that of another revision with the same file.
    """
    dataset = Path(settings.hub_cache()) / f"datasets--{product.REPOSITORY.replace('/', '--')}"
    named = dataset / "snapshots" / product.REVISION / product.FILENAME
    for path in (named, dataset / "blobs" / product.SHA256):
        with suppress(OSError):  # it is not there, or must not be read
            if path.is_file():
                if sha256_of(path) == product.SHA256:
                    return path
                logger.warning("%s is not the published file: its SHA-256 is another", path)
    return None


def download_published(folder: Path, progress: Progress | None, timeout: float) -> Path:
    """Download the published file into a folder.

    What has arrived is kept in ``<name>.partial``, from which the next call continues, even after a kill.
    The file gets its name only when its SHA-256 is the published one. (huggingface_hub is not used: since
    its version 1.19 it starts from the beginning in every process.) Raises DownloadError if the hub cannot
    be reached, sends another file, or must not be asked (``HF_HUB_OFFLINE``).
    """
    if settings.hub_is_offline():
        raise DownloadError(
            f"cannot download the published file: {settings.OFFLINE_VARIABLE} is set. It is neither in "
            f"{folder} nor in the hub's cache, {settings.hub_cache()}; unset the variable, or download "
            f"{product.URL} by other means and name the file"
        )
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
