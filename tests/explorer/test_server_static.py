"""Where the page looks for a store that is given by its URL."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from cop_zarr.errors import InputError
from cop_zarr.explorer.page import page_files, page_of
from cop_zarr.explorer.static import find_store


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("https://example.org/a/b.zarr", "https://example.org/a/b.zarr/"),
        ("http://127.0.0.1:8000/b.zarr/", "http://127.0.0.1:8000/b.zarr/"),
        ("hf://datasets/me/repo/b.zarr", "https://huggingface.co/datasets/me/repo/resolve/main/b.zarr/"),
        (
            "hf://datasets/me/repo@v1/a/b c.zarr",
            "https://huggingface.co/datasets/me/repo/resolve/v1/a/b%20c.zarr/",
        ),
        (
            "hf://me/repo@refs%2Fpr%2F1/b.zarr",
            "https://huggingface.co/me/repo/resolve/refs%2Fpr%2F1/b.zarr/",
        ),
        ("s3://bucket/a/b #1.zarr", "../b%20%231.zarr/"),
        ("gs://bucket/b.zarr/", "../b.zarr/"),
        ("memory://b.zarr", "../b.zarr/"),
    ],
)
def test_stores_by_their_urls(tmp_path, url, address):
    assert find_store(SimpleNamespace(url=url), tmp_path) == address


@pytest.mark.parametrize(
    "url", ["zip://b.zarr::https://example.org/b.zip", "zip::s3://bucket/b.zip", "tar::b.tar"]
)
def test_archives_are_refused(tmp_path, url):
    with pytest.raises(InputError, match="unpack"):
        find_store(SimpleNamespace(url=url), tmp_path)


def test_a_link_is_found_by_its_name(tmp_path, monkeypatch):
    """Browsers resolve ``..`` by names, and who copies both follows the link."""
    (tmp_path / "data/deep/a.zarr").mkdir(parents=True)
    (tmp_path / "b.zarr").symlink_to(tmp_path / "data/deep/a.zarr")
    (tmp_path / "here").symlink_to(tmp_path / "data/deep")
    assert find_store(SimpleNamespace(url=str(tmp_path / "b.zarr")), tmp_path / "page") == "../b.zarr/"
    assert (
        find_store(SimpleNamespace(url=str(tmp_path / "b.zarr")), tmp_path / "here/page") == "../../b.zarr/"
    )
    monkeypatch.chdir(tmp_path)
    assert find_store(SimpleNamespace(url="b.zarr"), Path("sites/page")) == "../../b.zarr/"


def test_settings_are_escaped_and_written_once():
    value = '"><script>alert(1)</script>&\\1'
    index = page_of(store=value, components=value, store_name=value)["index.html"].decode()
    assert "<script>alert" not in index
    assert index.count('content="&quot;&gt;&lt;script&gt;alert(1)&lt;/script&gt;&amp;\\1"') == 3
    assert page_of(store="./store/")["index.html"] == page_files()["index.html"]


def test_the_page_names_no_other_place():
    """Nothing is loaded but what lies beside it."""
    index = page_files()["index.html"].decode()
    policy = index.partition('http-equiv="Content-Security-Policy" content="')[2].partition('"')[0]
    allowed = dict(part.strip().split(" ", 1) for part in policy.split(";") if part.strip())
    assert allowed["default-src"] == "'none'"
    assert "unsafe-inline" not in policy
    assert not {"http:", "https:", "*"} & set(allowed["script-src"].split())
    assert {Path(name).suffix for name in page_files()} <= {".html", ".js", ".css", ".txt", ".json"}
