"""Comparisons of geometries in degrees that ignore multiples of 360° of longitude."""

import numpy as np
import shapely
from pyproj import Transformer

SHIFTS = (-720, -360, 0, 360, 720)


def shifted(geometry, east, north=0.0):
    """A geometry shifted by degrees."""
    return shapely.transform(geometry, lambda points: np.add(points, (east, north)))


def contains(geometry, lons, lats):
    """Which points are inside a geometry."""
    shapely.prepare(geometry)
    return np.any([shapely.intersects_xy(geometry, lons + shift, lats) for shift in SHIFTS], axis=0)


def same(found, expected):
    """Whether two geometries cover the same area."""
    shift = 360 * round((expected.bounds[0] - found.bounds[0]) / 360)
    difference = shapely.symmetric_difference(shifted(found, shift), expected)
    return difference.area < 1e-9 * expected.area


def area_m2(geometry):
    """Area on the ellipsoid of a polygon with straight edges in degrees, by a map of equal areas."""
    to_map = Transformer.from_crs("EPSG:4326", "EPSG:6933", always_xy=True)
    metres_per_degree = to_map.transform(1, 0)[0]

    def project(points):
        lons, lats = points.T
        return np.column_stack([lons * metres_per_degree, to_map.transform(np.zeros(lats.size), lats)[1]])

    return shapely.transform(shapely.segmentize(geometry, 0.5), project).area
