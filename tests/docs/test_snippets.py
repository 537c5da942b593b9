"""Every Python and shell snippet of docs runs as it stands there, in order, page by page.

Blocks marked ``python`` and ``sh`` run; ``console``, ``text`` and others show what doesn't. A page that
starts with ``<!-- needs: torch dask.distributed -->`` is skipped where one of these cannot be imported.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs").glob("*.md"))
SLOW = {"classifier", "components", "plotting", "training"}
WRITES = {"components"}
"""Pages whose snippets write into the store."""

NEEDS = re.compile(r"<!-- needs: ([\w. ]+) -->\n")
FENCE = re.compile(r"(<!-- ci: \w+ -->\n)?^```(python|sh)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def snippets(page):
    """(language, code) of a page's blocks, apart from those that .ci/run runs itself."""
    return [(lang, code) for ci, lang, code in FENCE.findall(page.read_text("utf-8")) if not ci]


def needs(page):
    """What has to be importable for a page's snippets, from its first line."""
    found = NEEDS.match(page.read_text("utf-8"))
    return found.group(1).split() if found else []


# what Python 3.12 says of every fork beside threads: a DataLoader's workers are forked
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded, use of fork:DeprecationWarning")
# what torch says on a machine with one processor
@pytest.mark.filterwarnings("ignore:This DataLoader will create .* worker processes:UserWarning")
@pytest.mark.parametrize(
    "page",
    [pytest.param(page, marks=[pytest.mark.slow] * (page.stem in SLOW), id=page.stem) for page in PAGES],
)
def test_snippets_run(page, source, store_path, tmp_path, monkeypatch):
    for name in needs(page):
        pytest.importorskip(name)
    monkeypatch.chdir(tmp_path)
    if page.stem in WRITES:
        shutil.copytree(store_path, tmp_path / "copernicus.zarr")
    else:
        (tmp_path / "copernicus.zarr").symlink_to(store_path)
    (tmp_path / "embed_map_310k.tif").symlink_to(source)
    monkeypatch.setenv("COP_ZARR_STORE", "copernicus.zarr")
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    names = {}
    for language, code in snippets(page):
        if language == "python":
            exec(compile(code, str(page), "exec"), names)
        else:
            done = subprocess.run(["bash", "-euc", code], capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"{code}\n{done.stderr}"


def test_needs_and_languages_of_blocks_are_understood():
    """Else a page or a block would be skipped in silence."""
    assert needs(ROOT / "docs/training.md") == ["torch"]
    for page in PAGES:
        text = page.read_text("utf-8")
        assert text.count("<!-- needs:") == bool(needs(page)), page.name
        opened = re.findall(r"^```(.*)$", text, re.MULTILINE)[::2]
        unknown = {name for name in opened if not name.startswith("{")}  # directives of the docs site
        unknown -= {"python", "sh", "console", "text", "json", "js"}
        assert not unknown, (page.name, unknown)


def test_links_of_pages_exist():
    for page in [*PAGES, ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md"]:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text("utf-8")):
            assert target.startswith("http") or (page.parent / target).exists(), (page.name, target)
