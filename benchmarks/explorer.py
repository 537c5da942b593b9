"""How fast the explorer is: ``python -m benchmarks.explorer STORE``.

Opens the page in Chromium, served on this machine, and prints a Markdown table of what it took beside what
is to be reached. STORE is one of the globe; components are derived if it keeps none.
"""

from __future__ import annotations

import argparse
import gzip
import shutil
from typing import Any

from playwright.sync_api import Page, sync_playwright

import cop_zarr
from cop_zarr.explorer.page import page_files

PLACE = "like=11.5,48.25"
APART = "like=11.5,48.25&exclude_km=200"
BOX = "box=100,20,120,40"


def marks(page: Page) -> dict[str, tuple[float, float]]:
    """When each thing was shown, in ms, and MB of the store loaded until then."""
    found: list[Any] = page.evaluate(
        "performance.getEntriesByType('mark').map(mark => [mark.name, mark.startTime, mark.detail / 1e6])"
    )
    return {name: (time, loaded) for name, time, loaded in found}


def ask(page: Page, fragment: str, last: str) -> dict[str, tuple[float, float]]:
    """Follow a link on an open page; what is returned counts from there."""
    page.evaluate("performance.clearMarks()")
    start = page.evaluate("fragment => { location.hash = fragment; return performance.now() }", fragment)
    while last not in (found := marks(page)):
        page.wait_for_timeout(20)
    page.locator("#status", has_text="Reading").wait_for(state="detached")
    return {name: (time - start, loaded) for name, (time, loaded) in found.items()}


def pan(page: Page) -> list[float]:
    """Drag the map and turn the wheel; return the tasks of more than 50 ms."""
    page.evaluate(
        """() => {
            window.tasks = []
            const add = list => window.tasks.push(...list.getEntries().map(entry => entry.duration))
            new PerformanceObserver(add).observe({ entryTypes: ["longtask"] })
        }"""
    )
    page.mouse.move(900, 400)
    for _ in range(3):
        page.mouse.down()
        for step in range(60):
            page.mouse.move(900 - 8 * step, 400 + step % 9)
        page.mouse.up()
        page.mouse.wheel(0, -150)
        page.wait_for_timeout(500)
    found: list[float] = page.evaluate("window.tasks")
    return found


def rows(page: Page, url: str, page_mb: float) -> list[tuple[str, str, str]]:
    """What was measured, what it took, and what is to be reached."""
    page.goto(url)
    page.locator("html[data-ready]").wait_for()
    time, loaded = marks(page)["picture"]
    first = f"{time:.0f} ms, {page_mb + loaded:.1f} MB"
    found = [
        ("first picture of the globe", first, "2,000 ms, 6 MB"),
        ("the page", f"{page_mb:.2f} MB", "1 MB"),
    ]
    for name, fragment in {"click": PLACE, "click, others within 200 km left out": APART}.items():
        page.goto("about:blank")
        page.goto(url)
        page.locator("html[data-ready]").wait_for()
        shown = ask(page, fragment, "places")
        moved = f"{page_mb + shown['places'][1]:.0f} MB in all"
        took = f"map {shown['map'][0]:.0f} ms, places {shown['places'][0]:.0f} ms, {moved}"
        found.append((name, took, "2,000 ms, 4,000 ms, 90 MB of float32, 45 MB of int8"))
        ask(page, BOX, "region")
        again = ask(page, fragment, "places")
        found.append((f"{name}, again", f"places {again['places'][0]:.0f} ms", "300 ms"))
    page.goto("about:blank")
    page.goto(url)
    page.locator("html[data-ready]").wait_for()
    found.append(("box of 20°", f"{ask(page, BOX, 'region')['region'][0]:.0f} ms", "1,500 ms"))
    tasks = pan(page)
    found.append(
        ("panning: tasks over 50 ms", ", ".join(f"{task:.0f} ms" for task in tasks) or "none", "none")
    )
    return found


def main() -> None:
    """Measure one store."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("store")
    explorer = cop_zarr.open(parser.parse_args().store).explore()
    page_mb = sum(len(gzip.compress(data)) for data in page_files().values()) / 1e6
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.set_default_timeout(120_000)
        print("| case | measured | to be reached |\n| --- | --- | --- |")
        for row in rows(page, explorer.url, page_mb):
            print(f"| {' | '.join(row)} |")
        browser.close()
    explorer.close()


if __name__ == "__main__":
    main()
