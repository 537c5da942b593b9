"""Plots of a store (embeddings as colours) and of a query (cells and weights), with matplotlib.

``extent`` and ``pca`` are arithmetic and use NumPy alone.
"""

from cop_zarr.core.packages import missing_package

try:
    import matplotlib as mpl  # noqa: F401  # only to check that it is installed
except ImportError as error:
    raise missing_package("plots need", ["matplotlib"], "plot", error) from None

from cop_zarr.outputs.plotting.pca_map import plot_store
from cop_zarr.outputs.plotting.query_cells import plot_query

__all__ = ["plot_query", "plot_store"]
