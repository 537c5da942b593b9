"""Stores in other encodings than float32: what they hold, against NumPy, and that they are cared for."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from click.testing import CliRunner

import cop_zarr
from cop_zarr.cli import main
from cop_zarr.errors import (
    ChunkError,
    EncodingError,
    FormatVersionError,
    InputError,
    StorageError,
    StoreError,
    StoreExistsError,
)
from cop_zarr.format.codec import encode
from cop_zarr.storage import LocalFolder
from tests.support import factory
from tests.writing.sharded import COLS, ROWS
from tests.writing.sharded import truth as whole_numbers
from tests.writing.small import TABLE, flip, objects
from tests.writing.test_sharded import stopping
from tests.writing.test_wrong_documents import Forger

ENCODINGS = ["float16", "int8"]
SCALE = "scale/c/0/0"


def truth() -> np.ndarray:
    """float32, ``(bands, rows, cols)``: what is empty in the factory's numbers is empty; a large range."""
    values = whole_numbers()
    generator = np.random.default_rng(1)
    noise = generator.normal(size=values.shape) * 10 ** generator.uniform(-3, 3, values.shape[1:])
    return np.where(values.any(axis=0), noise, 0).astype("f4")


def expected(values: np.ndarray, encoding: str) -> np.ndarray:
    """What should come back."""
    if encoding == "float16":
        return values.astype("f2").astype("f4")
    stored, scale = quantised(values)
    return stored * scale


