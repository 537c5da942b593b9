"""cop-zarr explore: what is served, derived, written, refused; how it ends."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

import pytest

import cop_zarr
from tests.cli.test_program import PROGRAM
from tests.support.patience import STUCK_SECONDS, until
from tests.support.servers import static_server


@contextlib.contextmanager
def exploring(*arguments, cwd, **environment):
    """The running program and the report that it printed; it is ended if the test has not."""
    command = [*PROGRAM, "explore", *map(str, arguments), "--json"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=cwd,
        env={**os.environ, **environment},
    ) as running:  # fmt: skip
        try:
            lines = [running.stdout.readline()]
            while lines[-1] not in {"}\n", ""}:
                lines.append(running.stdout.readline())
            assert lines[-1], running.stderr.read()
            yield running, json.loads("".join(lines))
        finally:
            running.kill()


def read(url):
    with urllib.request.urlopen(url, timeout=STUCK_SECONDS) as answer:
        return answer.read()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 0), (signal.SIGTERM, 128 + signal.SIGTERM)])
def test_serves_until_it_is_ended(run, tmp_path, number, status):
    with exploring("a.zarr", "--no-browser", cwd=tmp_path) as (running, report):
        assert (report["store"], report["components"]) == ("a.zarr", "a.zarr")
        assert cop_zarr.open("a.zarr").components().kept  # derived, because they were missing
        assert read(f"{report['url']}store/zarr.json") == Path("a.zarr/zarr.json").read_bytes()
        assert b"<!doctype html>" in read(report["url"]).lower()
        with socket.create_connection(("127.0.0.1", int(report["url"].split(":")[2].strip("/")))):
            running.send_signal(number)  # while a browser is connected
            assert running.wait(STUCK_SECONDS) == status
        assert running.stderr.read() == ""
    with pytest.raises(urllib.error.URLError):
        read(report["url"])


def test_prints_one_line_for_people(run, tmp_path):
    command = [*PROGRAM, "explore", "a.zarr", "--no-browser"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path) as running:
        line = running.stdout.readline()
        assert re.fullmatch(r"a\.zarr is at http://127\.0\.0\.1:\d+/ until Ctrl-C\n", line)
        running.send_signal(signal.SIGINT)
        assert running.stdout.read() == ""


def test_opens_the_browser(run, tmp_path):
    browser = tmp_path / "browser"
    part, opened = tmp_path / "opened.part", tmp_path / "opened"
    browser.write_text(f'#!/bin/sh\nprintf %s "$1" > {part}\nmv {part} {opened}\n')
    browser.chmod(0o755)
    with exploring("a.zarr", cwd=tmp_path, BROWSER=f"{browser} %s") as (running, report):
        until(opened.exists)
        assert opened.read_text() == report["url"]
        assert running.poll() is None


@pytest.mark.parametrize("browser", ["lynx %s", "false"])
def test_does_without_a_browser(run, tmp_path, browser):
    """One for the terminal, and one that fails."""
    with exploring("a.zarr", cwd=tmp_path, BROWSER=browser) as (running, report):
        assert read(report["url"])
        running.send_signal(signal.SIGINT)
        assert running.wait(STUCK_SECONDS) == 0


def test_a_port_that_is_taken(run):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        run.fails("explore", "a.zarr", "--port", port, word="--port")
    assert not Path("a.zarr/components").exists()  # refused before the work


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--port", "65536"], "65535"), (["--port", "-1"], "0"), (["--overwrite"], "--to"),
        (["--to", "page", "--port", "0"], "--port"), (["--to", "page", "--no-browser"], "--no-browser"),
        (["--to", "a.zarr"], "beside"),
        (["--to", "s3://bucket/page"], "URL"),
    ],
)  # fmt: skip
def test_wrong_options(run, options, word):
    run.fails("explore", "a.zarr", *options, word=word)
    assert not Path("page").exists()
    assert not Path("a.zarr/components").exists()


def test_what_is_no_store(run, tmp_path):
    run.fails("explore", "absent.zarr", status=1, word="absent.zarr")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/file").touch()
    run.fails("explore", "folder", status=1, word="not a cop-zarr store")
    run.fails("explore", "absent.zarr", "--to", "page", status=1, word="absent.zarr")
    assert not Path("page").exists()


def test_damaged_components_are_said_and_mended_by_what_is_said(run, tmp_path):
    run("components", "a.zarr")
    (tmp_path / "a.zarr/components/zarr.json").write_bytes(b"{}")
    message = run.fails("explore", "a.zarr", "--no-browser", status=1, word="--overwrite")
    assert run(*message.partition("cop-zarr ")[2].partition(";")[0].split()).exit_code == 0
    with exploring("a.zarr", "--no-browser", cwd=tmp_path) as (_, report):
        assert report["components"] == "a.zarr"


@pytest.fixture
def read_only(run, tmp_path):
    """The URL of a.zarr, on a server that only reads."""
    (tmp_path / "served").mkdir()
    shutil.copytree("a.zarr", "served/a.zarr")
    with static_server(tmp_path / "served") as base:
        yield f"{base}/a.zarr"


def check_components(folder, store):
    """See that a folder holds a store's components, by putting them into the store."""
    shutil.copytree(folder / "components", Path(store) / "components")
    assert cop_zarr.verify(store).ok
    assert cop_zarr.open(store).components().kept


