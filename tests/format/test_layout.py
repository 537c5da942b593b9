"""The chunk grid of a store, and the checks of its root document."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import cop_zarr
from cop_zarr.core.grid import Grid, Window
from cop_zarr.errors import StoreError
from cop_zarr.format.chunk_grid import Layout
from cop_zarr.format.document import decode_root, digest, is_store, parse
from cop_zarr.format.layout import ATTRIBUTE, CHUNK_CELLS, INTEGRITY_CHUNK, VALID_CHUNK
from tests.support import factory

GLOBE = Layout(Grid(0, 0, 721, 1440), 16)
ODD = Layout(Grid(7, 1401, 21, 60), 3)


@pytest.fixture(scope="module")
def small_folder(tmp_path_factory):
    """A store of 20 x 30 cells as a folder."""
    place = tmp_path_factory.mktemp("layout")
    tif = factory.write_geotiff(place / "a.tif", rows=(100, 120), cols=(700, 730), bands=4)
    cop_zarr.ingest(tif, place / "a.zarr")
    return cop_zarr.storage.folder(str(place / "a.zarr"))


@pytest.fixture(scope="module")
def root(small_folder):
    """Its zarr.json."""
    return small_folder.read("zarr.json")


def resealed(document):
    """A document with its digest corrected, as an attacker would."""
    document["attributes"][ATTRIBUTE]["sha256"] = digest(document)
    return json.dumps(document).encode()


@pytest.mark.parametrize("layout", [GLOBE, ODD], ids=["globe", "odd"])
def test_chunks_cover_the_grid_once(layout):
    seen = np.zeros(layout.grid.shape, int)
    rows, cols = layout.chunk_grid
    for row in range(rows):
        for col in range(cols):
            window = layout.chunk_window(row, col)
            assert max(window.shape) <= CHUNK_CELLS
            seen[window.row : window.row_stop, window.col : window.col_stop] += 1
    assert (seen == 1).all()


@st.composite
def windows(draw, layout):
    """Any window of a grid; on the globe also one over the antimeridian, or all around."""
    (height, width), cyclic = layout.grid.shape, layout.grid.cyclic
    row, col = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
    row_stop = draw(st.integers(row + 1, min(height, row + 40)))
    most = width if cyclic else width - col
    columns = draw(st.one_of(st.just(most), st.integers(1, min(most, 60)), st.integers(1, most)))
    return Window(row, row_stop, col, col + columns)


LAYOUTS = st.shared(st.sampled_from([GLOBE, ODD]), key="layout")
ANY_WINDOW = LAYOUTS.flatmap(windows)


@given(LAYOUTS, ANY_WINDOW)
def test_parts_cover_a_window_once_with_its_own_cells(layout, window):
    target = np.full((*window.shape, 2), -1)
    for part in layout.parts(window):
        chunk = layout.chunk_window(part.row, part.col)
        chunk_rows, chunk_cols = np.mgrid[chunk.row : chunk.row_stop, chunk.col : chunk.col_stop]
        inside = np.stack([chunk_rows, chunk_cols], -1)[part.inside]
        assert (target[part.target] == -1).all(), "a cell is covered twice"
        assert part.cells == inside[..., 0].size
        target[part.target] = inside
    rows, cols = np.mgrid[window.row : window.row_stop, window.col : window.col_stop]
    np.testing.assert_array_equal(target[..., 0], rows)
    np.testing.assert_array_equal(target[..., 1], cols % layout.grid.cols)


@given(LAYOUTS, ANY_WINDOW, st.integers(0, 2**32 - 1), st.sampled_from([0, 0.1, 0.9, 1]))
def test_chunks_of_a_window_come_once_in_order(layout, window, seed, share):
    grouped = {}
    for part in layout.parts(window):
        grouped.setdefault((part.row, part.col), []).append(part)
    everywhere = layout.chunks(window)
    assert [index for index, _ in everywhere] == sorted(grouped)
    for index, parts in everywhere:
        assert parts == grouped[index]
    where = np.random.default_rng(seed).random(layout.chunk_grid) < share
    for mask in (where, where.astype("u4") * 7):
        assert layout.chunks(window, mask) == [entry for entry in everywhere if mask[entry[0]]]


@given(LAYOUTS, LAYOUTS.flatmap(lambda layout: st.lists(windows(layout), max_size=7)))
def test_chunks_under_many_windows_are_those_under_each(layout, several):
    numbers = [(each.row, each.row_stop, each.col, each.col_stop) for each in several]
    chunks, owners = layout.chunks_of_windows(np.array(numbers, "i8").reshape(-1, 4))
    assert chunks.dtype == owners.dtype == np.int64
    expected = {
        (row // 8 * layout.chunk_grid[1] + col % layout.grid.cols // 8, owner)
        for owner, window in enumerate(several)
        for row in range(window.row, window.row_stop)
        for col in range(window.col, window.col_stop)
    }
    found = list(zip(chunks.tolist(), owners.tolist(), strict=True))
    assert set(found) == expected
    for owner, window in enumerate(several):
        if window.col_stop - window.col < layout.grid.cols - 8:
            mine = [pair for pair in found if pair[1] == owner]
            assert len(mine) == len(set(mine)), "none twice"


def test_parse_finds_grid_and_objects(root, small_folder):
    assert (GLOBE.chunk_grid, GLOBE.chunk_key(3, 17)) == ((91, 180), "embedding/c/0/3/17")
    document = parse(root)
    assert document.layout == Layout(Grid(100, 700, 20, 30), 4)
    assert {INTEGRITY_CHUNK, VALID_CHUNK} < set(document.objects)
    assert not any(key.startswith("embedding/c/") for key in document.objects)
    for key, record in document.objects.items():
        assert len(small_folder.read(key)) == record.length


@pytest.mark.parametrize(
    "data",
    [
        b"", b"{}", b"[]", b"null", b"1", b'"cop-zarr"', b"\xff\xfe", b"\x00" * 50, b"[" * 100_000,
        b'{"attributes": []}', b'{"attributes": {"cop_zarr": "cop-zarr"}}',
        b'{"attributes": {"cop_zarr": {"format": "zarr"}}}', b'{"attributes": {"cop_zarr": null}}',
        b'{"zarr_format": 3, "node_type": "group", "attributes": {}}', b"9" * 10_000,
    ],
)  # fmt: skip
def test_other_documents_are_no_store(data):
    assert not is_store(data)
    with pytest.raises(StoreError):
        parse(data)


@pytest.mark.parametrize(
    "edit",
    [
        lambda array: array.update(data_type="float64"),
        lambda array: array["codecs"].pop(),
        lambda array: array["codecs"][0]["configuration"].update(order=[1, 2, 0]),
        lambda array: array["codecs"][2]["configuration"].update(typesize=8),
        lambda array: array["chunk_grid"]["configuration"].update(chunk_shape=[4, 16, 16]),
        lambda array: array.update(shape=[65_536, 20, 30]),
        lambda array: array.update(shape=[4, 720, 30]),
        lambda array: array.update(shape=[4.0, 20, 30]),
    ],
)
def test_other_arrays_are_refused(root, edit):
    """As of a store that somebody rechunked and whose attributes they copied."""
    document = decode_root(root)
    edit(document["consolidated_metadata"]["metadata"]["embedding"])
    with pytest.raises(StoreError, match="valid"):
        parse(resealed(document))
