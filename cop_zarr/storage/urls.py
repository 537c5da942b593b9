"""Tell paths from URLs, and cut secrets out of URLs."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit, urlunsplit


def redact(url: str) -> str:
    """Cut user name, password and query string out of a URL; a plain path is returned unchanged."""
    if "://" not in url:
        return url
    hidden = f"{url.partition('://')[0]}://…"
    *chain, last = url.split("::")
    try:
        parts = urlsplit(last)
    except ValueError:  # not a valid address, such as https://[x
        return hidden
    port = parts.netloc.rpartition(":")[2]
    if "@" in last and "@" not in parts.netloc and ":" in parts.netloc and not port.isdigit():
        return hidden  # a / in the password ends the host there
    fragment = parts.fragment if parts.scheme not in {"http", "https"} and not parts.query else ""
    host = parts.netloc.rpartition("@")[2]
    return "::".join([*chain, urlunsplit((parts.scheme, host, parts.path, "", fragment))])


def local_path(url: str) -> Path | None:
    """Return the path of a plain path (``~`` is the home folder) or a ``file://`` URL; None for others."""
    if url.startswith(("file://", "local://")):
        return Path(url.partition("://")[2])
    return None if "://" in url or "::" in url else Path(url).expanduser()
