"""Places and regions drawn at random: the page and Python answer the same."""

import numpy as np
import pytest

import cop_zarr
from tests.support.explorer import COLS, ROWS

WEST, NORTH = -180.125 + COLS[0] / 4, 90.125 - ROWS[0] / 4
EAST, SOUTH = WEST + (COLS[1] - COLS[0]) / 4, NORTH - (ROWS[1] - ROWS[0]) / 4


def star(rng):
    """Corners of a polygon around a place, of any size, that does not cross itself; some lie outside."""
    corners = int(rng.integers(3, 40))
    angles = np.sort(rng.uniform(0, 2 * np.pi, corners))
    if np.diff(angles, append=angles[0] + 2 * np.pi).max() > 3:
        return star(rng)  # the middle would be outside
    radii = rng.uniform(0.2, 1, corners) * 10 ** rng.uniform(-1, 1.2)
    lon, lat = rng.uniform(WEST, EAST), rng.uniform(SOUTH, NORTH)
    points = np.stack([lon + radii * np.cos(angles), lat + radii * np.sin(angles)], axis=1)
    return points.round(5).tolist()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_regions(explorer, at, site, seed, trials):
    rng, store = np.random.default_rng(seed), cop_zarr.open(site / "sharded.zarr")
    for draw in range(4 * trials):
        if draw % 4 == 0:  # Chromium asks before the tenth file of a page
            explorer.page.goto("about:blank")
            explorer.open(at("sharded.zarr"))
        ring = star(rng)
        fragment = "polygon=" + ";".join(f"{lon},{lat}" for lon, lat in ring)
        explorer.go(fragment)
        found = explorer.region()
        region = {"type": "Polygon", "coordinates": [[*ring, ring[0]]]}
        expected = store.query(region, weights="coverage", empty="skip", subpixel="touch")
        vector = np.array(found["vector"], "f8")
        np.testing.assert_allclose(vector, expected.data, rtol=0, atol=1e-6, err_msg=fragment)
        assert found["valid_cells"] == expected.meta["valid_cells"], fragment
        assert found["total_cells"] == expected.meta["total_cells"], fragment


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_places(explorer, at, site, seed, trials):
    rng, store = np.random.default_rng(seed), cop_zarr.open(site / "int8.zarr")
    explorer.open(at("int8.zarr"))
    rows, cols = np.nonzero(store.valid)
    for _ in range(4 * trials):
        chosen = rng.choice(len(rows), int(rng.integers(1, 6)), replace=False)
        places = [(-180 + (cols[one] + COLS[0]) / 4, 90 - (rows[one] + ROWS[0]) / 4) for one in chosen]
        metric = str(rng.choice(["cosine", "l2"]))
        unlike = places[3:] if metric == "cosine" else []
        likes = places[: len(places) - len(unlike)]
        km = float(rng.choice([0, 50, 123.4, 700]))
        parts = {"like": likes, "unlike": unlike}
        texts = {
            name: ";".join(f"{lon},{lat}" for lon, lat in given) for name, given in parts.items() if given
        }
        words = "&".join(f"{name}={text}" for name, text in texts.items())
        fragment = f"{words}&metric={metric}&exclude_km={km}"
        explorer.go(fragment)
        options = {"negatives": unlike} if unlike else {}
        matches = store.similar(likes, k=10, metric=metric, exclude_km=km, **options)
        expected = [list(place) for place in zip(matches.lon, matches.lat, matches.score, strict=True)]
        assert explorer.places() == expected, fragment
