"""The screenshots of the pages are those that docs/screenshots.py takes."""

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.explorer import find_chromium

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [DOCS / "explorer.md", DOCS / "index.md", ROOT / "README.md"]


def sizes(folder):
    """Width and height in pixels of each picture, by its name; none is large."""
    found = {}
    for path in folder.glob("*.png"):
        data = path.read_bytes()
        assert 10_000 < len(data) < 300_000
        found[path.stem] = int.from_bytes(data[16:20]), int.from_bytes(data[20:24])
    return found


def test_pages_show_every_screenshot():
    shown = {
        name for page in PAGES for name in re.findall(r"screenshots/(\w+)\.png\)", page.read_text("utf-8"))
    }
    assert shown == set(sizes(DOCS / "screenshots"))


@pytest.mark.slow
def test_the_script_takes_the_screenshots(tmp_path):
    find_chromium()
    subprocess.run([sys.executable, DOCS / "screenshots.py", "--out", tmp_path / "new"], check=True)
    shots = runpy.run_path(str(DOCS / "screenshots.py"))["SHOTS"]
    expected = {name: (shot.width, shot.height) for name, shot in shots.items()}
    assert sizes(tmp_path / "new") == sizes(DOCS / "screenshots") == expected
