"""Help: lines that fit, what must be given, examples that are accepted; and completion in bash."""

import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

from cop_zarr.cli import main

COMMANDS = sorted(main.commands)
POLYGON = {"type": "Polygon", "coordinates": [[[20, 38], [22, 38], [22, 40], [20, 38]]]}


def test_the_summary_of_each_command_fits_in_its_line(run):
    lines = [
        line.split(maxsplit=1) for line in run("--help").stdout.partition("Commands:\n")[2].splitlines()
    ]
    assert [name for name, _ in lines] == COMMANDS
    for name, summary in lines:
        assert summary == main.commands[name].help.partition("\n")[0]
        assert summary.endswith(".")
        assert not summary.endswith("...")


@pytest.mark.parametrize("name", COMMANDS)
def test_usage_begins_with_the_arguments(run, name):
    usage = run(name, "--help").stdout.partition("\n")[0].removeprefix(f"Usage: main {name} ")
    arguments = {"ingest": "[SOURCE] [STORE]", "batch": "[STORE] ROIS", "synth": "", "quickstart": ""}
    assert usage.startswith(arguments.get(name, "[STORE]"))
    assert usage.endswith("[OPTIONS]")
    to = {"copy": "OTHER", "batch": "OUT", "cells": "OUT", "plot": "OUT", "synth": "OUT"}
    assert (f"--to {to[name]} " in usage) if name in to else ("--to" not in usage)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_report_as_json_and_examples(name):
    command = main.commands[name]
    assert [param for param in command.params if "--json" in param.opts]
    assert command.examples


EXAMPLES = [example for name in COMMANDS for example in main.commands[name].examples]


@pytest.mark.parametrize("example", EXAMPLES)
def test_examples_are_accepted(run, example):
    for name in ("lake.geojson", "countries.geojson"):
        Path(name).write_text(json.dumps(POLYGON))
    program, name, *arguments = shlex.split(example)
    assert program == "cop-zarr"
    assert len(example) <= 78  # with the indent, a terminal's line
    command = main.commands[name]
    parent = click.Context(main, info_name="cop-zarr")
    with parent, command.make_context(name, arguments, parent) as context:
        assert context.command is command
    assert example in run(name, "--help").stdout


def test_a_command_that_was_typed_as_it_used_to_be_is_shown_as_it_is_now(run):
    message = run.fails("copy", "a.zarr", "my copy.zarr", "--shards", word="too many")
    shown = message.rpartition("name the output by --to: main ")[2]
    assert run(*shlex.split(shown)).exit_code == 0
    assert Path("my copy.zarr/zarr.json").exists()
    run.fails("synth", "out.tif", "--bands", 1, word="synth --bands 1 --to out.tif")
    run.fails("plot", "a.zarr", "--region", "x.json", "--to", "out.png", word="--geojson")
    run.fails("plot", "a.zarr", "--region=x.json", "--to", "out.png", word="--geojson")


@pytest.mark.parametrize(
    ("command", "advice"),
    [
        (("similar", 20.5, 39.5, "-k", 3), "--point 20.5 39.5"),
        (("query", 20, 38, 22, 40), "--bbox 20 38 22 40"),
    ],
)
def test_numbers_without_an_option_are_taken_for_a_place(run, command, advice):
    run.fails(*command, status=2, word=advice)
    assert run(command[0], "a.zarr", *advice.split()).exit_code == 0


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("cop-zarr qu", ["query", "quickstart"]),
        ("cop-zarr query a.zarr --sub", ["--subpixel"]),
        ("cop-zarr query a.zarr --subpixel t", ["touch"]),
        ("cop-zarr query a.zarr --bbox 1 2 3", []),
        ("cop-zarr similar --within", ["--within-bbox", "--within-geojson"]),
    ],
)
def test_completion_in_bash(run, tmp_path, typed, expected):
    """As bash calls it, with the script that the documentation has evaluated."""
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("there is no bash")
    program = tmp_path / "cop-zarr"
    code = "from cop_zarr.cli import main; main(prog_name='cop-zarr')"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{code}" "$@"\n')
    program.chmod(0o755)
    script = f"""
        PATH="{tmp_path}:$PATH" PYTHONPATH="{Path(__file__).parents[2]}"
        export PATH PYTHONPATH
        eval "$(_COP_ZARR_COMPLETE=bash_source cop-zarr)"
        COMP_WORDS=({typed}) COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
        _cop_zarr_completion cop-zarr
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run([bash, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == expected
