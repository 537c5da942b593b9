"""Store.explore: what a notebook shows, and when the server ends."""

import http.client
import re
import threading
import urllib.error
import urllib.request
from contextlib import closing
from urllib.parse import urlsplit

import pytest

import cop_zarr
from cop_zarr.errors import InputError
from tests.support import factory
from tests.support.patience import STUCK_SECONDS


@pytest.fixture
def store(tmp_path):
    factory.write_geotiff(tmp_path / "a.tif", rows=(200, 220), cols=(800, 824), bands=4)
    cop_zarr.ingest(tmp_path / "a.tif", tmp_path / "a.zarr")
    return cop_zarr.open(tmp_path / "a.zarr")


def read(url):
    with urllib.request.urlopen(url) as answer:
        return answer.read()


def test_shows_the_page_until_it_is_closed(store, tmp_path):
    advances = []
    explorer = store.explore(progress=lambda *counts: advances.append(counts))
    try:
        assert advances[-1][0] == advances[-1][1] > 0  # components were missing
        assert cop_zarr.open(tmp_path / "a.zarr").components().kept
        (address,) = re.findall(r'<iframe src="([^"]+)"', explorer._repr_html_())
        assert address == explorer.url
        assert b'<meta name="store" content="./store/"' in read(address)
        assert read(f"{address}store/zarr.json") == (tmp_path / "a.zarr/zarr.json").read_bytes()
        assert explorer.url in repr(explorer)
    finally:
        explorer.close()
    with pytest.raises(urllib.error.URLError):
        read(explorer.url)
    assert explorer._repr_html_() is None
    assert "closed" in repr(explorer)
    explorer.close()
    assert f"explorer {explorer.url}" not in {thread.name for thread in threading.enumerate()}


def test_a_connection_that_is_kept_ends_with_it(store):
    explorer = store.explore()
    with closing(http.client.HTTPConnection(urlsplit(explorer.url).netloc, timeout=STUCK_SECONDS)) as kept:
        for _ in range(2):
            kept.request("GET", "/store/zarr.json")
            assert kept.getresponse().read()
            kept.auto_open = False
        explorer.close()
        with pytest.raises(ConnectionError):
            kept.request("GET", "/store/zarr.json")
            kept.getresponse()


def test_a_cell_that_is_run_again_shows_the_same(store, tmp_path):
    first = store.explore(height=400)
    try:
        again = cop_zarr.open(tmp_path / "a.zarr").explore(height=900)
        assert again.url == first.url
        assert "400px" in first._repr_html_()
        assert "900px" in again._repr_html_()
    finally:
        first.close()
    assert not again.is_open
    later = store.explore()
    later.close()
    assert not later.is_open


def test_a_port_by_number(store):
    first = store.explore()
    try:
        port = int(first.url.rstrip("/").rpartition(":")[2])
        assert store.explore(port=port).url == first.url
        with pytest.raises(InputError, match="port"):
            store.explore(port=70_000)
    finally:
        first.close()
    again = store.explore(port=port)
    again.close()
    assert again.url == first.url


@pytest.mark.parametrize("height", [0, -1, 1.5, "100%", True, None])
def test_heights_that_are_none(store, height):
    with pytest.raises(InputError, match="height"):
        store.explore(height=height)
