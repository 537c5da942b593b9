"""What does a store of another layout hold? Read through zarr-python.

Such a store is a Zarr group (v3 or v2) with the arrays of ours, chunked, compressed or sharded otherwise.
It is read in blocks that suit its own chunks, and handed out in the chunks of ours: so whoever asks is
answered by the same arithmetic in the same order, and gets the same bits.

It has no integrity table, and Zarr gives an absent chunk back as fill values. What can be held against the
values is ``valid``: a cell has data if, and only if, a value of it is not 0. Each block read must agree.
"""

from cop_zarr.foreign.documents import ForeignDocument, is_candidate, read_foreign
from cop_zarr.foreign.reader import ForeignReader

__all__ = ["ForeignDocument", "ForeignReader", "is_candidate", "read_foreign"]
