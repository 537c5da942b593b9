"""``cop-zarr batch``."""

import json

import pytest
from click.testing import CliRunner

from cop_zarr.cli import main
from tests.support.tables import write_csv


def run(*arguments):
    return CliRunner().invoke(main, ["batch", *map(str, arguments)])


def test_the_command(points, store_path, tmp_path, monkeypatch):
    out = tmp_path / "o.parquet"
    done = run(store_path, points[0], "--to", out)
    assert done.exit_code == 0, done.output
    assert "500 rows x 16" in done.stdout
    done = run(store_path, points[0], "--to", out)
    assert done.exit_code == 1
    assert "--overwrite" in done.stderr
    monkeypatch.setenv("COP_ZARR_STORE", str(store_path))
    done = run(points[0], "--to", out, "--overwrite", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["rows"] == 500


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
    done = run(*(names.get(each, each) for each in arguments))
    assert done.exit_code == 2, done.output
    assert word in done.stderr


def test_rows_without_a_vector(store_path, tmp_path):
    table = write_csv(tmp_path / "bad.csv", ["lon", "lat"], [(1, 2)] + [("", "")] * 30)
    done = run(store_path, table, "--to", tmp_path / "o.npy", "--on-error", "nan")
    assert done.exit_code == 0, done.output
    assert "line 3: " in done.stdout
    assert "10 more" in done.stdout
    assert "30 rows" in done.stdout
