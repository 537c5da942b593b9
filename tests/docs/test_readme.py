"""README.md, typed as it stands in a clone after its first command, prints what it shows."""

import contextlib
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.docs.test_snippets import ROOT, run, snippets

PAGE = ROOT / "README.md"
README = PAGE.read_text("utf-8")
STORE = ROOT / "data/standin.zarr"


def test_readme_is_one_page():
    assert len(README.splitlines()) <= 120


@pytest.mark.skipif(not STORE.exists(), reason="the README's first command has not been run here")
def test_readme_prints_what_it_shows(tmp_path, monkeypatch):
    for name in ("data", "docs"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("COP_ZARR_STORE", re.search("`export COP_ZARR_STORE=(.*?)`", README)[1])
    names, checked = {}, 0
    for language, code, shown in snippets(PAGE):
        printed = run(language, code, names, PAGE) if language == "python" else shell(code)
        assert printed == shown, code
        checked += bool(shown)
    assert checked == 5


@pytest.mark.skipif(not STORE.exists(), reason="the README's first command has not been run here")
def test_the_picture_is_the_one_of_the_quickstart():
    image = pytest.importorskip("PIL.Image")
    shown, drawn = (
        np.asarray(image.open(path).convert("RGB").resize((400, 239)), dtype=float)
        for path in (ROOT / "docs/globe.png", STORE.with_name("globe.png"))
    )
    assert abs(shown - drawn).mean() < 5  # of 255; another stand-in's colours differ by 20


def shell(code):
    """What a block prints on a terminal; the progress bars, on stderr, are left out."""
    terminal, stdout = pty.openpty()
    process = subprocess.Popen(["bash", "-euc", code], stdout=stdout, stderr=subprocess.PIPE)
    os.close(stdout)
    printed = b""
    with contextlib.suppress(OSError):  # what Linux says at the end of a terminal
        while read := os.read(terminal, 1 << 16):
            printed += read
    os.close(terminal)
    errors = process.communicate()[1]
    assert process.returncode == 0, errors
    return (printed.replace(b"\r\n", b"\n")).decode()
