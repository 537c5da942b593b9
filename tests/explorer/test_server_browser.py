"""The page in Chromium as ``cop-zarr explore`` serves it, and as ``--to`` writes it."""

import contextlib
import shlex
import shutil
from urllib.parse import urlsplit

import pytest
from click.testing import CliRunner

import cop_zarr
from cop_zarr.cli import main
from tests.support.servers import static_server

PLACE = (11.5, 40)
VIEW = "#lon=11&lat=36&zoom=4&like=11.5,40&exclude_km=150"


@contextlib.contextmanager
def exploring(url):
    """The address of a store's page, served by this process."""
    explorer = cop_zarr.open(url).explore()
    try:
        yield explorer.url
    finally:
        explorer.close()


def check_page(explorer, url, store, name):
    """See that the page finds what Python finds, reads nothing elsewhere, and names the store."""
    places = explorer.open(url).places()
    expected = cop_zarr.open(store).similar(PLACE, k=10, exclude_km=150)
    assert [place[:2] for place in places] == [
        list(place) for place in zip(expected.lon, expected.lat, strict=True)
    ]
    assert [place[2] for place in places] == expected.score.tolist()
    hosts = {urlsplit(request).netloc for request in explorer.requests if request.startswith("http")}
    assert hosts == {urlsplit(url).netloc}
    assert shlex.split(explorer.copied("#places-command"))[:3] == ["cop-zarr", "similar", name]


@pytest.mark.parametrize("name", ["plain.zarr", pytest.param("sharded.zarr", marks=pytest.mark.slow)])
def test_served_from_a_disk(explorer, site, name):
    with exploring(site / name) as url:
        check_page(explorer, f"{url}{VIEW}", site / name, str(site / name))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["plain.zarr", "sharded.zarr"])
def test_served_from_a_web_server_with_components_of_the_cache(explorer, site, tmp_path, monkeypatch, name):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    shutil.copytree(site / name, tmp_path / name, ignore=shutil.ignore_patterns("components"))
    with static_server(tmp_path) as base, exploring(f"{base}/{name}") as url:
        assert list((tmp_path / "cache").glob("cop-zarr/explorer/*/components/zarr.json"))
        check_page(explorer, f"{url}{VIEW}", site / name, f"{base}/{name}")


@pytest.mark.slow
def test_written_beside_a_store(explorer, site, tmp_path):
    shutil.copytree(site / "plain.zarr", tmp_path / "plain.zarr")
    for folder in ["page", "a folder/page #1", "plain.zarr/explorer"]:
        done = CliRunner().invoke(
            main, ["explore", str(tmp_path / "plain.zarr"), "--to", str(tmp_path / folder)]
        )
        assert done.exit_code == 0, done.output
    with static_server(tmp_path) as base:
        for folder in ["page", "a%20folder/page%20%231", "plain.zarr/explorer"]:
            url = f"{base}/{folder}/index.html{VIEW}"
            check_page(explorer, url, site / "plain.zarr", f"{base}/plain.zarr")


@pytest.mark.slow
def test_written_with_components_beside_the_page(explorer, site, tmp_path):
    shutil.copytree(
        site / "plain.zarr", tmp_path / "plain.zarr", ignore=shutil.ignore_patterns("components")
    )
    with static_server(tmp_path) as base:
        store = f"{base}/plain.zarr"
        assert CliRunner().invoke(main, ["explore", store, "--to", str(tmp_path / "page")]).exit_code == 0
        assert not (tmp_path / "plain.zarr/components").exists()
        check_page(explorer, f"{base}/page/index.html{VIEW}", site / "plain.zarr", store)


@pytest.mark.slow
def test_shown_in_a_notebook(explorer, site, tmp_path):
    """In an iframe of a page from elsewhere, as a notebook is."""
    shown = cop_zarr.open(site / "plain.zarr").explore()
    try:
        (tmp_path / "notebook.html").write_text(f"<!doctype html>{shown._repr_html_()}")
        with static_server(tmp_path) as base:
            explorer.page.goto(f"{base}/notebook.html")
            frame = explorer.page.frame_locator("iframe")
            frame.locator("html[data-ready]").wait_for(state="attached")
            assert not frame.locator("#problem").is_visible()
    finally:
        shown.close()


@pytest.mark.slow
def test_names_that_are_markup(explorer, site, tmp_path):
    name = '"><script>document.title="taken"<'
    shutil.copytree(site / "plain.zarr", tmp_path / name)
    with exploring(tmp_path / name) as url:
        explorer.open(url)
        assert explorer.page.title() != "taken"
        assert explorer.page.locator("script").count() == 1


@pytest.mark.slow
def test_an_object_that_is_a_link_out_of_the_store_is_told(explorer, site, tmp_path):
    shutil.copytree(site / "plain.zarr", tmp_path / "a.zarr")
    mask = tmp_path / "a.zarr/valid/c/0/0"
    mask.rename(tmp_path / "mask")
    mask.symlink_to(tmp_path / "mask")
    with exploring(tmp_path / "a.zarr") as url:
        assert "403" in explorer.open(url).problem()


@pytest.mark.slow
def test_a_server_that_has_ended_is_told(explorer, site):
    with exploring(site / "plain.zarr") as url:
        explorer.open(url).page.wait_for_load_state("networkidle")
    explorer.go(VIEW.replace("like=11.5,40", "like=11.5,25"))
    assert urlsplit(url).netloc in explorer.problem()
