"""Similar cells by brute force in NumPy and pyproj, from the values that GDAL wrote."""

import numpy as np
from pyproj import Geod

GEOD = Geod(ellps="WGS84")


class Truth:
    """All cells of a store that may match, row by row; float64."""

    def __init__(self, values, row=0, col=0):
        self.shape = values.shape[1:]
        self.flat = values.reshape(len(values), -1).T.astype("f8")
        rows, cols = np.divmod(np.arange(self.flat.shape[0]), self.shape[1])
        self.lon, self.lat = (-180 + 0.25 * (col + cols) + 180) % 360 - 180, 90 - 0.25 * (row + rows)
        self.may_match = np.isfinite(self.flat).all(axis=1) & self.flat.any(axis=1)
        with np.errstate(all="ignore"):
            self.units = self.flat / np.linalg.norm(self.flat, axis=1, keepdims=True)

    def query(self, vectors, negatives=()):
        """The mean of unit vectors minus that of negatives, as a unit vector."""
        unit = [vector / np.linalg.norm(vector) for vector in np.asarray(vectors, "f8")]
        found = np.mean(unit, axis=0)
        if len(negatives):
            found = found - np.mean([v / np.linalg.norm(v) for v in np.asarray(negatives, "f8")], axis=0)
        return found / np.linalg.norm(found)

    def scores(self, query, metric):
        """The score of each cell; NaN for cells that may not match."""
        with np.errstate(all="ignore"):
            cosine = metric == "cosine"
            found = self.units @ query if cosine else np.linalg.norm(self.flat - query, axis=1)
        return np.where(self.may_match, found, np.nan)

    def km(self, lon, lat):
        """Distance of each cell's centre from a point."""
        ones = np.ones(self.lon.shape)
        return GEOD.inv(self.lon, self.lat, lon * ones, lat * ones)[2] / 1000

    def best(self, scores, metric, k, allowed, spacing_km=0.0):
        """The numbers of the best cells, greedily; scores that differ by rounding alone are equal."""
        keys = np.where(allowed, scores, np.nan) * (-1 if metric == "cosine" else 1)
        order = np.lexsort((np.arange(len(keys)), np.round(keys * 1e13)))
        chosen = []
        for cell in order[: np.count_nonzero(~np.isnan(keys))].tolist():
            if len(chosen) == k:
                break
            if spacing_km and chosen:
                here = np.full(len(chosen), cell)
                ends = self.lon[here], self.lat[here], self.lon[chosen], self.lat[chosen]
                if GEOD.inv(*ends)[2].min() / 1000 < spacing_km:
                    continue
            chosen.append(cell)
        return np.array(chosen, int)
