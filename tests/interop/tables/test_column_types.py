"""Columns of Parquet in all layouts that hold numbers, text and bytes."""

from decimal import Decimal

import geopandas
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely
import zarr

import cop_zarr
from cop_zarr.errors import CopZarrError
from cop_zarr.interop.tables.readers import open_table
from tests.support.tables import read_vectors, vectors_at

LONS, LATS = [11.5, 121.5, 178.44, -70, 5, 6], [48.1, 31.2, -18.14, -10, 50, 51]

POINTS = shapely.points(LONS, LATS)

NUMBERS = [pa.decimal128(9, 4), pa.decimal256(40, 4), pa.float64(), pa.string_view(), pa.large_string()]

ENCODED = [pa.decimal128(9, 4), pa.float64(), pa.large_string()]

WKB = [pa.binary_view(), pa.large_binary(), pa.binary(21), pa.dictionary(pa.int32(), pa.binary())]

WKT = [pa.string_view(), pa.large_string(), pa.dictionary(pa.int8(), pa.string())]


def numbers(values, kind, *, encoded):
    if pa.types.is_decimal(kind):
        values = [Decimal(str(value)) for value in values]
    elif not pa.types.is_floating(kind):
        values = list(map(str, values))
    array = pa.array(values, kind)
    return array.dictionary_encode() if encoded else array


def check(table, store_path, globe, folder, size=3):
    """Answer a table in row groups of ``size``, and compare the vectors and the other columns."""
    pq.write_table(table, folder / "t.parquet", row_group_size=size)
    for suffix in ("parquet", "zarr"):
        cop_zarr.batch(folder / "t.parquet", folder / f"out.{suffix}", store_path)
    vectors, answered = read_vectors(folder / "out.parquet")
    np.testing.assert_array_equal(vectors, vectors_at(globe, LONS, LATS))
    np.testing.assert_array_equal(zarr.open_group(folder / "out.zarr")["embedding"], vectors)
    assert answered.drop_columns("embedding").to_pylist() == table.to_pylist()
    return answered


@pytest.mark.parametrize(
    ("kind", "encoded"),
    [*((kind, False) for kind in NUMBERS), *((kind, True) for kind in ENCODED)],
    ids=str,
)
def test_numbers(kind, encoded, store_path, globe, tmp_path):
    table = pa.table(
        {
            "lon": numbers(LONS, kind, encoded=encoded),
            "lat": numbers(LATS, kind, encoded=encoded),
        }
    )
    check(table, store_path, globe, tmp_path)


@pytest.mark.parametrize("kind", [*WKB, *WKT], ids=str)
def test_geometries(kind, store_path, globe, tmp_path):
    binary = kind in WKB
    values = pa.array((shapely.to_wkb if binary else shapely.to_wkt)(POINTS), kind)
    check(pa.table({"geometry": values}), store_path, globe, tmp_path)
    if binary:
        assert list(geopandas.read_parquet(tmp_path / "out.parquet").geometry) == list(POINTS)


def test_dictionaries_that_differ_between_row_groups(store_path, globe, tmp_path):
    words = pa.chunked_array([pa.array(list(word)).dictionary_encode() for word in ("abc", "xyz")])
    answered = check(pa.table({"lon": LONS, "lat": LATS, "word": words}), store_path, globe, tmp_path)
    assert pa.types.is_dictionary(answered.schema.field("word").type)
    assert list(zarr.open_group(tmp_path / "out.zarr")["word"]) == list("abcxyz")


@pytest.mark.parametrize("values", [[True], [None], [[1.0]]])
def test_what_is_no_coordinate(values, store_path, tmp_path):
    pq.write_table(pa.table({"lon": values, "lat": values}), tmp_path / "t.parquet")
    with pytest.raises(CopZarrError, match="lon"):
        cop_zarr.batch(tmp_path / "t.parquet", tmp_path / "out.npy", store_path)


def test_a_type_that_pyarrow_cannot_read(tmp_path):
    words = pa.array([["a"]] * 4, pa.list_(pa.dictionary(pa.int32(), pa.string())))
    pq.write_table(pa.table({"words": words}), tmp_path / "t.parquet", row_group_size=2)
    try:
        rows = sum(map(len, open_table(tmp_path / "t.parquet").read(0)))
    except CopZarrError:
        return
    assert rows == 4  # once pyarrow can
