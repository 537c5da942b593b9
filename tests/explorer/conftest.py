"""Stores, a browser and a web server for the tests of the page."""

import shutil

import pytest

import cop_zarr
from tests.support.explorer import COPIES, PAGE, Explorer, chromium, find_chromium, write_store
from tests.support.patience import STUCK_SECONDS
from tests.support.servers import static_server


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """A folder with the page, and stores beside it. Tests that change a store copy it first."""
    find_chromium()
    site = tmp_path_factory.mktemp("site")
    shutil.copytree(PAGE, site / "page")
    write_store(site / "plain.zarr")
    for name, options in COPIES.items():
        cop_zarr.copy(site / "plain.zarr", site / name, **options)
        cop_zarr.keep_components(site / name, overwrite=True)
    return site


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:  # closed with the module: its event loop is in the way of others
        yield browser


@pytest.fixture(scope="module")
def base(site):
    with static_server(site) as url:
        yield url


@pytest.fixture
def explorer(browser):
    """The page, in a window of its own."""
    with browser.new_context(
        viewport={"width": 1000, "height": 700}, permissions=["clipboard-read", "clipboard-write"]
    ) as context:
        context.set_default_timeout(STUCK_SECONDS * 1000)  # what is wrong, the page tells at once
        explorer = Explorer(context)
        yield explorer
        assert explorer.errors == []


@pytest.fixture
def at(base):
    """The address of the page for a store and a fragment."""

    def address(store="plain.zarr", fragment=""):
        return f"{base}/page/index.html?store=../{store}/#{fragment}"

    return address
