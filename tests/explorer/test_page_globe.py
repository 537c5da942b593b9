"""The page and a store of the whole globe, whose first picture is drawn from the beginning of an object."""

import numpy as np
import pytest

import cop_zarr

pytestmark = pytest.mark.slow

SCORES = "components/scores/c/0/0/0"
VIEW = "lon=11&lat=30&zoom=4"
PLACES = [(lon + 0.5, lat + 0.5) for lon in range(6, 17) for lat in range(25, 29)]
"""In the Sahara, where no coast and no line of the graticule crosses a cell."""


@pytest.fixture(scope="module")
def path(site, store_path):
    cop_zarr.copy(store_path, site / "globe.zarr", shards=True)
    cop_zarr.keep_components(site / "globe.zarr", overwrite=True)
    return site / "globe.zarr"


def test_the_first_picture_takes_a_part_of_an_object_and_the_whole_is_checked(explorer, at, path):
    assert (path / SCORES).stat().st_size > 1 << 20
    store = cop_zarr.open(path)
    explorer.open(at("globe.zarr", VIEW))
    assert sum(url.endswith(SCORES) for url in explorer.requests) == 2

    scores = store.components().scores[:, :3].astype("f8")
    low, high = np.percentile(scores, (2, 98), axis=0)
    colours = np.full((*store.valid.shape, 3), np.nan)
    colours[store.valid] = np.clip((scores - low) / (high - low), 0, 1) * 255
    expected = np.array([colours[round((90 - lat) * 4), round((lon + 180) * 4)] for lon, lat in PLACES])
    shown = explorer.colours(PLACES)
    with_data = ~np.isnan(expected[:, 0])
    assert with_data.sum() > 10
    np.testing.assert_allclose(shown[with_data], expected[with_data], atol=2)

    explorer.go(f"{VIEW}&components=8,2,1")  # of the same object, which has been read
    explorer.colours(PLACES)
    assert sum(url.endswith(SCORES) for url in explorer.requests) == 2


def test_damage_behind_the_part_of_the_first_picture_takes_the_picture_away(explorer, at, path):
    data = (path / SCORES).read_bytes()
    changed = bytearray(data)
    changed[-1000] ^= 1
    (path / SCORES).write_bytes(changed)
    try:
        explorer.open(at("globe.zarr", VIEW))
        assert f"{SCORES} is damaged" in explorer.problem()
        assert len(np.unique(explorer.colours(PLACES), axis=0)) == 1
    finally:
        (path / SCORES).write_bytes(data)


def test_a_place_and_a_region_far_apart(explorer, at, path):
    store = cop_zarr.open(path)
    explorer.open(at("globe.zarr", "like=11.5,26.5&exclude_km=3000&box=170,-60,200,80"))
    matches = store.similar((11.5, 26.5), k=10, exclude_km=3000)
    assert explorer.places() == [
        list(place) for place in zip(matches.lon, matches.lat, matches.score, strict=True)
    ]
    expected = store.query((170, -60, -160, 80), weights="coverage", empty="skip")
    found = explorer.region()
    np.testing.assert_allclose(found["vector"], expected.data, rtol=1e-6)  # values of up to 32,768
    assert found["total_cells"] == expected.meta["total_cells"]


def test_a_polygon_to_a_pole(explorer, at, path):
    store = cop_zarr.open(path)
    ring = [(100, 70), (160, 72.5), (200, 90), (140, 90), (90, 88.3)]
    explorer.open(at("globe.zarr", "polygon=" + ";".join(f"{lon},{lat}" for lon, lat in ring)))
    region = {"type": "Polygon", "coordinates": [[*ring, ring[0]]]}
    expected = store.query(region, weights="coverage", empty="skip")
    found = explorer.region()
    np.testing.assert_allclose(found["vector"], expected.data, rtol=1e-6)
    assert found["valid_cells"] == expected.meta["valid_cells"]
    assert found["total_cells"] == expected.meta["total_cells"]
