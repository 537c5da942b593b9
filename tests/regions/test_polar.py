"""Polygons of polar maps whose vertices were converted to degrees, one by one."""

import numpy as np
import pytest
import shapely
from pyproj import Transformer

from cop_zarr.errors import RegionError
from cop_zarr.regions import footprint
from tests.support.geometry import contains, same, shifted

CRS = "EPSG:3031"


def fan(rng, start, width, *, at_centre):
    """A polygon of a polar map, in metres: a rough coast, and a vertex at the pole or close to it."""
    angles = np.sort(np.append(rng.uniform(start, start + width, 8), [start, start + width]))
    reach = rng.uniform(0.8e6, 2e6, 10)
    return shapely.Polygon([*np.column_stack([reach * np.cos(angles), reach * np.sin(angles)]), at_centre])


def in_degrees(polygon, crs=CRS):
    """What geopandas' ``to_crs`` makes of a polygon."""
    transformer = Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
    return shapely.transform(polygon, lambda points: np.column_stack(transformer.transform(*points.T)))


def refusal(given):
    """The message of a polygon that is refused, with repair too; or None."""
    messages = []
    for repair in (False, True):
        try:
            footprint(given, repair=repair)
        except RegionError as error:
            messages.append(str(error))
    assert len(messages) in {0, 2}
    return messages[0] if messages else None


@pytest.mark.parametrize("crs", [CRS, "EPSG:3995"])
@pytest.mark.parametrize(
    "offset",
    [0, pytest.param(1e-7, marks=pytest.mark.slow), pytest.param(0.05, marks=pytest.mark.slow), 20],
)
def test_basins_with_a_vertex_at_the_pole(offset, crs):
    """Refused unless the pole's longitude is between its neighbours'; in their own CRS, they are right."""
    rng, refused = np.random.default_rng(int(offset)), 0
    to_map = Transformer.from_crs("EPSG:4326", crs, always_xy=True)
    for start in np.radians(range(0, 360, 15)):
        basin = fan(rng, start, rng.uniform(0.3, 2.5), at_centre=rng.normal(0, offset, 2))
        message = refusal(in_degrees(basin, crs))
        if message is not None:
            refused += 1
            assert "crs=" in message
            assert "repair=True" not in message
        found = footprint(basin, crs).geometry
        xs, ys = rng.uniform(-2e6, 2e6, (2, 500))
        lons, lats = to_map.transform(xs, ys, direction="INVERSE")
        clear = shapely.distance(basin.boundary, shapely.points(xs, ys)) > 3
        inside = shapely.intersects_xy(basin, xs, ys)
        np.testing.assert_array_equal(contains(found, lons, lats)[clear], inside[clear])
    assert refused >= 18


def half_disc(turned, beside):
    """Half a disc of a polar map, in metres, with its straight edge beside the pole."""
    angles = np.linspace(turned, turned + np.pi, 12)
    reach = np.linspace(1.3e6, 1.6e6, 12)
    inward = beside * np.array([-np.sin(turned), np.cos(turned)])
    return shapely.Polygon(np.column_stack([reach * np.cos(angles), reach * np.sin(angles)]) + inward)


def test_edges_through_or_beside_the_pole():
    """In degrees they go around it: refused where that breaks the ring or leaves it open which way."""
    for turned in np.linspace(0.1, 2 * np.pi, 30):
        for beside in (0, 1e4, -1e4, 2e5, -2e5):
            assert "crs=" in refusal(in_degrees(half_disc(turned, beside)))


RIGHT = {
    "triangle": [(0, 80), (10, 80), (5, 90)],
    "on a meridian": [(0, -80), (10, -90), (10, -80)],
    "basin": [(0, -90), (30, -75), (0, -73), (-30, -75)],
    "over the antimeridian": [(170, 80), (190, 80), (180, 90)],
    "aslant over the antimeridian": [(190, -80), (190, -75), (170, -75), (170, -80), (185, -90)],
}


@pytest.mark.parametrize("turn", [0, 360])
@pytest.mark.parametrize("ring", RIGHT.values(), ids=RIGHT)
def test_edges_to_the_pole_are_straight_in_degrees(ring, turn):
    """RFC 7946 means the triangle, if the pole's longitude is between its neighbours'."""
    expected = shapely.Polygon(ring)
    jumping = shapely.transform(expected, lambda points: points - (points > [180, 90]) * [turn, 0])
    assert same(footprint(jumping).geometry, expected)


@pytest.mark.parametrize("pole", [(100, 90), (-20, 90), (20, 90), (20, 89.9995)])
def test_a_pole_beside_its_neighbours(pole):
    """And the advice: an edge along the pole."""
    assert "crs=" in refusal(shapely.Polygon([(0, 80), (10, 80), pole]))
    assert footprint(shapely.Polygon([(0, 80), (10, 80), (10, 90), (0, 90)])).geometry.area == 100


SECTOR = [(lon, -75.0) for lon in range(170, -171, -20)]


@pytest.mark.parametrize("turned", range(0, 360, 40))
@pytest.mark.parametrize("along", [(-170, 170), (-170, 0, 170), (-170, -60, 60, 170)])
def test_an_edge_along_the_pole_closes_a_ring_of_any_width(along, turned):
    """340° of a coast, wherever the seam is."""
    drawn = shapely.Polygon([*SECTOR, *((lon, -90) for lon in along)])
    expected = shifted(drawn, turned)
    given = shapely.transform(expected, lambda points: points - 360 * np.floor((points + 180) / 360))
    assert same(footprint(given).geometry, expected)


@pytest.mark.parametrize("lons", [(-180, 0, 180), (-180, -60, 60, 180)])
def test_coarse_rings_along_the_pole_are_in_degrees(lons):
    coast = [(lon, -70 + index % 2) for index, lon in enumerate(lons)]
    given = shapely.Polygon([(-180, -90), (180, -90), *coast[::-1]])
    assert same(footprint(given).geometry, given)
    assert "crs=" in refusal(shapely.Polygon([(-80, -65), (-80, -80), (80, -80), (80, -66)]))


def test_repair_beside_a_pole():
    """A crossing of its own is repaired as elsewhere: what a polar map shows is invalid, too."""
    bow_tie = shapely.Polygon([(0, -80), (10, -85), (10, -80), (0, -85)])
    assert footprint(bow_tie, repair=True).geometry.area == pytest.approx(25)
    spike = shapely.Polygon([*SECTOR, (-175, -76), (-170, -75), (-170, -90), (170, -90)])
    assert footprint(spike, repair=True).geometry.area == pytest.approx(340 * 15)
