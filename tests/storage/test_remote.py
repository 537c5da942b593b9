"""Stores and sources by URL: the same bytes and answers as on a disk, in few requests."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import fsspec
import numpy as np
import pytest

import cop_zarr
from cop_zarr.errors import (
    AccessError,
    InputError,
    StorageError,
    StoreExistsError,
    StoreNotFoundError,
)
from cop_zarr.storage.remote import RemoteFolder
from tests.support.proxy import CutBody, Flip, Reset, Status, fault_proxy
from tests.support.questions import Part, Question
from tests.support.servers import static_server

PART = Part((200, 216), (580, 628))
"""2 x 6 chunks, of which the western 2 x 2 hold no data."""

WIDE = Part((200, 272), (560, 680))
"""9 x 15 chunks; the western five columns hold no data."""

ODD = "a store+1%20#ü&=[x]'.zarr"
"""A name with what URLs, globs and shells make something of."""


@pytest.fixture(scope="module", autouse=True)
def _epoch():
    """Every ingest writes the same bytes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOURCE_DATE_EPOCH", "1700000000")
        for name in ("COP_ZARR_WORKERS", "AWS_PROFILE"):
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(scope="module")
def site(tmp_path_factory, _epoch) -> Path:
    """A folder with the sources and stores of PART (a, and under an odd name) and WIDE, and ZIPs."""
    site = tmp_path_factory.mktemp("site")
    for name, part in (("a", PART), ("wide", WIDE)):
        cop_zarr.ingest(part.write(site / f"{name}.tif"), site / f"{name}.zarr")
    shutil.copytree(site / "a.zarr", site / "odd" / ODD)
    shutil.make_archive(str(site / "root"), "zip", site / "a.zarr")
    shutil.make_archive(str(site / "folder"), "zip", site, "a.zarr")
    return site


@pytest.fixture(scope="module")
def written(site) -> dict[str, bytes]:
    """What a.zarr consists of."""
    return files_of(site / "a.zarr")


@pytest.fixture(scope="module")
def web(site):
    with static_server(site) as url:
        yield url


@pytest.fixture(scope="module")
def plain_web(site):
    """A web server that knows no ranges."""
    with static_server(site, ranges=False) as url:
        yield url


def files_of(folder: Path) -> dict[str, bytes]:
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


@pytest.fixture(scope="module")
def servers(s3, gcs, web, plain_web) -> SimpleNamespace:
    """All of them."""
    return SimpleNamespace(s3=s3, gcs=gcs, web=web, plain_web=plain_web)


def good(url: str, options: dict[str, Any] | None = None, source: Path | None = None) -> None:
    """See that a store of PART answers as the factory wrote, is whole, and says what it is."""
    store = cop_zarr.open(url, storage_options=options)
    questions = [
        PART.all(),
        Question("points", PART.bands, (200, 215, 207), (600, 627, 585), shift=0.1),
        *(Question("pooled", PART.bands, (203, 213), (590, 611), pooling) for pooling in ("mean", "max")),
        *(PART.draw(f"{url}/{number}") for number in range(5)),
    ]
    assert [question for question in questions if not question.answered_by(question.ask(store))] == []
    np.testing.assert_array_equal(store.valid, PART.all().answer().any(axis=0))
    report = cop_zarr.verify(url, source, storage_options=options)
    assert report.problems == []
    assert report.values_compared == (0 if source is None else 16 * 48 * PART.bands)
    info = store.info()
    assert (info["bands"], info["shape"], info["chunks_stored"]) == (PART.bands, [16, 48], 8)
    assert info["store"] == store.url


# Write and read


def in_memory(url: str) -> dict[str, bytes]:
    """What is below a place in fsspec's memory filesystem."""
    root = "/" + url.removeprefix("memory://").strip("/") + "/"
    files = fsspec.filesystem("memory").store.items()
    return {path.removeprefix(root): file.getvalue() for path, file in files if path.startswith(root)}