def test_components_of_a_store_that_cannot_be_written_are_cached(read_only, tmp_path):
    cache, times = {"XDG_CACHE_HOME": str(tmp_path / "cache")}, []
    for is_first in [True, False]:
        with exploring(read_only, "--no-browser", cwd=tmp_path, **cache) as (running, report):
            folder = Path(report["components"])
            assert folder == tmp_path / "cache/cop-zarr/explorer" / cop_zarr.open("a.zarr").sha256
            assert b'<meta name="components" content="./components/"' in read(report["url"])
            paths = [path for path in (folder / "components").rglob("*") if path.is_file()]
            for path in paths:
                assert read(f"{report['url']}{path.relative_to(folder).as_posix()}") == path.read_bytes()
            running.send_signal(signal.SIGINT)
            assert running.wait(STUCK_SECONDS) == 0
            assert ("can only be read" in running.stderr.read()) == is_first  # derived once, said once
            times.append([path.stat().st_mtime_ns for path in paths])
    assert times[0] == times[1]
    assert folder.parent.stat().st_mode & 0o777 == 0o700
    check_components(folder, "a.zarr")


def test_a_disk_that_cannot_be_written(run, tmp_path):
    """A file lies where the components would be made, which root meets as others do."""
    Path("a.zarr.partial").touch()
    cache = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    with exploring("a.zarr", "--no-browser", cwd=tmp_path, **cache) as (running, report):
        assert report["components"].startswith(cache["XDG_CACHE_HOME"])
        running.send_signal(signal.SIGINT)
        assert "in the way" in running.stderr.read()


@pytest.mark.parametrize(
    "key", ["components/zarr.json", "components/scores/c/0/0/0", "components/axes/c/0/0"]
)
def test_damaged_components_in_the_cache_are_derived_again(read_only, tmp_path, monkeypatch, key):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    store = cop_zarr.open(read_only)
    store.explore().close()
    (damaged,) = (tmp_path / "cache").glob(f"cop-zarr/explorer/*/{key}")
    good = damaged.read_bytes()
    damaged.write_bytes(good[:-1])
    store.explore().close()
    assert damaged.read_bytes() == good or key == "components/zarr.json"  # which has the time
    check_components(next((tmp_path / "cache").glob("cop-zarr/explorer/*")), "a.zarr")


def test_a_cache_that_others_can_write(read_only, tmp_path, monkeypatch, run):
    folder = tmp_path / "cache/cop-zarr/explorer"
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    run.fails("explore", read_only, "--no-browser", word="XDG_CACHE_HOME")


