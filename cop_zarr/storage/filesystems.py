"""Open the fsspec filesystem of a URL, set up for many small requests."""

from __future__ import annotations

import json
import os
import re
import weakref
from collections.abc import Mapping
from threading import Lock
from typing import TYPE_CHECKING, Any

from cop_zarr import system
from cop_zarr.core.packages import install
from cop_zarr.errors import InputError, MissingDependencyError
from cop_zarr.storage.retries import MIN_TRIES, TIMEOUT_SECONDS
from cop_zarr.storage.transport_errors import error_name, is_transport_error, to_storage_error
from cop_zarr.storage.urls import check_address, links, redact, without_colons

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

StorageOptions = Mapping[str, Any]

REQUESTS_AT_ONCE = 64
"""Default number of concurrent requests: a window of 64 chunks (about 14° x 14°) in one round trip."""

EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs", "http": "http", "https": "http"}
"""The extra of this package that installs what a URL's protocol needs."""

PACKAGES = {"s3": "s3fs", "gcs": "gcsfs", "http": "fsspec[http]"}
"""What each of these extras installs."""

READ_ONLY = frozenset({"hf", "http", "https", "zip", "tar"})
"""Protocols that can only be read; on a hub, each object would be a commit."""

SERVER_VARIABLES = (
    *("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_PROFILE", "AWS_CONFIG_FILE", "HF_ENDPOINT"),
    *("STORAGE_EMULATOR_HOST", "AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_CONNECTION_STRING"),
)
"""Variables by which the clients choose a server that no URL names."""

_opened: weakref.WeakValueDictionary[int, AbstractFileSystem] = weakref.WeakValueDictionary()
"""The filesystems of this process, by identity: two that were opened alike are equal."""

_inherited: list[AbstractFileSystem] = []
"""In a forked process, the filesystems of its parent, kept for good."""


def open_filesystem(
    url: str, storage_options: StorageOptions | None, timeout: float = TIMEOUT_SECONDS
) -> tuple[AbstractFileSystem, str]:
    """Open the filesystem of a URL, and return it with the path in it.

    The caller's options override what is set up here. A connection that is silent for a third of the
    timeout of an object is closed. Raises InputError for an unknown protocol or an invalid URL or option,
    MissingDependencyError, and StorageError if an archive, such as a ZIP file, cannot be read to open it.
    """
    from fsspec.archive import AbstractArchiveFileSystem
    from fsspec.core import url_to_fs  # 0.05 s to import, and local stores do not need it

    protocol = protocol_of(url)
    options = dict(storage_options or {})
    check_address(url)
    address = without_colons(url)
    try:
        _add_defaults(options, protocol, timeout / MIN_TRIES)
        for link in links(url)[1:]:  # where an archive is stored
            options[protocol_of(link)] = dict(options.get(protocol_of(link), {}))
            _add_defaults(options[protocol_of(link)], protocol_of(link), timeout / MIN_TRIES)
        # an instance of our own: fsspec's shared ones belong to whoever else asks for them
        fs, path = url_to_fs(address, skip_instance_cache=True, **options)
    except ImportError as error:
        extra = EXTRAS.get(protocol)
        advice = install([PACKAGES[extra]], extra) if extra else str(error)
        raise MissingDependencyError(
            f"{protocol}:// URLs need a package that is not installed: {advice}"
        ) from error
    except ValueError as error:
        # a client's own text may hold secrets, fsspec's of an unknown protocol does not
        reason = str(error) if str(error).startswith("Protocol not known") else f"({error_name(error)})"
        raise InputError(f"cannot open {redact(url)}: {reason}") from None
    except (TypeError, LookupError, AttributeError) as error:
        raise InputError(f"cannot open {redact(url)} with these options{unknown_option(error)}") from None
    except Exception as error:
        if not is_transport_error(error):
            raise
        raise to_storage_error(f"cannot open {redact(url)}", error) from None
    if EXTRAS.get(protocol) == "s3":
        fs.retries = 1  # with_retries decides what is tried again; the same is set for botocore below
    fs.tells_silence = EXTRAS.get(protocol) in {"s3", "http"}  # they end a try that is silent
    if isinstance(fs, AbstractArchiveFileSystem):
        fs.turn = Lock()  # threads get each other's bytes of a TAR, and half a list of a ZIP
    _opened[id(fs)] = fs
    return fs, path


def server_settings(options: StorageOptions | None) -> str | None:
    """All that says, beside a URL, which server is asked and who asks; None if that cannot be written down.

    It may hold secrets.
    """
    import fsspec.config

    variables = {name: os.environ.get(name) for name in SERVER_VARIABLES}
    try:
        return json.dumps([dict(options or {}), variables, fsspec.config.conf], sort_keys=True)
    except (TypeError, ValueError):
        return None


def _keep_inherited() -> None:
    """Keep the parent's filesystems from being collected in a forked child.

    That would close their connections. A loop's epoll is shared across a fork, so the parent would not be
    notified any more of connections that it still has, and would wait until a try is over.
    """
    _inherited.extend(_opened.values())
    _opened.clear()


system.at_fork(after_in_child=_keep_inherited)


def unknown_option(error: BaseException) -> str:
    """Return the option that a client does not know; the rest of its text may hold secrets."""
    found = re.search(r"unexpected keyword argument '(\w+)'", str(error))
    return f": unknown option {found[1]}" if found else f" ({type(error).__name__})"


def protocol_of(url: str) -> str:
    """Return the protocol of a URL: ``zip`` of ``zip://a::s3://b/c.zip``."""
    return links(url)[0].partition("://")[0]


def _add_defaults(options: dict[str, Any], protocol: str, silence: float) -> None:
    for name, default in _defaults(protocol, silence).items():
        options[name] = {**default, **options.get(name, {})}


def _defaults(protocol: str, silence: float) -> dict[str, dict[str, Any]]:
    """Return a filesystem's options unless the caller sets them; ``silence`` is in seconds."""
    if EXTRAS.get(protocol) == "s3":
        # with botocore's default of 10 connections, 64 requests would take seven round trips
        return {
            "config_kwargs": {
                "max_pool_connections": REQUESTS_AT_ONCE,
                "connect_timeout": silence,
                "read_timeout": silence,
                "retries": {"total_max_attempts": 1},
            }
        }
    if protocol in EXTRAS:
        from urllib.request import getproxies

        from aiohttp import ClientTimeout

        # aiohttp's default ends any download, and any silence, after 5 minutes
        session: dict[str, Any] = {
            "timeout": ClientTimeout(total=None, sock_connect=silence, sock_read=silence)
        }
        if getproxies():  # otherwise each request would look for a proxy, and in .netrc, in a thread
            session["trust_env"] = True
        return {"client_kwargs" if EXTRAS[protocol] == "http" else "session_kwargs": session}
    return {}
