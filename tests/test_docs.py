"""Every Python and shell snippet of README and docs runs as it stands there, in order, page by page."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"(<!-- ci: \w+ -->\n)?^```(python|sh)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def snippets(page):
    """(language, code) of a page's blocks, apart from those that .ci/run runs itself."""
    return [(lang, code) for ci, lang, code in FENCE.findall(page.read_text("utf-8")) if not ci]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_snippets_run(page, source, store_path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if page.name != "README.md":  # which makes one itself
        (tmp_path / "copernicus.zarr").symlink_to(store_path)
    (tmp_path / "embed_map_310k.tif").symlink_to(source)
    monkeypatch.setenv("COP_ZARR_STORE", "set-by-the-page.zarr")
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    names = {}
    for language, code in snippets(page):
        if language == "python":
            exec(compile(code, str(page), "exec"), names)
        else:
            done = subprocess.run(["bash", "-euc", code], capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"{code}\n{done.stderr}"


def test_readme_has_snippets():
    found = snippets(ROOT / "README.md")
    assert {language for language, _ in found} == {"python", "sh"}
    assert len(found) >= 4


def test_links_of_pages_exist():
    for page in [*PAGES, ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md"]:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text("utf-8")):
            assert target.startswith("http") or (page.parent / target).exists(), (page.name, target)