@pytest.mark.parametrize(
    "name",
    [
        *("s3 odd", "memory odd", "file odd"),
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("s3 slash", "s3a", "gs odd", "gs slash")),
    ],
)
def test_ingest_and_ask(site, written, request, tmp_path, name):
    """The same bytes as on a disk, and nothing else; the same answers; and not a second time."""
    store = request.getfixturevalue("gcs" if name.startswith("gs") else "s3")
    url, options, objects = {
        "s3 odd": lambda: (store.place(ODD), store.options, store.objects),
        "s3 slash": lambda: (f"{store.place()}/", store.options, store.objects),
        "s3a": lambda: (
            store.place().replace("s3:", "s3a:"),
            store.options,
            lambda at: store.objects(f"s3{at[3:]}"),
        ),
        "gs odd": lambda: (store.place(ODD), store.options, store.objects),
        "gs slash": lambda: (f"{store.place()}/", store.options, store.objects),
        "memory odd": lambda: (f"memory://{ODD}/", {}, in_memory),
        "file odd": lambda: (f"file://{tmp_path}/{ODD}/", {}, lambda at: files_of(Path(at[7:]))),
    }[name]()
    report = cop_zarr.ingest(site / "a.tif", url, storage_options=options)
    assert objects(url) == written
    assert (report.chunks_stored, report.chunks_total) == (8, 12)
    assert report.store_bytes == sum(map(len, written.values()))
    good(url, options, site / "a.tif")
    with pytest.raises(StoreExistsError):
        cop_zarr.ingest(site / "a.tif", url, storage_options=options)
    assert objects(url) == written


def test_the_root_of_a_bucket(site, written, s3):
    s3.client.create_bucket(Bucket="whole")
    cop_zarr.ingest(site / "a.tif", "s3://whole/", storage_options=s3.options)
    listed = s3.client.list_objects_v2(Bucket="whole")["Contents"]
    assert {each["Key"]: each["Size"] for each in listed} == {key: len(written[key]) for key in written}
    good("s3://whole", s3.options)


def test_overwrite_and_repair_on_an_object_store(site, written, s3, tmp_path):
    """An old store's objects go; a damaged one's come back; a neighbour's stay."""
    url = s3.place()
    s3.put(f"{url}.neighbour", b"precious")
    other = Part((300, 320), (700, 730), 3).write(tmp_path / "other.tif")
    cop_zarr.ingest(other, url, storage_options=s3.options)
    cop_zarr.ingest(site / "a.tif", url, storage_options=s3.options, overwrite=True)
    assert s3.objects(url) == written
    s3.delete(f"{url}/embedding/c/0/1/4")
    s3.put(f"{url}/valid/c/0/0", b"rubbish")
    s3.put(f"{url}/embedding/c/0/0/0", b"a chunk that nothing records")
    found = cop_zarr.verify(url, storage_options=s3.options)
    keys = {"embedding/c/0/0/0", "embedding/c/0/1/4", "valid/c/0/0"}
    assert {problem.key for problem in found.problems} == keys
    done = cop_zarr.repair(url, site / "a.tif", storage_options=s3.options)
    assert (done.ok, done.rewritten, done.removed) == (True, sorted(keys)[1:], sorted(keys)[:1])
    assert s3.objects(url) == written
    assert s3.objects(url.rpartition("/")[0])["store.zarr.neighbour"] == b"precious"


@pytest.mark.parametrize(
    "form",
    [
        *("{web}/a.zarr/", "{web}/odd/{odd}", "{plain}/odd/{odd}", "zip::{site}/root.zip"),
        *(
            "zip://a.zarr/::file://{site}/folder.zip",
            "zip::{web}/root.zip",
            "zip://a.zarr::{web}/folder.zip",
        ),
    ],
)
def test_ask_what_can_only_be_read(site, web, plain_web, form):
    url = form.format(site=site, web=web, plain=plain_web, odd=quote(ODD))
    good(url, source=site / "a.tif")
    with pytest.raises(InputError):
        cop_zarr.ingest(site / "a.tif", url, overwrite=True)


def test_a_zip_file_on_s3(site, s3):
    """Options of a chained URL are given by protocol."""
    url = f"{s3.place()}/a.zip"
    s3.put(url, (site / "folder.zip").read_bytes())
    good(f"zip://a.zarr::{url}", {"s3": s3.options})


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_threads_that_read_one_archive(tmp_path, kind):
    """fsspec's class lists a ZIP file at the first use, and moves about in a TAR file, without a lock."""
    contents = {f"a/c/{number}": str(number).encode() * 50 for number in range(3000)}
    for name, data in contents.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    shutil.make_archive(str(tmp_path / "a"), kind, tmp_path, "a")
    folder = RemoteFolder(f"{kind}://a::{tmp_path}/a.{kind}", None, 10.0)
    start, keys = threading.Barrier(8), [f"c/{number}" for number in range(3000)]

    def read_some(first):
        start.wait()
        return all(folder.read(key) == contents[f"a/{key}"] for key in keys[first::97])

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read_some, range(8)))


