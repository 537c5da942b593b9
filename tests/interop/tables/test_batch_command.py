"""``cop-zarr batch``."""

import json

import pytest
from click.testing import CliRunner

from cop_zarr.cli import main
from tests.support.tables import write_csv


def test_the_command(points, store_path, tmp_path, monkeypatch):
    out = str(tmp_path / "o.parquet")
    run = CliRunner().invoke(main, ["batch", str(store_path), str(points[0]), "--to", out])
    assert run.exit_code == 0, run.output
    assert "500 rows x 16" in run.stdout
    run = CliRunner().invoke(main, ["batch", str(store_path), str(points[0]), "--to", out])
    assert run.exit_code == 1
    assert "--overwrite" in run.stderr
    monkeypatch.setenv("COP_ZARR_STORE", str(store_path))
    run = CliRunner().invoke(main, ["batch", str(points[0]), "--to", out, "--overwrite", "--json"])
    assert run.exit_code == 0, run.output
    assert json.loads(run.stdout)["rows"] == 500


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ([], "argument"),
        (["TABLE"], "--to"),
        (["a", "b", "c", "--to", "o.npy"], "3 names"),
        (["STORE", "TABLE", "--to", "o.xls"], ".npy"),
        (["STORE", "TABLE", "--to", "o.npy", "--on-error", "skip"], "skip"),
        (["STORE", "TABLE", "--to", "o.npy", "--columns", "a,b"], "'a', 'b'"),
    ],
)
def test_wrong_usage(arguments, word, points, store_path):
    names = {"STORE": str(store_path), "TABLE": str(points[0])}
    run = CliRunner().invoke(main, ["batch", *(names.get(each, each) for each in arguments)])
    assert run.exit_code == 2, run.output
    assert word in run.stderr


def test_rows_without_a_vector(store_path, tmp_path):
    table = write_csv(tmp_path / "bad.csv", ["lon", "lat"], [(1, 2)] + [("", "")] * 30)
    arguments = ["batch", str(store_path), str(table), "--to", str(tmp_path / "o.npy"), "--on-error", "nan"]
    run = CliRunner().invoke(main, arguments)
    assert run.exit_code == 0, run.output
    assert "row 1: " in run.stdout
    assert "10 more" in run.stdout
    assert "30 rows" in run.stdout
