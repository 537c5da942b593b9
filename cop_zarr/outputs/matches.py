"""The cells most similar to places."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np

from cop_zarr.analysis.similar import Match
from cop_zarr.core.grid import Grid
from cop_zarr.querying.dataframe import dataframe

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


class MatchMap(NamedTuple):
    """What a plot of matches shows beside them."""

    grid: Grid
    valid: np.ndarray
    """bool, the grid's shape: the cells with data."""
    positions: list[tuple[np.ndarray, np.ndarray]]
    """Longitudes and latitudes of each place: of a point, or of a region's cells."""
    synthetic: bool


@dataclass(frozen=True, eq=False)
class Matches:
    """Cells similar to places, the best first. ``len()`` is their number."""

    lon: np.ndarray
    """Longitudes of the cells' centres in degrees, -180 to 179.75; float64, ``(n,)``."""

    lat: np.ndarray
    """Latitudes of the cells' centres in degrees; float64, ``(n,)``."""

    score: np.ndarray
    """Cosines, -1 to 1, the largest first; or distances, the smallest first; float64, ``(n,)``."""

    rows: np.ndarray
    """Rows of the cells in the store's grid, from 0 in the north; int64, ``(n,)``."""

    cols: np.ndarray
    """Columns of the cells in the store's grid, from 0 in the west; int64, ``(n,)``."""

    vectors: np.ndarray
    """The embeddings, as they are stored; float32, ``(n, bands)``."""

    metric: str
    """What the scores are, "cosine" or "l2"."""

    _map: MatchMap = field(repr=False)

    @classmethod
    def of(cls, match: Match, metric: str, grid: Grid, valid: np.ndarray, *, synthetic: bool) -> Self:
        """The matches of a search, with their places."""
        rows, cols, scores, vectors, positions = match
        lons, lats = grid.cell_centres(rows, cols)
        shown = MatchMap(grid, valid, positions, synthetic)
        return cls(lons, lats, scores, rows, cols, vectors, metric, shown)

    def __len__(self) -> int:
        return len(self.score)

    def __repr__(self) -> str:
        scores = f", from {self.score[0]:.4g} to {self.score[-1]:.4g}" if len(self) else ""
        return f"<Matches: {len(self):,} by {self.metric}{scores}>"

    def to_geojson(self) -> dict[str, Any]:
        """The cells' centres as a GeoJSON FeatureCollection of points, JSON-ready.

        Returns
        -------
        dict
            Properties are ``rank``, from 1, ``metric``, ``score``, ``row`` and ``col``. Vectors are left
            out.

        Examples
        --------
        >>> import cop_zarr
        >>> matches = cop_zarr.open().similar((11.5, 48.1), k=2)
        >>> matches.to_geojson()["features"][0]["geometry"]
        {'type': 'Point', 'coordinates': [11.5, 48.0]}
        """
        features = [
            {
                "type": "Feature",
                "geometry": {"type": "Point", "coordinates": [cell.pop("lon"), cell.pop("lat")]},
                "properties": {"rank": rank, "metric": self.metric, **cell},
            }
            for rank, cell in enumerate(self.records(), 1)
        ]
        return {"type": "FeatureCollection", "features": features}

    def to_dataframe(self) -> pd.DataFrame:
        """The cells as a table of pandas: a row for each, the best first.

        Returns
        -------
        pandas.DataFrame
            ``lon``, ``lat``, ``score``, ``row``, ``col``, and ``embedding``: an array of ``(bands,)`` in
            each row, a view of :attr:`vectors` (``np.stack`` makes them one).

        Raises
        ------
        MissingDependencyError
            If pandas is not installed.

        Examples
        --------
        >>> import cop_zarr
        >>> matches = cop_zarr.open().similar((11.5, 48.1), k=2)
        >>> matches.to_dataframe().columns.to_list()
        ['lon', 'lat', 'score', 'row', 'col', 'embedding']
        """
        return dataframe(self.fields(), self.vectors)

    def plot(self, *, ax: Axes | None = None) -> Axes:
        """Plot the cells on a map of the store, numbered by rank, and the places that they are like.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            By default the Axes of a new pyplot figure, which a notebook displays.

        Returns
        -------
        matplotlib.axes.Axes
            In degrees. Nothing is saved: ``ax.figure.savefig("map.png")`` does that.

        Raises
        ------
        MissingDependencyError
            If matplotlib is not installed.

        Examples
        --------
        >>> import cop_zarr
        >>> from matplotlib.figure import Figure
        >>> matches = cop_zarr.open().similar((11.5, 48.1), k=2)
        >>> ax = matches.plot(ax=Figure().add_subplot())
        """
        from cop_zarr.outputs.plotting.matches import plot_matches  # needs matplotlib

        return plot_matches(self, self._map, ax)

    def fields(self) -> dict[str, np.ndarray]:
        """All but the vectors, by the names that tables have for them."""
        names = ("lon", "lat", "score", "row", "col")
        return dict(zip(names, (self.lon, self.lat, self.score, self.rows, self.cols), strict=True))

    def records(self) -> list[dict[str, Any]]:
        """The columns as a dict a cell, JSON-ready."""
        columns = {name: values.tolist() for name, values in self.fields().items()}
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
