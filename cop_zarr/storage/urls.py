"""What a URL says: whether it is a path, and what of it may be shown."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit, urlunsplit


def redact(url: str) -> str:
    """Cut user name, password and query string out of a URL; a plain path stays as it is.

    Examples
    --------
    >>> redact("https://me:secret@example.org/a.zarr?X-Amz-Signature=abc")
    'https://example.org/a.zarr'
    """
    if "://" not in url:
        return url
    *chain, last = url.split("::")
    try:
        parts = urlsplit(last)
    except ValueError:  # an address that is none, such as https://[x
        return f"{url.partition('://')[0]}://…"
    if (
        "@" not in parts.netloc
        and "@" in last
        and not parts.netloc.rpartition(":")[2].isdigit()
        and ":" in parts.netloc
    ):
        return f"{url.partition('://')[0]}://…"  # a password that holds a / ends the host there
    fragment = parts.fragment if parts.scheme not in {"http", "https"} and not parts.query else ""
    host = parts.netloc.rpartition("@")[2]
    return "::".join([*chain, urlunsplit((parts.scheme, host, parts.path, "", fragment))])


def local_path(url: str) -> Path | None:
    """The path that a plain path (``~`` is the home folder) or a ``file://`` URL names; None for others."""
    if url.startswith(("file://", "local://")):
        return Path(url.partition("://")[2])
    return None if "://" in url or "::" in url else Path(url).expanduser()
