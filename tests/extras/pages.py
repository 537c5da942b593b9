"""What the extra ``all`` promises, in a clone where the README's first command was run: ``pages.py``.

A script without pytest, as :mod:`tests.extras.promises`.
"""

import ast
import contextlib
import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parents[2]

OTHERS = {"readers", "rs-embed", "training"}
"""Pages about packages that ``all`` does not bring."""

STORE = ROOT / "data/standin.zarr"
"""The store that the README's first command makes."""


def readme_and_guides():
    """README and notebook run as they stand; what the guides import is there."""
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    os.environ["COP_ZARR_STORE"] = str(STORE)
    guides = [page for page in (ROOT / "docs").glob("*.md") if page.stem not in OTHERS]
    for page in guides:
        for code in (code for language, code in blocks(page) if language == "python"):
            for name in imported(code):
                importlib.import_module(name)
    run(blocks(ROOT / "README.md"))
    notebook = json.loads((ROOT / "docs/notebook.ipynb").read_text("utf-8"))["cells"]
    with TemporaryDirectory() as folder, contextlib.chdir(folder):
        run(("python", "".join(cell["source"])) for cell in notebook if cell["cell_type"] == "code")


def blocks(page):
    """(language, code) of a page's blocks that run, but those that .ci/run runs itself."""
    fence = re.compile(r"(<!-- ci: \w+ -->\n)?^```(python|sh)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    return [(language, code) for ci, language, code in fence.findall(page.read_text("utf-8")) if not ci]


def imported(code):
    """Names of the modules that some code imports."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module


def run(blocks):
    """Run blocks one after another, as a reader would."""
    names = {}
    for language, code in blocks:
        if language == "python":
            exec(code, names)
        else:
            subprocess.run(["bash", "-euc", code], check=True)


if __name__ == "__main__":
    readme_and_guides()
