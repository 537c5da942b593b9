"""The rows of a table with their vectors, ready to be written to a file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from cop_zarr.interop.tables.columns import CoordinateColumns
from cop_zarr.interop.tables.declared import Declared
from cop_zarr.querying.geodataframe import COLUMN

ERROR_COLUMN = "error"
"""Says why a row has no vector; only with ``on_error="nan"``."""


@dataclass(frozen=True)
class AnsweredTable:
    """A table with the columns "embedding" and perhaps "error"."""

    schema: pa.Schema
    rows: int
    parts: Callable[[], Iterable[pa.Table]]
    """Iterates over the parts in order; may be called several times."""
    coordinates: CoordinateColumns
    crs: object
    """The CRS of the coordinates."""
    geometry_column: str | None
    """The column that the file declares as its geometry, whether it was used or not."""
    geometries: dict[str, Declared]
    """All columns that it declares as geometries."""

    @property
    def bands(self) -> int:
        """Length of a vector."""
        return int(self.schema.field(COLUMN).type.list_size)

    def declared(self, column: str) -> Declared:
        """What the output declares of a column of geometries."""
        if column in self.geometries and self.coordinates.names != (column,):
            return self.geometries[column]
        return Declared(self.crs, edges=self.coordinates.edges)


def iter_vectors(part: pa.Table) -> Iterator[np.ndarray]:
    """Yield the vectors of a part: float32, ``(rows, bands)``, NaN where there is none."""
    for chunk in part.column(COLUMN).chunks:
        values = chunk.values.to_numpy().reshape(-1, chunk.type.list_size)
        yield values[chunk.offset : chunk.offset + len(chunk)]