class TestTo:
    """The page as files."""

    def test_writes_the_page_beside_the_store(self, run, tmp_path):
        report = json.loads(run("explore", "a.zarr", "--to", "page", "--json").stdout)
        assert report["files"] == sorted(
            path.relative_to("page").as_posix() for path in Path("page").rglob("*") if path.is_file()
        )
        assert (report["store_address"], report["components"]) == ("../a.zarr/", "a.zarr")
        assert cop_zarr.open("a.zarr").components().kept
        index = Path("page/index.html").read_text("utf-8")
        assert '<meta name="store" content="../a.zarr/"' in index
        assert '<meta name="components" content=""' in index
        assert '<meta name="store-name" content=""' in index  # its URL is known where it is read
        with static_server(tmp_path) as base:
            assert read(f"{base}/page/../a.zarr/zarr.json") == Path("a.zarr/zarr.json").read_bytes()

    def test_a_page_that_is_there_is_replaced_if_asked(self, run):
        run("explore", "a.zarr", "--to", "page")
        Path("page/index.html").write_text("old")
        Path("page/mine.txt").write_text("mine")
        run.fails("explore", "a.zarr", "--to", "page", status=1, word="--overwrite")
        assert Path("page/index.html").read_text() == "old"
        assert "../a.zarr/" in run("explore", "a.zarr", "--to", "page", "--overwrite").stdout
        assert "../a.zarr/" in Path("page/index.html").read_text("utf-8")
        assert Path("page/mine.txt").read_text() == "mine"

    def test_another_folder_that_is_in_use(self, run):
        Path("site").mkdir()
        Path("site/index.html").write_text("my site")
        run.fails("explore", "a.zarr", "--to", "site", status=1, word="index.html")
        Path("site/index.html").rename("site/other.html")
        assert run("explore", "a.zarr", "--to", "site").exit_code == 0

    @pytest.mark.parametrize(
        ("folder", "address"),
        [
            ("page", "../a.zarr/"), ("sites/my page", "../../a.zarr/"), ("a.zarr/explorer", "../"),
            (".", "a.zarr/"),
        ],
    )  # fmt: skip
    def test_the_store_is_found_from_the_folder(self, run, folder, address):
        report = json.loads(run("explore", "a.zarr", "--to", folder, "--json").stdout)
        assert report["store_address"] == address
        assert f'content="{address}"' in Path(folder, "index.html").read_text("utf-8")
        assert run("verify", "a.zarr").exit_code == 0

    def test_the_store_is_that_of_the_variable(self, run, monkeypatch):
        monkeypatch.setenv("COP_ZARR_STORE", "a.zarr")
        assert json.loads(run("explore", "--to", "page", "--json").stdout)["store"] == "a.zarr"

    def test_names_that_need_quoting(self, run):
        shutil.move("a.zarr", 'a #1 "><script>&?%.zarr')
        run("explore", 'a #1 "><script>&?%.zarr', "--to", "page")
        index = Path("page/index.html").read_text("utf-8")
        assert 'content="../a%20%231%20%22%3E%3Cscript%3E%26%3F%25.zarr/"' in index

    def test_a_store_that_cannot_be_written_has_its_components_beside_the_page(self, read_only, run):
        report = json.loads(run("explore", read_only, "--to", "page", "--json").stdout)
        assert (report["store_address"], report["components"]) == (f"{read_only}/", "page")
        index = Path("page/index.html").read_text("utf-8")
        assert '<meta name="components" content="./components/"' in index
        check_components(Path("page"), "a.zarr")
        assert sorted(path.name for path in Path().glob("page*")) == ["page"]
        before = Path("page/components/zarr.json").read_bytes()
        run("explore", read_only, "--to", "page", "--overwrite")
        assert Path("page/components/zarr.json").read_bytes() == before
