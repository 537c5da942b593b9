"""The usual variables name a proxy, over every protocol."""

from __future__ import annotations

import base64
import os
import ssl
from typing import TYPE_CHECKING

import pytest

from cop_zarr.errors import StorageError
from cop_zarr.storage import folder
from tests.support.front import certificate, forward_proxy, front
from tests.support.servers import static_server

if TYPE_CHECKING:
    from collections.abc import Iterator

CONTENT = b"content"


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch) -> None:
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="module")
def web(tmp_path_factory) -> Iterator[str]:
    place = tmp_path_factory.mktemp("site")
    (place / "a").write_bytes(CONTENT)
    with static_server(place) as url:
        yield url


@pytest.fixture
def proxy() -> Iterator[tuple[str, list[str]]]:
    with forward_proxy() as made:
        yield made


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy"])
def test_http_goes_through_the_proxy(web, proxy, monkeypatch, name):
    url, heads = proxy
    monkeypatch.setenv(name, url.replace("//", "//me:secret@"))
    assert folder(web).read("a") == CONTENT
    assert heads[0].startswith(f"GET {web}/a ")
    assert base64.b64encode(b"me:secret").decode() in heads[0]


def test_https_goes_through_a_tunnel(web, proxy, monkeypatch, tmp_path):
    url, heads = proxy
    monkeypatch.setenv("HTTPS_PROXY", url)
    context, trusted = certificate(tmp_path)
    with front(web, context) as secure:
        options = {"ssl": ssl.create_default_context(cafile=trusted)}
        assert folder(secure.url, options).read("a") == CONTENT
        assert heads[0].startswith(f"CONNECT {secure.url.removeprefix('https://')} ")


def test_s3_goes_through_the_proxy(s3, proxy, monkeypatch):
    place = s3.place()
    s3.put(f"{place}/a", CONTENT)
    monkeypatch.setenv("HTTP_PROXY", proxy[0])
    assert folder(place, s3.options).read("a") == CONTENT
    assert len(proxy[1]) == 1


def test_hosts_that_need_no_proxy(web, proxy, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", proxy[0])
    monkeypatch.setenv("NO_PROXY", "example.org,127.0.0.1")
    assert folder(web).read("a") == CONTENT
    assert proxy[1] == []


@pytest.mark.usefixtures("no_pauses")
@pytest.mark.parametrize("address", ["http://me:secret@127.0.0.1:9", "me:secret@:::x"])
def test_a_proxy_that_does_not_answer_is_named_as_the_cause(web, monkeypatch, address):
    monkeypatch.setenv("HTTP_PROXY", address)
    with pytest.raises(StorageError, match="proxy") as got:
        folder(web).read("a")
    assert "secret" not in str(got.value)