@pytest.mark.usefixtures("no_pauses")
@pytest.mark.parametrize("fault", [Status(403), Status(500), Reset(), CutBody(0.5), Flip(-10)], ids=str)
def test_a_zip_file_that_cannot_be_read(web, fault):
    with fault_proxy(web, lambda *_: fault) as proxy, pytest.raises((StorageError, StoreNotFoundError)):
        PART.all().ask(cop_zarr.open(f"zip::{proxy.url}/root.zip"))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["s3", "gs", "web", "plain web", "zip on s3", "memory"])
def test_ingest_from_a_url(site, servers, tmp_path, name):
    """A source that is not on a disk gives the same store; its URL is recorded without secrets."""
    s3, gcs = servers.s3, servers.gcs
    data = (site / "a.tif").read_bytes()
    url, options = {
        "s3": (f"{s3.place()}/a tif.tif", s3.options),
        "gs": (f"{gcs.place()}/a tif.tif", gcs.options),
        "web": (f"{servers.web.replace('//', '//me:secret@')}/a.tif", {}),
        "plain web": (f"{servers.plain_web}/a.tif?token=secret", {}),
        "zip on s3": (f"zip://a.tif::{s3.place()}/a.zip", {"s3": s3.options}),
        "memory": ("memory://sources/a.tif", {}),
    }[name]
    match name:
        case "s3" | "gs":
            (s3 if name == "s3" else gcs).put(url, data)
        case "zip on s3":
            archive = shutil.make_archive(str(tmp_path / "tif"), "zip", site, "a.tif")
            s3.put(url.partition("::")[2], Path(archive).read_bytes())
        case "memory":
            fsspec.filesystem("memory").pipe_file("/sources/a.tif", data)
    heard: list[tuple[int, int]] = []
    cop_zarr.ingest(
        url, tmp_path / "b.zarr", source_options=options, progress=lambda *two: heard.append(two)
    )
    good(str(tmp_path / "b.zarr"), source=site / "a.tif")
    source = cop_zarr.open(tmp_path / "b.zarr").source
    assert source["bytes"] == len(data)
    assert source["url"] == url.replace("me:secret@", "").partition("?")[0]
    assert (len(data), len(data)) in heard
    assert cop_zarr.verify(tmp_path / "b.zarr", url, source_options=options).ok


# Options from the environment


