"""Classify what the clients behind fsspec raise: transient or not, and what to tell the user."""

from __future__ import annotations

import contextlib
import errno
import json
import re
import socket
import sys
import time
import zlib
from collections.abc import Iterator, Mapping
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from zipfile import BadZipFile

from cop_zarr.errors import AccessError, StorageError, UnreachableError
from cop_zarr.storage.error_codes import DENIALS, REFUSALS, TRANSIENT_CODES, error_code

TRANSIENT_STATUS = frozenset({408, 429, 500, 502, 503, 504})
"""HTTP status codes that are retried. 401 and 403 are not: waiting does not bring permission."""

CLIENT_ERRORS = {
    "aiohttp": ["ClientError"],
    "botocore.exceptions": ["BotoCoreError", "ClientError"],
    "gcsfs.retry": ["HttpError", "NonRetryableError", "ChecksumError"],
    "google.auth.exceptions": ["GoogleAuthError"],
    "httpx": ["HTTPError"],
    "httpx2": ["HTTPError"],
}
"""Errors of the filesystems for HTTP, S3, Google and Hugging Face that are not OSErrors, by module."""

PERMANENT_ERRORS = {
    "aiohttp": ["InvalidURL", "ServerFingerprintMismatch"],
    "huggingface_hub.errors": ["OfflineModeIsEnabled"],
    "ssl": ["SSLCertVerificationError"],
}

TRANSIENT_ERRORS = {
    "aiohttp": ["ClientConnectionError", "ClientPayloadError"],
    # HTTPClientError includes what fails while connecting
    "botocore.exceptions": ["HTTPClientError", "FlexibleChecksumError", "IncompleteReadError"],
    "botocore.parsers": ["ResponseParserError"],
    "requests.exceptions": ["ConnectionError", "Timeout"],
    "gcsfs.retry": ["ChecksumError"],
}

TRANSIENT_NUMBERS = frozenset(
    {
        *(errno.ENETUNREACH, errno.ENETDOWN, errno.ENETRESET, errno.EHOSTUNREACH, errno.EHOSTDOWN),
        *(errno.ETIMEDOUT, errno.ECONNRESET, errno.EPIPE),
    }
)
"""Numbers of OSErrors that pass, such as those of a network that is away."""

NO_SUCH_NAME = frozenset({socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)})
"""Numbers of a resolver's errors that are certain: no host has this name."""

_PROXY = "the proxy that http_proxy or https_proxy names "

HINTS = {
    "ClientProxyConnectionError": f"{_PROXY}does not answer",
    "ProxyConnectionError": f"{_PROXY}does not answer, or refuses",
    "ClientHttpProxyError": f"{_PROXY}refuses",
    "InvalidURL": "the address is not valid, or that of the proxy that http_proxy or https_proxy names",
    "NoCredentialsError": "no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or pass the "
    'storage options {"anon": true} for a public bucket',
    "ConnectionRefusedError": "nothing answers there; is the address right, is the server up?",
    "gaierror": "there is no host of that name",
    "SSLError": "no secure connection; is the server's certificate good, does it speak https?",
    "SSLCertVerificationError": "the server's certificate is not good",
    "BadZipFile": "it is not a ZIP file, or a damaged one",
    "ParamValidationError": "it names no bucket",
    "FileNotFoundError": "there is no such file",
    "OfflineModeIsEnabled": "HF_HUB_OFFLINE is set; unset it to ask the hub",
    "OtherPartError": "the server sent another part than it was asked for; download it, and name the copy",
    "TruncatedError": "it ended before its size",
}
"""What an error means, by the name of its type or of its cause's: a client's own text may hold secrets."""

STATUS_HINTS: dict[int, str] = {
    HTTPStatus.NOT_IMPLEMENTED: "the server cannot do this; many that speak S3 know no conditional writes "
    "(If-None-Match)",
    HTTPStatus.TOO_MANY_REQUESTS: "the server takes no more requests for now; try again later, or copy the "
    "store to a disk first: cop-zarr copy STORE --to OTHER",
}
"""What a status means that no code explains."""


