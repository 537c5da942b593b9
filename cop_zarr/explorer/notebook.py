"""Show the page in a notebook, from a server in the same process."""

from __future__ import annotations

import copy
from threading import Thread

from cop_zarr.core.progress import Progress
from cop_zarr.errors import InputError
from cop_zarr.explorer.server import ExplorerServer
from cop_zarr.format.chunk_reader import ChunkReader
from cop_zarr.format.document import StoreDocument


class Explorer:
    """A store's page, served until it is closed; a notebook displays it.

    :meth:`Store.explore` makes one.

    Attributes
    ----------
    url : str
        The page's address, for browsers of this machine.
    store : str
        The store's URL, without credentials.
    """

    def __init__(self, server: ExplorerServer, thread: Thread, store: str, height: int) -> None:
        self._server = server
        self._thread = thread
        self._height = height
        self.url = server.url
        self.store = store

    def __repr__(self) -> str:
        return f"<cop_zarr.Explorer {self.store}: {self.url if self.is_open else 'closed'}>"

    def _repr_html_(self) -> str | None:
        if not self.is_open:
            return None
        style = f"width: 100%; height: {self._height}px; border: 0"
        return f'<iframe src="{self.url}" title="cop-zarr explorer" style="{style}"></iframe>'

    @property
    def is_open(self) -> bool:
        """Whether the page is served."""
        return self._thread.is_alive()

    def close(self) -> None:
        """End the server; the page in a browser can read nothing more."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def with_height(self, height: int) -> Explorer:
        """Return the same explorer, displayed in another height, in pixels."""
        other = copy.copy(self)
        other._height = height  # noqa: SLF001  # of a copy
        return other


_explorers: dict[tuple[str, str], Explorer] = {}
"""Those of this process, by URL and SHA-256 of their stores."""


def show(
    reader: ChunkReader, document: StoreDocument, height: int, port: int, progress: Progress | None
) -> Explorer:
    """Serve a store's page, unless this process does already: see :meth:`cop_zarr.Store.explore`."""
    if isinstance(height, bool) or not isinstance(height, int) or height < 1:
        raise InputError(f"height must be a whole number of pixels, at least 1; got {height!r}")
    key = reader.folder.url, reader.sha256
    found = _explorers.get(key)
    if found is not None and found.is_open and (not port or found.url.endswith(f":{port}/")):
        return found.with_height(height)
    server = ExplorerServer(reader, document, port, progress)
    thread = Thread(target=server.serve_forever, name=f"explorer {server.url}", daemon=True)
    thread.start()
    _explorers[key] = Explorer(server, thread, reader.folder.url, height)
    return _explorers[key]
