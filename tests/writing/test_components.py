"""Components kept in a store: what is written, checked, bound, and removed."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import cop_zarr
from cop_zarr import errors
from cop_zarr.format.codec import crc32c, encode
from cop_zarr.format.components import leading_counts, read_kept
from cop_zarr.format.document import decode_root, digest, encode_root
from cop_zarr.format.layout import is_store_key
from cop_zarr.storage import LocalFolder
from tests.support import factory
from tests.support.folders import WatchedFolder, open_in

HERE = {"rows": (150, 170), "cols": (1430, 1454)}  # over the antimeridian
BANDS = 20


def make_values(seed=5):
    random = np.random.default_rng(seed)
    mixing = np.linalg.qr(random.normal(size=(BANDS, BANDS)))[0] * np.geomspace(8, 0.2, BANDS)[:, None]
    values = 40 + np.einsum("rck,kb->brc", random.normal(size=(20, 24, BANDS)), mixing)
    values[:, random.random((20, 24)) < 1 / 6] = 0
    values[3, 7, 7] = np.nan
    return values.astype("f4")


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A store that keeps no components, and its source beside it."""
    folder = tmp_path_factory.mktemp("plain")
    source = factory.write_geotiff(folder / "source.tif", make_values(), **HERE)
    cop_zarr.ingest(source, folder / "a.zarr")
    return folder / "a.zarr"


@pytest.fixture(scope="module")
def keeping(plain, tmp_path_factory):
    """A store that keeps 18 components: two chunks of scores, and a part of a third."""
    path = tmp_path_factory.mktemp("keeping") / "a.zarr"
    shutil.copytree(plain, path)
    cop_zarr.keep_components(path, 18)
    return path


@pytest.fixture
def copy(keeping, tmp_path):
    return Path(shutil.copytree(keeping, tmp_path / "copy.zarr"))


def files(path):
    return {each.relative_to(path).as_posix() for each in path.rglob("*") if each.is_file()}


def test_what_is_kept_is_what_is_derived(plain, keeping):
    derived, kept = cop_zarr.open(plain).components(18), cop_zarr.open(keeping).components()
    assert (kept.kept, derived.kept) == (True, False)
    for name in ("mean", "axes", "explained_variance", "explained_variance_ratio", "scores", "remainder"):
        np.testing.assert_array_equal(getattr(kept, name), getattr(derived, name))
    assert kept.cells == derived.cells
    assert np.isnan(kept.scores).any(axis=1).sum() == 1


@pytest.mark.parametrize("count", [1, 5, 8, 11, 16, 17])
def test_the_first_of_them(plain, keeping, count):
    derived, kept = cop_zarr.open(plain).components(count), cop_zarr.open(keeping).components(count)
    np.testing.assert_array_equal(kept.axes, derived.axes)
    np.testing.assert_allclose(kept.scores, derived.scores, atol=1e-6)
    np.testing.assert_allclose(kept.remainder, derived.remainder, rtol=1e-6)


def test_more_than_are_kept_are_derived(keeping, caplog):
    found = cop_zarr.open(keeping).components(20)
    assert not found.kept
    command = caplog.records[0].getMessage().partition("cop-zarr components ")[2].split()
    assert command == [str(keeping), "--count", "20", "--overwrite"]


def test_the_stores_own_document_is_untouched(plain, keeping):
    assert (plain / "zarr.json").read_bytes() == (keeping / "zarr.json").read_bytes()
    assert cop_zarr.open(plain).sha256 == cop_zarr.open(keeping).sha256
    new = files(keeping) - files(plain)
    assert all(key.startswith("components/") and is_store_key(key) for key in new)
    assert [path.name for path in keeping.parent.iterdir()] == ["a.zarr"]


