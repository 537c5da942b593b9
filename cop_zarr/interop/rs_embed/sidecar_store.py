"""The store beside a GeoTIFF, created on first use.

A store is used only for the file that it was made from, by its SHA-256. Hashing 768 MB takes a second or
two, so the digest is cached beside the file, and valid until the file is modified.
"""

from __future__ import annotations

import os
import shlex
import time
import warnings
from contextlib import suppress
from pathlib import Path

from cop_zarr.core import settings
from cop_zarr.errors import (
    FormatVersionError,
    InputError,
    StorageError,
    StoreBusyError,
    StoreError,
    StoreExistsError,
    StoreNotFoundError,
)
from cop_zarr.format.chunk_reader import ChunkReader
from cop_zarr.format.document import StoreDocument
from cop_zarr.format.opening import open_reader, read_document
from cop_zarr.storage import file_stamp, folder, sha256_of

WAIT_SECONDS = 600
"""How long another process that creates a store is waited for: an ingest takes a minute or two."""


def open_or_create(source: Path) -> ChunkReader:
    """Open the store of a GeoTIFF; create it if there is none.

    It is ``COP_ZARR_STORE``, or ``NAME.zarr`` beside the file. If another process is creating it, wait for
    that; if one was interrupted, resume. Raises StoreExistsError if something else is there.
    """
    url = os.environ.get(settings.STORE_VARIABLE) or str(source.with_suffix(".zarr"))
    place = folder(url)
    warned = False
    wait_until = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            document = read_document(place)
        except FormatVersionError:
            raise
        except (StoreError, StoreNotFoundError):
            if not warned:
                warnings.warn(f"creating {place.url} from {source}, once", UserWarning, stacklevel=2)
            warned = True
            _create(source, url, wait_until)
        else:
            _check_source(document, source, place.url)
            return open_reader(place, document, workers=None)


def _create(source: Path, url: str, wait_until: float) -> None:
    """Ingest a file, or wait a moment while another process does, until then."""
    from cop_zarr.writing.ingest import ingest  # takes half a second to import

    try:
        ingest(source, url, resume=True)
    except StoreBusyError:
        if time.monotonic() > wait_until:  # it may have died elsewhere
            raise
        time.sleep(0.5)
    except StoreExistsError:
        raise
    except (InputError, StorageError) as error:
        raise type(error)(
            f"{error}. Set {settings.STORE_VARIABLE} to another place for the store of {source}, or to an "
            "existing store"
        ) from error


def _check_source(document: StoreDocument, source: Path, url: str) -> None:
    """Check that a store was made from this file."""
    recorded = document.record["source"]
    if recorded["bytes"] == source.stat().st_size and recorded["sha256"] == cached_sha256(source):
        return
    raise StoreExistsError(
        f"{url} is the store of another file than {source}: of {recorded['url']}, SHA-256 "
        f"{recorded['sha256']}. Replace it with: cop-zarr ingest {shlex.quote(str(source))} "
        f"{shlex.quote(url)} --overwrite; or set {settings.STORE_VARIABLE} to another place"
    )


def cached_sha256(path: Path) -> str:
    """SHA-256 (hex) of a file, computed again only after the file was modified.

    It is cached beside the file, if that folder is writable. Any change of the file changes its stamp.
    """
    cache = _digest_path(path)
    with path.open("rb") as file:  # a name may be a link, and lead elsewhere a moment later
        stamp = file_stamp(file.fileno())
        with suppress(OSError, UnicodeDecodeError):
            sha256, *cached_stamp = cache.read_text("ascii").split() or [""]
            if cached_stamp == [str(each) for each in stamp]:
                return sha256
        sha256 = sha256_of(file.fileno())
        unchanged = file_stamp(file.fileno()) == stamp
    partial = cache.with_name(f"{cache.name}.{os.getpid()}")
    with suppress(OSError):  # in a read-only folder it is computed each time
        if unchanged:
            partial.write_text(" ".join([sha256, *map(str, stamp)]) + "\n", "ascii")
            partial.replace(cache)
    return sha256


def _digest_path(path: Path) -> Path:
    """``embed_map_310k.tif.sha256`` holds the digest and the file's stamp."""
    return path.with_name(f"{path.name}.sha256")
