"""What goes wrong between here and an object store, and what is worth another try."""

from __future__ import annotations

import json
import logging
import random
import socket
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from typing import TypeVar
from zipfile import BadZipFile

from cop_zarr.errors import AccessError, InputError, StorageError

T = TypeVar("T")

TIMEOUT_SECONDS = 60.0
"""How long an object may take, all tries together, unless told otherwise."""

TRIES_WITHIN = 3
"""A try that takes more than this part of the timeout counts as hung, and is made again."""

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
"""Seconds before the second try; each further pause is twice the last, and drawn from its upper half."""

TRANSIENT_STATUS = frozenset(
    {
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.INTERNAL_SERVER_ERROR,
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.GATEWAY_TIMEOUT,
    }
)

_CLIENT_ERRORS = (
    ("aiohttp", "ClientError"),
    ("botocore.exceptions", "BotoCoreError"),
    ("botocore.exceptions", "ClientError"),
    ("gcsfs.retry", "HttpError"),
    ("gcsfs.retry", "NonRetryableError"),
    ("gcsfs.retry", "ChecksumError"),
    ("google.auth.exceptions", "GoogleAuthError"),
    ("httpx", "HTTPError"),
    ("httpx2", "HTTPError"),
)
"""Errors that filesystems for HTTP, S3, Google and Hugging Face let through, and that are no OSError."""

_LASTING_ERRORS = (
    ("aiohttp", "ClientConnectorError"),  # refused, unknown host, certificate: a wrong address, mostly
    ("aiohttp", "InvalidURL"),
    ("botocore.exceptions", "SSLError"),
)
_TRANSIENT_ERRORS = (
    ("aiohttp", "ClientConnectionError"),
    ("aiohttp", "ClientPayloadError"),
    ("botocore.exceptions", "HTTPClientError"),  # EndpointConnectionError, too, which is said of resets
    ("botocore.exceptions", "FlexibleChecksumError"),  # it did not arrive as it was sent
    ("botocore.parsers", "ResponseParserError"),
    ("botocore.exceptions", "IncompleteReadError"),
    ("requests.exceptions", "ConnectionError"),
    ("requests.exceptions", "Timeout"),
    ("gcsfs.retry", "ChecksumError"),
)

_DAMAGED_ANSWERS = (json.JSONDecodeError, UnicodeDecodeError)
"""What gcsfs raises of an answer that was cut short, or altered, on its way."""

logger = logging.getLogger(__name__)


def transport_errors() -> tuple[type[Exception], ...]:
    """What a failing connection raises: OSError, and what the clients that fsspec has imported raise.

    ValueError is what gcsfs makes of a damaged answer, EOFError and BadZipFile come of a damaged archive.
    """
    return OSError, ValueError, EOFError, BadZipFile, zlib.error, *_loaded(_CLIENT_ERRORS)


def status_of(error: BaseException) -> int | None:
    """The HTTP status that an error, or what caused it, reports; None if there is none."""
    for each in _causes(error):
        response = getattr(each, "response", None)
        if isinstance(response, dict):
            found = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        elif isinstance(each, _loaded((("gcsfs.retry", "HttpError"),))):
            found = each.code  # type: ignore[attr-defined]  # others have a code that is no status
        else:
            found = getattr(each, "status", None)
        if str(found).isdigit():
            return int(str(found))
    if isinstance(error, PermissionError) or str(error).startswith("Forbidden"):  # s3fs's, gcsfs's
        return int(HTTPStatus.FORBIDDEN)
    return None


def is_transient(error: BaseException) -> bool:
    """Whether the same request may well be answered in a moment."""
    status = status_of(error)
    if status is not None:
        return status in TRANSIENT_STATUS
    if any(isinstance(each, _loaded(_LASTING_ERRORS)) for each in _causes(error)):
        return False
    return any(
        isinstance(each, (TimeoutError, ConnectionError, *_DAMAGED_ANSWERS, *_loaded(_TRANSIENT_ERRORS)))
        and not isinstance(each, (ConnectionRefusedError, socket.gaierror))
        for each in _causes(error)
    )


def kind(error: BaseException) -> str:
    """An error's type and HTTP status; its text may hold a signed URL or a key."""
    status = status_of(error)
    return type(error).__name__ if status is None else f"{type(error).__name__}, status {status}"


