"""The program itself: streams, signals, exit statuses, imports, help; and the types of options."""

import contextlib
import json
import os
import select
import subprocess
import sys
from typing import get_args

import click
import pytest

import cop_zarr
from cop_zarr.cli import main
from cop_zarr.cli.options import SIZE_UNITS, size
from cop_zarr.querying import options as words
from tests.support.patience import STUCK_SECONDS

PROGRAM = [sys.executable, "-c", "from cop_zarr.cli import main; main(prog_name='cop-zarr')"]


def program(*arguments, **options):
    return subprocess.run(
        [*PROGRAM, *map(str, arguments)], capture_output=True, text=True, check=False, **options
    )


def test_results_and_messages_are_apart(cli_folder, tmp_path, box, damage):
    """Without a terminal there is no progress: stderr is empty unless something is wrong."""
    done = program("ingest", cli_folder / "a.tif", "p.zarr", "--json", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["store"] == "p.zarr"
    done = program("query", "p.zarr", *box, cwd=tmp_path)
    assert (done.returncode, done.stderr, done.stdout.count("\n")) == (0, "", 1)
    damage(tmp_path / "p.zarr")
    done = program("query", "p.zarr", *box, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: p.zarr/embedding/c/0/0/0 (lat ")
    assert "Traceback" not in done.stderr
    assert program("query", "p.zarr", "--bbox", 1, 2, cwd=tmp_path).returncode == 2


def test_progress_is_for_terminals(cli_folder):
    ours, theirs = pytest.importorskip("pty").openpty()
    # without a width, tqdm shows nothing
    pytest.importorskip("termios").tcsetwinsize(theirs, (24, 80))
    command = [*PROGRAM, "verify", cli_folder / "a.zarr"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=theirs, check=True, timeout=STUCK_SECONDS)
    shown = b""
    while select.select([ours], [], [], 0)[0]:
        shown += os.read(ours, 10_000)
    os.close(theirs)
    os.close(ours)
    assert b"verify" in shown
    assert b"B/s" in shown
    assert b"B/s" not in done.stdout


def test_a_terminal_gets_a_summary_of_a_query(cli_folder, box):
    """And JSON if it asks for it."""
    pty = pytest.importorskip("pty")
    shown = []
    for options in ((), ("--json",)):
        ours, theirs = pty.openpty()
        command = [*PROGRAM, "query", cli_folder / "a.zarr", *box, *options]
        subprocess.run(command, stdout=theirs, check=True, timeout=STUCK_SECONDS)
        os.close(theirs)
        shown.append(b"")
        with contextlib.suppress(OSError):  # all has been read
            while part := os.read(ours, 10_000):
                shown[-1] += part
        os.close(ours)
    text, document = (part.decode() for part in shown)
    answer = cop_zarr.open(cli_folder / "a.zarr").query((20, 38, 22, 40))
    assert json.loads(document)["data"] == answer.data.tolist()
    assert f"cells   {answer.meta['valid_cells']} of 81 with data" in text
    assert "--empty include" in text
    assert f"first   {answer.data[0]:.4g} {answer.data[1]:.4g}" in text
    assert "lon 20 … 22, lat 38 … 40" in text


def test_a_reader_that_stops_gets_no_traceback(cli_folder, box):
    """``cop-zarr query … | head -c 1``."""
    with subprocess.Popen(
        [*PROGRAM, "query", str(cli_folder / "a.zarr"), *box, "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as running:  # fmt: skip
        running.stdout.close()
        assert "Traceback" not in running.stderr.read()


def test_a_full_device_gets_no_traceback(cli_folder):
    command = ["sh", "-c", '"$@" > /dev/full', "sh", *PROGRAM, "info", "a.zarr"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=cli_folder)
    assert done.returncode == 1
    assert "No space left" in done.stderr
    assert "Traceback" not in done.stderr


LIBRARIES = {"zarr", "tifffile", "imagecodecs", "pyproj", "fsspec"}


@pytest.mark.parametrize(
    ("arguments", "absent"),
    [
        (["--help"], {*LIBRARIES, "numpy", "numcodecs", "tqdm"}),
        (["query", "--help"], {*LIBRARIES, "numpy", "numcodecs"}),
        (
            ["query", "a.zarr", "--bbox", "20", "38", "22", "40"],
            {*LIBRARIES, "shapely", "exactextract", "tqdm", "xarray", "cop_zarr.querying.distributed",
             "cop_zarr.interop"},
        ),
    ],
    ids=["help", "help of query", "query"],
)  # fmt: skip
def test_a_command_imports_only_what_it_needs(cli_folder, arguments, absent):
    loaded = "import atexit, sys; atexit.register(lambda: print(*sys.modules, file=sys.stderr)); "
    code = f"{loaded}from cop_zarr.cli import main; main({arguments!r})"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=cli_folder, check=True
    )
    assert "click" in done.stderr.split()
    assert not absent & set(done.stderr.split())


def test_version_and_help(run):
    assert run("--version").stdout == f"cop-zarr, version {cop_zarr.__version__}\n"
    assert run("-h").stdout == run("--help").stdout
    for name in main.commands:
        assert f"Usage: main {name}" in run(name, "--help").stdout


def test_wrong_numbers_of_workers(run, monkeypatch):
    run.fails("verify", "a.zarr", "--workers", 0, word="workers")
    monkeypatch.setenv("COP_ZARR_WORKERS", "many")
    run.fails("info", "a.zarr", word="COP_ZARR_WORKERS")


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("0", 0), ("512MB", 512 << 20), ("512mib", 512 << 20), ("2G", 2 << 30), ("1.5 GB", 3 << 29),
        ("3k", 3072), ("1T", 1 << 40), ("7B", 7), (" 7 ", 7),
    ],
)  # fmt: skip
def test_sizes(text, count):
    assert size(text) == count


@pytest.mark.parametrize("text", ["", "-1", "GB", "1 000", "1e9", "1,5G", "1PB", "nan"])
def test_wrong_sizes(text):
    assert set(SIZE_UNITS) == {"", "K", "M", "G", "T"}
    with pytest.raises(click.BadParameter):
        size(text)


@pytest.mark.parametrize("option", ["output", "pooling", "weights", "empty", "subpixel"])
def test_words_are_those_of_python(option):
    (found,) = [param for param in main.commands["query"].params if param.name == option]
    accepted = {
        "output": get_args(words.Output),
        "pooling": get_args(words.Pooling),
        "weights": ("auto", "none", "coverage", "area"),
        "empty": get_args(words.Empty),
        "subpixel": get_args(words.Subpixel),
    }
    assert tuple(found.type.choices) == accepted[option]