def quantised(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """As docs/store-format.md says: int8 ``(bands, rows, cols)``, float32 ``(rows, cols)``."""
    largest = np.abs(values).max(axis=0).astype("f8")
    with np.errstate(invalid="ignore"):
        stored = np.nan_to_num(np.rint(values.astype("f8") * 127 / largest)).astype("i1")
    return stored, (largest / 127).astype("f4")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("encoded") / "a.tif"
    return factory.write_geotiff(path, truth(), rows=ROWS, cols=COLS, blockxsize=64, blockysize=64)


@pytest.fixture(scope="module", params=ENCODINGS)
def encoding(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def encoded(source: Path, encoding: str) -> Path:
    path = source.with_name(f"{encoding}.zarr")
    cop_zarr.ingest(source, path, encoding=encoding)
    return path


@pytest.fixture
def store(encoded: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return shutil.copytree(encoded, tmp_path / "copy.zarr")


@pytest.fixture
def int8(source: Path, tmp_path: Path) -> Path:
    cop_zarr.ingest(source, tmp_path / "int8.zarr", encoding="int8")
    return tmp_path / "int8.zarr"


def grid_of(path: Path | str) -> np.ndarray:
    store = cop_zarr.open(path)
    west, south, east, north = store.grid.bounds
    return store.query((west, south, east, north), output="grid").data


# What is written


def test_values_are_those_of_the_rule(encoded: Path, encoding: str) -> None:
    found = zarr.open_group(encoded, mode="r")
    assert found["embedding"].dtype == encoding
    if encoding == "float16":
        assert np.array_equal(found["embedding"][:], truth().astype("f2"))
        assert "scale" not in found
    else:
        stored, scale = quantised(truth())
        assert np.array_equal(found["embedding"][:], stored)
        assert found["scale"].dtype == np.float32
        assert np.array_equal(found["scale"][:], scale)
        assert np.abs(stored).max() == 127
    assert grid_of(encoded).tobytes() == expected(truth(), encoding).tobytes()
    assert np.array_equal(cop_zarr.open(encoded).valid, truth().any(axis=0))


def test_every_way_to_read_gives_decoded_cells(encoded: Path, encoding: str) -> None:
    values, store = expected(truth(), encoding), cop_zarr.open(encoded)
    cells = store.cells()
    assert np.array_equal(cells.vectors, values[:, cells.rows, cells.cols].T)
    assert np.array_equal(store.sample(cells.lon[:5], cells.lat[:5]), cells.vectors[:5])
    assert np.array_equal(store.to_xarray().embedding, values)
    assert store.to_xarray().embedding.dtype == np.float32
    lon, lat = float(cells.lon[1000]), float(cells.lat[1000])
    box = (lon - 1, lat - 1, lon + 1, lat + 1)
    window = store.query(box, output="grid").data
    mean = window.astype("f8").mean(axis=(1, 2)).astype("f4")
    np.testing.assert_allclose(store.query(box).data, mean, rtol=3e-7)
    assert np.array_equal(store.query_many([box])[0], store.query(box).data)
    matches = store.similar((lon, lat), k=1)
    assert (matches.rows[0], matches.cols[0]) == (cells.rows[1000], cells.cols[1000])


def test_every_answer_names_the_encoding(encoded: Path, encoding: str, source: Path) -> None:
    store = cop_zarr.open(encoded)
    assert store.info()["encoding"]["name"] == encoding
    found = store.query(tuple(store.grid.bounds)).meta
    assert found["encoding"] == store.info()["encoding"]
    json.dumps(found)
    cop_zarr.ingest(source, encoded.with_name("plain.zarr"), overwrite=True)
    plain = cop_zarr.open(encoded.with_name("plain.zarr"))
    assert plain.info()["encoding"] == {"name": "float32", "losses": None}
    assert (plain.info()["format"], store.info()["format"]) == ("cop-zarr 1", "cop-zarr 2")


def test_attributes_say_how_to_decode(encoded: Path, encoding: str) -> None:
    root = zarr.open_group(encoded, mode="r")
    assert root.attrs["geoemb:data_type"] == encoding
    if encoding == "float16":
        assert "geoemb:quantization" not in root.attrs
        return
    found = json.loads(root.attrs["geoemb:quantization"])
    assert found["scale"]["type"] == "array"
    name, nodata = found["scale"]["array_name"], found["scale"]["nodata"]
    scale = root[name][:]
    assert (root["embedding"][:] * scale).tobytes() == expected(truth(), encoding).tobytes()
    assert np.array_equal(scale != nodata, root["valid"][:])
    assert root["embedding"].attrs["ancillary_variables"].split() == ["valid", name]


def test_a_globe_s_edge_and_seam(tmp_path: Path) -> None:
    """Across the antimeridian and to the pole, with other chunk edges than the grid's."""
    values = factory.truth((702, 721), (1425, 1462), 4)
    path = factory.write_geotiff(tmp_path / "a.tif", values, rows=(702, 721), cols=(1425, 1462))
    for encoding in ENCODINGS:
        cop_zarr.ingest(path, tmp_path / encoding, encoding=encoding, shards=encoding == "int8")
        assert grid_of(tmp_path / encoding).tobytes() == expected(values, encoding).tobytes()
        assert cop_zarr.verify(tmp_path / encoding, path).ok


# What cannot be held


def refused(tmp_path: Path, values: np.ndarray, encoding: str) -> EncodingError:
    path = factory.write_geotiff(tmp_path / "b.tif", values, rows=ROWS, cols=COLS)
    with pytest.raises(EncodingError, match=encoding) as error:
        cop_zarr.ingest(path, tmp_path / "b.zarr", encoding=encoding)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["b.tif"]
    cop_zarr.ingest(path, tmp_path / "b.zarr", encoding="float32")
    with pytest.raises(EncodingError, match=encoding):
        cop_zarr.copy(tmp_path / "b.zarr", tmp_path / "c.zarr", encoding=encoding)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["b.tif", "b.zarr"]
    return error.value


@pytest.mark.parametrize(
    ("encoding", "number"),
    [
        ("float16", 65520.0),
        ("float16", -3.4e38),
        ("int8", np.inf),
        ("int8", -np.inf),
        ("int8", np.nan),
        ("int8", np.finfo("f4").max),
    ],
)
def test_numbers_beyond_an_encoding(tmp_path: Path, encoding: str, number: float) -> None:
    values = truth()
    values[1, 70, 70] = number
    assert "float32" in str(refused(tmp_path, values, encoding))


@pytest.mark.parametrize(("encoding", "number"), [("float16", 1e-9), ("int8", 1e-45)])
def test_no_cell_loses_its_data(tmp_path: Path, encoding: str, number: float) -> None:
    values = truth()
    values[:, 70, 70] = 0, number, 0
    refused(tmp_path, values, encoding)


def test_what_float16_holds_of_what_is_no_number(tmp_path: Path) -> None:
    values = truth()
    values[1, 70, 70], values[2, 70, 71], values[:, 71, 71] = np.nan, np.inf, np.nan
    values[:, 73, 73], values[:, 72, 72] = 65504, [-0.0, 1e-9, 1]
    path = factory.write_geotiff(tmp_path / "b.tif", values, rows=ROWS, cols=COLS)
    cop_zarr.ingest(path, tmp_path / "b.zarr", encoding="float16")
    values[:, 71, 71] = 0
    assert grid_of(tmp_path / "b.zarr").tobytes() == expected(values, "float16").tobytes()
    assert cop_zarr.verify(tmp_path / "b.zarr", path).ok


def test_a_lone_negative_zero_is_no_data_of_int8(tmp_path: Path) -> None:
    values = np.zeros((3, 16, 16), "f4")
    values[0, 3, 3], values[0, 12, 12] = -0.0, -5
    path = factory.write_geotiff(tmp_path / "b.tif", values, rows=(300, 316), cols=(700, 716))
    cop_zarr.ingest(path, tmp_path / "b.zarr", encoding="int8")
    assert cop_zarr.open(tmp_path / "b.zarr").info()["chunks_stored"] == 1
    assert cop_zarr.verify(tmp_path / "b.zarr", path).ok


@pytest.mark.parametrize("name", ["int4", "FLOAT16", "", None, 8, ["int8"]])
def test_an_encoding_that_there_is_not(source: Path, encoded: Path, tmp_path: Path, name: Any) -> None:
    for call in (cop_zarr.ingest, cop_zarr.plan_ingest):
        with pytest.raises(InputError, match="float16"):
            call(source, tmp_path / "b.zarr", encoding=name)
    if name is not None:
        with pytest.raises(InputError, match="float16"):
            cop_zarr.copy(encoded, tmp_path / "b.zarr", encoding=name)
    assert not list(tmp_path.iterdir())


def test_the_command_line(source: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "a.zarr")
    run = CliRunner().invoke
    assert run(main, ["ingest", str(source), out, "--encoding", "int4"]).exit_code == 2
    assert run(main, ["ingest", str(source), out, "--encoding", "float32"]).exit_code == 0
    copied = run(main, ["copy", out, "--to", str(tmp_path / "b.zarr"), "--encoding", "int8", "--json"])
    assert json.loads(copied.stdout)["encoding"] == "int8"
    found = run(main, ["info", str(tmp_path / "b.zarr"), "--json"])
    assert json.loads(found.stdout)["encoding"]["name"] == "int8"
    assert "int8" in run(main, ["info", str(tmp_path / "b.zarr")]).stdout
    plan = run(main, ["ingest", str(source), str(tmp_path / "c"), "--encoding", "float16", "--dry-run"])
    assert "float16" in plan.stdout


# Copied


@pytest.mark.usefixtures("fixed_time")
@pytest.mark.parametrize("shards", [pytest.param(False, marks=pytest.mark.slow), True])
def test_a_copy_has_the_bytes_of_an_ingest(
    source: Path, tmp_path: Path, encoding: str, shards: bool
) -> None:
    cop_zarr.ingest(source, tmp_path / "plain.zarr")
    cop_zarr.ingest(source, tmp_path / "made.zarr", shards=shards, encoding=encoding)
    report = cop_zarr.copy(
        tmp_path / "plain.zarr", tmp_path / "copy.zarr", shards=shards, encoding=encoding
    )
    assert (report.encoding, report.shards) == (encoding, shards)
    assert objects(tmp_path / "copy.zarr") == objects(tmp_path / "made.zarr")
    assert (
        cop_zarr.copy(tmp_path / "copy.zarr", tmp_path / "b.zarr", shards=not shards).encoding == encoding
    )
    cop_zarr.copy(tmp_path / "b.zarr", tmp_path / "c.zarr", shards=shards, encoding=encoding)
    assert objects(tmp_path / "c.zarr") == objects(tmp_path / "made.zarr")


def test_no_copy_loses_twice_or_hides_a_loss(encoded: Path, encoding: str, tmp_path: Path) -> None:
    for other in {"float32", "float16", "int8"} - {encoding}:
        with pytest.raises(InputError, match=encoding):
            cop_zarr.copy(encoded, tmp_path / "b.zarr", encoding=other)
    assert not list(tmp_path.iterdir())


def test_components_are_of_the_numbers_as_they_come_back(source: Path, tmp_path: Path) -> None:
    cop_zarr.ingest(source, tmp_path / "a.zarr")
    for name, encoding, carried in (("a", "int8", "none"), ("b", None, "copied")):
        copied = tmp_path / f"{chr(ord(name) + 1)}.zarr"
        assert cop_zarr.copy(tmp_path / f"{name}.zarr", copied, encoding=encoding).components == carried
        cop_zarr.keep_components(copied, count=2)
        assert cop_zarr.verify(copied, source).ok
    cop_zarr.keep_components(tmp_path / "a.zarr", count=2)
    report = cop_zarr.copy(tmp_path / "a.zarr", tmp_path / "d.zarr", encoding="float16")
    assert report.components == "not copied"
    vectors = cop_zarr.open(tmp_path / "b.zarr").cells().vectors.astype("f8")
    np.testing.assert_allclose(
        cop_zarr.open(tmp_path / "b.zarr").components(count=2).mean, vectors.mean(axis=0), rtol=1e-12
    )


# Verified, repaired, resumed


def test_verify_compares_with_the_encoded_source(
    encoded: Path, encoding: str, source: Path, tmp_path: Path
) -> None:
    report = cop_zarr.verify(encoded, source)
    assert report.ok
    assert report.values_compared == truth().size
    values = truth()
    row, col = np.argwhere(values.any(axis=0))[500]
    values[:, row, col] *= 1.01  # with int8, only the scale is another
    other = factory.write_geotiff(tmp_path / "b.tif", values, rows=ROWS, cols=COLS)
    assert cop_zarr.verify(encoded, other).damaged_chunks == 1
    values[0, row, col] = np.inf
    other = factory.write_geotiff(tmp_path / "b.tif", values, rows=ROWS, cols=COLS)
    assert cop_zarr.verify(encoded, other).damaged_chunks == 1


def test_damage_is_found_and_mended(store: Path, source: Path) -> None:
    before = objects(store)
    chunk = min(key for key in before if key.startswith("embedding/c/"))
    keys = {chunk, TABLE, "valid/c/0/0", "latitude/zarr.json", *(key for key in before if "scale" in key)}
    for key in sorted(keys):
        flip(store / key)
        assert not cop_zarr.verify(store).ok
        assert cop_zarr.repair(store, source).ok
        assert objects(store) == before, key
    assert cop_zarr.verify(store, source).ok


def forge_scale(store: Path, change: Callable[[np.ndarray], np.ndarray]) -> None:
    """Change the scales, and make all checksums right again."""
    forger = Forger(store)
    scale = zarr.open_group(store, mode="r")["scale"][:]
    forger.put(SCALE, encode(np.ascontiguousarray(change(scale))))
    forger.seal()


def with_number(number: float) -> Callable[[np.ndarray], np.ndarray]:
    def change(scale: np.ndarray) -> np.ndarray:
        scale[tuple(np.argwhere(scale)[100])] = number
        return scale

    return change


@pytest.mark.parametrize(
    "change",
    [*map(with_number, (np.nan, np.inf, -1.0)), lambda scale: scale[:-1], lambda scale: scale.astype("f8")],
    ids=["NaN", "infinite", "negative", "another shape", "another type"],
)
def test_scales_that_cannot_be(
    int8: Path, source: Path, change: Callable[[np.ndarray], np.ndarray]
) -> None:
    before = objects(int8)
    forge_scale(int8, change)
    with pytest.raises(ChunkError, match=SCALE):
        cop_zarr.open(int8)
    assert {problem.key for problem in cop_zarr.verify(int8).problems} == {SCALE}
    report = cop_zarr.repair(int8, source)
    assert report.ok
    assert SCALE in report.rewritten
    assert objects(int8) == before


@pytest.mark.parametrize("number", [0.0, 1.0])
def test_scales_that_are_wrong(int8: Path, source: Path, number: float) -> None:
    """A 0 is seen without the source, as a cell that has lost its data."""
    before = objects(int8)
    forge_scale(int8, with_number(number))
    assert cop_zarr.verify(int8).ok == (number != 0)
    assert cop_zarr.verify(int8, source).damaged_chunks == 1
    if number == 0:
        assert cop_zarr.repair(int8, source).ok
        assert objects(int8) == before


def test_an_absent_scale(int8: Path, source: Path) -> None:
    before = objects(int8)
    (int8 / SCALE).unlink()
    with pytest.raises(ChunkError, match=SCALE):
        cop_zarr.open(int8)
    flip(int8 / TABLE)
    flip(int8 / "valid/c/0/0")
    assert {problem.key for problem in cop_zarr.verify(int8).problems} == {SCALE, TABLE, "valid/c/0/0"}
    assert cop_zarr.repair(int8, source).ok
    assert objects(int8) == before


def test_scales_that_zarr_json_does_not_describe(int8: Path) -> None:
    for change in (
        lambda forger: forger.members.pop("scale"),
        lambda forger: forger.describe("scale", shape=[1, 1]),
        lambda forger: forger.members["embedding"].update(data_type="float16"),
        lambda forger: forger.record.update(version=1),
        lambda forger: forger.record.update(encoding={"name": "float16", "losses": None}),
        lambda forger: forger.record.update(encoding="int8"),
        lambda forger: forger.record.update(encoding={"name": ["int8"], "losses": None}),
        lambda forger: forger.record.update(encoding={"name": "int8", "losses": 3}),
        lambda forger: forger.record.pop("encoding"),
    ):
        forged = shutil.copytree(int8, int8.with_name("forged.zarr"))
        forger = Forger(forged)
        change(forger)
        forger.seal()
        with pytest.raises(StoreError) as error:
            cop_zarr.open(forged)
        assert not isinstance(error.value, FormatVersionError)
        shutil.rmtree(forged)


def test_an_encoding_of_a_newer_version(store: Path) -> None:
    forger = Forger(store)
    forger.record["encoding"] = {"name": "int4", "losses": None}
    forger.seal()
    for call in (cop_zarr.open, cop_zarr.verify):
        with pytest.raises(FormatVersionError, match="newer one"):
            call(store)


@pytest.mark.usefixtures("fixed_time")
@pytest.mark.parametrize("shards", [pytest.param(False, marks=pytest.mark.slow), True])
def test_resume_gives_the_bytes_of_one_run(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoding: str, shards: bool
) -> None:
    options: dict[str, Any] = {"shards": shards, "encoding": encoding}
    cop_zarr.ingest(source, tmp_path / "whole.zarr", **options)
    out = tmp_path / "out.zarr"
    with monkeypatch.context() as patch:
        patch.setattr(LocalFolder, "write", stopping(3 if shards else 100))
        with pytest.raises(StorageError, match="resume"):
            cop_zarr.ingest(source, out, workers=1, **options)
    for other in {"float32", "float16", "int8"} - {encoding}:
        with pytest.raises(StoreExistsError, match=encoding):
            cop_zarr.ingest(source, out, shards=shards, encoding=other, resume=True)
    cop_zarr.ingest(source, out, resume=True, **options)
    assert objects(out) == objects(tmp_path / "whole.zarr")
    for other in {"float32", "float16", "int8"} - {encoding}:
        with pytest.raises(StoreExistsError, match=encoding):
            cop_zarr.ingest(source, out, shards=shards, encoding=other, resume=True)
    cop_zarr.ingest(source, out, shards=shards, resume=True, overwrite=True)
    assert cop_zarr.open(out).info()["encoding"]["name"] == "float32"
    assert not (out / "scale").exists()


def test_an_object_store(source: Path, encoded: Path, encoding: str, tmp_path: Path) -> None:
    url = f"memory://{tmp_path.name}/a.zarr"
    cop_zarr.ingest(source, url, shards=True, encoding=encoding)
    assert grid_of(url).tobytes() == grid_of(encoded).tobytes()
    assert cop_zarr.verify(url, source).ok