class TruncatedError(ConnectionError):
    """A file ended before its size."""


class OtherPartError(ConnectionError):
    """A server sent another part of a file than it was asked for."""


def transport_errors() -> tuple[type[Exception], ...]:
    """Return what a failing connection raises: OSError, and the errors of the clients that are imported.

    gcsfs raises ValueError if an answer is damaged; a damaged archive raises EOFError and BadZipFile.
    """
    return OSError, ValueError, EOFError, BadZipFile, zlib.error, *_imported(CLIENT_ERRORS)


def is_transport_error(error: Exception) -> bool:
    """Whether an exception is one of :func:`transport_errors`, or of a class of any other client."""
    ours = type(error).__module__.partition(".")[0] in {"builtins", "cop_zarr"}
    return isinstance(error, transport_errors()) or not ours


def http_status(error: BaseException) -> int | None:
    """Return the HTTP status that an error, or what caused it, reports."""
    for each in _with_causes(error):
        response = getattr(each, "response", None)
        if isinstance(response, dict):
            found = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        elif isinstance(each, _imported({"gcsfs.retry": ["HttpError"]})):
            found = each.code  # type: ignore[attr-defined]  # others have a code that is no status
        else:
            found = getattr(each, "status", None) or getattr(each, "status_code", None)
            found = found or getattr(response, "status_code", None)
        if str(found).isascii() and str(found).isdigit():
            return int(str(found))
    if isinstance(error, PermissionError) or str(error).startswith("Forbidden"):  # s3fs's, gcsfs's
        return int(HTTPStatus.FORBIDDEN)
    return None


def asked_pause(error: BaseException) -> float:
    """Return the seconds that the server asks to wait; 0 if it does not.

    It does so in ``Retry-After`` (seconds or a date), or as public hubs do: ``RateLimit: "name";r=0;t=55``
    or ``RateLimit-Reset: 55``. They say in every answer when the window ends; it counts if nothing is left.
    """
    for each in _with_causes(error):
        headers = _headers(each)
        asked = headers.get("retry-after", "")
        if not asked and headers.get("ratelimit-remaining", "0") == "0":
            asked = headers.get("ratelimit-reset", "")
        if not asked and not re.search(r";\s*r=0*[1-9]", headers.get("ratelimit", "")):
            asked = ";".join(re.findall(r";\s*t=(\d{1,9})", headers.get("ratelimit", ""))[:1])
        if asked.isascii() and asked.isdigit():
            return float(asked)
        if asked:
            with contextlib.suppress(ValueError, TypeError, OverflowError):
                return max(0.0, parsedate_to_datetime(asked).timestamp() - time.time())
    return 0.0