def failure(what: str, error: BaseException, tries: str = "") -> StorageError:
    """The error to raise for a failed request.

    It is to be raised ``from None``: the client's own text may hold a signed URL or a key.

    Parameters
    ----------
    what : str
        What could not be done, with a redacted URL.
    error : BaseException
        What the client raised.
    tries : str
        How often it was tried.
    """
    if status_of(error) in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        hint = ""
        if "s3://" in what:
            hint = (
                "; S3 also says this of an object that is not there, to those who may not list its bucket"
            )
        return AccessError(f"{what}: access denied ({kind(error)}). Are the credentials right?{hint}")
    return StorageError(f"{what}: {kind(error)}{_hint(error)}{tries}")


_HINTS = {
    "NoCredentialsError": "no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or pass the "
    'storage options {"anon": true} for a public bucket',
    "ConnectionRefusedError": "nothing answers there; is the address right, is the server up?",
    "gaierror": "there is no host of that name",
    "SSLError": "no secure connection; is the server's certificate good, does it speak https?",
    "SSLCertVerificationError": "the server's certificate is not good",
    "BadZipFile": "it is not a ZIP file, or a damaged one",
    "ParamValidationError": "it names no bucket",
    "FileNotFoundError": "there is no such file",
}
"""What an error means, by the name of its type or of what caused it, in words that no client has chosen."""


def _hint(error: BaseException) -> str:
    names = [kind.__name__ for each in _causes(error) for kind in type(each).__mro__]
    return next((f" ({_HINTS[name]})" for name in names if name in _HINTS), "")


def with_retries(request: Callable[[float], T], what: str, timeout: float) -> T:
    """Make a request, and make it again if it fails in passing.

    Parameters
    ----------
    request : callable
        Takes the seconds that this try may last.
    what : str
        For the message: "cannot read URL", the URL redacted.
    timeout : float
        Seconds for all tries and the pauses between them.

    Returns
    -------
    object
        What the request returned.

    Raises
    ------
    FileNotFoundError, FileExistsError
        As the request raised it.
    AccessError, StorageError
        If it failed otherwise, for good or until the time was over.
    """
    end = time.monotonic() + timeout
    for tries, pause in enumerate(pauses(), 1):
        try:
            return request(min(timeout / TRIES_WITHIN, max(end - time.monotonic(), 0.001)))
        except (FileNotFoundError, FileExistsError, StorageError):
            raise
        except transport_errors() as error:
            if not is_transient(error):
                raise failure(what, error) from None
            wait = max(pause, asked_pause(error))
            if time.monotonic() + wait >= end:
                told = f", {tries} times within {timeout:g} s (--timeout, timeout=)"
                raise failure(what, error, told if tries > 1 else "") from None
            logger.info("%s: %s; trying again in %.1f s", what, kind(error), wait)
        time.sleep(wait)
    raise AssertionError  # pauses() has no end


def pauses() -> Iterator[float]:
    """Seconds before each further try: exponential, with jitter."""
    longest = FIRST_PAUSE
    while True:
        yield random.uniform(longest / 2, longest)  # noqa: S311  # nothing secret depends on it
        longest = min(2 * longest, LONGEST_PAUSE)


def asked_pause(error: BaseException) -> float:
    """Seconds that the server asks to wait (Retry-After), 0 if it does not."""
    for each in _causes(error):
        response = getattr(each, "response", None)
        if isinstance(response, dict):  # botocore's, in lower case
            asked = response.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("retry-after")
        else:
            headers = getattr(each, "headers", None)
            asked = headers.get("Retry-After") if isinstance(headers, Mapping) else None
        if str(asked).isdigit():
            return float(str(asked))
    return 0.0


def checked_timeout(timeout: float) -> float:
    """A timeout that is one.

    Raises
    ------
    InputError
        If it is not a positive number of seconds.
    """
    try:
        good = 0 < float(timeout) < float("inf")
    except (TypeError, ValueError):
        good = False
    if not good:
        raise InputError(f"timeout must be a positive number of seconds; got {timeout!r}")
    return float(timeout)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what led to it: botocore does not say ``from``."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _loaded(names: tuple[tuple[str, str], ...]) -> tuple[type[Exception], ...]:
    """Those of the classes whose modules somebody has imported; no other can have been raised."""
    modules = [(sys.modules.get(module), name) for module, name in names]
    return tuple(getattr(module, name) for module, name in modules if hasattr(module, name))
