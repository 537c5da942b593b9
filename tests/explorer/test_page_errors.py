"""What the page tells when something is wrong, and that nothing of a store or an address becomes markup."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import cop_zarr
from cop_zarr.format.document import digest
from tests.support.servers import static_server

pytestmark = pytest.mark.slow


@pytest.fixture
def copy(site, request):
    """A copy of the plain store, to be changed; its path and its name."""
    name = f"{request.node.name.partition('[')[0]}.zarr"
    path = site / name
    shutil.rmtree(path, ignore_errors=True)
    shutil.copytree(site / "plain.zarr", path)
    return path


def rewrite(path, change):
    """Change a store's document, and its SHA-256 with it."""
    document = json.loads((path / "zarr.json").read_text())
    record = json.loads(document["attributes"]["cop_zarr"])
    document["attributes"]["cop_zarr"] = record
    change(document)
    record["sha256"] = digest(document)
    document["attributes"]["cop_zarr"] = json.dumps(record)
    (path / "zarr.json").write_text(json.dumps(document))


def flip(path):
    """Change one bit in the middle of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def chunk_of(path, store_path, lon, lat):
    """The object of the chunk that holds a place."""
    store = cop_zarr.open(store_path)
    row, col = (int(index[0]) for index in store.grid.cells_at(np.array([lon]), np.array([lat])))
    return path / "embedding" / "c" / "0" / str(row // 8) / str(col // 8)


@pytest.mark.parametrize(
    ("store", "words"),
    [
        ("nothing.zarr", "no store of cop-zarr: there is no zarr.json"),
        ("plain.zarr/components", "not that of a cop-zarr store"),
        ("page", "there is no zarr.json"),
    ],
)
def test_what_is_no_store_is_named(explorer, at, store, words):
    problem = explorer.open(at(store)).problem()
    assert words in problem
    assert "?store=URL" in problem


@pytest.mark.parametrize(
    "url", ["ftp://a/b", "javascript:alert(1)", "http://user:secret@127.0.0.1/", "http://["]
)
def test_an_address_that_is_none_is_refused(explorer, base, url):
    problem = explorer.open(f"{base}/page/index.html?store={url}").problem()
    assert "https://" in problem
    assert "secret" not in problem


def test_a_newer_format_is_refused_by_its_version(explorer, at, copy):
    rewrite(copy, lambda document: document["attributes"]["cop_zarr"].update(version=99))
    assert "version 99" in explorer.open(at(copy.name)).problem()


def test_an_encoding_that_is_not_known_is_refused(explorer, at, copy):
    rewrite(
        copy,
        lambda document: document["attributes"]["cop_zarr"].update(version=2, encoding={"name": "int4"}),
    )
    assert '"int4"' in explorer.open(at(copy.name)).problem()


def test_a_server_that_lets_no_other_page_read(explorer, base, site):
    with static_server(site) as elsewhere:
        problem = explorer.open(f"{base}/page/index.html?store={elsewhere}/plain.zarr").problem()
    assert "CORS" in problem
    assert base in problem


def test_a_server_that_knows_no_ranges(explorer, site):
    with static_server(site, ranges=False) as base:
        explorer.open(f"{base}/page/index.html?store=../sharded.zarr#box=11,48,12,49")
        expected = cop_zarr.open(site / "sharded.zarr").query(
            (11, 48, 12, 49), weights="coverage", empty="skip"
        )
        np.testing.assert_allclose(explorer.region()["vector"], expected.data, rtol=0, atol=1e-6)


def test_damage_of_the_document(explorer, at, copy):
    text = (copy / "zarr.json").read_text()
    (copy / "zarr.json").write_text(text.replace("CC-BY-4.0", "CC-BY-5.0"))
    problem = explorer.open(at(copy.name)).problem()
    assert "zarr.json is damaged" in problem
    assert "cop-zarr verify" in problem


def cut(path):
    """Leave the beginning of a file."""
    path.write_bytes(path.read_bytes()[:100])


@pytest.mark.parametrize("damage", [flip, cut, Path.unlink])
def test_damage_of_a_chunk_is_told_and_gives_no_vector(explorer, at, copy, damage):
    damage(chunk_of(copy, copy, 11.5, 48.5))
    explorer.open(at(copy.name, "box=11,48,12,49"))
    problem = explorer.problem()
    assert "embedding/c/0/" in problem
    assert "damaged" in problem
    assert not explorer.page.is_visible("#region-answer")
    explorer.go("like=11.5,48.5")
    assert "damaged" in explorer.problem()
    assert explorer.page.locator("#found li").count() == 0
    explorer.go("box=5,30,6,31")  # what is not damaged is still there
    assert explorer.region()["valid_cells"] > 0


@pytest.mark.parametrize("key", ["scores/c/0/0/0", "zarr.json"])
def test_damage_of_components_is_told(explorer, at, copy, key):
    flip(copy / "components" / key)
    problem = explorer.open(at(copy.name)).problem()
    assert f"components/{key} is damaged" in problem


def test_without_components_the_land_is_grey_and_regions_have_vectors(explorer, at, copy):
    shutil.rmtree(copy / "components")
    explorer.open(at(copy.name, "lon=11&lat=36&zoom=4"))
    assert "cop-zarr components STORE" in explorer.problem()
    assert {tuple(colour) for colour in explorer.colours([(11.5, 48.5), (5.5, 30.5)])} == {(128, 128, 128)}
    explorer.go("box=11,48,12,49")
    assert explorer.region()["valid_cells"] > 0


def test_components_of_another_store_are_refused(explorer, at, copy):
    rewrite(copy, lambda document: document["attributes"].update(history="another"))
    assert "another store" in explorer.open(at(copy.name)).problem()


NONSENSE = [
    "lon=abc&lat=36&zoom=4",
    "lat=1e9&zoom=99&range=9,1&components=1,2",
    "like=11.5&unlike=;;&metric=manhattan&exclude_km=-1",
    "box=1,2,3&polygon=0,0;1,1;0,1;1,0",
    "%E0%A4%A&__proto__=1&constructor=2&=&===",
    "like=" + ";".join(["1,1"] * 10_000),
    "box=NaN,0,Infinity,9&polygon=0,0",
    'theme="><script>document.title=1</script>',
]


def test_nonsense_in_a_link_is_told_and_the_rest_is_shown(explorer, at):
    explorer.open(at())
    for number, fragment in enumerate(NONSENSE, 1):
        explorer.go(f"{fragment}&components={number},2,1")
        explorer.page.wait_for_function(f"() => document.querySelector('#red').value === '{number}'")
        assert "Ignored in the address" in explorer.problem(), fragment
        assert explorer.page.title() == "cop-zarr explorer"
        assert explorer.page.locator("script").count() == 1


EVIL = '"><script>document.title="evil"</script><img src=x onerror="document.title=1">'


def test_nothing_of_a_store_or_an_address_becomes_markup(explorer, at, base, copy):
    rewrite(copy, lambda document: document["attributes"].update(title=EVIL, source=EVIL))
    explorer.open(at(copy.name, f"like={EVIL}"))
    assert explorer.page.inner_text("#title") == EVIL
    assert "script" in explorer.problem()
    assert explorer.page.locator("img").count() == 0
    assert explorer.page.locator("script").count() == 1
    explorer.page.goto("about:blank")
    explorer.open(f"{base}/page/index.html?store=../{EVIL}.zarr")
    assert "no store" in explorer.problem()
    assert explorer.page.locator("img").count() == 0
    assert explorer.page.title() == "cop-zarr explorer"


def test_no_network_but_the_page_and_the_store(explorer, at, base):
    explorer.open(at(fragment="like=11.5,48.5&box=11,48,12,49"))
    explorer.places()
    explorer.region()
    known = (f"{base}/page/", f"{base}/plain.zarr/", "data:", "blob:")
    assert [url for url in explorer.requests if not url.startswith(known)] == []
