"""Pictures of a store: its embeddings as colours, and the cells and weights of a query.

The only package that knows matplotlib, an optional package: whoever imports it without gets a
:class:`MissingDependencyError`. What of it is arithmetic (``views``, ``components``, ``coasts``) uses NumPy
alone. Nothing here shows anything: functions draw into the Axes that they are given.
"""

from cop_zarr.errors import MissingDependencyError

try:
    import matplotlib as mpl  # noqa: F401  # only whether it is there
except ImportError:
    raise MissingDependencyError(
        "pictures are drawn by matplotlib, which is not installed: pip install 'cop-zarr[plot]'"
    ) from None

from cop_zarr.outputs.plotting.plot import of_query, of_store

__all__ = ["of_query", "of_store"]
