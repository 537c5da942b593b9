"""The pictures and tables of docs/regions.md and docs/plotting.md are those that docs/pictures.py makes."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("matplotlib")
pytest.importorskip("exactextract")

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "regions.md").read_text("utf-8")
PLOTTING = (DOCS / "plotting.md").read_text("utf-8")
SHOWN = sorted(re.findall(r"!\[[^]]*\]\(pictures/([^)]+)\)", PAGE + PLOTTING))
LARGEST = {"globe.png": 600_000}  # 340,000 cells, each of its own colour


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """What the script prints, its folder of pictures, and its folder for temporary files."""
    out, scratch = tmp_path_factory.mktemp("pictures") / "new", tmp_path_factory.mktemp("scratch")
    done = subprocess.run(
        [sys.executable, "-W", "error", DOCS / "pictures.py", "--out", out],
        capture_output=True,
        encoding="utf-8",
        env={"TMPDIR": str(scratch), "HOME": str(scratch), "PYTHONIOENCODING": "utf-8"},
        cwd=scratch,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, out, scratch


def test_page_shows_what_the_script_draws(made):
    _, out, _ = made
    assert len(SHOWN) == 7
    assert sorted(path.name for path in out.iterdir()) == SHOWN
    assert sorted(path.name for path in (DOCS / "pictures").iterdir()) == SHOWN


@pytest.mark.parametrize("name", SHOWN)
def test_picture_is_whole_and_small(made, name):
    for folder in (made[1], DOCS / "pictures"):
        data = (folder / name).read_bytes()
        assert data[:8] == b"\x89PNG\r\n\x1a\n"
        assert data[-8:-4] == b"IEND"
        assert int.from_bytes(data[16:20]) == 1350  # pixels wide
        assert 10_000 < len(data) < LARGEST.get(name, 120_000)


def test_tables_are_those_on_the_page(made):
    tables = made[0].strip().split("\n\n")
    assert len(tables) == 2
    for table in tables:
        assert f"\n\n{table}\n\n" in PAGE
    assert PAGE.count("first numbers") == len(tables)


def test_nothing_is_left_behind(made):
    assert not list(made[2].glob("tmp*"))
