"""Files of text as programs write them: separators, decimal commas, encodings, compression, headers."""

import gzip
import io

import numpy as np
import pandas as pd
import pytest

import cop_zarr
from cop_zarr.errors import InputError, RegionError, SourceError
from cop_zarr.interop.tables.dialect import SAMPLE_BYTES, TextOptions
from cop_zarr.interop.tables.readers import open_table
from tests.support.tables import vectors_at

FRAME = pd.DataFrame(
    {
        "id": ["0042", "0043", "0044"],
        "name": ["Zürich; CH", "São Tomé", "Nîmes, «Gard»"],
        "lon": [8.541, 6.73, 4.36],
        "lat": [47.374, 0.34, 43.84],
        "n": [1, 2, 3],
    }
)


def write(frame, path, **options):
    """As pandas does; its frames of floats know no decimal commas but these."""
    frame.to_csv(path, index=False, **options)
    return path


def read(path, **options):
    table = open_table(path, text=TextOptions(**options))
    return table, [row for batch in table.read(0) for row in batch.to_pylist()]


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("decimal", [".", ","])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
@pytest.mark.parametrize("suffix", [".csv", ".txt", ".csv.gz"])
def test_what_pandas_writes(separator, decimal, encoding, suffix, tmp_path):
    path = write(FRAME, tmp_path / f"t{suffix}", sep=separator, decimal=decimal, encoding=encoding)
    _, rows = read(path, decimal=decimal if separator == "," else None)
    assert rows == FRAME.to_dict("records")


def test_vectors_of_a_european_table(store_path, globe, tmp_path):
    write(FRAME, tmp_path / "t.csv", sep=";", decimal=",", encoding="cp1252")
    report = cop_zarr.batch(tmp_path / "t.csv", tmp_path / "o.npy", store_path)
    np.testing.assert_array_equal(np.load(tmp_path / "o.npy"), vectors_at(globe, FRAME.lon, FRAME.lat))
    assert report.dialect == "separated by semicolons, decimal commas, encoded as latin-1"


def test_numbers_that_are_text(store_path, globe, tmp_path):
    (tmp_path / "t.csv").write_text("lon;lat\n8,541;47,374\nunknown;1\n4.36;43,84\n")
    report = cop_zarr.batch(tmp_path / "t.csv", tmp_path / "o.npy", store_path, on_error="nan", decimal=",")
    assert [row for row, _ in report.refusals] == [1, 2]
    np.testing.assert_array_equal(np.load(tmp_path / "o.npy")[:1], vectors_at(globe, [8.541], [47.374]))


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("lon,lat,,\n1,2,,\n3,4,,\n", [{"lon": 1, "lat": 2}, {"lon": 3, "lat": 4}]),
        ("lon,lat\n1,2,\n3,4,\n", [{"lon": 1, "lat": 2}, {"lon": 3, "lat": 4}]),
        (",lon,lat\n7,1,2\n", [{"column_1": 7, "lon": 1, "lat": 2}]),
        ("sep=;\r\nlon;lat\r\n1;2\r\n", [{"lon": 1, "lat": 2}]),
        ('\n\n"lon\ndeg",lat\n1,2\n', [{"lon\ndeg": 1, "lat": 2}]),
        ("lon,lat\r1,2\r", [{"lon": 1, "lat": 2}]),
        ("wkt\nLINESTRING (1 2, 3 4)\n", [{"wkt": "LINESTRING (1 2, 3 4)"}]),
        ("lon;lat;a, b\n1;2;x, y\n", [{"lon": 1, "lat": 2, "a, b": "x, y"}]),
        ("lon;lat;n\n1,5;2;1.234\n", [{"lon": 1.5, "lat": 2, "n": "1.234"}]),
        ("lon;lat;n\n1.5;2;1,234\n", [{"lon": 1.5, "lat": 2, "n": "1,234"}]),
        ('lon,lat,bands\n1,2,"3,4"\n', [{"lon": 1, "lat": 2, "bands": "3,4"}]),
        ("lon,lat", []),
    ],
)
def test_headers_and_numbers(text, rows, tmp_path):
    (tmp_path / "t.csv").write_bytes(text.encode())
    assert read(tmp_path / "t.csv")[1] == rows


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("lon;lat\n11,583;48,137\n", {"decimal": ","}),
        ("lon;lat;version\n11,5;48,1;1.2\n", {"decimal": ","}),
        ("a,b;c,d\n1,2;3,4\n", {"separator": ";"}),
        ("lon lat\n1 2\n", {"separator": " "}),
    ],
)
def test_ambiguity_is_refused_and_resolved_by_the_option_named(text, options, tmp_path):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(InputError, match=f"{next(iter(options))}="):
        read(tmp_path / "t.csv")
    table, rows = read(tmp_path / "t.csv", **options)
    assert len(rows) == table.rows == 1
    assert len(table.schema.names) == len(text.split("\n")[0].split(options.get("separator", ";")))


