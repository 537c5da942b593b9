"""What the extra ``all`` promises, in a clone where the README's first command was run: ``pages.py``.

A script without pytest, as :mod:`tests.extras.promises`. What the README prints, ``tests/docs`` compares.
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


def guides_import_what_is_there():
    """Import whatever a guide's Python imports."""
    for page in (ROOT / "docs").glob("*.md"):
        for language, code in blocks(page) if page.stem not in OTHERS else ():
            for name in imported(code) if language == "python" else ():
                importlib.import_module(name)


def readme_runs():
    """Run the README on the store of its first command."""
    os.environ["COP_ZARR_STORE"] = str(ROOT / "data/standin.zarr")
    with TemporaryDirectory() as folder, contextlib.chdir(folder):
        Path("docs").symlink_to(ROOT / "docs")
        run(blocks(ROOT / "README.md"))


def notebook_runs():
    """Run the notebook's code where it lies."""
    cells = json.loads((ROOT / "docs/notebook.ipynb").read_text("utf-8"))["cells"]
    with contextlib.chdir(ROOT / "docs"):
        run(("python", "".join(cell["source"])) for cell in cells if cell["cell_type"] == "code")


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
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    guides_import_what_is_there()
    readme_runs()
    notebook_runs()
