"""Tell paths from URLs, expand ``~`` in paths, and cut secrets out of URLs."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from cop_zarr import system
from cop_zarr.errors import InputError


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
    """Return the path of a plain path, expanded, or of a ``file://`` URL; None for others."""
    if url.startswith(("file://", "local://")):
        return system.path_in_url(url.partition("://")[2])
    return None if "://" in url or "::" in url else expanded(url)


def expanded(path: str | os.PathLike[str]) -> Path:
    """Return a path that a user has given, with the home folder in place of ``~`` or ``~user``.

    Raises InputError if there is no such user.
    """
    given = os.fspath(path)
    found = os.path.expanduser(given)  # noqa: PTH111  # Path("./~a") is Path("~a"), which it expands
    if found.startswith("~"):
        raise InputError(
            f"{given!r} begins with the home folder of an unknown user; if it is the name of a "
            f"file, give its whole path: {Path(given).absolute()}"
        )
    result = Path(found)
    return result.absolute() if str(result).startswith("~") else result  # so that it may be expanded again
