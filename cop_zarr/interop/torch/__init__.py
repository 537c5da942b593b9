"""Map-style datasets for PyTorch: the vectors of points and of regions, and patches, a batch at a time.

An item is a float32 tensor, ``(bands,)`` or of a patch ``(bands, size, size)``, or that and its label. A
:class:`torch.utils.data.DataLoader` asks for the items of a whole batch at once, so each chunk under the
batch is read and decoded once. Items are those that :meth:`cop_zarr.Store.sample`,
:meth:`cop_zarr.Store.query_many` and :meth:`cop_zarr.Store.patches` give.

Points, regions and options are checked when a dataset is created. A dataset may be forked, or pickled to
workers that are spawned: a pickle holds the open store (about 140 KB of the published size, without cached
chunks), the points or regions, and the labels.
"""

from cop_zarr.core.packages import missing_package

try:
    import torch  # noqa: F401  # the modules of this package need it
except ImportError as error:
    raise missing_package("cop_zarr.interop.torch needs", ["torch"], "torch", error) from error

from cop_zarr.interop.torch.datasets import PatchDataset, PointDataset, RegionDataset

__all__ = ["PatchDataset", "PointDataset", "RegionDataset"]