@pytest.mark.parametrize("way", ["aws", "fsspec"])
def test_the_usual_environment_variables(s3, stored, way):
    """A query in a process that only its environment tells who it is and where to ask."""
    variables = {
        "aws": {
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_ENDPOINT_URL": s3.endpoint,
            "AWS_DEFAULT_REGION": "us-east-1",
        },
        "fsspec": {
            "FSSPEC_S3_KEY": "testing",
            "FSSPEC_S3_SECRET": "testing",
            "FSSPEC_S3_ENDPOINT_URL": s3.endpoint,
        },
    }[way]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "FSSPEC_"))}
    program = f"import cop_zarr; print(cop_zarr.open({stored!r}).query((-31, 37, -29, 39)).data.tolist())"
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        check=True,
        env={**kept, **variables, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    question = Question("pooled", PART.bands, (204, 213), (596, 605))
    assert question.answered_by(np.array(json.loads(done.stdout), "f4"))


# Places without a store, and doors that are shut


@pytest.mark.parametrize("name", ["s3", "bucket", "web", pytest.param("gs", marks=pytest.mark.slow)])
def test_a_store_that_is_not_there(s3, web, request, name):
    store = request.getfixturevalue("gcs") if name == "gs" else s3
    url = {"bucket": "s3://nobody/a.zarr", "web": f"{web}/gone.zarr"}.get(name) or store.place()
    for job in (cop_zarr.open, cop_zarr.verify):
        with pytest.raises(StoreNotFoundError, match=url):
            job(url, storage_options={} if name == "web" else store.options)


def is_listing(path: str) -> bool:
    return "list-type=2" in path or "prefix=" in path


@pytest.fixture
def stored(site, s3) -> str:
    """URL of a store on S3, put there without cop_zarr."""
    return upload(s3, site / "a.zarr")


def upload(s3, folder: Path) -> str:
    url = s3.place()
    for key, data in files_of(folder).items():
        s3.put(f"{url}/{key}", data)
    return url


def test_listing_denied(s3, stored):
    """Who may read and not list can ask."""
    with fault_proxy(s3.endpoint, lambda _, __, path: Status(403) if is_listing(path) else None) as proxy:
        options = s3.through(proxy.url)
        assert PART.all().answered_by(PART.all().ask(cop_zarr.open(stored, storage_options=options)))
        assert not [got for got in proxy.requests if got.fault]


def test_reading_denied(s3, stored):
    """S3 says 403, too, of what is not there, to who may not list."""

    def schedule(_: int, method: str, path: str) -> Status | None:
        return Status(403) if method == "GET" and not is_listing(path) else None

    with fault_proxy(s3.endpoint, schedule) as proxy:
        for url in (stored, s3.place()):
            with pytest.raises(AccessError, match="list"):
                cop_zarr.open(url, storage_options=s3.through(proxy.url))


# Round trips


@pytest.fixture(scope="module", params=["s3", "web", "plain web"])
def wide(request, site):
    """The store WIDE behind a proxy: its URL and options, and the proxy."""
    if request.param == "s3":
        s3 = request.getfixturevalue("s3")
        url = upload(s3, site / "wide.zarr")
        with fault_proxy(s3.endpoint) as proxy:
            yield url, s3.through(proxy.url), proxy
    else:
        upstream = request.getfixturevalue(request.param.replace(" ", "_"))
        with fault_proxy(upstream) as proxy:
            yield f"{proxy.url}/wide.zarr", {}, proxy


@pytest.fixture
def asked(wide):
    """The same, with nothing asked for yet, and no latency left over."""
    url, options, proxy = wide
    proxy.reset_counts()
    yield url, options, proxy
    proxy.latency = 0


def keys(proxy) -> list[str]:
    """What was asked for, each time it was."""
    return sorted(got.path.partition(".zarr/")[2] for got in proxy.requests)


def chunk_keys(rows: range, cols: range) -> list[str]:
    return sorted(f"embedding/c/0/{row}/{col}" for row in rows for col in cols)


def test_requests(asked):
    """Two to open; a query asks for its chunks with data and, once, for the mask; nothing else."""
    url, options, proxy = asked
    store = cop_zarr.open(url, storage_options=options, cache_bytes=0)
    assert {got.method for got in proxy.requests} == {"GET"}
    assert keys(proxy) == ["integrity/embedding/c/0/0/0", "zarr.json"]
    proxy.reset_counts()
    ocean = Question("pooled", WIDE.bands, (204, 250), (563, 595))
    for question in (ocean, Question("grid", WIDE.bands, *(ocean.rows, ocean.cols))):
        assert question.answered_by(question.ask(store))
    points = Question("points", WIDE.bands, (204, 250), (563, 595))
    assert points.answered_by(points.ask(store))
    assert keys(proxy) == []
    coast = Question("grid", WIDE.bands, (210, 230), (580, 620))  # chunks 1 to 3 x 2 to 7, 5 to 7 with data
    assert coast.answered_by(coast.ask(store))
    assert keys(proxy) == [*chunk_keys(range(1, 4), range(5, 8)), "valid/c/0/0"]
    proxy.reset_counts()
    assert coast.answered_by(coast.ask(store))
    assert keys(proxy) == chunk_keys(range(1, 4), range(5, 8))
    proxy.reset_counts()
    points = Question("points", WIDE.bands, (211, 213, 230, 211), (613, 609, 650, 590))
    assert points.answered_by(points.ask(store))
    assert keys(proxy) == ["embedding/c/0/1/6", "embedding/c/0/3/11"]


def test_workers_bound_the_requests_at_once(asked):
    url, options, proxy = asked
    store = cop_zarr.open(url, storage_options=options, workers=3)
    square = Question("grid", WIDE.bands, (200, 232), (600, 632))
    proxy.reset_counts()
    proxy.latency = 0.02
    assert square.answered_by(square.ask(store))
    assert proxy.most_at_once == 3
    assert len(proxy.requests) == 17
