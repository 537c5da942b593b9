"""How are the arrays read? Opened by zarr-python, whose errors become ours."""

from __future__ import annotations

import lzma
import struct
import zlib
from typing import Any

import numpy as np

from cop_zarr.core.lru_cache import LRUCache
from cop_zarr.errors import ChunkError, CopZarrError, StoreError
from cop_zarr.foreign import arrays
from cop_zarr.foreign.arrays import Claim
from cop_zarr.storage import Folder

DECODING_ERRORS = (
    ArithmeticError, EOFError, LookupError, OSError, RuntimeError, TypeError, ValueError, lzma.LZMAError,
    struct.error, zlib.error,
)  # fmt: skip
"""What zarr-python and its codecs raise of bytes that are not what they should be; their own errors are
ValueErrors."""


def open_all(
    where: Folder, version: int, documents: dict[str, bytes], claims: dict[str, Claim]
) -> dict[str, Any]:
    """Have zarr-python open the arrays."""
    from cop_zarr.foreign.zarrfolder import ZarrFolder, open_arrays  # noqa: PLC0415  # ours are opened without zarr

    limits = {name: claim.limit for name, claim in claims.items()}
    shards = LRUCache(2 * max(limits.values()))
    try:
        return open_arrays(ZarrFolder(where, documents, limits, shards), arrays.NAMES, version)
    except CopZarrError:
        raise
    except DECODING_ERRORS as error:
        raise StoreError(f"zarr-python cannot open it: {error}") from error


def read_part(array: Any, selection: Any) -> np.ndarray:
    """Have zarr-python read a part of an array."""
    from cop_zarr.foreign.zarrfolder import read  # noqa: PLC0415  # as above

    return read(array, selection)


def read_all(where: Folder, array: Any, name: str) -> np.ndarray:
    """Read all of a small array."""
    try:
        return read_part(array, ...)
    except CopZarrError:
        raise
    except DECODING_ERRORS as error:
        raise ChunkError(f"{where.url}/{name} is damaged: zarr-python cannot decode it: {error}") from error
