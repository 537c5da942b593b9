"""The same fault has the same exit status in every command: 1 the job failed, 2 what was typed is wrong."""

import json
import shutil
import sys
from pathlib import Path

import pytest

import cop_zarr
from cop_zarr.cli import main

PLACE = ("--point", "21.3", "39.1")
POLYGON = {"type": "Polygon", "coordinates": [[[20, 38], [22, 38], [22, 40], [20, 38]]]}

READING = {
    "info": ("info", "STORE"),
    "verify": ("verify", "STORE"),
    "repair": ("repair", "STORE", "--source", "a.tif"),
    "query": ("query", "STORE", "--bbox", "20,38,22,40"),
    "cells": ("cells", "STORE", "--to", "out.npz"),
    "plot": ("plot", "STORE", "--to", "out.png", "--dpi", "40"),
    "similar": ("similar", "STORE", *PLACE),
    "components": ("components", "STORE"),
    "components to a file": ("components", "STORE", "--to", "out.nc"),
    "copy": ("copy", "STORE", "--to", "out.zarr"),
    "batch": ("batch", "STORE", "points.csv", "--to", "out.npy"),
    "explore": ("explore", "STORE", "--to", "page"),
}
"""Commands that read a store."""

WRITING = {
    "query": ("query", "a.zarr", "--bbox", "20,38,22,40", "--to", "OUT.npy"),
    "cells": ("cells", "a.zarr", "--to", "OUT.npz"),
    "cells in a table": ("cells", "a.zarr", "--to", "OUT.parquet"),
    "plot": ("plot", "a.zarr", "--dpi", "40", "--to", "OUT.png"),
    "similar": ("similar", "a.zarr", *PLACE, "--to", "OUT.csv"),
    "components": ("components", "a.zarr", "--to", "OUT.nc"),
    "batch": ("batch", "a.zarr", "points.csv", "--to", "OUT.npy"),
    "synth": ("synth", "--bands", "1", "--bbox", "20,38,22,40", "--to", "OUT.tif"),
    "copy": ("copy", "a.zarr", "--to", "OUT.zarr"),
    "ingest": ("ingest", "a.tif", "OUT.zarr"),
    "explore": ("explore", "a.zarr", "--to", "OUT.page"),
}
"""Commands that write an output."""

REGIONS = {
    "query": ("query", "a.zarr"),
    "cells": ("cells", "a.zarr", "--to", "out.npz"),
    "plot": ("plot", "a.zarr", "--to", "out.png"),
    "weights": ("plot", "a.zarr", "--to", "out.png", "--show", "weights"),
    "similar": ("similar", "a.zarr"),
}
"""Commands of a region, which is still to be named."""

INPUTS = {
    **{f"{name} --geojson": (*command, "--geojson", "INPUT.json") for name, command in REGIONS.items()},
    "similar --not-geojson": ("similar", "a.zarr", *PLACE, "--not-geojson", "INPUT.json"),
    "similar --within-geojson": ("similar", "a.zarr", *PLACE, "--within-geojson", "INPUT.json"),
    "batch": ("batch", "a.zarr", "INPUT.csv", "--to", "out.npy"),
    "batch of GeoJSON": ("batch", "a.zarr", "INPUT.geojson", "--to", "out.npy"),
    "ingest": ("ingest", "INPUT.tif", "out.zarr"),
    "verify": ("verify", "a.zarr", "--source", "INPUT.tif"),
    "repair": ("repair", "a.zarr", "--source", "INPUT.tif"),
}
"""Commands that read a file beside the store."""


def each(commands, *, but=()):
    return pytest.mark.parametrize(
        "command", [pytest.param(value, id=name) for name, value in commands.items() if name not in but]
    )


def put(command, **names):
    """The command with other words: STORE, or what follows OUT or INPUT."""
    for word, name in names.items():
        command = [part.replace(word, name) for part in command]
    return command


@pytest.fixture(autouse=True)
def points(run):
    """What the commands read beside the store."""
    Path("points.csv").write_text("lon,lat\n21.3,39.1\n")


@each(READING)
def test_no_store(run, command):
    run.fails(*put(command, STORE="no.zarr"), status=1, word="no.zarr")


@each(READING)
def test_a_file_or_another_folder_is_no_store(run, command):
    Path("folder").mkdir()
    Path("folder/notes.txt").touch()
    for name in ("points.csv", "folder"):
        run.fails(*put(command, STORE=name), status=1, word=name)


@each(READING, but=("repair",))
def test_a_store_whose_root_is_damaged(run, command):
    Path("a.zarr/zarr.json").write_text("{")
    result = run(*put(command, STORE="a.zarr"))
    assert result.exit_code == 1
    assert "zarr.json" in result.output


@each(READING, but=("info", "repair"))
def test_a_damaged_chunk(run, damage, command):
    damage()
    result = run(*put(command, STORE="a.zarr"))
    assert result.exit_code == 1, result.output
    assert "cop-zarr repair a.zarr" in result.output


@each(INPUTS)
def test_no_input(run, command):
    message = run.fails(*put(command, INPUT="no"), status=1, word="no.")
    assert "Usage" not in message


@each(INPUTS)
def test_a_folder_is_no_input(run, command):
    for suffix in ("json", "csv", "geojson", "tif"):
        Path(f"folder.{suffix}").mkdir()
    run.fails(*put(command, INPUT="folder"), status=1, word="folder.")


@each(INPUTS)
def test_an_input_that_is_something_else(run, command):
    for suffix in ("json", "geojson", "tif"):
        Path(f"odd.{suffix}").write_bytes(b"\0nothing")
    Path("odd.csv").write_bytes(b"\0\0")
    run.fails(*put(command, INPUT="odd"), status=1, word="odd.")


