"""Every Python and shell snippet of docs runs as it stands there, in order, page by page.

Blocks marked ``python`` and ``sh`` run, in a folder that has the quickstart's store, named by
``COP_ZARR_STORE``; ``console``, ``text`` and others show what doesn't. A block ``text`` right after one
that runs is what that prints, where "…" stands for anything. A page that starts with
``<!-- needs: torch dask.distributed -->`` is skipped where one of these cannot be imported.
"""

import contextlib
import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs").glob("*.md"))
SLOW = {"cells", "plotting", "publishing", "recipes", "scaling", "similar", "training"}

NEEDS = re.compile(r"<!-- needs: ([\w. ]+) -->\n")
FENCE = re.compile(
    r"(<!-- ci: \w+ -->\n)?^```(python|sh)\n(.*?)^```$(?:\n\n?```text\n(.*?)^```$)?",
    re.MULTILINE | re.DOTALL,
)


def snippets(page):
    """(language, code, what is printed) of a page's blocks, apart from those that .ci/run runs itself."""
    return [
        (lang, code, shown) for ci, lang, code, shown in FENCE.findall(page.read_text("utf-8")) if not ci
    ]


def run(language, code, names, page):
    """Run a block, and return what it prints."""
    if language == "python":
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, str(page), "exec"), names)
        return printed.getvalue()
    done = subprocess.run(["bash", "-euc", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{code}\n{done.stderr}"
    return done.stdout


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
@pytest.mark.usefixtures("clone_folder")
def test_snippets_run(page, monkeypatch):
    for name in needs(page):
        pytest.importorskip(name)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    names = {}
    for language, code, shown in snippets(page):
        printed = run(language, code, names, page)
        if shown:
            pattern = re.escape(shown).replace("…", ".*")
            assert re.fullmatch(pattern, printed, re.DOTALL), f"{code}\n{printed}"


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
