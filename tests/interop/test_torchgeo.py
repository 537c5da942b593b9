"""TorchGeo's sample of a box, averaged, is ``weights="coverage"`` where its sides are whole cells.

Its dataset of this product reads a box by rasterio's ``merge``. Without TorchGeo, which brings PyTorch, it
is called here with the same arguments.
"""

from importlib.util import find_spec

import numpy as np
import pytest
import rasterio.merge
from rasterio.enums import Resampling

STEP = 0.25


@pytest.fixture(scope="module")
def sample(source, tmp_path_factory):
    """The array that TorchGeo gives for a box, (bands, rows, cols)."""
    if find_spec("torchgeo"):
        from torchgeo.datasets import CopernicusEmbed  # noqa: PLC0415

        folder = tmp_path_factory.mktemp("torchgeo")
        (folder / "embed_map_310k.tif").symlink_to(source)
        dataset = CopernicusEmbed(folder)
        return lambda west, south, east, north: dataset[west:east, south:north]["image"].numpy()
    read = {"res": (STEP, STEP), "resampling": Resampling.bilinear}
    return lambda *bounds: rasterio.merge.merge([source], bounds=bounds, **read)[0]


def mean(array):
    return array.mean((1, 2), dtype="f8")


@pytest.mark.parametrize(
    "box",
    [
        (10.125, 47.125, 11.875, 48.875),  # edges of cells
        (10, 47, 12, 49),  # centres of cells
        (10.1, 47.07, 12.1, 49.07),
        (10.06, 47.17, 10.31, 47.42),  # a single cell
        (120, 30, 122, 32),  # a coast
        (-180, 65, -175, 68),  # from within the file's first column
    ],
)
def test_mean_of_a_sample_is_the_mean_by_coverage(box, sample, store):
    expected = store.query(box, weights="coverage").data
    np.testing.assert_allclose(mean(sample(*box)), expected, rtol=1e-5)


def test_sample_of_whole_cells_is_the_grid(sample, store):
    box = (10.125, 47.125, 11.875, 48.875)
    np.testing.assert_array_equal(sample(*box), store.query(box, output="grid").data)


def test_sides_that_are_no_whole_cells_are_rounded(sample, store):
    """The sample begins at the box's west and north, and has the nearest number of cells."""
    found = sample(10.1, 47.05, 11.9, 48.75)
    assert found.shape[1:] == (7, 7)
    taken = store.query((10.1, 48.75 - 7 * STEP, 10.1 + 7 * STEP, 48.75), weights="coverage").data
    np.testing.assert_allclose(mean(found), taken, rtol=1e-5)


def test_what_lies_over_the_edge_of_the_file_is_zero(sample, store):
    """The same box west of the antimeridian, and zeros in the place of the rest."""
    found = sample(177.125, 65.125, 182.625, 67.125)
    inside = store.query((177.125, 65.125, 179.875, 67.125), weights="coverage").data
    np.testing.assert_allclose(mean(found), inside / 2, rtol=1e-5)
