"""The tree of a store, and the distrust of its root document."""

import copy
import itertools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cop_zarr
from cop_zarr.core.grid import Grid, Window
from cop_zarr.errors import CopZarrError, FormatVersionError, StoreError
from cop_zarr.format.chunk_grid import Layout
from cop_zarr.format.document import digest, is_store, parse
from cop_zarr.format.layout import ATTRIBUTE, CHUNK_CELLS, FORMAT_VERSION, INTEGRITY_CHUNK, VALID_CHUNK
from tests.support import factory
from tests.support.folders import open_in

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
    """A document with its own digest put right again, as somebody who means harm would."""
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


def test_keys_are_those_of_zarr_v3():
    assert GLOBE.chunk_key(3, 17) == "embedding/c/0/3/17"
    assert GLOBE.chunk_grid == (91, 180)
    assert GLOBE.shape == (16, 721, 1440)
    assert GLOBE.stored_shape == (8, 8, 16)


@given(st.sampled_from([GLOBE, ODD]), st.data())
def test_parts_paint_a_window_once_with_its_own_cells(layout, data):
    height, width = layout.grid.shape
    row, col = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    row_stop = data.draw(st.integers(row + 1, min(height, row + 40)))
    # a wrapped window runs on beyond the last column
    col_stop = data.draw(st.integers(col + 1, col + min(width, 60)))
    window = Window(row, row_stop, col, col_stop)
    target = np.full((*window.shape, 2), -1)
    for part in layout.parts(window):
        chunk = layout.chunk_window(part.row, part.col)
        chunk_rows, chunk_cols = np.mgrid[chunk.row : chunk.row_stop, chunk.col : chunk.col_stop]
        inside = np.stack([chunk_rows, chunk_cols], -1)[part.inside]
        assert (target[part.target] == -1).all(), "a cell is painted twice"
        assert part.cells == inside[..., 0].size
        target[part.target] = inside
    rows, cols = np.arange(row, row_stop), np.arange(col, col_stop) % width
    np.testing.assert_array_equal(target[..., 0], np.broadcast_to(rows[:, None], window.shape))
    np.testing.assert_array_equal(target[..., 1], np.broadcast_to(cols, window.shape))


@st.composite
def windows(draw, layout):
    """Any window of a grid; on the globe also one over the seam, or all around."""
    (height, width), cyclic = layout.grid.shape, layout.grid.cyclic
    row, col = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
    row_stop = draw(st.integers(row + 1, min(height, row + 40)))
    most = width if cyclic else width - col
    columns = draw(st.one_of(st.just(most), st.integers(1, min(most, 60)), st.integers(1, most)))
    return Window(row, row_stop, col, col + columns)


def cells_by_chunk(layout, window):
    """A window's cells one by one: each chunk's, as (row, column) in it and (row, column) in the window."""
    found = {}
    for row in range(window.row, window.row_stop):
        for col in range(window.col, window.col_stop):
            (down, inner_row), (across, inner_col) = divmod(row, 8), divmod(col % layout.grid.cols, 8)
            cell = inner_row, inner_col, row - window.row, col - window.col
            found.setdefault((down, across), []).append(cell)
    return found


def cells_of(parts):
    """The same of parts."""
    cells = []
    for part in parts:
        inside, target = (np.mgrid[each].reshape(2, -1).T for each in (part.inside, part.target))
        cells += map(tuple, np.concatenate([inside, target], axis=1).tolist())
    return cells


LAYOUTS = st.shared(st.sampled_from([GLOBE, ODD]), key="layout")
ANY_WINDOW = LAYOUTS.flatmap(windows)


@settings(deadline=None)
@given(LAYOUTS, ANY_WINDOW)
def test_parts_in_a_chunk_are_those_of_the_window_that_lie_in_it(layout, window):
    assert CHUNK_CELLS == 8
    grouped = {}
    for part in layout.parts(window):
        grouped.setdefault((part.row, part.col), []).append(part)
    for place, parts in grouped.items():
        assert list(layout.parts_in(window, place)) == parts
    if window.cells < 3000:
        expected = cells_by_chunk(layout, window)
        assert set(grouped) == set(expected)
        for place, cells in expected.items():
            assert sorted(cells_of(layout.parts_in(window, place))) == sorted(cells)


@settings(deadline=None)
@given(LAYOUTS, ANY_WINDOW, st.integers(0, 2**32 - 1), st.sampled_from([0, 0.1, 0.9, 1]))
def test_chunks_of_a_window_are_each_there_once_in_order(layout, window, seed, share):
    grouped = {}
    for part in layout.parts(window):
        grouped.setdefault((part.row, part.col), []).append(part)
    everywhere = layout.chunks(window)
    assert [place for place, _ in everywhere] == sorted(grouped)
    assert dict(everywhere) == grouped
    where = np.random.default_rng(seed).random(layout.chunk_grid) < share
    for mask in (where, where.astype("u4") * 7):
        assert layout.chunks(window, mask) == [entry for entry in everywhere if mask[entry[0]]]


