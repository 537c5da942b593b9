"""Rings over a seam of longitude, with small defects, against the same rings inland."""

import numpy as np
import pytest
import shapely

from cop_zarr.errors import RegionError
from cop_zarr.regions import footprint
from cop_zarr.regions.validity import is_simple, signed_area
from tests.support.geometry import shifted

SEAMS = {"antimeridian": 180.0, "Greenwich, 0 to 360": 360.0}
DEFECTS = ("none", "near-duplicate", "spike", "blunt spike", "ulp gap", "swapped")


def simple_ring(rng):
    """Vertices around a place, counterclockwise, not closed."""
    count, reach = rng.integers(4, 13), 10 ** rng.uniform(-1.3, 1)
    angles = np.sort(rng.uniform(0, 2 * np.pi, count))
    away = reach * rng.uniform(0.1, 1, count)
    middle = rng.uniform(-0.5, 0.5) * reach, rng.uniform(-70, 70)
    return np.column_stack([away * np.cos(angles), away * np.sin(angles)]) + middle


def with_defect(ring, defect, rng):
    """The ring closed, with one defect at any of its vertices."""
    at, heading = rng.integers(len(ring)), rng.uniform(0, 2 * np.pi)
    place, ahead = ring[at], np.array([np.cos(heading), np.sin(heading)])
    closed = np.vstack([ring, ring[:1]])
    match defect:
        case "near-duplicate":
            return np.insert(closed, at + 1, place + 10 ** rng.uniform(-14, -1) * ahead, axis=0)
        case "spike" | "blunt spike":
            tip = place + 10 ** rng.uniform(-3, 0.7) * ahead
            back = place + (10 ** rng.uniform(-14, -4) * ahead[::-1] if defect == "blunt spike" else 0)
            return np.insert(closed, at + 1, [tip, back], axis=0)
        case "ulp gap":
            closed[-1] = np.nextafter(closed[-1], rng.choice([-1000, 1000], 2))
        case "swapped":
            closed = closed.copy()
            closed[[1, 2]] = closed[[2, 1]]
    return closed


def seam_ring(rng, seam, defect):
    """A ring over the seam, with jumps, and the same ring around longitude 0 (to the last bit); or None."""
    onward = np.add(with_defect(simple_ring(rng), defect, rng), (seam, 0))
    if rng.random() < 0.4:
        onward = onward[::-1]
    if not onward[:, 0].min() < seam < onward[:, 0].max():
        return None
    jumping = onward - np.column_stack([360.0 * (onward[:, 0] > seam), np.zeros(len(onward))])
    return jumping, onward - [seam, 0]


def found_or_error(*rings, **options):
    try:
        given = {"type": "Polygon", "coordinates": [ring.tolist() for ring in rings]}
        return footprint(given, **options).geometry, ""
    except RegionError as error:
        return None, str(error)


def same(found, expected):
    """Whether two geometries are one but for rounding, which repair enlarges where edges almost meet."""
    turn = 360 * round((expected.centroid.x - found.centroid.x) / 360)
    return shapely.symmetric_difference(shifted(found, turn), expected).area < 1e-8 * expected.area + 1e-10


def check_ring(jumping, inland, seam):
    """Never another region than inland; refused if that is, or if clockwise and read in two ways."""
    for repair in (False, True):
        expected, refusal = found_or_error(inland, repair=repair)
        found, error = found_or_error(jumping, repair=repair)
        if found is not None:
            assert expected is not None, (refusal, jumping.tolist())
            assert same(found, shifted(expected, seam)), jumping.tolist()
            polygon = shapely.Polygon(inland)
            if polygon.is_valid:  # and by shapely alone
                assert same(found, shifted(polygon, seam)), jumping.tolist()
        elif "two ways" in error:
            polygon = shapely.Polygon(inland)
            assert signed_area(shapely.get_coordinates(polygon)) < 1e-12, jumping.tolist()
            assert is_simple(shapely.get_coordinates(shapely.Polygon(jumping))), jumping.tolist()
            assert found_or_error(jumping[::-1], repair=True)[0] is not None  # the advice
        else:
            assert expected is None, (error, jumping.tolist())


def check_rings(count, seed):
    rng, checked = np.random.default_rng(seed), 0
    while checked < count:
        seam = list(SEAMS.values())[checked % 2]
        drawn = seam_ring(rng, seam, DEFECTS[checked % len(DEFECTS)])
        if drawn is not None:
            check_ring(*drawn, seam)
            checked += 1


def test_rings_with_a_defect_are_those_inland():
    check_rings(500, seed=0)


@pytest.mark.slow
def test_ten_thousand_rings_with_a_defect_are_those_inland():
    check_rings(10_000, seed=1)


def test_holes_and_parts_with_a_defect_are_those_inland():
    rng = np.random.default_rng(2)
    for number in range(200):
        defect = DEFECTS[number % len(DEFECTS)]
        shell = with_defect(np.array([[-12.0, -12], [12, -12], [12, 12], [-12, 12]]), defect, rng)
        hole = with_defect(simple_ring(rng) * [1, 0.1], defect, rng)
        hole = hole[:: -1 if signed_area(np.vstack([hole, hole[:1]])) > 0 else 1]
        rings = [ring / [1.5, 4] + [180, -40] for ring in (shell, hole)]
        jumping = [np.column_stack([(ring[:, 0] + 180) % 360 - 180, ring[:, 1]]) for ring in rings]
        for repair in (False, True):
            expected, refusal = found_or_error(*(ring - [180, 0] for ring in rings), repair=repair)
            found, error = found_or_error(*jumping, repair=repair)
            assert bool(error) == bool(refusal), (error, refusal)
            if found is not None:
                assert same(found, shifted(expected, 180))


def test_parts_over_the_antimeridian():
    rng = np.random.default_rng(3)
    rings = [np.add(simple_ring(rng) / 4, (180, lat)) for lat in (-40, 0, 40)]
    jumping = [shapely.Polygon(ring - (ring > (180, 90)) * [360, 0]) for ring in rings]
    found = footprint(shapely.MultiPolygon(jumping), repair=True).geometry
    assert same(found, shapely.MultiPolygon([shapely.Polygon(ring) for ring in rings]).buffer(0))


BARENTS = [[178.6, 65], [-178.4, 65], [-178.4, 67], [178.5, 67], [178.5001, 67.000001], [178.6, 65]]


def test_a_small_crossing_is_repaired_where_it_is(store):
    """Of a microdegree, at the end of a ring of three degrees."""
    given = {"type": "Polygon", "coordinates": [BARENTS]}
    with pytest.raises(RegionError, match="not valid"):
        store.query(given)
    lons, lats = np.meshgrid(np.arange(170, 190, 0.25), np.arange(60, 70, 0.25))
    cells = shapely.box(lons - 0.125, lats - 0.125, lons + 0.125, lats + 0.125)
    onward = shapely.Polygon([(178.6, 65), (181.6, 65), (181.6, 67), (178.5, 67)])
    shares = shapely.area(shapely.intersection(onward, cells)) / 0.25**2
    answer = store.query(given, repair=True)
    assert answer.meta["total_cells"] == np.count_nonzero(shares > 1e-5) == 117
    assert answer.weights.sum() == pytest.approx(shares.sum(), rel=1e-4)
    np.testing.assert_array_equal(store.query_many([given], repair=True)[0], answer.data)
