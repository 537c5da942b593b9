"""Stores that are published on a hub: by hf:// and by https://, within its limits and beyond them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cop_zarr
from cop_zarr.errors import AccessError, InputError, StoreNotFoundError, UnreachableError
from tests.support import factory
from tests.support.dataset_hub import REPOSITORY, DatasetHub, serving

pytest.importorskip("huggingface_hub.hf_file_system")

ROWS, COLS, BANDS = (300, 437), (565, 718), 3
"""3 x 3 shards."""

WAYS = ["hf", "https"]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset with a store in a folder, beside its README and the hub's own files."""
    place = tmp_path_factory.mktemp("dataset")
    source = factory.write_geotiff(place.with_suffix(".tif"), rows=ROWS, cols=COLS, bands=BANDS)
    cop_zarr.ingest(source, place / "a.zarr", shards=True)
    (place / "README.md").write_text("---\nlicense: cc-by-4.0\n---\n")
    return place


@pytest.fixture
def hub(dataset: Path) -> Callable[..., AbstractContextManager[DatasetHub]]:
    return partial(serving, dataset)


@pytest.fixture(autouse=True)
def _no_login(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "token"))


def address(hub: DatasetHub, way: str, token: str | None = None) -> tuple[str, dict[str, Any]]:
    """URL of the store, and the options that lead to the local hub."""
    if way == "hf":
        return f"hf://datasets/{REPOSITORY}/a.zarr", {"endpoint": hub.url, "token": token or False}
    options = {"headers": {"Authorization": f"Bearer {token}"}} if token else {}
    return f"{hub.url}/datasets/{REPOSITORY}/resolve/main/a.zarr", options


def opened(hub: DatasetHub, way: str, token: str | None = None, **options: Any) -> cop_zarr.Store:
    url, storage_options = address(hub, way, token)
    return cop_zarr.open(url, storage_options=storage_options, cache_bytes=0, **options)


def check(store: cop_zarr.Store) -> None:
    found = store.query(store.grid.bounds, output="grid").data
    assert np.array_equal(found, factory.truth(ROWS, COLS, BANDS))


@pytest.mark.parametrize("way", WAYS)
def test_all_of_a_store(hub: Any, dataset: Path, way: str) -> None:
    with hub() as server:
        store = opened(server, way)
        assert len(server.requests["resolvers"]) == 2
        check(store)
        shards = list(dataset.glob("a.zarr/embedding/c/0/*/*"))
        asked = 2 + 1 + len(shards)  # the mask, too
        assert len(server.requests["resolvers"]) == asked
        assert len(server.requests["content"]) == asked - 1
        assert len(server.requests.get("api", [])) <= (1 + asked if way == "hf" else 0)
        size = sum(path.stat().st_size for path in shards)
        assert server.sent <= size + 200_000
        url, options = address(server, way)
        assert cop_zarr.verify(url, storage_options=options).ok


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_the_globe_is_within_the_limits(tmp_path: Path, way: str) -> None:
    """Data in every cell: 276 shards; the plain layout would have 16,380 chunks."""
    values = np.arange(2 * 721 * 1440, dtype="f4").reshape(2, 721, 1440) + 1
    source = factory.write_geotiff(tmp_path / "a.tif", values, rows=(0, 721), cols=(0, 1440), bands=2)
    cop_zarr.ingest(source, tmp_path / "d" / "a.zarr", shards=True)
    with serving(tmp_path / "d") as server:
        store = opened(server, way)
        found = store.query(store.grid.bounds, output="grid").data
        asked = {kind: len(paths) for kind, paths in server.requests.items()}
        print(f"\n{way}: {asked}")  # noqa: T201
    assert np.array_equal(found, values)
    assert asked["resolvers"] <= 300
    assert asked.get("api", 0) <= 500


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_who_asks_too_much_waits(hub: Any, way: str) -> None:
    """Until the window ends; the answers are right all the same."""
    with hub(limits={"resolvers": 5}, window=1) as server:
        check(opened(server, way))
        assert len(server.requests["resolvers"]) > 2 + 9


@pytest.mark.parametrize("kind", ["resolvers", "content"])
@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("way", WAYS)
def test_a_failure_in_passing(hub: Any, way: str, status: int, kind: str) -> None:
    """With requests left, nobody waits for the window of 300 s to end."""
    with hub() as server:
        store = opened(server, way)
        server.refuse = {kind: [status]}
        check(store)


@pytest.mark.usefixtures("no_pauses")
@pytest.mark.parametrize("limits", [{"resolvers": 0}, {"resolvers": 3000}])
def test_a_hub_that_answers_no_more(hub: Any, limits: dict[str, int]) -> None:
    with hub(limits=limits, window=1, refuse={"resolvers": [503] * 1000}) as server:
        with pytest.raises(UnreachableError, match="503" if limits["resolvers"] else "429") as caught:
            opened(server, "https")
        assert ("cop-zarr copy" in str(caught.value)) == (limits["resolvers"] == 0)


@pytest.mark.parametrize("kind", ["api", "resolvers", "content"])
@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("way", WAYS)
def test_a_hub_that_denies(hub: Any, way: str, status: int, kind: str) -> None:
    if (way, kind) == ("https", "api"):
        pytest.skip("it asks for no such thing")
    with hub(refuse={kind: [status] * 10}) as server:
        with pytest.raises(AccessError, match=str(status)):
            opened(server, way)
        assert len(server.requests[kind]) == 1


@pytest.mark.parametrize("way", WAYS)
def test_the_advice_to_log_in_works(hub: Any, way: str) -> None:
    """And the token is shown to the hub alone."""
    with hub(token="hf_secret") as server:
        with pytest.raises(AccessError, match="HF_TOKEN" if way == "hf" else "Authorization") as caught:
            opened(server, way)
        assert "hf_secret" not in str(caught.value)
        check(opened(server, way, "hf_secret"))
        assert server.requests["content"]
        assert server.secrets == set()


@pytest.mark.parametrize("way", WAYS)
def test_what_is_not_there(hub: Any, way: str) -> None:
    with hub() as server:
        url, options = address(server, way)
        with pytest.raises(StoreNotFoundError):
            cop_zarr.open(url.replace("a.zarr", "b.zarr"), storage_options=options)


def test_nothing_is_written_there(dataset: Path) -> None:
    """Each object would be a commit."""
    for call in (cop_zarr.copy, cop_zarr.repair):
        places = [f"hf://datasets/{REPOSITORY}/b.zarr", dataset / "a.zarr"]
        with pytest.raises(InputError, match="hf upload"):
            call(*(places if call is cop_zarr.repair else places[::-1]))
