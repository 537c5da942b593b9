"""How often a curve is evaluated; test_geodesic and test_polygons hold that rings are right."""

import numpy as np

from cop_zarr.regions import densify


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
