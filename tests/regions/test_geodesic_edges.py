"""Polygons with great circles and geodesics for edges, against areas by pyproj.Geod."""

import numpy as np
import pytest
import shapely
from pyproj import Geod

from cop_zarr.regions import footprint
from cop_zarr.regions.geodesic_edges import SPHERE, with_plane_edges
from cop_zarr.regions.projections import projection

WGS84 = Geod(ellps="WGS84")

RINGS = {
    "wide": [(-120, 40), (-80, 40), (-80, 45), (-120, 45)],
    "over the seam": [(160, 40), (-150, 40), (-160, 60), (165, 55)],
    "around the north pole": [(0, 60), (90, 70), (180, 65), (-90, 55)],
    "around the south pole": [(0, -60), (90, -70), (180, -65), (-90, 5)],
    "like an S": [(-50, -40), (50, 40), (50, 45), (-50, -20)],
    "an octant": [(0, 0), (90, 0), (0, 90)],
    "clockwise": [(10, 80), (30, 85), (50, 80)],
}


def area_m2(shape, geod):
    """The area of a shape with plane edges: its rings in pieces of 0.02°, by Geod."""
    fine = shapely.segmentize(shape, 0.02)
    lons, lats = shapely.get_coordinates(fine).T
    assert np.abs(lats).max() <= 90 and np.ptp(lons) <= 360 + 1e-9  # noqa: PT018
    return abs(geod.geometry_area_perimeter(shapely.orient_polygons(fine))[0])


@pytest.mark.parametrize("geod", [SPHERE, WGS84], ids=["great circles", "geodesics"])
@pytest.mark.parametrize("name", RINGS)
def test_areas(name, geod):
    polygon = shapely.Polygon(RINGS[name])
    found = with_plane_edges(polygon, projection("OGC:CRS84"), geod)
    expected = abs(geod.geometry_area_perimeter(polygon)[0])
    assert area_m2(footprint(found).geometry, geod) == pytest.approx(expected, rel=3e-7)


def test_holes_and_parts():
    outer, inner = shapely.box(160, 30, 220, 60), shapely.box(-170, 40, -150, 50)
    shape = shapely.MultiPolygon([outer - shapely.box(190, 40, 210, 50), shapely.box(0, 0, 50, 40)])
    found = with_plane_edges(shape, projection("OGC:CRS84"), SPHERE)
    areas = [abs(SPHERE.geometry_area_perimeter(part)[0]) for part in (outer, inner, shape.geoms[1])]
    assert area_m2(found, SPHERE) == pytest.approx(areas[0] - areas[1] + areas[2], rel=1e-6)
    holed = shapely.Polygon(outer.exterior, [inner.exterior])  # in another turn
    assert area_m2(with_plane_edges(holed, projection("OGC:CRS84"), SPHERE), SPHERE) == pytest.approx(
        areas[0] - areas[1], rel=1e-6
    )
    line = shapely.LineString([(0, 0), (1, 1)])
    assert with_plane_edges(line, projection("OGC:CRS84"), SPHERE) is line
    bowtie = shapely.Polygon([(10, 40), (12, 42), (12, 40), (10, 42)])
    assert not with_plane_edges(bowtie, projection("OGC:CRS84"), SPHERE).is_valid
