"""Take the screenshots of docs/explorer.md: ``python docs/screenshots.py [--store STORE] [--out FOLDER]``.

They are of the page in Chromium, as it shows a stand-in of 16 bands: real coasts, synthetic values.
"""

from __future__ import annotations

import argparse
import io
import shutil
import tempfile
from pathlib import Path
from typing import NamedTuple

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

import cop_zarr


class Shot(NamedTuple):
    """A view of the page, by what its address says, in a window of some size."""

    fragment: str
    width: int = 1280
    height: int = 800
    needs: str = "html[data-ready]"
    """What there is when the view is complete."""
    shows: str | None = None
    """What the panel is scrolled to."""


MAX_WAIT_MS = 300_000
PLACES, REGION = "#answer[aria-busy=false]", "#region-answer:not([hidden])"
MUNICH, YANGTZE = "like=11.5,48&exclude_km=1000", "box=116,28,122,33"

SHOTS = {
    "globe": Shot("theme=light"),
    "similar": Shot(f"theme=dark&lon=20&lat=35&zoom=2.2&{MUNICH}", needs=PLACES, shows="#asked"),
    "region": Shot(f"theme=light&lon=117&lat=31&zoom=4.6&{YANGTZE}", needs=REGION, shows="#region-heading"),
    "phone": Shot(f"theme=light&lon=15&lat=45&zoom=2.5&{MUNICH}", 360, 740, PLACES),
}


def take(browser: Browser, url: str, shot: Shot) -> Image.Image:
    """Open an address, wait until the view is complete, and take a picture of the window."""
    page = browser.new_page(viewport={"width": shot.width, "height": shot.height})
    page.set_default_timeout(MAX_WAIT_MS)
    page.goto(f"{url}#{shot.fragment}")
    page.locator("html[data-ready]").wait_for(state="attached")
    page.locator(shot.needs).wait_for(state="attached")
    if shot.shows:
        page.locator(shot.shows).evaluate("element => element.scrollIntoView()")
    page.wait_for_timeout(1500)  # the map fades in
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    page.close()
    return picture.quantize(256, dither=Image.Dither.NONE)


def main() -> None:
    """Create a store unless one is named, and take the screenshots."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "screenshots")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place, sync_playwright() as playwright:
        store = given.store or Path(place) / "copernicus.zarr"
        if not given.store:
            cop_zarr.ingest(
                cop_zarr.synthesize(Path(place) / "standin.tif", bands=16, seed=0), store, shards=True
            )
        explorer = cop_zarr.open(store).explore()
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium") or shutil.which("google-chrome"),
            args=["--no-sandbox", "--lang=en"],
        )
        for name, shot in SHOTS.items():
            take(browser, explorer.url, shot).save(given.out / f"{name}.png", optimize=True)
        browser.close()
        explorer.close()


if __name__ == "__main__":
    main()
