"""The page in Chromium: its map, similar places and regions, held against what Python answers."""

import csv
import io
import json
import re
import shlex

import numpy as np
import pytest
import shapely

import cop_zarr
from cop_zarr.explorer.static import write_page
from tests.support import factory
from tests.support.explorer import COLS, NAMES, ROWS, write_store

EACH = pytest.mark.parametrize(
    "name", [NAMES[0], *(pytest.param(name, marks=pytest.mark.slow) for name in NAMES[1:])]
)

VIEW = "lon=11&lat=36&zoom=4"
PLACES = [(lon + 0.5, lat + 0.5) for lon in range(-2, 25, 3) for lat in range(22, 50, 4)]
"""Centres of cells that no line of the graticule crosses."""


@pytest.fixture
def name():
    return "plain.zarr"


@pytest.fixture
def store(site, name):
    return cop_zarr.open(site / name)


def cells_of(places):
    """Row and column in the store of places in its rectangle."""
    lons, lats = np.array(places).T
    return ((90 - lats) * 4).astype(int) - ROWS[0], ((lons + 180) * 4).astype(int) - COLS[0]


def expected_colours(store, components=(0, 1, 2), percentiles=(2, 98)):
    """Colours of all cells: float64, (rows, cols, 3), NaN without data."""
    scores = store.components().scores[:, components].astype("f8")
    low, high = np.percentile(scores, percentiles, axis=0)
    grid = np.full((*store.valid.shape, 3), np.nan)
    grid[store.valid] = np.clip((scores - low) / (high - low), 0, 1) * 255
    return grid


# The map


CHOSEN = {"components": (5, 1, 10), "percentiles": (10, 80)}


@EACH
def test_cells_have_the_colours_of_their_components(explorer, at, store, name):
    explorer.open(at(name, VIEW))
    check_colours(explorer.colours(PLACES), expected_colours(store))
    explorer.go(f"{VIEW}&components=6,2,11&range=10,80")
    check_colours(explorer.colours(PLACES), expected_colours(store, **CHOSEN))


def check_colours(shown, expected):
    """Compare what is shown at PLACES; a coast may cross a few."""
    expected = expected[cells_of(PLACES)]
    with_data = ~np.isnan(expected[:, 0])
    assert 20 < with_data.sum() < len(PLACES)
    near = (np.abs(shown[with_data].astype(int) - expected[with_data]) <= 2).all(axis=1)
    assert near.mean() > 0.8
    sea = shown[~with_data]
    assert (sea == np.median(sea, axis=0)).all(axis=1).mean() > 0.8


def test_the_pointer_tells_where_it_is_and_where_there_is_no_data(explorer, at, store):
    explorer.open(at(fragment=VIEW))
    rows, cols = cells_of(PLACES)
    for (lon, lat), valid in list(zip(PLACES, store.valid[rows, cols], strict=True))[::9]:
        explorer.page.mouse.move(*explorer.position(lon, lat))
        words = explorer.page.inner_text("#where")
        east, north = re.match(r"([\d.]+°[EW]) ([\d.]+)°N", words).groups()
        told = float(east[:-2]) * (1 if east.endswith("E") else -1), float(north)
        assert told == pytest.approx((lon, lat), abs=0.1)
        assert ("no data" in words) == (not valid)


def test_a_store_across_the_antimeridian_lies_on_both_sides_of_it(explorer, at, site):
    write_store(site / "across.zarr", rows=(300, 340), cols=(1400, 1480))
    store = cop_zarr.open(site / "across.zarr")
    explorer.open(at("across.zarr", "lon=-179&lat=10&zoom=4&like=-177.5,10.5&box=177,7,184,13"))
    matches = store.similar((-177.5, 10.5), k=10)
    assert explorer.places() == [
        list(place) for place in zip(matches.lon, matches.lat, matches.score, strict=True)
    ]
    expected = store.query((177, 7, -176, 13), weights="coverage", empty="skip")
    np.testing.assert_allclose(explorer.region()["vector"], expected.data, atol=1e-6)


def test_a_store_of_one_cell(explorer, at, site):
    source = factory.write_geotiff(site / "one.tif", rows=(200, 201), cols=(800, 801), bands=16)
    cop_zarr.ingest(source, site / "one.zarr")
    cop_zarr.keep_components(site / "one.zarr")
    explorer.open(at("one.zarr", "like=20,40&box=19,39,21,41"))
    assert [place[:2] for place in explorer.places()] == [[20, 40]]
    np.testing.assert_allclose(explorer.region()["vector"], cop_zarr.open(site / "one.zarr").sample(20, 40))


# Similar places

LIKES = [(11.5, 48.5), (5.25, 30.75)]


