"""The pictures of the pages, and the tables of docs/regions.md, are those that docs/pictures.py makes."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
REGIONS, *OTHERS = ((DOCS / f"{name}.md").read_text("utf-8") for name in ("regions", "plotting", "recipes"))
SHOWN = sorted(re.findall(r"!\[[^]]*\]\(pictures/([^)]+)\)", "".join([REGIONS, *OTHERS])))


def check_pictures(folder):
    assert sorted(path.name for path in folder.iterdir()) == SHOWN
    for name in SHOWN:
        data = (folder / name).read_bytes()
        assert data[:8] == b"\x89PNG\r\n\x1a\n"
        assert data[-8:-4] == b"IEND"
        assert int.from_bytes(data[16:20]) == 1350  # pixels wide
        assert 10_000 < len(data) < 120_000


def test_pages_show_every_picture():
    assert len(SHOWN) == 7
    check_pictures(DOCS / "pictures")


@pytest.mark.slow
def test_the_script_makes_the_pictures_and_tables(standin, tmp_path):
    pytest.importorskip("matplotlib")
    pytest.importorskip("exactextract")
    pytest.importorskip("sklearn")
    scratch, out = tmp_path / "scratch", tmp_path / "new"
    scratch.mkdir()
    done = subprocess.run(
        [sys.executable, "-W", "error", DOCS / "pictures.py", "--out", out],
        capture_output=True,
        encoding="utf-8",
        env={"COP_ZARR_STORE": str(standin), "HOME": str(scratch), "PYTHONIOENCODING": "utf-8"},
        cwd=scratch,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    check_pictures(out)
    tables = done.stdout.strip().split("\n\n")
    assert len(tables) == REGIONS.count("first numbers") == 2
    for table in tables:
        assert f"\n\n{table}\n\n" in REGIONS
