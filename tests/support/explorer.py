"""The explorer in a real browser: stores for it, and what can be done with the page and read from it."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

import cop_zarr
from tests.support import factory
from tests.support.patience import STUCK_SECONDS

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

PAGE = Path(cop_zarr.__file__).parent / "explorer" / "page"
DEGREES_A_PIXEL = 360 / 256
"""Of the map at zoom 0."""

COPIES = {
    "sharded.zarr": {"shards": True},
    "float16.zarr": {"encoding": "float16"},
    "int8.zarr": {"encoding": "int8", "shards": True},
}
"""Stores that are copied from plain.zarr, and how."""

NAMES = ["plain.zarr", *COPIES]

ROWS, COLS, BANDS = (150, 281), (700, 835), 40
"""Central Europe and the north of Africa, 52.5° to 20° north: no multiple of a chunk."""


def alike(rows: tuple[int, int] = ROWS, cols: tuple[int, int] = COLS, bands: int = BANDS) -> np.ndarray:
    """Values of which some cells are alike and others not: float32, ``(bands, rows, cols)``.

    A few directions that change smoothly, and noise; a fifth of the cells is empty, and two are equal.
    """
    rng = np.random.default_rng(17)
    shape = rows[1] - rows[0], cols[1] - cols[0]
    row, col = np.indices(shape)
    waves = np.stack([np.sin((row * a + col * b) / 40) for a, b in rng.normal(size=(12, 2))])
    weights = rng.normal(size=(bands, 12)) / np.arange(1, 13)
    values = np.tensordot(weights, waves, 1) + rng.normal(scale=0.1, size=(bands, *shape)) + 0.3
    values[:, (row // 4 + col // 7) % 5 == 0] = 0
    values[:, -31, -35] = values[:, 10, 57] = 1
    return values.astype("f4")


def write_store(path: Path, rows: tuple[int, int] = ROWS, cols: tuple[int, int] = COLS) -> Path:
    """Write a store that keeps components."""
    source = factory.write_geotiff(path.with_suffix(".tif"), alike(rows, cols), rows=rows, cols=cols)
    cop_zarr.ingest(source, path)
    cop_zarr.keep_components(path)
    return path


def find_chromium() -> str:
    """Chromium's path; the test is skipped without one."""
    pytest.importorskip("playwright.sync_api", reason="needs playwright")
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    return found


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser without a window."""
    path = find_chromium()
    from playwright.sync_api import sync_playwright  # noqa: PLC0415  # skipped without

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--lang=en"], timeout=STUCK_SECONDS * 1000
        )
        yield browser
        browser.close()


class Explorer:
    """The page in one tab, whose every mistake fails the test."""

    def __init__(self, context: BrowserContext) -> None:
        self.page: Page = context.new_page()
        self.errors: list[str] = []
        self.requests: list[str] = []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))

    def open(self, url: str) -> Explorer:
        """Go to an address, and wait until the page is ready, or tells what is wrong."""
        self.page.goto(url)
        self.page.locator("html[data-ready], #problem:not([hidden])").first.wait_for()
        return self

    def go(self, fragment: str) -> None:
        """Change the address's fragment, as a link does."""
        self.page.evaluate(
            """fragment => new Promise(done => {
                addEventListener("popstate", done, { once: true })
                location.hash = fragment
            })""",
            fragment,
        )

    @property
    def fragment(self) -> dict[str, str]:
        """What the address says."""
        text = self.page.evaluate("location.hash").removeprefix("#")
        return dict(part.split("=", 1) for part in text.split("&") if part)

    def places(self) -> list[list[float]]:
        """Longitude, latitude and score of the places listed, once they are."""
        self.page.locator("#answer[aria-busy=false], #problem:not([hidden])").first.wait_for()
        assert not self.page.is_visible("#problem"), self.problem()
        lines = self.page.locator("#found li").all()
        return [json.loads(line.get_attribute("data-place")) for line in lines]

    def download(self, kind: str) -> str:
        """A region's file, once it can be had."""
        self.page.locator("#region-answer:not([hidden])").wait_for()
        with self.page.expect_download() as download:
            self.page.click(f"#region-{kind}")
        return Path(download.value.path()).read_text()

    def region(self) -> dict[str, Any]:
        """The region's vector and what is told of it."""
        return json.loads(self.download("json"))

    def problem(self) -> str:
        """The error that is shown, once it is."""
        problem = self.page.locator("#problem:not([hidden])")
        problem.wait_for()
        return problem.inner_text()

    def copied(self, button: str) -> str:
        """What a button copies."""
        self.page.click(button)
        self.page.locator("#status", has_text="Copied").wait_for()
        return self.page.evaluate("navigator.clipboard.readText()")

    def position(self, lon: float, lat: float) -> tuple[float, float]:
        """Where a place is in the window, from what the address says of the view."""
        view = {name: float(self.fragment[name]) for name in ("lon", "lat", "zoom")}
        pixels = 2 ** view["zoom"] / DEGREES_A_PIXEL
        box = self.page.locator("#map").bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        return x + (lon - view["lon"]) * pixels, y - (lat - view["lat"]) * pixels

    def click(self, lon: float, lat: float) -> None:
        """Click a place on the map."""
        self.page.mouse.click(*self.position(lon, lat))

    def picture(self) -> np.ndarray:
        """The window: uint8, ``(rows, cols, 3)``, once the map has been drawn."""
        self.page.locator("#map:not([aria-busy=true])").wait_for()
        self.page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        return np.asarray(Image.open(io.BytesIO(self.page.screenshot())).convert("RGB"))

    def colours(self, places: list[tuple[float, float]]) -> np.ndarray:
        """Colours of places on the map: uint8, ``(n, 3)``."""
        picture = self.picture()
        return np.array([picture[int(y), int(x)] for x, y in (self.position(*place) for place in places)])
