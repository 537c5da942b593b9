"""Where a source comes from: a path, a URL, a folder, the hub."""

from __future__ import annotations

import hashlib
from pathlib import Path

import fsspec
import huggingface_hub
import numpy as np
import pytest

import cop_zarr
from cop_zarr.core import product
from cop_zarr.errors import (
    DownloadError,
    InputError,
    SourceNotFoundError,
    StorageError,
)
from cop_zarr.source import locate as source
from cop_zarr.storage import download
from tests.support import factory, hub

CONTENT = np.random.default_rng(0).bytes(300_000)
BLOCK = 20_000
ROWS, COLS, BANDS = (300, 316), (600, 624), 3


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A small GeoTIFF under a name that a folder is searched for."""
    path = tmp_path / "given" / "embed_map_test.tif"
    path.parent.mkdir()
    return factory.write_geotiff(path, rows=ROWS, cols=COLS, bands=BANDS)


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Serve some bytes as the published file; gives a function that starts the hub."""
    monkeypatch.setattr(download, "COPY_BYTES", BLOCK)
    monkeypatch.setattr(product, "SHA256", hashlib.sha256(CONTENT).hexdigest())
    monkeypatch.setenv("RS_EMBED_COP_DIR", str(tmp_path / "deep" / "cop"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub cache"))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    with hub.serving(CONTENT) as served:
        monkeypatch.setenv("HF_ENDPOINT", served.url)
        yield served


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def values(store: Path | str) -> np.ndarray:
    grid = cop_zarr.open(store)
    return grid.query(tuple(grid.grid.bounds), output="grid").data


# Paths, URLs and folders


@pytest.mark.parametrize("kind", ["path", "str", "folder", "file", "memory", "default", "default file"])
def test_every_way_to_name_a_source_reads_the_same_values(
    small: Path, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with fsspec.open(f"memory://{tmp_path.name}/copy.tif", "wb") as copy:
        copy.write(small.read_bytes())
    monkeypatch.setenv("RS_EMBED_COP_DIR", str(small if kind == "default file" else small.parent))
    named = {
        "path": small,
        "str": str(small),
        "folder": small.parent,
        "file": f"file://{small}",
        "memory": f"memory://{tmp_path.name}/copy.tif",
        "default": None,
        "default file": None,
    }[kind]
    report = cop_zarr.ingest(named, tmp_path / "out.zarr")
    assert np.array_equal(values(tmp_path / "out.zarr"), factory.truth(ROWS, COLS, BANDS))
    assert report.source["sha256"] == hashlib.sha256(small.read_bytes()).hexdigest()
    assert report.source["bytes"] == small.stat().st_size
    assert report.source["url"] == str(small if kind in {"folder", "default", "default file"} else named)


def test_the_default_folder_is_the_documented_one(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RS_EMBED_COP_DIR", raising=False)
    monkeypatch.delenv("COP_ZARR_STORE", raising=False)
    monkeypatch.chdir(tmp_path)
    Path("data").mkdir()
    small.parent.rename(tmp_path / "data/copernicus_embed")
    assert cop_zarr.ingest().store == "data/copernicus_embed.zarr"
    assert np.array_equal(values("data/copernicus_embed.zarr"), factory.truth(ROWS, COLS, BANDS))


@pytest.mark.parametrize("where", ["gone.tif", "memory://nowhere/gone.tif", "file:///nowhere/gone.tif"])
def test_a_source_that_is_not_there(where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SourceNotFoundError, match=r"gone\.tif") as caught:
        cop_zarr.ingest(where, tmp_path / "out.zarr")
    assert isinstance(caught.value, FileNotFoundError)
    assert names(tmp_path) == []


def test_a_folder_without_a_source(small: Path, tmp_path: Path) -> None:
    small.rename(small.with_name("other.tif"))
    with pytest.raises(SourceNotFoundError, match="embed_map_"):
        cop_zarr.ingest(small.parent, tmp_path / "out.zarr")


@pytest.mark.parametrize("named", [True, False])
def test_a_folder_with_two_sources_is_ambiguous(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: bool
) -> None:
    monkeypatch.setenv("RS_EMBED_COP_DIR", str(small.parent))
    (small.parent / "embed_map_more.tif").touch()
    with pytest.raises(InputError, match=r"embed_map_more\.tif, embed_map_test\.tif"):
        cop_zarr.ingest(small.parent if named else None, tmp_path / "out.zarr")
    assert not (tmp_path / "out.zarr").exists()


# The hub


def test_the_hub_of_the_tests_speaks_to_huggingface_hub(
    published: hub.Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    got = huggingface_hub.hf_hub_download(
        product.REPOSITORY,
        product.FILENAME,
        repo_type="dataset",
        revision=product.REVISION,
        local_dir=tmp_path / "hub",
        endpoint=published.url,
        token=False,
    )
    assert Path(got).read_bytes() == CONTENT


def test_a_download_is_checked_and_leaves_nothing_else(published: hub.Hub, tmp_path: Path) -> None:
    where, seen = tmp_path / "deep" / "cop", []
    path = source.default_source(download=True, progress=lambda *pair: seen.append(pair))
    assert path == where / product.FILENAME
    assert (where / product.FILENAME).read_bytes() == CONTENT
    assert names(where) == [product.FILENAME]
    assert {got.path for got in published.requests} == {hub.RESOLVE, f"/cdn/{product.SHA256}"}
    assert published.sent == len(CONTENT)
    asked = len(published.requests)
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    source.default_source(download=True)
    assert len(published.requests) == asked


DATASET = f"datasets--{product.REPOSITORY.replace('/', '--')}"
SNAPSHOT = f"{DATASET}/snapshots/{product.REVISION}/{product.FILENAME}"


def cached(cache: Path, content: bytes, *, linked: bool = True) -> Path:
    """Put a file into a hub's cache, as huggingface_hub does with links and without."""
    named = cache / SNAPSHOT
    named.parent.mkdir(parents=True)
    if linked:
        blob = cache / DATASET / "blobs" / hashlib.sha256(CONTENT).hexdigest()
        blob.parent.mkdir()
        blob.write_bytes(content)
        named.symlink_to(f"../../blobs/{blob.name}")
    else:
        named.write_bytes(content)
    return named


def test_the_cache_of_the_tests_is_what_huggingface_hub_makes(
    published: hub.Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    got = huggingface_hub.hf_hub_download(
        product.REPOSITORY,
        product.FILENAME,
        repo_type="dataset",
        revision=product.REVISION,
        cache_dir=tmp_path / "hub cache",
        endpoint=published.url,
        token=False,
    )
    assert Path(got) == tmp_path / "hub cache" / SNAPSHOT
    sent = published.sent
    assert source.default_source(download=True) == Path(got)
    assert published.sent == sent


@pytest.mark.parametrize(
    ("variables", "where", "kind"),
    [
        ({"HF_HUB_CACHE": "a", "HF_HOME": "b"}, "a", "link"),
        ({"HUGGINGFACE_HUB_CACHE": "a", "HF_HOME": "b"}, "a", "blob"),
        ({"HF_HOME": "~/b"}, "b/hub", "file"),
        ({"XDG_CACHE_HOME": "c"}, "c/huggingface/hub", "link"),
        ({}, ".cache/huggingface/hub", "link"),
    ],
)
def test_the_published_file_in_the_cache_of_the_hub(
    published: hub.Hub,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    variables: dict[str, str],
    where: str,
    kind: str,
) -> None:
    """None of it is asked for, offline or not; nothing is written."""
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"HOME": str(tmp_path), "HF_HUB_OFFLINE": "1", **variables}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    named = cached(tmp_path / where, CONTENT, linked=kind != "file")
    if kind == "blob":
        named.rename(named.parent.with_name("another revision"))
    before = names(tmp_path)
    found = source.default_source(download=False)
    assert found.read_bytes() == CONTENT
    assert found.resolve().is_relative_to(tmp_path / where)
    assert published.requests == []
    assert names(tmp_path) == before


@pytest.mark.parametrize("kind", ["other", "empty", "folder", "loop"])
def test_another_file_in_the_cache_of_the_hub_is_not_taken(
    published: hub.Hub, tmp_path: Path, kind: str
) -> None:
    named = cached(tmp_path / "hub cache", b"" if kind == "empty" else CONTENT[:-1] + b"?", linked=False)
    if kind in {"folder", "loop"}:
        named.unlink()
        named.mkdir() if kind == "folder" else named.symlink_to(named)
    assert source.default_source(download=True) == tmp_path / "deep" / "cop" / product.FILENAME
    assert published.sent == len(CONTENT)


def test_the_folder_goes_before_the_cache_of_the_hub(
    published: hub.Hub, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached(tmp_path / "hub cache", CONTENT)
    monkeypatch.setenv("RS_EMBED_COP_DIR", str(small.parent))
    assert source.default_source(download=True) == small


@pytest.mark.parametrize("word", ["1", "true", "Yes", "ON"])
def test_offline_no_request_is_sent(
    published: hub.Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, word: str
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", word)
    with pytest.raises(DownloadError, match="HF_HUB_OFFLINE"):
        cop_zarr.ingest(None, tmp_path / "out.zarr")
    assert published.requests == []
    assert names(tmp_path) == []
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    assert source.default_source(download=True).read_bytes() == CONTENT


def test_nothing_is_downloaded_unless_an_ingest_needs_it(published: hub.Hub, tmp_path: Path) -> None:
    with pytest.raises(InputError):
        cop_zarr.plan_ingest(None, tmp_path / "out.zarr")
    assert published.requests == []


@pytest.mark.usefixtures("no_pauses")
def test_the_next_call_goes_on_where_an_earlier_one_gave_up(published: hub.Hub, tmp_path: Path) -> None:
    where = tmp_path / "deep" / "cop"
    published.cuts = [len(CONTENT), *[0] * 100]
    with pytest.raises(DownloadError):
        source.default_source(download=True)
    kept = (where / (product.FILENAME + ".partial")).stat().st_size
    assert kept >= BLOCK
    assert names(where) == [product.FILENAME + ".partial"]
    published.cuts = []
    asked = len(published.downloads)
    assert source.default_source(download=True).read_bytes() == CONTENT
    assert published.downloads[asked].first_byte == kept
    assert names(where) == [product.FILENAME]


@pytest.mark.parametrize(
    ("kept", "ranges"),
    [
        (CONTENT, True),  # killed after its last byte
        (CONTENT[:100_000], False),  # by a server that knows no ranges, all of it again
        (b"?" * (len(CONTENT) + 1), True),  # too long
    ],
)
def test_a_partial_file_is_finished(published: hub.Hub, tmp_path: Path, kept: bytes, ranges: bool) -> None:
    where = tmp_path / "deep" / "cop"
    where.mkdir(parents=True)
    (where / (product.FILENAME + ".partial")).write_bytes(kept)
    published.ranges = ranges
    assert source.default_source(download=True).read_bytes() == CONTENT
    assert published.sent == 0 if kept == CONTENT else published.sent >= len(CONTENT)
    assert names(where) == [product.FILENAME]


@pytest.mark.parametrize("content", [CONTENT[:-1] + b"?", CONTENT[:1000], CONTENT + b"more"])
def test_another_file_never_gets_the_name(published: hub.Hub, tmp_path: Path, content: bytes) -> None:
    """It is removed, and the next call starts from the beginning."""
    published.content = content
    with pytest.raises(DownloadError) as caught:
        source.default_source(download=True)
    assert hashlib.sha256(content).hexdigest() in str(caught.value)
    assert names(tmp_path / "deep" / "cop") == []
    published.content = CONTENT
    assert source.default_source(download=True).read_bytes() == CONTENT


@pytest.mark.usefixtures("no_pauses")
@pytest.mark.parametrize("status", [403, 404, 503])
def test_a_hub_that_refuses(published: hub.Hub, tmp_path: Path, status: int) -> None:
    """A folder that was there stays, and no other is left."""
    where = tmp_path / "deep" / "cop"
    published.statuses = [status] * 100
    with pytest.raises(DownloadError) as caught:
        source.default_source(download=True)
    assert isinstance(caught.value, OSError)
    assert not where.exists()
    where.mkdir()
    with pytest.raises(DownloadError):
        source.default_source(download=True)
    assert names(where) == []


@pytest.mark.parametrize(
    ("endpoint", "error"),
    [
        pytest.param("http://127.0.0.1:1", DownloadError, marks=pytest.mark.slow),
        ("carrier-pigeon://loft", InputError),
    ],
)
def test_no_hub_at_all(
    published: hub.Hub, monkeypatch: pytest.MonkeyPatch, endpoint: str, error: type[Exception]
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    with pytest.raises(error, match=endpoint[:9]):
        source.default_source(download=True)


def test_credentials_of_a_mirror_are_not_shown(published: hub.Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    published.content = b"?"
    monkeypatch.setenv("HF_ENDPOINT", published.url.replace("://", "://me:secret@"))
    with pytest.raises(DownloadError) as caught:
        source.default_source(download=True)
    assert "secret" not in str(caught.value)


def test_ingest_without_a_source_downloads_it(
    published: hub.Hub, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published.content = small.read_bytes()
    monkeypatch.setattr(product, "SHA256", hashlib.sha256(published.content).hexdigest())
    report = cop_zarr.ingest(None, tmp_path / "out.zarr", strict=True)
    assert np.array_equal(values(tmp_path / "out.zarr"), factory.truth(ROWS, COLS, BANDS))
    assert report.source["published"] is True
    assert report.source["url"] == str(tmp_path / "deep" / "cop" / product.FILENAME)


def test_offline_a_file_of_the_hub_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(StorageError, match="HF_HUB_OFFLINE"):
        cop_zarr.ingest(f"hf://datasets/{product.REPOSITORY}/{product.FILENAME}", tmp_path / "out.zarr")
    with pytest.raises(StorageError, match="HF_HUB_OFFLINE"):
        cop_zarr.open(f"hf://datasets/{product.REPOSITORY}/a.zarr")
