"""``cop-zarr ingest``, ``verify``, ``repair``, ``info``, ``synth`` and ``quickstart``."""

import json
import re
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

import cop_zarr
from cop_zarr.cli.quickstart import REGIONS
from cop_zarr.core.grid import Grid, Window
from cop_zarr.source.synthetic import LATTICE
from tests.support import factory


def names(folder=""):
    return sorted(path.name for path in Path(folder).iterdir())


def test_info(run):
    text = run("info", "a.zarr").stdout
    facts = [
        "20 x 24 cells of 0.25°",
        "bands     4",
        "2021",
        "NOT the published file",
        "CC-BY-4.0",
        "arXiv",
    ]
    assert not [fact for fact in facts if fact.lower() not in text.lower()]
    assert json.loads(run("info", "a.zarr", "--json").stdout) == cop_zarr.open("a.zarr").info()


def test_ingest(run, data):
    result = run("ingest", "a.tif", "new.zarr")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "NOT the published file" in result.stdout
    np.testing.assert_array_equal(
        cop_zarr.open("new.zarr").query((20, 38, 22, 40), output="grid").data, data
    )
    run.fails("ingest", "a.tif", "new.zarr", status=1, word="--overwrite")
    report = json.loads(run("ingest", "a.tif", "new.zarr", "--overwrite", "--json").stdout)
    assert (report["store"], report["total_cells"]) == ("new.zarr", 20 * 24)
    assert report["source"]["sha256"] == sha256(Path("a.tif").read_bytes()).hexdigest()


def test_cells_that_are_not_numbers_are_reported(run, data):
    values = data.copy()
    values[:, :4] = np.nan
    values[1, 6, 3] = np.inf
    factory.write_geotiff(Path("nan.tif"), values)
    result = run("ingest", "nan.tif", "new.zarr")
    assert result.exit_code == 0
    assert "36 cells" in result.stdout
    assert "1 cell " in result.stdout
    assert "1 cell " in result.stderr
    assert "36 cells" in run("info", "new.zarr").stdout
    source = json.loads(run("info", "new.zarr", "--json").stdout)["source"]
    assert (source["nan_cells"], source["non_finite_cells"]) == (36, 1)
    assert run("verify", "new.zarr", "--source", "nan.tif").exit_code == 0


def test_dry_run_writes_nothing(run):
    before = names()
    assert "20 x 24 cells, 4 bands" in run("ingest", "a.tif", "new.zarr", "--dry-run").stdout
    plan = json.loads(run("ingest", "a.tif", "new.zarr", "--dry-run", "--json").stdout)
    assert (plan["store"], plan["info"]["bands"]) == ("new.zarr", 4)
    run.fails("ingest", "a.tif", "a.zarr", "--dry-run", status=1, word="--overwrite")
    run.fails("ingest", "a.tif", "new.zarr", "--dry-run", "--strict", status=1, word="published")
    assert run("ingest", "a.tif", "a.zarr", "--dry-run", "--overwrite").exit_code == 0
    assert names() == before


@pytest.mark.parametrize(
    ("arguments", "status", "word"),
    [
        (("no.tif", "new.zarr"), 1, "no.tif"),
        (("a.tif", "new.zarr", "--strict"), 1, "SHA-256"),
        (("a.tif", "new.zarr", "--memory", "1MB"), 2, "memory"),
        (("a.tif", "new.zarr", "--workers", "0"), 2, "workers"),
        (("a.tif", "new.zarr", "--workers", "x"), 2, "'x'"),
        (("a.tif", "a.tif"), 1, "folder"),
        ((".", "new.zarr"), 1, "embed_map_"),
    ],
)
def test_wrong_ingests_leave_nothing(run, arguments, status, word):
    before = names()
    run.fails("ingest", *arguments, status=status, word=word)
    assert names() == before


