"""Tell paths from URLs, expand ``~`` in paths, and cut secrets out of URLs."""

from __future__ import annotations

import os
import re
from ipaddress import AddressValueError, IPv6Address
from pathlib import Path
from urllib.parse import SplitResult, urlsplit, urlunsplit

from cop_zarr import system
from cop_zarr.errors import InputError

WRAPPERS = frozenset(
    "zip tar libarchive blockcache cached filecache simplecache dir reference".split()  # noqa: SIM905
)
"""Protocols that read what another URL, after ``::``, names; elsewhere ``::`` is part of an address."""

_MISWRITTEN = re.compile(
    r"\s*(?:[a-z]+::)*(?:[a-z][a-z0-9+.-]+:[/\\]|https?:|//[^/]*:[^/]*@)", re.IGNORECASE
)
"""What begins as a URL does, or as one that has lost a slash."""

_SCHEME = re.compile(r"\s*[a-z][a-z0-9+.-]*", re.IGNORECASE)


def links(url: str) -> list[str]:
    """Split a chained URL: ``zip://a::s3://b/c.zip`` is a path in an archive, and where the archive is."""
    first, separator, rest = url.partition("::")
    return [first, *links(rest)] if separator and first.partition("://")[0] in WRAPPERS else [url]


def redact(url: str) -> str:
    """Cut user name, password and query string out of a URL; a plain path is returned unchanged."""
    return "::".join(map(_redact_link, links(url)))


def _redact_link(link: str) -> str:
    scheme, separator, rest = link.partition("://")
    if not separator:
        return f"{link.partition(':')[0]}:…" if _MISWRITTEN.match(link) else link
    if not _SCHEME.fullmatch(scheme):
        return "…"
    hidden = f"{scheme}://…"
    try:
        parts = urlsplit(link)
    except ValueError:  # not a valid address, such as https://[x
        return hidden
    is_web = parts.scheme in {"http", "https"}
    after_host = rest[len(parts.netloc) :]
    if "@" in after_host and (":" in parts.netloc or (is_web and "." not in parts.netloc)):
        return hidden  # a /, ? or # in a user name or password ends the host there
    fragment = "" if is_web or parts.query else parts.fragment
    host = parts.netloc.rpartition("@")[2]
    shown = urlunsplit((parts.scheme, host, parts.path, "", fragment))
    return shown if "://" in shown else shown.replace(":", "://", 1)  # as of zip://, with no host


def check_address(url: str) -> None:
    """Raise InputError if a URL's host or port can be read in two ways, or not at all."""
    for link in links(url):
        try:
            parts = urlsplit(link)
            is_valid = parts.scheme not in {"http", "https"} or _is_web_address(link, parts)
        except ValueError:
            is_valid = False
        if not is_valid:
            raise InputError(
                f"{redact(url)} is not a valid URL: its host or its port cannot be read; write the "
                "characters / ? # @ : in a user name or password as %2F %3F %23 %40 %3A"
            )


def _is_web_address(link: str, parts: SplitResult) -> bool:
    """Whether host and port are such as every parser reads alike; ValueError for an invalid port."""
    authority = link.partition("://")[2].partition("/")[0]
    return bool(parts.hostname) and parts.port != 0 and not re.search(r"[\\\s]", authority)


def without_colons(url: str) -> str:
    """Write a URL so that ``::`` separates its links only, because fsspec splits it there.

    Raises InputError if it cannot be written so.
    """
    *chain, last = links(url)
    if "::" in last:
        last = re.sub(r"(?<=[/@])\[([^]/]*)\]", _exploded, last, count=1)
        if last.startswith(("http://", "https://")):
            last = last.replace("::", "%3A%3A")
    if "::" in last:
        raise InputError(f"{redact(url)} contains ::, which fsspec takes for the end of a name; rename it")
    return "::".join([*chain, last])


def _exploded(host: re.Match[str]) -> str:
    """Write an IPv6 literal in full; its zone, as in ``[fe80::1%25eth0]``, stays."""
    address, percent, zone = host[1].partition("%")
    try:
        return f"[{IPv6Address(address).exploded}{percent}{zone}]"
    except AddressValueError:
        return host[0]


def local_path(url: str) -> Path | None:
    """Return the path of a plain path, expanded, or of a ``file://`` URL; None for others."""
    if url.startswith(("file://", "local://")):
        return system.path_in_url(url.partition("://")[2])
    return None if "://" in url or len(links(url)) > 1 else expanded(url)


def expanded(path: str | os.PathLike[str]) -> Path:
    """Return a path that a user has given, with the home folder in place of ``~`` or ``~user``.

    Raises InputError if there is no such user, or if it is a URL.
    """
    if not isinstance(path, str | os.PathLike):
        kind = type(path)
        raise InputError(
            f"a file on a disk is given by its path; got {kind.__module__}.{kind.__qualname__}"
        )
    given = os.fspath(path)
    if _MISWRITTEN.match(given) and not os.path.lexists(given):
        raise InputError(
            f"{redact(given)} is a URL where the path of a file is needed, or a URL without its two "
            "slashes (as pathlib.Path makes it: give URLs as text)"
        )
    found = os.path.expanduser(given)  # noqa: PTH111  # Path("./~a") is Path("~a"), which it expands
    if found.startswith("~"):
        raise InputError(
            f"{given!r} begins with the home folder of an unknown user; if it is the name of a "
            f"file, give its whole path: {Path(given).absolute()}"
        )
    result = Path(found)
    return result.absolute() if str(result).startswith("~") else result  # so that it may be expanded again
