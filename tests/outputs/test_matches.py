"""Matches as GeoJSON, as a table, and as a plot."""

import json
import pickle

import numpy as np
import pytest
import shapely

PLACES = [(11.5, 48.1), (120, 30, 122, 32)]


@pytest.fixture(scope="module")
def matches(store):
    return store.similar(PLACES, k=6, exclude_km=200, spacing_km=500)


def test_geojson(matches):
    document = json.loads(json.dumps(matches.to_geojson()))
    points = [shapely.geometry.shape(feature["geometry"]) for feature in document["features"]]
    np.testing.assert_array_equal([(p.x, p.y) for p in points], np.transpose([matches.lon, matches.lat]))
    properties = [feature["properties"] for feature in document["features"]]
    assert [each["rank"] for each in properties] == [1, 2, 3, 4, 5, 6]
    assert [each["score"] for each in properties] == matches.score.tolist()


def test_dataframe_and_pickle(matches):
    table = pickle.loads(pickle.dumps(matches)).to_dataframe()
    np.testing.assert_array_equal(np.stack(table["embedding"]), matches.vectors)
    np.testing.assert_array_equal(table["row"], matches.rows)


def test_plot_has_a_point_for_each_match_and_place(matches):
    from matplotlib.figure import Figure  # noqa: PLC0415  # takes a second

    axes = matches.plot(ax=Figure().add_subplot())
    (star,) = [line for line in axes.lines if line.get_marker() == "*"]
    (points,) = [line for line in axes.lines if line.get_marker() == "o"]
    np.testing.assert_array_equal(star.get_xydata(), [[11.5, 48.1]])
    np.testing.assert_array_equal(points.get_xydata(), np.transpose([matches.lon, matches.lat]))
    assert [text.get_text() for text in axes.texts][:6] == ["1", "2", "3", "4", "5", "6"]
    image = axes.images[0].get_array()
    row, col = (90 - 31) * 4, (121 + 180) * 4
    assert image[row, col][2] > image[row, col][0]  # the region's cells are blue
