"""The page that is shipped is what its sources give."""

import gzip
import json
import re
import shutil
import subprocess

import pytest

from tests.support.explorer import PAGE

SOURCE = PAGE.parent / "src"


@pytest.fixture(scope="module")
def source():
    """The sources; what they need is installed."""
    if shutil.which("node") is None or not (SOURCE / "node_modules").exists():
        pytest.skip("needs Node, and in cop_zarr/explorer/src: npm ci")
    return SOURCE


def run(*command):
    """Run a command in the folder of the sources."""
    done = subprocess.run(command, cwd=SOURCE, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_bundle_is_what_the_sources_give(source, tmp_path):
    run("node", "build.mjs", str(tmp_path))
    built = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    shipped = {path.name: path.read_bytes() for path in PAGE.iterdir()}
    assert sorted(built) == sorted(shipped)
    for name, data in built.items():
        assert data == shipped[name], f"{name} is another; build it: npm run build"


def test_types_and_format_of_the_sources(source):
    run("npx", "tsc", "-p", ".")
    run("npx", "prettier", "--check", ".", "--log-level", "warn")


def test_the_page_is_less_than_a_megabyte_compressed():
    assert sum(len(gzip.compress(path.read_bytes())) for path in PAGE.iterdir()) < 1_000_000


def test_licences_of_what_is_bundled_go_along():
    text = (PAGE / "LICENSES.txt").read_text()
    packages = json.loads((SOURCE / "package.json").read_text())["dependencies"]
    for name, version in packages.items():
        assert f"{name} {version} (" in text
    assert text.count("Permission is hereby granted") >= 3
    assert "Redistributions in binary form" in text  # OpenLayers


def test_the_page_names_no_other_server():
    """But namespaces, and pages to read in messages and licences."""
    for name in ("explorer.js", "worker.js", "index.html", "explorer.css"):
        found = set(re.findall(r"https?://[\w.-]+", (PAGE / name).read_text()))
        assert found <= {
            "http://www.w3.org",
            "http://www.opengis.net",
            "https://openlayers.org",
            "http://n",
        }, name