def test_same_bytes_each_time(keeping, copy, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    made = []
    for workers in (1, 3):
        cop_zarr.keep_components(copy, 18, overwrite=True, workers=workers)
        made.append({key: (copy / key).read_bytes() for key in files(copy)})
    assert made[0] == made[1]


def test_rounding_is_within_the_bound(keeping):
    store = cop_zarr.open(keeping)
    kept = read_kept(store._reader)
    cells = make_values()[:, store.valid].T.astype("f8")
    centred = cells - kept.mean
    distance = np.linalg.norm(centred, axis=1)
    for leading in leading_counts(18):
        axes = kept.axes[:leading]
        scores, remainder = kept.scores(store.valid, leading), kept.remainder(store.valid, leading)
        along = centred @ axes.T
        left = np.linalg.norm(centred - along @ axes, axis=1)
        off = np.linalg.norm(np.column_stack([scores - along, remainder - left]), axis=1)
        finite = np.isfinite(distance)
        assert (off[finite] <= kept.rounding * distance[finite]).all()
        assert np.isnan(scores[~finite]).all()
        assert np.isnan(remainder[~finite]).all()
    length, exact = kept.length(store.valid), np.linalg.norm(cells, axis=1)
    np.testing.assert_allclose(length[finite], exact[finite], rtol=2.0**-24 * 1.001)
    assert np.isnan(length[~finite]).all()
    assert leading_counts(18) == [8, 16, 18]
    assert kept.rounding < 3e-6


def test_xarray_opens_the_group(keeping):
    xr = pytest.importorskip("xarray")
    store = cop_zarr.open(keeping)
    found = store.components()
    with xr.open_zarr(keeping / "components", chunks=None) as group:
        np.testing.assert_array_equal(group.axes, found.axes)
        np.testing.assert_array_equal(group.scores.values[:, store.valid].T, found.scores)
        np.testing.assert_array_equal(group.remainder.values[-1][store.valid], found.remainder)
        assert np.isnan(group.scores.values[:, ~store.valid]).all()
        assert group.length.dims == ("latitude", "longitude")
        np.testing.assert_array_equal(group.latitude, store.grid.latitudes)
        np.testing.assert_array_equal(group.longitude, store.grid.longitudes)
        assert group.component.values.tolist() == list(range(1, 19))
        assert group.leading.values.tolist() == [8, 16, 18]
        assert group.latitude.attrs["standard_name"] == "latitude"
        assert group.scores.attrs["units"] == "1"
        assert json.loads(group.attrs["cop_zarr"])["store_sha256"] == store.sha256
    with xr.open_zarr(keeping, group="components", consolidated=False, chunks=None) as group:
        assert group.scores.shape == (18, 20, 24)
    with xr.open_zarr(keeping, chunks=None) as whole:
        assert "embedding" in whole


def test_only_the_chunks_asked_for_are_read(keeping):
    folder = WatchedFolder(LocalFolder(keeping))
    store = open_in(folder)
    folder.read_keys.clear()
    store.components(3)
    maps = sorted(key for key in folder.read_keys if "/scores/" in key or "/remainder/" in key)
    assert maps == ["components/remainder/c/0/0/0", "components/scores/c/0/0/0"]
    assert not [key for key in folder.read_keys if key.startswith("embedding/")]


def test_a_plot_reads_them(keeping):
    figure = pytest.importorskip("matplotlib.figure")
    folder = WatchedFolder(LocalFolder(keeping))
    open_in(folder).plot(ax=figure.Figure().add_subplot())
    assert not [key for key in folder.read_keys if key.startswith("embedding/")]


def test_verify_and_repair_find_nothing(copy, plain):
    report = cop_zarr.verify(copy)
    assert report.ok
    assert report.objects_checked == cop_zarr.verify(plain).objects_checked + len(
        [key for key in files(copy) if key.startswith("components/")]
    )
    assert cop_zarr.repair(copy, plain.parent / "source.tif").removed == []
    assert cop_zarr.open(copy).components().kept


OBJECTS = [
    "zarr.json",
    "mean/c/0",
    "axes/c/0/0",
    "axes/zarr.json",
    "scores/c/1/0/0",
    "remainder/c/2/0/0",
    "length/c/0/0",
    "latitude/c/0",
    "component/c/0",
]


@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
@pytest.mark.parametrize("key", OBJECTS)
def test_damage_is_named_and_never_believed(copy, plain, key, damage):
    path = copy / "components" / key
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.unlink() if damage == "remove" else path.write_bytes(data if damage == "flip" else data[:-1])
    expected = cop_zarr.open(plain).components(18)
    store = cop_zarr.open(copy)
    if (key, damage) == ("zarr.json", "remove"):
        assert not store.components(18).kept
    elif not key.startswith(("axes/zarr", "length", "latitude", "component")):  # which it does not read
        with pytest.raises(errors.ComponentsError) as caught:
            store.components()
        assert f"cop-zarr components {copy} --overwrite" in str(caught.value)
    assert store.query((178, 48, 179, 50)).data.shape == (BANDS,)  # nothing else is concerned
    again = store.components(18, recompute=True)
    np.testing.assert_array_equal(again.scores, expected.scores)
    report = cop_zarr.verify(copy)
    assert f"components/{key}" in {problem.key for problem in report.problems}
    mended = cop_zarr.repair(copy, plain.parent / "source.tif")
    assert mended.ok
    assert all(key.startswith("components/") for key in mended.removed)
    assert files(copy) == files(plain)
    assert cop_zarr.verify(copy).ok


def test_overwrite_mends_damage(copy):
    (copy / "components/axes/c/0/0").unlink()
    with pytest.raises(errors.ComponentsError):
        cop_zarr.keep_components(copy, 18)
    report = cop_zarr.keep_components(copy, 9, overwrite=True)
    assert (report.count, report.derived) == (9, True)
    assert cop_zarr.verify(copy).ok
    assert not (copy / "components/scores/c/2").exists()


def reseal(path, change):
    """Change the group's document, and give it the digest that fits."""
    document = decode_root(path.read_bytes())
    change(document, document["attributes"]["cop_zarr"])
    document["attributes"]["cop_zarr"]["sha256"] = digest(document)
    path.write_bytes(encode_root(document))


def replace_array(copy, key, values):
    """Put other values into the group, with a record that fits."""
    data = encode(values)
    (copy / "components" / key).write_bytes(data)

    def change(_, record):
        record["objects"][f"components/{key}"] = [len(data), crc32c(data)]

    reseal(copy / "components/zarr.json", change)


def test_those_of_another_store_are_refused(copy, plain, tmp_path):
    other = tmp_path / "other.zarr"
    source = factory.write_geotiff(tmp_path / "b.tif", make_values(6), **HERE)
    cop_zarr.ingest(source, other)
    shutil.copytree(copy / "components", other / "components")
    with pytest.raises(errors.ComponentsError):
        cop_zarr.open(other).components()
    with pytest.raises(errors.ComponentsError):
        cop_zarr.keep_components(other)
    assert not cop_zarr.open(other).components(recompute=True).kept
    (problem,) = cop_zarr.verify(other).problems
    assert problem.key == "components/zarr.json"
    assert cop_zarr.keep_components(other, overwrite=True).derived
    assert cop_zarr.verify(other).ok


def test_a_newer_version_is_named_and_left_alone(copy, plain):
    reseal(copy / "components/zarr.json", lambda _, record: record.update(version=2))
    with pytest.raises(errors.FormatVersionError):
        cop_zarr.open(copy).components()
    assert cop_zarr.verify(copy).ok
    before = files(copy)
    cop_zarr.repair(copy, plain.parent / "source.tif")
    assert files(copy) == before


WRONG = {
    "axes": ("axes/c/0/0", np.ones((18, BANDS))),
    "mean": ("mean/c/0", np.full(BANDS, np.nan)),
    "variance": ("explained_variance/c/0", np.arange(18.0)),
    "ratio": ("explained_variance_ratio/c/0", np.ones(18)),
    "component": ("component/c/0", np.arange(18, dtype="i4")),
    "scores": ("scores/c/1/0/0", np.zeros((8, 20, 24), "f4")),
    "remainder": ("remainder/c/1/0/0", np.full((1, 20, 24), np.nan, "f4")),
    "length": ("length/c/0/0", np.ones((20, 24), "f4")),
}


@pytest.mark.parametrize("name", WRONG)
def test_verify_finds_values_that_cannot_be(copy, name):
    key, values = WRONG[name]
    replace_array(copy, key, values)
    assert [problem.key for problem in cop_zarr.verify(copy).problems] == [f"components/{key}"]


def test_verify_finds_scores_that_are_not_the_cells(copy):
    scores = cop_zarr.open(copy).components()
    maps = np.full((8, 20, 24), np.nan, "f4")
    maps[:, scores.valid] = np.roll(scores.scores[:, :8], 1, axis=0).T
    maps[np.isnan(maps) & scores.valid] = 0
    maps[:, 7, 7] = np.nan
    replace_array(copy, "scores/c/0/0/0", maps)
    assert [problem.key for problem in cop_zarr.verify(copy).problems] == ["components/scores/c/0/0/0"]


@pytest.mark.parametrize("member", ["shape", "codecs", "fill_value", "attributes"])
def test_verify_finds_documents_that_are_not_the_formats(copy, member):
    def change(document, _):
        scores = document["consolidated_metadata"]["metadata"]["scores"]
        scores[member] = {"shape": [18, 20, 25], "codecs": [], "fill_value": 0.0, "attributes": {}}[member]

    reseal(copy / "components/zarr.json", change)
    found = {problem.key for problem in cop_zarr.verify(copy).problems}
    assert found > set()
    assert found <= {"components/zarr.json", "components/scores/zarr.json"}


@pytest.mark.parametrize("value", [None, [], {}, {"metadata": []}, {"metadata": {"scores": 3}}])
def test_verify_survives_any_consolidated_metadata(copy, value):
    reseal(
        copy / "components/zarr.json",
        lambda document, _: document.update(consolidated_metadata=value),
    )
    assert "components/zarr.json" in {problem.key for problem in cop_zarr.verify(copy).problems}


def test_verify_survives_a_document_that_is_no_json(copy):
    data = b"{"
    (copy / "components/axes/zarr.json").write_bytes(data)

    def change(_, record):
        record["objects"]["components/axes/zarr.json"] = [len(data), crc32c(data)]

    reseal(copy / "components/zarr.json", change)
    assert [problem.key for problem in cop_zarr.verify(copy).problems] == ["components/axes/zarr.json"]


def set_record(**members):
    return lambda _, record: record.update(members)


@pytest.mark.parametrize(
    "change",
    [
        set_record(count=0),
        set_record(count=21),
        set_record(count="18"),
        set_record(cells=-1),
        set_record(version=True),
        set_record(objects=[]),
        set_record(objects={"embedding/c/0/0/0": [1, 2]}),
        set_record(objects={"components/axes/c/0/0": [1]}),
        set_record(objects={"components/axes/c/0/0": [1.0, 2]}),
        set_record(format="cop-zarr"),
        lambda document, _: document.update(attributes={"cop_zarr": {"sha256": ""}}),
    ],
    ids=["0", "21", "text", "cells", "version", "list", "key", "short", "float", "format", "empty"],
)
def test_documents_that_claim_what_cannot_be(copy, change):
    reseal(copy / "components/zarr.json", change)
    with pytest.raises(errors.ComponentsError):
        cop_zarr.open(copy).components()
    assert [problem.key for problem in cop_zarr.verify(copy).problems] == ["components/zarr.json"]


def test_objects_that_nothing_records(copy, plain):
    (copy / "components/scores/c/9/0").mkdir(parents=True)
    (copy / "components/scores/c/9/0/0").write_bytes(b"stray")
    (copy / "components/notes.txt").write_text("mine")
    report = cop_zarr.verify(copy)
    assert [problem.key for problem in report.problems] == ["components/scores/c/9/0/0"]
    assert report.foreign == ["components/notes.txt"]
    assert cop_zarr.repair(copy, plain.parent / "source.tif").removed == ["components/scores/c/9/0/0"]
    assert cop_zarr.open(copy).components().kept
    with pytest.raises(errors.StoreExistsError):
        cop_zarr.keep_components(copy, overwrite=True)
    assert (copy / "components/notes.txt").read_text() == "mine"


def test_what_is_there_is_not_derived_again(copy):
    before = (copy / "components/zarr.json").read_bytes()
    for count in (None, 3, 18):
        report = cop_zarr.keep_components(copy, count)
        assert (report.count, report.derived) == (18, False)
    with pytest.raises(errors.StoreExistsError):
        cop_zarr.keep_components(copy, 19)
    assert (copy / "components/zarr.json").read_bytes() == before


def test_an_overwritten_store_has_none(copy, plain):
    cop_zarr.ingest(plain.parent / "source.tif", copy, overwrite=True)
    assert files(copy) == files(plain)
    assert [path.name for path in copy.parent.iterdir()] == ["copy.zarr"]


def test_a_copied_store_has_them(copy):
    assert cop_zarr.open(copy).components().kept


def test_a_lock_is_respected(copy):
    with LocalFolder(copy).locked(), pytest.raises(errors.StoreBusyError):
        cop_zarr.keep_components(copy, overwrite=True)


def test_a_store_that_can_only_be_read(copy, monkeypatch):
    def refuse(*_, **__):
        raise errors.AccessError("cannot create it: Permission denied")

    monkeypatch.setattr(LocalFolder, "locked", refuse)
    with pytest.raises(errors.AccessError) as caught:
        cop_zarr.keep_components(copy, overwrite=True)
    assert "--to" in str(caught.value)


SLOW = """
import sys, time, cop_zarr
from cop_zarr.storage import LocalFolder
from cop_zarr.writing import components
write = LocalFolder.write
def slow(self, key, data):
    write(self, key, data)
    if "scores/c/1" in key:
        print("now", flush=True)
        time.sleep(60)
LocalFolder.write = slow
cop_zarr.keep_components(sys.argv[1], 18, overwrite=True)
"""


@pytest.mark.parametrize("stop", ["interrupt", "kill"])
@pytest.mark.parametrize("before", ["none", "some"])
def test_a_run_that_is_stopped_leaves_what_was_there(plain, copy, stop, before):
    if before == "none":
        shutil.rmtree(copy / "components")
    there = {key: (copy / key).read_bytes() for key in files(copy)}
    running = subprocess.Popen(
        [sys.executable, "-c", SLOW, copy], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert running.stdout.readline() == b"now\n"
    running.send_signal(signal.SIGINT if stop == "interrupt" else signal.SIGKILL)
    running.wait()
    running.stdout.close()
    assert {key: (copy / key).read_bytes() for key in files(copy)} == there
    assert cop_zarr.verify(copy).ok
    partial = copy.with_name("copy.zarr.partial")
    assert partial.exists() == (stop == "kill")
    with pytest.raises(errors.StoreExistsError):  # a half group is no obstacle, and no unfinished ingest
        cop_zarr.ingest(plain.parent / "source.tif", copy)
    assert cop_zarr.keep_components(copy, 18, overwrite=True).derived
    assert not partial.exists()
    assert cop_zarr.verify(copy).ok


def test_an_ingest_clears_what_a_killed_run_left(copy, plain, tmp_path):
    left = copy.with_name("copy.zarr.partial") / "group/components/mean"
    left.mkdir(parents=True)
    (left / "zarr.json").write_text("{}")
    cop_zarr.ingest(plain.parent / "source.tif", copy, overwrite=True)
    assert [path.name for path in copy.parent.iterdir()] == ["copy.zarr"]
    new = tmp_path / "new.zarr"
    left = tmp_path / "new.zarr.partial" / "group/components/mean"
    left.mkdir(parents=True)
    (left / "zarr.json").write_text("{}")
    cop_zarr.ingest(plain.parent / "source.tif", new)
    assert cop_zarr.verify(new).ok
