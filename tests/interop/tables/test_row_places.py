"""The line of a row, as an editor counts it."""

import gzip
import random

import pytest

import cop_zarr
from cop_zarr.errors import InputError, RegionError
from cop_zarr.interop.tables.dialect import TextOptions
from cop_zarr.interop.tables.readers import open_table

FEATURE = '{"type": "Feature", "properties": {}, "geometry": {"type": "Point", "coordinates": [%d, %d]}}'


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("head", [0, 1, 2])
def test_lines_of_text(tmp_path, end, separator, head):
    """Rows hold the line that they are on; some have values of several lines, or a blank line before."""
    draw = random.Random(f"{end}{separator}{head}")
    lines = [""] * (head > 0) + [f"sep={separator}"] * (head > 1)
    lines = [*lines[::-1], separator.join(["lon", "lat", "note"])]
    for _ in range(300):
        note = draw.choice(["a", '"b"', '"say ""c"""'] + ["\n"] * (separator != "\t"))
        row = separator.join([str(len(lines) + 1), "1", note])
        if note == "\n":
            lines += [separator.join([str(len(lines) + 1), "1", '"two']), 'lines"']
        else:
            lines += [row] + [""] * draw.choice([0, 0, 0, 1])
    path = tmp_path / "a.csv"
    path.write_bytes((end.join(lines) + end).encode())
    table = open_table(path, text=TextOptions(separator=separator))
    numbers = [number for batch in table.read(0) for number in batch.column(0).to_pylist()]
    assert len(numbers) == table.rows == 300
    assert table.places(range(300)) == [f"line {number}" for number in numbers]
    assert table.places([]) == []


def test_other_encodings_and_long_values(tmp_path):
    outline = ", ".join(f"{index % 90} {index % 45}" for index in range(50_000))
    text = f'name,lon,lat,wkt\né,1,2,"LINESTRING ({outline})"\nö,400000,5,\n'
    (tmp_path / "a.csv").write_text(text, encoding="utf-16")
    (tmp_path / "b.csv.gz").write_bytes(gzip.compress(text.encode()))
    for name in ("a.csv", "b.csv.gz"):
        assert open_table(tmp_path / name).places([1, 0]) == ["line 3", "line 2"]


def test_lines_of_geojson(tmp_path, store_path):
    path = tmp_path / "a.geojsonl"
    path.write_text(f"{FEATURE % (1, 2)}\n\n{FEATURE % (1, 200)}\n")
    with pytest.raises(RegionError, match=r"^line 3 of .*a\.geojsonl: "):
        cop_zarr.batch(path, tmp_path / "o.npy", store_path)
    path = tmp_path / "a.geojsons"
    path.write_text("".join(f"\x1e{{\n{(FEATURE % (1, lat))[1:]}\n" for lat in (2, 200)))
    with pytest.raises(RegionError, match=r"^line 3 of "):
        cop_zarr.batch(path, tmp_path / "o.npy", store_path)


def test_what_is_in_memory_is_not_for_a_batch(store_path, tmp_path):
    for rois in ([(1, 2, 3, 4)], cop_zarr.open(store_path)):
        with pytest.raises(InputError, match=r"store\.query_many.*store\.sample"):
            cop_zarr.batch(rois, tmp_path / "o.npy", store_path)
    with pytest.raises(InputError, match=r"batch\(rois, out, store\)"):
        cop_zarr.batch(tmp_path / "a.csv", cop_zarr.open(store_path), tmp_path / "o.npy")
