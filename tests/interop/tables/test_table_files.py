"""The readers of each format, and what they refuse."""

import os

import geopandas
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cop_zarr.errors import InputError, SourceError, SourceNotFoundError
from cop_zarr.interop.tables import csv
from cop_zarr.interop.tables.readers import iter_parts, open_table
from tests.support.tables import POLYGONS, write_csv


def read(path, first=0, size=3):
    return [part.to_pylist() for part in iter_parts(open_table(path), first, size)]


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet", ".gpkg"])
@pytest.mark.parametrize("first", [0, 4, 9, 10])
def test_parts(suffix, first, tmp_path):
    path = tmp_path / f"t{suffix}"
    if suffix == ".parquet":
        pq.write_table(pa.table({"n": range(10)}), path, row_group_size=4)
    elif suffix == ".gpkg":
        geopandas.GeoDataFrame({"n": range(10)}, geometry=[POLYGONS[0]] * 10, crs=4326).to_file(path)
    else:
        write_csv(path, ["n"], [(number,) for number in range(10)])
    found = read(path, first)
    assert [row["n"] for part in found for row in part] == list(range(first, 10))
    assert [len(part) for part in found[:-1]] == [3] * (len(found) - 1)


def test_a_table_that_changed_is_refused(tmp_path):
    table = open_table(write_csv(tmp_path / "t.csv", ["n"], [(1,), (2,)]))
    write_csv(tmp_path / "t.csv", ["n"], [(1,)])
    with pytest.raises(SourceError, match="changed"):
        list(iter_parts(table, 0, 10))


def test_types_of_text(tmp_path):
    rows = [
        ('"Zürich, ""CH""\nlake"', 1, 2.5, "007", "12345678901234567890"),
        ("N/A", -2, 1, "8", "12345678901234567891"),
        ("", "", "", "", ""),
    ]
    header = ["name", "whole", "number", "code", "id"]
    write_csv(tmp_path / "t.csv", header, rows)
    (tmp_path / "t.csv").write_bytes(b"\xef\xbb\xbf" + (tmp_path / "t.csv").read_bytes())
    assert [list(row.values()) for row in read(tmp_path / "t.csv")[0]] == [
        ['Zürich, "CH"\nlake', 1, 2.5, "007", "12345678901234567890"],
        ["N/A", -2, 1.0, "8", "12345678901234567891"],
        [None] * 5,
    ]


def test_a_row_longer_than_a_block(tmp_path, monkeypatch):
    monkeypatch.setattr(csv, "BLOCK_BYTES", 256)
    ring = ", ".join(f"{10 + np.cos(t)} {45 + np.sin(t)}" for t in np.linspace(0, 2 * np.pi, 200))
    path = write_csv(tmp_path / "long.csv", ["wkt"], [("POINT (1 2)",), (f'"POLYGON (({ring}))"',)])
    assert open_table(path).rows == 2
    monkeypatch.setattr(csv, "MAX_BLOCK_BYTES", 1024)
    with pytest.raises(SourceError, match="row"):
        open_table(path)


def test_layers(tmp_path):
    path = tmp_path / "two.gpkg"
    frame = geopandas.GeoDataFrame(geometry=POLYGONS, crs="EPSG:4326")
    frame.to_file(path, layer="old")
    frame.iloc[:2].to_file(path, layer="new")
    for layer, word in ((None, "layer="), ("newer", "'newer'")):
        with pytest.raises(InputError, match=word):
            open_table(path, layer)
    assert open_table(path, "new").rows == 2


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.gpkg", b"no"),
        ("a.parquet", b"PAR1"),
        ("a.geojson", b"{"),
        ("a.csv", b""),
        ("a.csv", b"n,n\n1,2\n"),
    ],
)
def test_unreadable_files(name, content, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError):
        open_table(tmp_path / name)


def test_unknown_files(tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(SourceError, match="not a file"):
        open_table(tmp_path / "pipe.csv")
    with pytest.raises(SourceNotFoundError):
        open_table(tmp_path / "none.csv")
    with pytest.raises(InputError, match=r"\.csv"):
        open_table(tmp_path)
    with pytest.raises(InputError, match="no layers"):
        open_table(write_csv(tmp_path / "t.csv", ["n"], [(1,)]), "layer")