QUESTIONS = {
    "like=11.5,48.5": {"places": LIKES[:1]},
    "like=20,27.5": {"places": [(20, 27.5)]},  # whose vector another cell has, too
    "like=11.5,48.5;5.25,30.75&unlike=2.5,25&exclude_km=200": {
        "places": LIKES,
        "negatives": [(2.5, 25)],
        "exclude_km": 200,
    },
    "like=5.25,30.75&metric=l2": {"places": LIKES[1:], "metric": "l2"},
    "like=11.5,48.5;5.25,30.75&metric=l2&exclude_km=900.5": {
        "places": LIKES,
        "metric": "l2",
        "exclude_km": 900.5,
    },
}


@EACH
def test_ten_places_are_those_of_python_to_the_bit(explorer, at, store, name):
    explorer.open(at(name))
    for fragment, options in QUESTIONS.items():
        explorer.go(fragment)
        matches = store.similar(**options, k=10)
        expected = [list(place) for place in zip(matches.lon, matches.lat, matches.score, strict=True)]
        assert explorer.places() == expected, fragment
        call = explorer.copied("#places-python")
        again = eval(call, {"store": store})  # the line as it is pasted
        assert list(again.score) == [score for *_, score in expected]


def test_a_click_finds_more_and_more(explorer, at, store):
    explorer.open(at(fragment=VIEW))
    first, second, third = [place for place in PLACES if store.valid[cells_of([place])][0]][5:20:5]
    explorer.click(*first)
    assert explorer.places()[0] == [*first, 1]
    explorer.page.check("input[value=like]")
    explorer.click(*second)
    explorer.page.locator("#asked li").nth(1).wait_for()
    explorer.page.check("input[value=unlike]")
    explorer.click(*third)
    explorer.page.locator("#asked li").nth(2).wait_for()
    explorer.page.select_option("#metric", "cosine")
    explorer.page.fill("#exclude", "300")
    explorer.page.press("#exclude", "Tab")
    explorer.page.wait_for_function("() => location.hash.includes('exclude_km=300')")
    matches = store.similar([first, second], negatives=[third], k=10, exclude_km=300)
    explorer.page.locator("#found li").nth(9).wait_for()
    assert [place[2] for place in explorer.places()] == list(matches.score)
    assert explorer.fragment["like"] == f"{first[0]},{first[1]};{second[0]},{second[1]}"


def test_scores_on_the_map_hold_what_they_say(explorer, at, store):
    explorer.open(at(fragment=f"{VIEW}&like=11.5,48.5"))
    explorer.places()
    values = store.similarity((11.5, 48.5)).to_xarray().cosine.values
    rows, cols = cells_of(PLACES)
    seen = 0
    for place, true in list(zip(PLACES, values[rows, cols], strict=True))[::5]:
        explorer.page.mouse.move(*explorer.position(*place))
        words = explorer.page.inner_text("#where").partition("· ")[2]
        if np.isnan(true):
            assert words == "no data"
        elif "±" in words:
            told, margin = map(float, words.removeprefix("≈ ").split(" ± "))
            assert abs(told - true) <= margin * 1.06 + 1e-4  # both are rounded
            seen += 1
        else:
            assert float(words) == pytest.approx(true, abs=5.1e-5)
            seen += 1
    assert seen > 5


# Regions

TRIANGLE = [(3.1, 22.03), (20.7, 24.2), (9.33, 48.111)]
RING = [*TRIANGLE, TRIANGLE[0]]
REGIONS = {
    "box=5.1,24.3,16.2,40.05": (5.1, 24.3, 16.2, 40.05),
    "box=-30,10,60,60": (-30, 10, 60, 60),  # beyond the store
    "polygon=" + ";".join(f"{lon},{lat}" for lon, lat in TRIANGLE): shapely.Polygon(TRIANGLE),
    "polygon=2,30;12,30;12,31;3,31;3,40;12,40;12,41;2,41": shapely.Polygon(
        [(2, 30), (12, 30), (12, 31), (3, 31), (3, 40), (12, 40), (12, 41), (2, 41)]
    ),
    "box=11.55,30.02,11.7,30.1": (11.55, 30.02, 11.7, 30.1),  # within a cell
}


@EACH
def test_a_region_has_the_vector_of_python(explorer, at, store, name):
    explorer.open(at(name))
    for fragment, region in REGIONS.items():
        explorer.go(fragment)
        found = explorer.region()
        expected = store.query(region, weights="coverage", empty="skip", subpixel="touch")
        np.testing.assert_allclose(found["vector"], expected.data, rtol=0, atol=1e-6, err_msg=fragment)
        assert found["valid_cells"] == expected.meta["valid_cells"] > 0
        assert found["total_cells"] == expected.meta["total_cells"]
        line = explorer.copied("#region-python")
        assert line == found["query"]
        again = eval(line, {"store": store})  # the line as it is pasted
        np.testing.assert_array_equal(again.data, expected.data)


