"""The environment variables that cop-zarr reads, with their defaults."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import Any

from cop_zarr.errors import InputError

STORE_VARIABLE = "COP_ZARR_STORE"
SOURCE_VARIABLE = "RS_EMBED_COP_DIR"
WORKERS_VARIABLE = "COP_ZARR_WORKERS"
EPOCH_VARIABLE = "SOURCE_DATE_EPOCH"
OFFLINE_VARIABLE = "HF_HUB_OFFLINE"


def store_url(given: Any = None) -> Any:
    """Where a store is: the argument if given, else ``COP_ZARR_STORE``, else the default place."""
    if given is not None:
        return given
    return os.environ.get(STORE_VARIABLE) or "data/copernicus_embed.zarr"


def store_is_named() -> bool:
    """Whether ``COP_ZARR_STORE`` names the store that is meant where none is."""
    return bool(os.environ.get(STORE_VARIABLE))


def source_folder() -> str:
    """The folder of the GeoTIFF: ``RS_EMBED_COP_DIR``, the variable of rs-embed."""
    return os.environ.get(SOURCE_VARIABLE) or "data/copernicus_embed"


def cache_folder() -> str:
    """The folder for what can be made again: below ``XDG_CACHE_HOME``, or ``~/.cache``."""
    return f"{os.environ.get('XDG_CACHE_HOME') or '~/.cache'}/cop-zarr"


def hub_cache() -> str:
    """The folder in which huggingface_hub caches files: by its variables, or its default."""
    user = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = os.environ.get("HF_HOME") or f"{user}/huggingface"
    named = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    return os.path.expanduser(os.path.expandvars(named or f"{home}/hub"))  # noqa: PTH111  # of no user, too


def hub_is_offline() -> bool:
    """Whether ``HF_HUB_OFFLINE`` forbids requests to the hub, in the words that huggingface_hub takes."""
    return os.environ.get(OFFLINE_VARIABLE, "").upper() in {"1", "ON", "YES", "TRUE"}


def workers(given: int | None = None, usual: int = 4) -> int:
    """Threads at work at once: the argument if given, else ``COP_ZARR_WORKERS``, else what is usual."""
    value: object = given if given is not None else os.environ.get(WORKERS_VARIABLE) or usual
    try:
        number = int(str(value))
    except ValueError:
        number = 0
    if number < 1:
        name = "workers" if given is not None else WORKERS_VARIABLE
        raise InputError(f"{name} must be a whole number of at least 1; got {value!r}")
    return number


def timestamp() -> str:
    """The time, ISO 8601 in UTC, or the one that ``SOURCE_DATE_EPOCH`` fixes for reproducible bytes."""
    epoch = os.environ.get(EPOCH_VARIABLE)
    try:
        when = datetime.fromtimestamp(int(epoch), UTC) if epoch else datetime.now(UTC)
    except (ValueError, OverflowError, OSError):
        raise InputError(
            f"{EPOCH_VARIABLE} must be a number of seconds since 1970; got {epoch!r}"
        ) from None
    return when.isoformat(timespec="seconds")
