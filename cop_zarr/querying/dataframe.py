"""Tables of pandas with a column of vectors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from cop_zarr.core.packages import missing_package
from cop_zarr.querying.geodataframe import COLUMN

if TYPE_CHECKING:
    import pandas as pd


def dataframe(columns: Mapping[str, np.ndarray], vectors: np.ndarray) -> pd.DataFrame:
    """A DataFrame of some columns ``(n,)`` and, in each row, one of the vectors ``(n, bands)``."""
    try:
        import pandas as pd
    except ImportError as error:
        raise missing_package("to_dataframe() needs", ["pandas"], error=error) from error
    return pd.DataFrame({**columns, COLUMN: list(vectors)})
