"""Commands on URLs: options for the filesystem, timeouts, the disk cache."""

import json
from pathlib import Path

import pytest

from tests.support import proxy, servers


@pytest.fixture
def web(run):
    """The URL of the working directory."""
    with servers.static_server(Path.cwd()) as url:
        yield url


def test_commands_by_url(run, web, box, data):
    result = run("query", f"{web}/a.zarr", *box)
    assert (result.exit_code, result.stderr) == (0, "")
    answer = json.loads(result.stdout)
    assert answer["data"] == pytest.approx(data.mean(axis=(1, 2), dtype="f8"), rel=1e-6)
    assert answer["meta"]["store"] == f"{web}/a.zarr"
    options = ("--timeout", 30, "--storage-options", '{"headers": {"X-Key": "secret"}}')
    assert f"{web}/a.zarr" in run("info", f"{web}/a.zarr", *options).stdout
    result = run("verify", f"{web}/a.zarr", "--source", f"{web}/a.tif", *options, "--source-options", "{}")
    assert result.exit_code == 0
    assert "1,920 values equal" in result.stdout
    assert "not looked for" in result.stdout  # a web server cannot list objects
    run.fails("ingest", "a.tif", f"{web}/b.zarr", word="http://")
    run.fails("repair", f"{web}/a.zarr", "--source", "a.tif", word="http://")
    run.fails("info", f"{web}/no.zarr", status=1, word=f"{web}/no.zarr")


def test_options_reach_the_filesystem(run, web):
    bad = '{"client_kwargs": {"nonsense": 1}}'
    run.fails("info", f"{web}/a.zarr", "--storage-options", bad, word="nonsense")
    for command in (
        ("ingest", f"{web}/a.tif", "b.zarr", "--source-options", bad),
        ("verify", "a.zarr", "--source", f"{web}/a.tif", "--source-options", bad),
    ):
        result = run(*command, catch=True)
        assert result.exit_code != 0
        assert "nonsense" in f"{result.stderr}{result.exception}"
    assert not Path("b.zarr").exists()


def test_denied_access_and_timeouts(run, web):
    with proxy.fault_proxy(web, lambda *_: proxy.Status(401)) as denying:
        run.fails("info", f"{denying.url}/a.zarr", status=1, word="401")
    with proxy.fault_proxy(web, lambda *_: proxy.Stall()) as stalling:
        run.fails("info", f"{stalling.url}/a.zarr", "--timeout", 0.3, status=1, word="Timeout")


def test_disk_cache(run, web, box):
    with proxy.fault_proxy(web) as watched:
        command = ("query", f"{watched.url}/a.zarr", *box, "--cache-dir", "kept")
        first = run(*command)
        assert (first.exit_code, len(watched.requests)) == (0, 7)
        watched.reset_counts()
        assert run(*command, "--cache-disk-bytes", "1MB").stdout == first.stdout
        assert [request.path for request in watched.requests] == ["/a.zarr/zarr.json"]
    assert len(list(Path("kept").glob("*/*"))) == 7


@pytest.mark.parametrize(
    ("option", "text"),
    [
        ("--timeout", "nan"),
        ("--timeout", "soon"),
        ("--storage-options", '{"secret": "hunter2"'),
        ("--source-options", '["hunter2"]'),
        ("--source-options", "hunter2"),
    ],
)
def test_wrong_options(run, box, option, text):
    """The message does not repeat what might be a secret."""
    commands = [("ingest", "a.tif", "b.zarr"), ("verify", "a.zarr"), ("repair", "a.zarr")]
    if option != "--source-options":
        commands += [("info", "a.zarr"), ("query", "a.zarr", *box)]
    for command in commands:
        message = run.fails(*command, option, text, word=option[2:5])
        assert "hunter2" not in message
    assert not Path("b.zarr").exists()
