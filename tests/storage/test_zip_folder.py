"""Stores in ZIP files on servers: exactly their bytes, several at once, and tried again."""

from __future__ import annotations

import os
import pickle
import shutil
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import cop_zarr
from cop_zarr.errors import (
    AccessError,
    ChunkError,
    InputError,
    StorageError,
    StoreNotFoundError,
    StoreReplacedError,
    UnreachableError,
)
from cop_zarr.storage import web_file
from tests.support.front import front
from tests.support.proxy import CutBody, Reset, Status, fault_proxy, hitting
from tests.support.questions import Part
from tests.support.servers import static_process, static_server

if TYPE_CHECKING:
    from collections.abc import Iterator

PART = Part((200, 264), (600, 680))
"""8 x 10 chunks with data."""

KINDS = {"stored": zipfile.ZIP_STORED, "deflated": zipfile.ZIP_DEFLATED}


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("site")
    cop_zarr.ingest(PART.write(place / "a.tif"), place / "a.zarr")
    for name, kind in {**KINDS, "lzma": zipfile.ZIP_LZMA}.items():
        with zipfile.ZipFile(place / f"{name}.zip", "w", kind) as archive:
            archive.write(place / "a.tif", "other/a.tif")  # much that nobody asks for
            for path in sorted((place / "a.zarr").rglob("*")):
                archive.write(path, path.relative_to(place))
    return place


@pytest.fixture(scope="module")
def web(place) -> Iterator[str]:
    with static_process(place) as url:
        yield url


def url_of(base: str, name: str) -> str:
    return f"zip://a.zarr::{base}/{name}.zip"


@pytest.mark.parametrize("name", KINDS)
def test_no_more_is_read_than_is_needed_and_several_at_once(place, web, name):
    chunks = sum(
        path.stat().st_size for path in (place / "a.zarr/embedding/c").rglob("*") if path.is_file()
    )
    with fault_proxy(web) as proxy, front(proxy.url) as line:
        store = cop_zarr.open(url_of(line.url, name), cache_bytes=0, workers=16)
        assert len(proxy.requests) <= 6
        proxy.reset_counts()
        proxy.latency, before = 0.05, line.moved
        assert PART.all().answered_by(PART.all().ask(store))
        assert len(proxy.asked("GET")) == len(proxy.requests) == 81  # the chunks, and the mask
        assert proxy.most_at_once > 8
        assert line.moved - before < 1.1 * chunks + 81 * 700  # heads, and the names in the ZIP file


@pytest.mark.parametrize(
    "fault", [pytest.param(Status(503), marks=pytest.mark.slow), Reset(), CutBody(0.5)], ids=str
)
def test_every_request_is_tried_again(web, fault):
    with fault_proxy(web, lambda number, *_: fault if number % 3 == 0 else None) as proxy:
        assert PART.all().answered_by(PART.all().ask(cop_zarr.open(url_of(proxy.url, "stored"))))


@pytest.mark.usefixtures("no_pauses")
@pytest.mark.parametrize(
    ("fault", "error"),
    [(Status(503), UnreachableError), (Status(403), AccessError), (Status(404), StoreNotFoundError)],
    ids=str,
)
def test_what_cannot_be_opened(web, fault, error):
    with fault_proxy(web, hitting(fault)) as proxy, pytest.raises(error) as got:
        cop_zarr.open(url_of(proxy.url, "stored"))
    assert type(got.value) is error


@pytest.mark.parametrize("kind", ["http", pytest.param("s3", marks=pytest.mark.slow)])
def test_verify_and_pickle(place, web, kind, request):
    url, options = url_of(web, "deflated"), {}
    if kind == "s3":
        s3 = request.getfixturevalue("s3")
        archive = f"{s3.place()}/a.zip"
        s3.put(archive, (place / "deflated.zip").read_bytes())
        url, options = f"zip://a.zarr::{archive}", {"s3": s3.options}
    assert cop_zarr.verify(url, place / "a.tif", storage_options=options).ok
    store = pickle.loads(pickle.dumps(cop_zarr.open(url, storage_options=options)))
    assert PART.all().answered_by(PART.all().ask(store))


def test_what_is_no_store_in_a_zip_file(place, web, tmp_path):
    (place / "rubbish.zip").write_bytes(b"PK" + os.urandom(100_000))
    (place / "empty.zip").write_bytes(b"")
    for name in ("rubbish", "empty", "lzma"):
        with pytest.raises(StorageError):
            cop_zarr.open(url_of(web, name))
    for url in (f"zip://nothing::{web}/stored.zip", url_of(web, "absent")):
        with pytest.raises(StoreNotFoundError):
            cop_zarr.open(url)
    with pytest.raises(InputError, match="headers"):
        cop_zarr.open(url_of(web, "stored"), storage_options={"headers": {}})
    with pytest.raises(InputError):
        cop_zarr.ingest(place / "a.tif", url_of(web, "stored"), overwrite=True)


def test_a_server_that_sends_no_parts(place, monkeypatch):
    with static_server(place, ranges=False) as plain:
        assert PART.all().answered_by(PART.all().ask(cop_zarr.open(url_of(plain, "stored"))))
        monkeypatch.setattr(web_file, "MAX_WHOLE_BYTES", 1000)
        with pytest.raises(StorageError, match="download"):
            cop_zarr.open(url_of(plain, "stored"))


def test_a_zip_file_that_is_replaced_or_damaged(place, web):
    there = place / "changing.zip"
    shutil.copy(place / "stored.zip", there)
    store = cop_zarr.open(url_of(web, "changing"), cache_bytes=0)
    data = bytearray(there.read_bytes())
    with zipfile.ZipFile(there) as archive:
        for info in archive.infolist():
            if "/embedding/c/" in info.filename:
                data[info.header_offset + 150] ^= 1
    there.write_bytes(data)
    with pytest.raises(ChunkError):
        PART.all().ask(store)
    cop_zarr.ingest(Part((200, 264), (600, 680), 2).write(place / "b.tif"), place / "b/a.zarr")
    with zipfile.ZipFile(place / "new.zip", "w") as archive:
        for path in sorted((place / "b/a.zarr").rglob("*")):
            archive.write(path, path.relative_to(place / "b"))
    (place / "new.zip").replace(there)
    with pytest.raises(StoreReplacedError):
        PART.all().ask(store)
