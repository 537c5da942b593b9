"""Every exception that cop-zarr raises on purpose.

Each derives from :class:`CopZarrError` and from the builtin that fits, so that both ``except
CopZarrError`` and ``except FileNotFoundError`` do what their reader expects. A message says what was
wrong, the value, what would be accepted, and what to do next.
"""


class CopZarrError(Exception):
    """Base of every error that cop-zarr raises on purpose."""


class InputError(CopZarrError, ValueError):
    """An argument is outside what its function accepts; nothing has been read or written."""


class RegionError(InputError):
    """A region is malformed, or lies wholly outside what the store covers."""


class SubcellError(RegionError):
    """A region is narrower or lower than one cell."""


class RegionWarning(UserWarning):
    """A part of what was given is no region, and is left out: lines and points beside polygons."""


class YearError(InputError):
    """A year that the product does not have."""


class ResultTooLargeError(InputError):
    """A grid would need more memory than ``max_bytes`` allows."""


class MemoryLimitError(InputError):
    """A source cannot be read within the memory that was allowed."""


class GridError(CopZarrError, ValueError):
    """A raster does not lie on the product's 0.25° lattice."""


class SourceError(CopZarrError, ValueError):
    """A source file is not a GeoTIFF that can be ingested."""


class EncodingError(CopZarrError, ValueError):
    """A number of the source is beyond what the encoding of the store can hold."""


class SourceNotFoundError(CopZarrError, FileNotFoundError):
    """There is no source file at the place named."""


class DownloadError(CopZarrError, OSError):
    """The published file could not be downloaded, or is not what was published."""


class StorageError(CopZarrError, OSError):
    """A disk or an object store refused to read or write."""


class UnreachableError(StorageError, ConnectionError):
    """No server answered: there is no network, or it was silent or failing until the time was over."""


class AccessError(StorageError, PermissionError):
    """An object store denies access to an object, or does not tell whether it exists."""


class StoreError(CopZarrError, ValueError):
    """What lies at the place named is not a whole cop-zarr store."""


class StoreNotFoundError(CopZarrError, FileNotFoundError):
    """There is no store at the place named."""


class StoreExistsError(CopZarrError, FileExistsError):
    """The place where a store or a file should be written is taken."""


class StoreBusyError(StoreExistsError):
    """Another process is writing a store at the place named."""


class FormatVersionError(StoreError):
    """The store was written by a newer cop-zarr, in a format this one does not know."""


class StoreReplacedError(StoreError):
    """Another store has taken the place of this one since it was opened."""


class ChunkError(StoreError):
    """An object of the store is absent, cut short or damaged."""


class ComponentsError(StoreError):
    """The principal components that a store keeps are damaged, or those of another store."""


class DamageError(Exception):
    """An object is not what its record says; internal: raised again as a ChunkError that names it."""


class MissingDependencyError(CopZarrError, ImportError):
    """An optional package is needed; the message names a command that installs it."""


class ClusterError(CopZarrError, ConnectionError):
    """A Dask cluster cannot be reached, has failed, or has workers that cannot do the work."""