@each(WRITING)
def test_an_output_that_cannot_be_written(run, command):
    Path("file").touch()
    run.fails(*put(command, OUT="file/out"), status=1, word="file")
    assert not list(Path().glob("*.partial"))


@each(WRITING)
def test_an_output_that_exists(run, command):
    command = put(command, OUT="out")
    assert run(*command).exit_code == 0
    run.fails(*command, status=1, word="--overwrite")
    assert run(*command, "--overwrite").exit_code == 0


@each(WRITING, but=("copy", "ingest", "explore"))
def test_a_folder_is_no_file_to_write(run, command):
    for suffix in ("npy", "npz", "parquet", "png", "csv", "nc", "tif"):
        Path(f"out.{suffix}").mkdir()
    for options in ((), ("--overwrite",)):
        run.fails(*put(command, OUT="out"), *options, status=1, word="out.")


def test_a_file_is_no_folder_to_write(run):
    Path("out").touch()
    for command in (
        ("explore", "a.zarr", "--to", "out"),
        ("ingest", "a.tif", "out"),
        ("copy", "a.zarr", "--to", "out"),
    ):
        run.fails(*command, status=1, word="out")
    result = run("quickstart", "--folder", "out")
    assert result.exit_code == 1
    assert "out/standin.tif" in result.stderr


@each(WRITING, but=("copy", "ingest", "explore"))
def test_an_output_of_another_ending(run, command):
    run.fails(*command[:-1], "out.docx", word="out.docx must end in")


@pytest.mark.parametrize(
    ("package", "command"),
    [
        ("matplotlib", ("plot", "a.zarr", "--to", "out.png")),
        ("matplotlib", ("similar", "a.zarr", *PLACE, "--to", "out.png")),
        ("pyarrow", ("similar", "a.zarr", *PLACE, "--to", "out.parquet")),
        ("pyarrow", ("cells", "a.zarr", "--to", "out.parquet")),
        ("pyarrow", ("batch", "a.zarr", "points.csv", "--to", "out.npy")),
        ("h5netcdf", ("components", "a.zarr", "--to", "out.nc")),
    ],
)
def test_a_missing_package(run, monkeypatch, package, command):
    for name in [
        name
        for name in sys.modules
        if name.startswith((package, "cop_zarr.outputs.plotting", "cop_zarr.interop.tables"))
    ]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(vars(cop_zarr), "batch", raising=False)  # which is imported when it is first used
    run.fails(*command, status=1, word="pip install")


@each(REGIONS)
@pytest.mark.parametrize(
    ("region", "word"),
    [
        (("--bbox", "a", "1", "2", "3"), "'a'"),
        (("--bbox", "22", "40", "20", "38"), "minlat"),
        (("--bbox", "100", "38", "102", "40"), "outside"),
        (("--geojson", "bow.json"), "--repair"),
        (("--bbox", "1", "2", "3", "4", "--crs", "EPSG:0"), "EPSG:0"),
        (("--point", "21", "39", "--buffer", "-1"), "--buffer"),
        (("--bbox", "20", "38", "22", "40", "--shape", "disc"), "disc"),
    ],
)  # fmt: skip
def test_wrong_regions(run, command, region, word):
    bow_tie = [[[20, 38], [22, 40], [22, 38], [20, 40], [20, 38]]]
    Path("bow.json").write_text(json.dumps({"type": "Polygon", "coordinates": bow_tie}))
    if command[0] == "similar" and "bow.json" in region:
        word = "not valid"  # it repairs nothing
    run.fails(*command, *region, word=word)


@pytest.mark.parametrize("name", sorted(main.commands))
def test_what_no_command_accepts(run, name):
    run.fails(name, "--colour", word="--colour")
    run.fails(name, "a.zarr", "b.zarr", "c.zarr", "--to", "d.zarr")


@pytest.mark.parametrize(
    "words",
    [
        ("ingest a.tif out.zarr --encoding int4"), ("ingest a.tif out.zarr --memory lots"),
        ("copy a.zarr --to out.zarr --workers 0"), ("copy a.zarr"), ("synth"),
        ("batch a.zarr --to out.npy"), ("batch a.zarr points.csv"),
        ("verify a.zarr --timeout nan"), ("verify a.zarr --workers none"),
        ("info a.zarr --storage-options x"), ("info a.zarr --timeout -1"),
        ("query a.zarr --bbox 20,38,22,40 --pooling median"),
        ("query a.zarr --bbox 20,38,22,40 --year 2020"),
        ("cells a.zarr"), ("plot a.zarr"), ("plot a.zarr --to out.png --dpi 0"),
        ("similar a.zarr --point 21 39 -k 0"), ("similar a.zarr --point 21 39 --metric l1"),
        ("components a.zarr --count 0"), ("explore a.zarr --port 65536"),
        ("batch a.zarr points.csv --to out.npy --columns a,b"), ("synth --to out.tif --bands 0"),
    ],
)  # fmt: skip
def test_wrong_values(run, words):
    run.fails(*words.split())
    assert not list(Path().glob("out.*"))


@each(INPUTS, but=("ingest", "verify", "repair"))
def test_inputs_that_are_good_do_work(run, command):
    """So that the refusals above are of the input."""
    Path("in.json").write_text(json.dumps(POLYGON))
    shutil.copy("in.json", "in.geojson")
    shutil.copy("points.csv", "in.csv")
    result = run(*put(command, INPUT="in"))
    assert result.exit_code == 0, result.output