def test_a_box_and_a_polygon_are_drawn(explorer, at, store):
    explorer.open(at(fragment=VIEW))
    explorer.page.click("#draw-box")
    explorer.click(5, 26)
    explorer.click(15, 36)
    first = explorer.region()
    box = json.loads(f"[{explorer.fragment['box']}]")
    assert box == pytest.approx([5, 26, 15, 36], abs=0.2)
    expected = store.query(tuple(box), weights="coverage", empty="skip")
    np.testing.assert_allclose(first["vector"], expected.data, atol=1e-6)
    assert "like" not in explorer.fragment  # the clicks drew

    explorer.page.click("#draw-polygon")
    for lon, lat in [*TRIANGLE, TRIANGLE[-1]]:
        explorer.click(lon, lat)
    explorer.page.wait_for_function("() => location.hash.includes('polygon')")
    found = explorer.region()
    ring = [tuple(map(float, point.split(","))) for point in explorer.fragment["polygon"].split(";")]
    assert np.abs(np.array(ring) - TRIANGLE).max() < 0.2
    expected = store.query(shapely.Polygon(ring), weights="coverage", empty="skip")
    np.testing.assert_allclose(found["vector"], expected.data, atol=1e-6)


def test_files_of_a_region(explorer, at, store):
    explorer.open(at(fragment="box=5.1,24.3,16.2,40.05"))
    expected = store.query((5.1, 24.3, 16.2, 40.05), weights="coverage", empty="skip").data
    rows = list(csv.DictReader(io.StringIO(explorer.download("csv"))))
    assert [int(row["band"]) for row in rows] == list(range(len(expected)))
    np.testing.assert_allclose([float(row["value"]) for row in rows], expected, atol=1e-6)
    feature = json.loads(explorer.download("geojson"))
    assert shapely.geometry.shape(feature["geometry"]).bounds == (5.1, 24.3, 16.2, 40.05)
    np.testing.assert_allclose(feature["properties"]["vector"], expected, atol=1e-6)


def test_a_region_without_data_has_no_vector(explorer, at, store):
    rows, cols = np.nonzero(~store.valid)
    lon, lat = -180 + (cols[0] + COLS[0]) / 4, 90 - (rows[0] + ROWS[0]) / 4
    explorer.open(at(fragment=f"box={lon - 0.1},{lat - 0.1},{lon + 0.1},{lat + 0.1}"))
    found = explorer.region()
    assert found["valid_cells"] == 0
    assert set(found["vector"]) == {None}
    assert "no vector" in explorer.page.inner_text("#region-count")


def test_commands_are_those_of_the_command_line(explorer, at, base):
    explorer.open(at(fragment="like=11.5,48.5&unlike=5.25,30.75&exclude_km=200&box=5,24,16,40"))
    explorer.places()
    words = shlex.split(explorer.copied("#places-command"))
    assert words == [
        *["cop-zarr", "similar", f"{base}/plain.zarr", "--point", "11.5", "48.5"],
        *["--not-point", "5.25", "30.75", "-k", "10", "--exclude-km", "200"],
    ]
    words = shlex.split(explorer.copied("#region-command"))
    assert words == [
        *["cop-zarr", "query", f"{base}/plain.zarr", "--bbox", "5", "24", "16", "40"],
        *["--weights", "coverage", "--empty", "skip"],
    ]


# Served


@EACH
def test_a_store_that_cop_zarr_serves(explorer, site, store, name):
    server = store.explore()
    explorer.open(f"{server.url}#{VIEW}&like=11.5,48.5&exclude_km=300&box=5,24,16,40")
    matches = store.similar((11.5, 48.5), k=10, exclude_km=300)
    assert [score for *_, score in explorer.places()] == list(matches.score)
    expected = store.query((5, 24, 16, 40), weights="coverage", empty="skip")
    np.testing.assert_allclose(explorer.region()["vector"], expected.data, rtol=0, atol=1e-6)
    assert shlex.split(explorer.copied("#region-command"))[2] == str(site / name)
    server.close()


def test_a_page_beside_a_store_that_is_written_as_files(explorer, site, base, store):
    write_page(site / "beside", "../plain.zarr/", has_components=False)
    explorer.open(f"{base}/beside/index.html#box=5,24,16,40")
    expected = store.query((5, 24, 16, 40), weights="coverage", empty="skip")
    np.testing.assert_allclose(explorer.region()["vector"], expected.data, rtol=0, atol=1e-6)
