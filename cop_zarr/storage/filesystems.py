"""Open the fsspec filesystem of a URL, set up for many small requests."""

from __future__ import annotations

import os
import re
import weakref
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from cop_zarr.errors import InputError, MissingDependencyError
from cop_zarr.storage.retries import TIMEOUT_SECONDS, TRIES_WITHIN, failure, transport_errors
from cop_zarr.storage.urls import redact

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

StorageOptions = Mapping[str, Any]

REQUESTS_AT_ONCE = 64
"""Requests under way at once, unless told otherwise: a window of 64 chunks (about 14° x 14°) in one go."""

EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs", "http": "http", "https": "http"}
"""The extra of this package that installs what a URL's protocol needs."""

READ_ONLY = frozenset({"http", "https", "zip", "tar"})
"""Protocols of places that can be read only."""


def filesystem(
    url: str, storage_options: StorageOptions | None, timeout: float = TIMEOUT_SECONDS
) -> tuple[AbstractFileSystem, str]:
    """Open the filesystem of a URL, and find the path in it.

    Parameters
    ----------
    url : str
        Any that fsspec knows.
    storage_options : mapping, optional
        Passed to the filesystem; they go before what is set up here.
    timeout : float
        Seconds for an object with all its tries: a connection that is silent for a third is given up.

    Raises
    ------
    InputError
        If the protocol is unknown, or the URL is none.
    MissingDependencyError
        If the protocol needs a package that is not installed.
    StorageError
        If the URL is that of a place within a file, such as a ZIP file, and that cannot be read.
    """
    from fsspec.core import url_to_fs  # 0.05 s to import, and local stores do not need it

    protocol = protocol_of(url)
    options = dict(storage_options or {})
    try:
        _set_up(options, protocol, timeout / TRIES_WITHIN)
        for link in url.split("::")[1:]:  # what an archive lies on
            options[protocol_of(link)] = dict(options.get(protocol_of(link), {}))
            _set_up(options[protocol_of(link)], protocol_of(link), timeout / TRIES_WITHIN)
        urlsplit(url.rpartition("::")[2])  # refuses an address that is none, such as https://[x
        # an instance of our own: fsspec's shared ones belong to whoever else asks for them
        fs, path = url_to_fs(url, skip_instance_cache=True, **options)
    except ImportError as error:
        extra = EXTRAS.get(protocol)
        advice = f'pip install "cop-zarr[{extra}]"' if extra else str(error)
        raise MissingDependencyError(
            f"{protocol}:// URLs need a package that is not installed: {advice}"
        ) from error
    except ValueError as error:
        raise InputError(f"cannot open {redact(url)}: {error}") from None
    except (TypeError, LookupError, AttributeError) as error:
        raise InputError(f"cannot open {redact(url)} with these options{what_option(error)}") from None
    except transport_errors() as error:  # a chained URL, such as that of a ZIP file, is read to open it
        raise failure(f"cannot open {redact(url)}", error) from None
    if EXTRAS.get(protocol) == "s3":
        fs.retries = 1  # as for botocore above: faults.with_retries decides what is tried again
    _opened[id(fs)] = fs
    return fs, path


_opened: weakref.WeakValueDictionary[int, AbstractFileSystem] = weakref.WeakValueDictionary()
"""The filesystems of this process, by identity: they are equal if they were opened alike."""

_inherited: list[AbstractFileSystem] = []
"""A forked process's: the filesystems of its parent, for ever."""


def _keep_inherited() -> None:
    """Keep what a parent has opened from being collected in its child.

    Its connections would be closed, and a loop's epoll is shared across a fork: the parent would not hear
    any more of connections that it still has, and wait for an answer until a try is over.
    """
    _inherited.extend(_opened.values())
    _opened.clear()


os.register_at_fork(after_in_child=_keep_inherited)


def what_option(error: BaseException) -> str:
    """The option that a client does not know; the rest of its text may hold what is secret."""
    found = re.search(r"unexpected keyword argument '(\w+)'", str(error))
    return f": it knows no {found[1]}" if found else f" ({type(error).__name__})"


def protocol_of(url: str) -> str:
    """The protocol that a URL begins with: ``zip`` of ``zip://a::s3://b/c.zip``."""
    return url.partition("::")[0].partition("://")[0]


def _set_up(options: dict[str, Any], protocol: str, silence: float) -> None:
    for name, usual in _settings(protocol, silence).items():
        options[name] = {**usual, **options.get(name, {})}


def _settings(protocol: str, silence: float) -> dict[str, dict[str, Any]]:
    """What a filesystem is told unless the caller says otherwise."""
    if EXTRAS.get(protocol) == "s3":
        # by botocore's own default, 10 connections, 64 requests would wait in seven rows
        return {
            "config_kwargs": {
                "max_pool_connections": REQUESTS_AT_ONCE,
                "connect_timeout": silence,
                "read_timeout": silence,
                "retries": {"total_max_attempts": 1},
            }
        }
    if EXTRAS.get(protocol) == "http":
        from aiohttp import ClientTimeout

        # by aiohttp's own default, a download ends after 5 minutes, and silence is waited for as long
        return {
            "client_kwargs": {"timeout": ClientTimeout(total=None, sock_connect=silence, sock_read=silence)}
        }
    return {}
