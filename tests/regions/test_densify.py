"""Rings of curves whose every point is known: circles on a sphere, by vector algebra."""

import numpy as np
import pytest
import shapely

from cop_zarr.regions import densify
from tests.support.geometry import SHIFTS

EARTH_M = 6_371_000.0
AZIMUTHS = np.linspace(0, 360, 37)


def small_circle(lon, lat, radius_deg):
    """A circle on the sphere, clockwise from its northernmost point by azimuth in degrees."""

    def curve(azimuths):
        a, r, phi = np.radians(azimuths), np.radians(radius_deg), np.radians(lat)
        north = np.cos(r) * np.sin(phi) + np.sin(r) * np.cos(phi) * np.cos(a)
        along = np.cos(r) * np.cos(phi) - np.sin(r) * np.sin(phi) * np.cos(a)
        across = np.sin(r) * np.sin(a)
        lons = lon + np.degrees(np.arctan2(across, along))
        return (lons + 180) % 360 - 180, np.degrees(np.arctan2(north, np.hypot(along, across)))

    return curve


def distance(ring, lons, lats):
    """Distance of points to the ring in degrees, whatever multiple of 360° away."""
    edges = shapely.linestrings(np.stack([ring[:-1], ring[1:]], axis=1))
    tree, found = shapely.STRtree(edges), []
    for shift in SHIFTS:
        points = shapely.points(lons + shift, lats)
        found.append(tree.query_nearest(points, return_distance=True, all_matches=False)[1])
    return np.min(found, axis=0)


@pytest.mark.parametrize(
    ("lon", "lat", "radius"),
    [
        (0, 0, 1e-4),
        (179.9, -17, 0.5),
        (-180, 54.5, 0.3),
        (20, 45, 44.9),
        (20, 45, 45.1),
        (-60, -80, 30),
        (10, 90, 12),
        (0, 0, 89.9),
        (77, 60, 30 - 1e-5),
        (77, 60, 30 + 1e-5),
    ],
)
def test_ring_of_a_circle(lon, lat, radius):
    curve = small_circle(lon, lat, radius)
    ring = densify.trace(curve, AZIMUTHS)
    encloses_pole = abs(lat) + radius > 90
    assert np.abs(np.diff(ring[:, 0])).max() <= 180
    # clockwise is westward around the north pole
    assert densify.winding_number(ring) == (-np.sign(lat) if encloses_pole else 0)
    assert ring[-1].tolist() == [ring[0, 0] + 360 * densify.winding_number(ring), ring[0, 1]]
    if not encloses_pole:
        assert np.ptp(ring[:, 0]) <= 180
        assert shapely.Polygon(ring).is_valid
    # longitude and latitude may each be off by the tolerance
    lons, lats = curve(np.random.default_rng(0).uniform(0, 360, 2000))
    assert distance(ring, lons, lats).max() < 1.5 * densify.TOLERANCE_DEG
    assert (distance(ring, *curve(AZIMUTHS)) < 1e-9).all()


def test_rings_that_enclose_no_pole_are_valid_polygons():
    rng = np.random.default_rng(1)
    for _ in range(200):
        lon = rng.choice([-180.0, 180.0, rng.uniform(-180, 180), rng.uniform(179, 180)])
        circle = small_circle(lon, rng.uniform(-75, 75), 10 ** rng.uniform(-4, 1))
        polygon = shapely.Polygon(densify.trace(circle, AZIMUTHS))
        assert polygon.is_valid, shapely.is_valid_reason(polygon)


@pytest.mark.parametrize("direction", [1, -1])
@pytest.mark.parametrize("pole", [90, -90])
def test_close_over_pole(pole, direction):
    curve = small_circle(30, pole, 10)
    ring = densify.trace(lambda at: curve(direction * at), AZIMUTHS)
    cap = shapely.Polygon(densify.close_over_pole(ring, pole))
    west, south, east, north = cap.bounds
    assert cap.is_valid
    assert east - west == pytest.approx(360, abs=1e-9)
    assert (south, north) == pytest.approx((80, 90) if pole > 0 else (-90, -80), abs=1e-9)
    assert cap.area == pytest.approx(3600, abs=1e-3)


@pytest.mark.parametrize("past_m", [1e4, 1e-2, -1e-2, -1e4])
@pytest.mark.parametrize("lat", [45, -80])
def test_circle_that_passes_close_to_a_pole(lat, past_m):
    past_deg = np.degrees(past_m / EARTH_M)
    radius = 90 - abs(lat) + past_deg
    ring = densify.trace(small_circle(100, lat, radius), AZIMUTHS)
    assert len(ring) < 200_000
    assert np.abs(np.diff(ring[:, 0])).max() <= 180
    assert 90 - np.abs(ring[:, 1]).max() == pytest.approx(abs(past_deg), rel=1e-3)
    if past_m > 0:
        assert abs(densify.winding_number(ring)) == 1
    else:
        half_width = np.degrees(np.arcsin(np.sin(np.radians(radius)) / np.cos(np.radians(lat))))
        assert ring[:, 0].max() - 100 == pytest.approx(half_width, abs=1e-5)
        assert 100 - ring[:, 0].min() == pytest.approx(half_width, abs=1e-5)


@pytest.mark.parametrize("lat", [45, 80, -80])
def test_circle_through_a_pole(lat):
    """It arrives along the meridian to its right, and leaves along that to its left."""
    pole = np.copysign(90, lat)
    ring = densify.trace(small_circle(100, lat, 90 - abs(lat)), AZIMUTHS)
    at_pole = np.abs(ring[:, 1]) == 90
    assert ring[at_pole][:, 1].tolist() == [pole, pole]
    assert np.sort(ring[at_pole][:, 0]) == pytest.approx([10, 190], abs=1e-3)
    assert shapely.Polygon(ring).is_valid
    assert (np.abs(ring[:, 0] - 100) < 90.001).all()


@pytest.mark.parametrize(
    ("corners", "bounds"),
    [
        ([(20, 70), (60, 70), (60, 90), (20, 90), (20, 70)], (20, 70, 60, 90)),
        ([(20, 70), (20, 90), (60, 90), (60, 70), (20, 70)], (20, 70, 60, 90)),
        ([(20, -90), (60, -90), (60, -70), (20, -70), (20, -90)], (20, -90, 60, -70)),
        ([(170, 70), (190, 70), (190, 90), (170, 90), (170, 70)], (170, 70, 190, 90)),
    ],
)
def test_edges_along_a_pole(corners, bounds):
    lons, lats = np.array(corners, "f8").T

    def edges(at):
        return (np.interp(at, range(5), lons) + 180) % 360 - 180, np.interp(at, range(5), lats)

    polygon = shapely.Polygon(densify.trace(edges, np.linspace(0, 4, 257)))
    assert polygon.is_valid
    assert polygon.area == pytest.approx(shapely.Polygon(corners).area)
    assert polygon.bounds == pytest.approx(bounds, abs=1e-9)


def test_jumps_do_not_multiply_points():
    cuts = np.linspace(5, 355, 20) + 0.1234567
    evaluated = 0

    def steps(at):
        nonlocal evaluated
        evaluated += np.size(at)
        return 0.1 * at, 0.5 * np.searchsorted(cuts, at).astype("f8") * (at < 360)

    ring = densify.trace(steps, np.linspace(0, 360, 65))
    assert evaluated <= 4 * (65 + (len(cuts) + 1) * densify.MAX_HALVINGS)
    assert len(ring) <= 65 + (len(cuts) + 1) * densify.MAX_HALVINGS