def _headers(error: BaseException) -> dict[str, str]:
    """Return the headers of the answer that an error reports, by their names in lower case."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):  # botocore's
        headers = response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    else:
        headers = getattr(error, "headers", None) or getattr(response, "headers", None)
    return {str(key).lower(): str(headers[key]) for key in headers} if isinstance(headers, Mapping) else {}


def is_overload(error: BaseException) -> bool:
    """Whether the server says that it is asked too much."""
    return http_status(error) in {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}


def is_refused(error: BaseException) -> bool:
    """Whether nothing answers at an address, or something that does not speak TLS."""
    kinds: tuple[type[Exception], ...] = (ConnectionRefusedError, *_imported({"ssl": ["SSLError"]}))
    ended = _imported({"ssl": ["SSLEOFError", "SSLZeroReturnError"]})
    return any(isinstance(each, kinds) and not isinstance(each, ended) for each in _with_causes(error))


def is_transient(error: BaseException, *, reached: bool = False) -> bool:
    """Whether the same request may succeed in a moment.

    Of what fails while connecting, a refused certificate is permanent, and so is a name that does not exist
    unless the server has been ``reached`` before.
    """
    status, code = http_status(error), error_code(_with_causes(error))
    if code in TRANSIENT_CODES or code in DENIALS:
        return code in TRANSIENT_CODES
    if status is not None:
        return status in TRANSIENT_STATUS
    causes = list(_with_causes(error))
    if any(isinstance(each, _imported(PERMANENT_ERRORS)) for each in causes):
        return False
    if any(isinstance(each, socket.gaierror) and each.errno in NO_SUCH_NAME for each in causes):
        return reached
    damaged = (json.JSONDecodeError, UnicodeDecodeError)  # gcsfs's, of an answer that was cut or altered
    transient = (TimeoutError, ConnectionError, *damaged, *_imported(TRANSIENT_ERRORS))
    return any(
        isinstance(each, transient)
        or (isinstance(each, socket.gaierror) or getattr(each, "errno", None) in TRANSIENT_NUMBERS)
        for each in causes
    )


def is_unreachable(error: BaseException) -> bool:
    """Whether no server answered, as without a network, or one failed in a way that passes."""
    offline = _imported({"huggingface_hub.errors": ["OfflineModeIsEnabled"]})
    return isinstance(error, offline) or is_transient(error, reached=True)


def is_denied(error: BaseException) -> bool:
    """Whether access is denied: by the code, if there is one that says so, or the status."""
    denied = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}
    return error_code(_with_causes(error)) in DENIALS or http_status(error) in denied


def error_name(error: BaseException) -> str:
    """Return an error's code or type, and HTTP status; its text may hold a signed URL or a key."""
    status, name = http_status(error), error_code(_with_causes(error)) or type(error).__name__
    return name if status is None else f"{name}, status {status}"


def to_storage_error(what: str, error: BaseException, note: str = "") -> StorageError:
    """Make the error to raise, ``from None``, because the client's own text may hold a signed URL or a key.

    ``what`` says what could not be done, with a redacted URL; ``note`` is appended.
    """
    code = error_code(_with_causes(error)) or ""
    if is_denied(error):
        reason = DENIALS.get(code) or _reason_for_denial(what)
        return AccessError(f"{what}: access denied ({error_name(error)}): {reason}{note}")
    types = [kind.__name__ for each in _with_causes(error) for kind in type(each).__mro__]
    hint = REFUSALS.get(code) or next((HINTS[name] for name in types if name in HINTS), "")
    hint = hint or STATUS_HINTS.get(http_status(error) or 0, "")
    kind = UnreachableError if is_unreachable(error) else StorageError
    return kind(f"{what}: {error_name(error)}{f' ({hint})' if hint else ''}{note}")


def _reason_for_denial(what: str) -> str:
    """What may be wrong, by the protocol, if a server says no more than that access is denied."""
    if "hf://" in what:
        return f"{DENIALS['RepoNotFound']}; if it is gated, accept its terms on its page first"
    if "/resolve/" in what:
        return (
            'if it is private or gated, log in: with an hf:// URL, or by the storage options {"headers": '
            '{"Authorization": "Bearer hf_…"}}'
        )
    hint = "are the credentials right?"
    if "s3://" in what:
        hint += " S3 answers the same for an object that does not exist if you may not list its bucket"
    if "s3://" in what or "gs://" in what:
        hint += ' If the requester pays, agree with the storage options {"requester_pays": true}'
    return hint


def _with_causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and what led to it (botocore does not say ``from``)."""
    seen: list[BaseException] = []  # one that was raised again may be its own cause's cause
    while error is not None and error not in seen:
        yield error
        seen.append(error)
        error = error.__cause__ or error.__context__


def _imported(names: Mapping[str, list[str]]) -> tuple[type[Exception], ...]:
    """Return those of the classes whose modules are imported; no other can have been raised."""
    modules = [(sys.modules.get(module), name) for module in names for name in names[module]]
    return tuple(getattr(module, name) for module, name in modules if hasattr(module, name))