@pytest.mark.parametrize("encoding", ["gbk", "shift_jis", "cp1251", "cp1250", "cp1252", "utf-16-le"])
def test_other_encodings_must_be_named(encoding, tmp_path):
    name = {"cp1251": "Москва", "cp1250": "Łódź", "cp1252": "“Zürich”"}.get(encoding, "上海")
    (tmp_path / "t.csv").write_bytes(f"lon,lat,{name}\n1,2,{name}\n".encode(encoding))
    with pytest.raises(SourceError, match="encoding="):
        read(tmp_path / "t.csv")
    assert read(tmp_path / "t.csv", encoding=encoding)[1] == [{"lon": 1, "lat": 2, name: name}]


def test_what_follows_the_sample(tmp_path, store_path):
    """Bytes and decimal marks that appear late are found, or refused by row."""
    filler = "1;2;x\n" * (SAMPLE_BYTES // 6 + 1)
    (tmp_path / "t.csv").write_bytes(f"lon;lat;n\n{filler}3;4;Zürich\n".encode("latin-1"))
    assert read(tmp_path / "t.csv")[1][-1] == {"lon": 3, "lat": 4, "n": "Zürich"}
    (tmp_path / "t.csv").write_text(f"lon;lat;n\n{filler}3,5;4;x\n")
    with pytest.raises(RegionError, match="decimal=','"):
        cop_zarr.batch(tmp_path / "t.csv", tmp_path / "o.npy", store_path)


@pytest.mark.parametrize(
    "content",
    [
        b"PK\x03\x04\0\0",
        b"\n\n",
        b"11.5,48.1\n12,49\n",
        b"lon,lat\n1,2\n3,4,5\n",
        b"# of 2024\nlon,lat\n1,2\n",
        b"Survey;;\n;;\nname;lon;lat\na;8,54;47,37\n",
        gzip.compress(b"lon,lat\n1,2\n", mtime=0)[:-9],
        b'lon,lat,n\n1,2,"a\n3,4,b\n',
        b'lon\tlat\tn\n1\t2\t"a\n3\t4\tb"\n',
        "lon,lat\n1,2\n".encode("utf-16")[:-1],
    ],
)
def test_unreadable_text(content, tmp_path):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(SourceError):
        read(tmp_path / "t.csv")


@pytest.mark.parametrize(
    "options", [{"separator": ";;"}, {"decimal": "'"}, {"encoding": "klingon"}, {"encoding": "rot13"}]
)
def test_invalid_options(options):
    with pytest.raises(InputError):
        TextOptions(**options)


def test_options_are_for_text(store_path, tmp_path):
    FRAME.to_parquet(tmp_path / "t.parquet")
    with pytest.raises(InputError, match="decimal"):
        cop_zarr.batch(tmp_path / "t.parquet", tmp_path / "o.npy", store_path, decimal=",")


@pytest.mark.usefixtures("small_parts")
def test_a_compressed_table_is_resumed(store_path, globe, tmp_path, monkeypatch):
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({"lon": rng.uniform(-180, 180, 500), "lat": rng.uniform(-90, 90, 500)})
    text = io.StringIO()
    frame.to_csv(text, index=False, sep=";", decimal=",")
    path = tmp_path / "t.csv.gz"
    data = text.getvalue().encode()
    path.write_bytes(gzip.compress(data[:9000]) + gzip.compress(data[9000:]))
    seen = []

    def stop(done, _):
        seen.append(done)
        if done > 200:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cop_zarr.batch(path, tmp_path / "o.npy", store_path, progress=stop)
    report = cop_zarr.batch(path, tmp_path / "o.npy", store_path, resume=True)
    assert report.resumed_rows == 192
    np.testing.assert_array_equal(np.load(tmp_path / "o.npy"), vectors_at(globe, frame.lon, frame.lat))
