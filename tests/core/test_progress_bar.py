"""Bars, as a terminal shows them."""

import logging
import os
import pty
import re
import subprocess
import sys
import termios
import time

import pytest

import cop_zarr
from cop_zarr.core.progress_bar import progress_bar
from cop_zarr.errors import InputError
from tests.support import factory

BARE = {"TERM": "xterm", "PYTHONPATH": os.pathsep.join(sys.path)}


def screens(written):
    """What a line of a terminal shows in turn, and what is left of it."""
    shown = [text.rstrip() for text in re.split(r"[\r\n]+", written)]
    return [text for text in shown if text], written.rpartition("\r")[2]


def test_a_bar_does_not_stay_at_its_end(capsys):
    with progress_bar(True, "batch", "row") as advance:
        for done in range(5):
            advance(done, 4)
        for done in (1, 2):
            advance(done, 2)  # the next step
    seen, left = screens(capsys.readouterr().err)
    assert seen[0] == "batch …"
    assert any(re.fullmatch(r"batch:\s+0%\|.*\| 0\.00/4\.00 .*", text) for text in seen)
    assert seen[-1] == "batch: writing the file"
    assert not any("100%" in text for text in seen)
    assert left == ""  # the bar has gone


def test_what_is_logged_is_above_the_bar_and_no_end_is_rounded_up(capsys):
    with progress_bar(True, "ingest") as advance:
        advance(0, 1000)
        logging.getLogger("cop_zarr.test").warning("a word")
        advance(999, 1000)
        time.sleep(0.15)  # tqdm draws ten times a second
        advance(999, 1000)
    written = capsys.readouterr().err
    before, after = written.split("a word\n")
    assert before.rpartition("\r")[2] == ""
    assert "ingest:   0%" in after
    assert "100%" not in after


def test_a_bar_goes_when_the_work_fails(capsys):
    with pytest.raises(KeyError), progress_bar(True, "ingest") as advance:
        advance(1, 3)
        raise KeyError
    assert screens(capsys.readouterr().err)[1] == ""


def test_what_else_progress_may_be(capsys):
    for nothing in (None, False):
        with progress_bar(nothing, "ingest") as advance:
            assert advance is None
    with progress_bar(print, "ingest") as advance:
        assert advance is print
    with progress_bar(True, "ingest", only_on_terminal=True) as advance:
        assert advance is None  # stderr is none
    with pytest.raises(InputError, match=r"True or a function.*'yes'"), progress_bar("yes", "ingest"):
        pass
    assert capsys.readouterr().err == ""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder of a source, a table of points, and a store."""
    folder = tmp_path_factory.mktemp("bars")
    values = factory.truth((200, 220), (800, 824), 4)
    factory.write_geotiff(folder / "a.tif", values, rows=(200, 220), cols=(800, 824))
    cop_zarr.ingest(folder / "a.tif", folder / "a.zarr")
    (folder / "places.csv").write_text("lon,lat\n20.5,39.5\n21,39\n")
    return folder


CALLS = {
    "sample": "store.sample([20.5, 21], [39.5, 39], progress=True)",
    "query_many": "store.query_many([(20, 39, 22, 40)] * 2, progress=True)",
    "patches": "store.patches([20.5], [39.5], 3, progress=True)",
    "cells": "store.cells(progress=True)",
    "iter_cells": "list(store.iter_cells(progress=True))",
    "similar": "store.similar((20.5, 39.5), k=2, progress=True)",
    "similarity": "store.similarity((20.5, 39.5), progress=True)",
    "similar_many": "store.similar_many([(20.5, 39.5)], k=2, progress=True)",
    "components": "store.components(recompute=True, progress=True)",
    "plot": "store.plot(ax=matplotlib.figure.Figure().add_subplot(), progress=True)",
    "explore": "store.explore(progress=True).close()",
    "batch": "cop_zarr.batch('places.csv', 'a.npy', store, progress=True, overwrite=True)",
    "ingest": "cop_zarr.ingest('a.tif', 'b.zarr', progress=True, overwrite=True)",
    "plan_ingest": "cop_zarr.plan_ingest('a.tif', 'c.zarr', progress=True)",
    "copy": "cop_zarr.copy('a.zarr', 'c.zarr', progress=True, overwrite=True)",
    "verify": "cop_zarr.verify('a.zarr', 'a.tif', progress=True)",
    "repair": "cop_zarr.repair('a.zarr', 'a.tif', progress=True)",
    "keep_components": "cop_zarr.keep_components('a.zarr', progress=True, overwrite=True)",
    "synthesize": "cop_zarr.synthesize('b.tif', bands=1, progress=True, overwrite=True)",
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_where_there_is_a_callback_true_shows_a_bar(place, capsys, monkeypatch, call):
    monkeypatch.chdir(place)
    import matplotlib.figure  # noqa: F401, PLC0415  # of one call

    eval(call, {**globals(), **locals(), "store": cop_zarr.open("a.zarr")})
    seen, left = screens(capsys.readouterr().err)
    assert seen[0].endswith(" …")
    assert not any("100%" in text for text in seen)
    assert left == ""


def on_terminal(command, folder):
    """The output of a command on a terminal of 80 columns, its exit status first."""
    parent, child = pty.openpty()
    termios.tcsetwinsize(child, (24, 80))  # without a width, tqdm shows nothing
    program = [sys.executable, "-c", "from cop_zarr.cli import main; main()", *command]
    environment = {**os.environ, **BARE}
    process = subprocess.Popen(program, cwd=folder, env=environment, stdout=child, stderr=child)
    os.close(child)
    written = b""
    try:
        while block := os.read(parent, 1 << 16):
            written += block
    except OSError:  # the terminal's other end is closed
        pass
    os.close(parent)
    return process.wait(), written.decode()


@pytest.mark.parametrize(
    "command",
    [
        ["ingest", "a.tif", "b.zarr", "--overwrite"],
        pytest.param(["verify", "a.zarr", "--source", "a.tif"], marks=pytest.mark.slow),
        pytest.param(["copy", "a.zarr", "--to", "c.zarr", "--overwrite"], marks=pytest.mark.slow),
        pytest.param(["components", "a.zarr", "--overwrite"], marks=pytest.mark.slow),
        ["batch", "a.zarr", "places.csv", "--to", "a.npy", "--overwrite"],
        pytest.param(["cells", "a.zarr", "--to", "a.npz", "--overwrite"], marks=pytest.mark.slow),
    ],
    ids=lambda command: command[0],
)
def test_on_a_terminal_nothing_of_a_bar_is_left(place, command):
    status, written = on_terminal(command, place)
    assert status == 0, written
    assert f"{command[0]} …" in written
    assert "100%" not in written
    for line in written.replace("\r\n", "\n").split("\n"):
        left = line.rpartition("\r")[2]
        assert not re.search(r"\d%\|| …$|: completing|: writing|: finishing", left), line
