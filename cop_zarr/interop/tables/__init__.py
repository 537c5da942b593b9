"""Files of regions or points become files of vectors.

A table is read in parts of some ten thousand rows. The vectors of each part are saved, and joined into one
file when all are finished. So memory is bounded, and a batch that was interrupted can be resumed.

Tables are pyarrow's, whatever file they come from: ``readers`` and ``writers`` list the formats.
"""

from cop_zarr.core.packages import missing_package

try:
    import pyarrow as pa  # noqa: F401  # the modules of this package need these
    import pyogrio  # noqa: F401
except ImportError as error:
    raise missing_package("tables need", ["pyarrow", "pyogrio"], "tables", error) from error