@settings(deadline=None)
@given(LAYOUTS, LAYOUTS.flatmap(lambda layout: st.lists(windows(layout), max_size=7)))
def test_chunks_under_many_windows_are_those_under_each(layout, several):
    numbers = [(each.row, each.row_stop, each.col, each.col_stop) for each in several]
    chunks, owners = layout.under(np.array(numbers, "i8").reshape(-1, 4))
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
    document = parse(root)
    assert document.layout == Layout(Grid(100, 700, 20, 30), 4)
    assert {INTEGRITY_CHUNK, VALID_CHUNK} < set(document.objects)
    chunks = [key for key in document.objects if key.startswith("embedding/c/")]
    assert not chunks
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
def test_what_is_no_store(data):
    assert not is_store(data)
    with pytest.raises(StoreError, match="not that of a cop-zarr store"):
        parse(data)


def test_newer_format_is_refused_by_name(root):
    document = json.loads(root)
    document["attributes"][ATTRIBUTE]["version"] = FORMAT_VERSION + 1
    data = resealed(document)
    assert is_store(data)
    with pytest.raises(FormatVersionError, match=rf"version {FORMAT_VERSION + 1}.*--upgrade"):
        parse(data)


@pytest.mark.parametrize("version", [None, 0, -1, "1", 1.0, [1], True])
def test_version_that_is_none(root, version):
    document = json.loads(root)
    document["attributes"][ATTRIBUTE]["version"] = version
    with pytest.raises(StoreError):
        parse(json.dumps(document).encode())


def test_edited_document_is_refused(root):
    document = json.loads(root)
    document["attributes"]["license"] = "CC0-1.0"
    with pytest.raises(StoreError, match="does not match its own SHA-256"):
        parse(json.dumps(document).encode())


def test_digest_does_not_depend_on_how_json_is_written(root):
    document = json.loads(root)
    backward = dict(reversed(document.items()))
    assert parse(json.dumps(backward, indent=7).encode()).sha256 == parse(root).sha256


def test_any_flipped_bit_is_an_error(root):
    rng = np.random.default_rng(0)
    for _ in range(400):
        position, bit = int(rng.integers(len(root))), int(rng.integers(8))
        data = bytearray(root)
        data[position] ^= 1 << bit
        try:
            parse(bytes(data))
        except StoreError:
            continue
        assert json.loads(data) == json.loads(root), "only the case of a hex digit may not matter"


def test_any_cut_is_an_error(root):
    for length in np.random.default_rng(0).integers(0, len(root), 50):
        with pytest.raises(StoreError):
            parse(root[:length])


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda array: array.update(data_type="float64"), "float64 with codecs"),
        (lambda array: array["codecs"].pop(), r"codecs \['transpose', 'bytes'\]"),
        (lambda array: array["codecs"][0]["configuration"].update(order=[1, 2, 0]), "codecs"),
        (lambda array: array["codecs"][1]["configuration"].update(endian="big"), "codecs"),
        (lambda array: array["codecs"][2]["configuration"].update(typesize=8), "codecs"),
        (
            lambda array: array["chunk_grid"]["configuration"].update(chunk_shape=[4, 16, 16]),
            r"chunks of \[4, 16, 16\]",
        ),
        (lambda array: array.update(shape=[0, 20, 30]), "0 bands"),
        (lambda array: array.update(shape=[65_536, 20, 30]), "65536 bands"),
        (lambda array: array.update(shape=[4, 720, 30]), "do not fit on the globe"),
        (lambda array: array.update(shape=[4, 20]), "not enough values"),
        (lambda array: array.update(shape=[4.0, 20, 30]), "list of integers"),
    ],
)
def test_array_of_another_make_is_refused(root, edit, message):
    """As somebody might write it who rechunks a store with its attributes."""
    document = json.loads(root)
    edit(document["consolidated_metadata"]["metadata"]["embedding"])
    with pytest.raises(StoreError, match=f"not valid: .*{message}"):
        parse(resealed(document))


def leaves(node, path=()):
    """The paths to every value of a JSON document, containers included."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        yield (*path, key)
        yield from leaves(value, (*path, key))


def planted(document, path, value):
    """The document with one value replaced, or left out where ``value`` is ``...``."""
    document = copy.deepcopy(document)
    node = document
    for key in path[:-1]:
        node = node[key]
    if value is ...:
        del node[path[-1]]
    else:
        node[path[-1]] = copy.deepcopy(value)
    return document


ODD_VALUES = [..., None, True, -1, 1.5, 2**70, "x", [1, 2, 3], {}]


def test_forged_document_opens_rightly_or_not_at_all(root, small_folder):
    """A document whose digest is right but whose content is not: no crash, and no wrong value."""
    document = json.loads(root)
    box = (-5, 60.5, 2, 65)
    truth = open_in(small_folder).query(box, output="grid").data
    refused = 0
    turns = itertools.cycle(ODD_VALUES)
    for path in leaves(document):
        if path[-1] in ("sha256", "version", "format") and path[1] == ATTRIBUTE:
            continue  # other tests
        if path[0] == "consolidated_metadata" and "attributes" in path[1:-1]:
            continue  # for other readers
        others = path[0] == "consolidated_metadata" and path[2:3] not in ((), ("embedding",))
        for value in [next(turns)] if others else ODD_VALUES:  # those are for other readers, too
            forged = planted(document, path, value)
            try:
                data = resealed(forged)
            except (KeyError, TypeError, ValueError, AttributeError):
                continue  # there is no place left for a digest
            try:
                store = open_in(small_folder, root=data)
                found = store.query(box, output="grid").data
                repr(store)
                store.info()
            except CopZarrError:
                refused += 1
                continue
            np.testing.assert_array_equal(found, truth, err_msg=f"{path} = {value!r}")
    assert refused > 300
