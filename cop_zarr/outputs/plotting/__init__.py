"""Plots of a store (embeddings as colours) and of a query (cells and weights), with matplotlib.

``extent``, ``coastlines`` and ``pca`` are arithmetic and use NumPy alone.
"""

from cop_zarr.errors import MissingDependencyError

try:
    import matplotlib as mpl  # noqa: F401  # only to check that it is installed
except ImportError:
    raise MissingDependencyError(
        "plots need matplotlib, which is not installed: pip install 'cop-zarr[plot]'"
    ) from None

from cop_zarr.outputs.plotting.plot import plot_query, plot_store

__all__ = ["plot_query", "plot_store"]
