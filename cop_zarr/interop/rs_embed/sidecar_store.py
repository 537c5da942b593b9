"""Which store answers for a GeoTIFF? The one beside it, made when it is first asked for.

A store answers only for the file that it was made from, by its SHA-256. Hashing 768 MB takes a second or
two, so what came out is noted beside the file, and holds while the file is not touched.
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
from cop_zarr.source.locate import sha256_of
from cop_zarr.storage import file_stamp, folder

NOTE_SUFFIX = ".sha256"
"""``embed_map_310k.tif.sha256``: digest, size, times of change in ns, inode."""

PAUSE_SECONDS = 0.5
"""Between two looks at a store that another process is making."""


def place_of(source: Path) -> str:
    """Where the store of a GeoTIFF is: what ``COP_ZARR_STORE`` names, else ``NAME.zarr`` beside it."""
    return os.environ.get(settings.STORE_VARIABLE) or str(source.with_suffix(".zarr"))


def reader_for(source: Path) -> ChunkReader:
    """Open the store of a GeoTIFF; make it if there is none.

    If another process is making it, wait for that; if one was killed while it did, go on from there.

    Parameters
    ----------
    source : Path
        The GeoTIFF.

    Returns
    -------
    ChunkReader
        Of a store made from the very file that is there now.

    Warns
    -----
    UserWarning
        That a store is being made, and where.

    Raises
    ------
    StoreExistsError
        If the place holds the store of another file, or something else.
    SourceError
        If the file cannot be ingested.
    StoreError, StorageError, InputError
        If the store cannot be opened or made.
    """
    where = folder(place_of(source))
    told = False
    while True:
        try:
            document = read_document(where)
        except FormatVersionError:
            raise
        except (StoreError, StoreNotFoundError):
            if not told:
                warnings.warn(f"making {where.url} of {source}, once for all", UserWarning, stacklevel=2)
            told = True
            _make(source)
        else:
            _refuse_other(document, source, where.url)
            return open_reader(where, document, workers=None)


def _make(source: Path) -> None:
    """Ingest a file, or wait a moment while another process does."""
    from cop_zarr.writing.ingest import ingest  # half a second, for stores that are not there

    before = file_stamp(source)
    try:
        report = ingest(source, place_of(source), resume=True)
    except StoreBusyError:
        time.sleep(PAUSE_SECONDS)
    except StoreExistsError:
        raise
    except (InputError, StorageError) as error:
        raise type(error)(
            f"{error}. {settings.STORE_VARIABLE} may name another place for the store of {source}, or one "
            "where it is already"
        ) from error
    else:
        _note(source, before, report.source["sha256"])


def _refuse_other(document: StoreDocument, source: Path, url: str) -> None:
    """Refuse a store that was not made from this file."""
    made_from = document.record["source"]
    if made_from["bytes"] == source.stat().st_size and made_from["sha256"] == digest(source):
        return
    raise StoreExistsError(
        f"{url} is the store of another file than {source}: of {made_from['url']}, SHA-256 "
        f"{made_from['sha256']}. Make it anew with: cop-zarr ingest {shlex.quote(str(source))} "
        f"{shlex.quote(url)} --overwrite; or name another place in {settings.STORE_VARIABLE}"
    )


def digest(path: Path) -> str:
    """SHA-256 (hex) of a file, computed anew only when the file was touched since it was last noted.

    The note lies beside the file, if it can be written there. A file cannot be changed or replaced without
    its time of change (``ctime``) or its inode telling.

    Examples
    --------
    >>> from pathlib import Path
    >>> from cop_zarr.interop.rs_embed.sidecar_store import digest
    >>> len(digest(Path("embed_map_310k.tif")))
    64
    """
    stamp = file_stamp(path)
    with suppress(OSError, UnicodeDecodeError):
        sha256, *noted = path.with_name(path.name + NOTE_SUFFIX).read_text("ascii").split() or [""]
        if noted == [str(each) for each in stamp]:
            return sha256
    sha256 = sha256_of(path)
    _note(path, stamp, sha256)
    return sha256


def _note(path: Path, stamp: tuple[int, ...], sha256: str) -> None:
    """Note what a file hashes to, if it is still the one that had this stamp."""
    note = path.with_name(path.name + NOTE_SUFFIX)
    partial = note.with_name(f"{note.name}.{os.getpid()}")
    with suppress(OSError):  # a folder that can only be read: it will be hashed again
        if file_stamp(path) == stamp:
            partial.write_text(" ".join([sha256, *map(str, stamp)]) + "\n", "ascii")
            partial.replace(note)