def test_resume(run):
    """An interrupted ingest is continued; a complete store stays as it is."""
    job = Path("b.zarr.partial/ingest/job.json")
    job.parent.mkdir(parents=True)
    job.write_text(json.dumps({"created": "2021-01-01T00:00:00+00:00", "overwrite": False}))
    run.fails("ingest", "a.tif", "b.zarr", status=1, word="--resume")
    run.fails("info", "b.zarr", status=1, word="b.zarr")
    result = run("ingest", "a.tif", "b.zarr", "--resume")
    assert (result.exit_code, result.stderr) == (0, "")
    assert run("verify", "b.zarr", "--source", "a.tif").exit_code == 0
    assert not job.parent.exists()
    before = Path("b.zarr/zarr.json").stat().st_mtime_ns
    assert run("ingest", "a.tif", "b.zarr", "--resume").exit_code == 0
    assert Path("b.zarr/zarr.json").stat().st_mtime_ns == before
    run.fails("ingest", "elsewhere.tif", "b.zarr", "--resume", status=1, word="--overwrite")


def test_ctrl_c_says_how_to_continue(run, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(cop_zarr, "ingest", interrupted)
    run.fails("ingest", "a.tif", "b.zarr", status=1, word="--resume")


def test_verify(run, damage):
    result = run("verify", "a.zarr")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "1,920 values equal" in run("verify", "a.zarr", "--source", "a.tif").stdout
    report = json.loads(run("verify", "a.zarr", "--source", "a.tif", "--json").stdout)
    assert (report["ok"], report["values_compared"], report["problems"]) == (True, 20 * 24 * 4, [])
    run.fails("verify", "a.zarr", "--source", "elsewhere.tif", word="elsewhere.tif")
    run.fails("verify", "a.zarr", "--source", "no.tif", status=1, word="no.tif")
    damage()
    result = run("verify", "a.zarr")
    assert result.exit_code == 1
    assert result.stdout.startswith("embedding/c/0/0/0: ")
    result = run("verify", "a.zarr", "--json")
    report = json.loads(result.stdout)
    assert (result.exit_code, report["ok"], report["damaged_chunks"]) == (1, False, 1)
    assert [problem["key"] for problem in report["problems"]] == ["embedding/c/0/0/0"]


def test_repair(run, damage):
    """A line for each object, then the verdict."""
    run.fails("repair", "no.zarr", "--source", "a.tif", status=1, word="no.zarr")
    run.fails("repair", "a.zarr", "--source", "elsewhere.tif", word="elsewhere.tif")
    damage()
    Path("a.zarr/valid/c/0/0").unlink()
    Path("a.zarr/embedding/c/0/9").mkdir()
    Path("a.zarr/embedding/c/0/9/9").write_bytes(b"unknown")
    verified = run("verify", "a.zarr")
    assert verified.exit_code == 1
    assert "3 problems" in verified.stdout
    assert "cop-zarr repair a.zarr --source TIF" in verified.stdout
    result = run("repair", "a.zarr", "--source", "a.tif")
    assert result.exit_code == 0
    keys = [line.split(":")[0] for line in result.stdout.splitlines()[:-1]]
    assert keys == ["embedding/c/0/0/0", "valid/c/0/0", "embedding/c/0/9/9"]
    assert run("verify", "a.zarr", "--source", "a.tif").exit_code == 0


def test_repair_as_json(run, damage):
    damage()
    Path("a.zarr/notes.txt").write_text("precious")
    result = run("repair", "a.zarr", "--source", "a.tif", "--json")
    report = json.loads(result.stdout)
    assert result.exit_code == 0
    assert (report["ok"], report["rewritten"], report["removed"]) == (True, ["embedding/c/0/0/0"], [])
    assert (report["problems"], report["foreign"]) == ([], ["notes.txt"])
    assert "notes.txt" in run("verify", "a.zarr").stdout


def test_repair_finds_the_default_source(run, damage):
    Path("embed_map_x.tif").symlink_to("a.tif")
    damage()
    assert run("repair", "a.zarr").exit_code == 0
    assert run("verify", "a.zarr").exit_code == 0


@pytest.mark.parametrize(
    ("store", "status", "word"),
    [
        ("no.zarr", 1, "there is a.zarr"),
        ("memory://no.zarr", 1, "memory://no.zarr"),
        (".", 1, "cop-zarr store"),
        ("", 2, "empty"),
        ("nonsense://me:secret@x/a.zarr", 2, "nonsense://x/a.zarr"),
    ],
)
def test_what_is_not_a_store(run, box, store, status, word):
    for command in (("info", store), ("verify", store), ("query", store, *box)):
        assert "secret" not in run.fails(*command, status=status, word=word)


def test_default_store(run, box, monkeypatch):
    run.fails("query", *box, status=1, word="data/copernicus_embed.zarr")
    monkeypatch.setenv("COP_ZARR_STORE", "a.zarr")
    for command in (("query", *box), ("info",), ("verify",)):
        assert run(*command).exit_code == 0


def test_synth(run):
    result = run("synth", "--to", "s.tif", "--bands", 3, "--bbox", 178, 60, -170, 70, "--seed", 5)
    assert result.exit_code == 0
    assert re.fullmatch(r"s\.tif: 41 x 49 cells x 3 bands, synthetic, \d+ KiB\n", result.stdout)
    run.fails("synth", "--to", "s.tif", "--bands", 3, status=1, word="--overwrite")
    run.fails("synth", "--to", "t.tif", "--bands", 0, word="bands")
    assert run("ingest", "s.tif", "s.zarr").exit_code == 0
    assert "SYNTHETIC" in run("info", "s.zarr").stdout
    assert json.loads(run("query", "s.zarr", "--bbox", 179, 65, -179, 66).stdout)["meta"]["synthetic"]


def test_quickstart_on_a_synthetic_file(run, monkeypatch):
    def small(*args, **options):
        return synthesize(*args, bands=4, grid=LATTICE.part(Window(150, 180, 750, 790)), **options)

    synthesize = cop_zarr.synthesize
    monkeypatch.setattr(cop_zarr, "synthesize", small)
    result = run("quickstart", "--folder", "qs")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "MADE-UP" in result.stdout
    assert "4,800 values: equal" in result.stdout
    assert not [name for name in REGIONS if name not in result.stdout]
    assert names("qs") == ["globe.png", "standin.tif", "standin.zarr"]
    export, query, explore = [line.split() for line in result.stdout.splitlines()[-3:]]
    assert export == ["export", "COP_ZARR_STORE=qs/standin.zarr"]
    monkeypatch.setenv(*export[1].split("="))
    answer = json.loads(run(*query[1:]).stdout)
    assert answer["meta"]["synthetic"]
    assert run(*explore[1:], "--to", "page").exit_code == 0


def test_quickstart_uses_again_what_is_there(run, monkeypatch):
    def small(*args, **options):
        return synthesize(*args, bands=4, grid=LATTICE.part(Window(200, 220, 1180, 1200)), **options)

    synthesize = cop_zarr.synthesize
    monkeypatch.setattr(cop_zarr, "synthesize", small)
    run("quickstart")
    before = Path("data/standin.zarr/zarr.json").stat().st_mtime_ns
    monkeypatch.setattr(cop_zarr, "synthesize", None)
    result = run("quickstart")
    assert result.exit_code == 0, result.output
    assert result.stdout.count("used again") == 3
    assert Path("data/standin.zarr/zarr.json").stat().st_mtime_ns == before
    Path("data/standin.zarr/zarr.json").unlink()  # as an ingest that was killed would have left it
    result = run("quickstart", "--json")
    assert (result.exit_code, result.stderr.count("used again")) == (0, 1), result.output
    report = json.loads(result.stdout)
    assert (report["store"], report["synthetic"], report["components"]) == ("data/standin.zarr", True, 4)
    assert report["values_compared"] == 20 * 20 * 4


def test_quickstart_with_a_source_and_then_its_store(run, monkeypatch):
    """The file of the variable becomes the store; a store that exists stays as it is."""
    monkeypatch.setattr(cop_zarr, "synthesize", None)
    monkeypatch.setenv("COP_ZARR_STORE", "new.zarr")
    Path("embed_map_310k.tif").symlink_to("a.tif")
    result = run("quickstart")
    assert result.exit_code == 0
    assert "MADE-UP" not in result.stdout
    assert cop_zarr.open("new.zarr").grid == Grid(200, 800, 20, 24)
    before = Path("new.zarr/zarr.json").stat().st_mtime_ns
    result = run("quickstart")
    assert result.exit_code == 0, result.output
    assert result.stdout.count("outside this store") == len(REGIONS)  # a.tif covers none of them
    assert Path("new.zarr/zarr.json").stat().st_mtime_ns == before
