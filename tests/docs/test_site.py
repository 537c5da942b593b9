"""The site: nothing public is missing from its reference, no page from its contents; notebook, citation.

The site itself is built by ``.ci/run``, where a warning is an error.
"""

import ast
import inspect
import json
import re
from importlib.util import find_spec
from pathlib import Path

import pytest

import cop_zarr
from cop_zarr import errors
from cop_zarr.core import product
from tests.support.patience import STUCK_SECONDS

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
NOTEBOOK = json.loads((DOCS / "notebook.ipynb").read_text("utf-8"))
REFERENCE = {page.stem: page.read_text("utf-8") for page in (DOCS / "api").glob("*.rst")}
DESCRIBED = re.compile(r"^\.\. auto(?:class|function|exception):: ([\w.]+)", re.MULTILINE)


def test_every_public_name_is_described_once():
    described = [name.rpartition(".")[2] for text in REFERENCE.values() for name in DESCRIBED.findall(text)]
    assert len(described) == len(set(described))
    names = set(cop_zarr.__all__) - {"__version__"}
    assert not names - set(described)
    assert "cop_zarr.__version__" in REFERENCE["making"]


def test_every_error_is_described():
    tree = ast.parse(inspect.getsource(errors))
    classes = {node.name for node in tree.body if isinstance(node, ast.ClassDef)}
    assert classes - {"DamageError"} == set(DESCRIBED.findall(REFERENCE["errors"]))  # which is internal


def definition(module, name):
    """The class or function in a module's source, or a package's, whose imports need not be installed."""
    home = Path(find_spec(module).origin)
    files = sorted(home.parent.glob("*.py")) if home.name == "__init__.py" else [home]
    nodes = (node for file in files for node in ast.parse(file.read_text("utf-8")).body)
    kinds = (ast.ClassDef, ast.FunctionDef)
    return next(node for node in nodes if isinstance(node, kinds) and node.name == name)


def test_every_described_name_exists():
    for page, text in REFERENCE.items():
        for described in DESCRIBED.findall(text):
            module, _, name = described.rpartition(".")
            if module:
                assert ast.get_docstring(definition(module, name)), described
            else:
                assert inspect.getdoc(getattr(errors if page == "errors" else cop_zarr, name)), described


def test_signatures_written_by_hand_are_those_of_the_source():
    """Those of classes whose bases are mocked, so that Sphinx cannot see them."""
    written = re.findall(r"autoclass:: (\S+)\.(\w+)\((store.*)\)", REFERENCE["interop"])
    assert len(written) == 3
    for module, name, signature in written:
        members = definition(module, name).body
        found = next(n.args for n in members if isinstance(n, ast.FunctionDef) and n.name == "__init__")
        claimed = ast.parse(f"def __init__(self, {signature}): ...").body[0].args
        for arguments in (found, claimed):
            for argument in [*arguments.args, *arguments.kwonlyargs]:
                argument.annotation = None
        assert ast.dump(claimed) == ast.dump(found), name


def test_every_page_is_in_the_contents():
    """A page that no table of contents names is a warning for Sphinx, and lost to readers."""
    index = (DOCS / "index.md").read_text("utf-8")
    contents = "".join(re.findall(r"(?s)```{toctree}\n(.*?)```", index))
    listed = re.findall(r"^(?:.+ <)?([\w/-]+)>?$", contents, re.MULTILINE)
    pages = {page.stem for page in [*DOCS.glob("*.md"), *DOCS.glob("*.ipynb")]} - {"index"}
    assert set(listed) == pages | {"api/index"}
    api = (DOCS / "api/index.md").read_text("utf-8")
    assert {name for name in REFERENCE if re.search(rf"^{name}$", api, re.MULTILINE)} == set(REFERENCE)


def test_notebook_is_kept_without_outputs_and_says_that_values_are_made_up():
    code = [cell for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]
    assert len(code) > 5
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    assert "made up" in "".join(NOTEBOOK["cells"][0]["source"])
    assert [cell for cell in code if "(made-up values)" in "".join(cell["source"])]


@pytest.mark.slow
def test_notebook_runs_twice(tmp_path):
    pytest.importorskip("ipykernel")
    pytest.importorskip("matplotlib")
    pytest.importorskip("xarray")
    nbclient = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    notebook = nbformat.read(DOCS / "notebook.ipynb", as_version=4)
    (tmp_path / "docs").mkdir()
    for _ in range(2):
        nbclient.NotebookClient(
            notebook,
            timeout=int(STUCK_SECONDS),
            resources={"metadata": {"path": str(tmp_path / "docs")}},
            kernel_name="python3",
        ).execute()
    assert {path.name for path in (tmp_path / "data").iterdir()} == {"notebook.tif", "notebook.zarr"}
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    printed = "".join(output.get("text", "") for output in outputs if output.get("name") == "stdout")
    assert not [output for output in outputs if output.get("name") == "stderr"]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 3
    assert "'synthetic': True" in printed
    cosines = [float(value) for value in re.findall(r"cosine (\S+)", printed)]
    assert cosines[:2] == [1, 1]  # zeros shorten a mean and don't turn it, as the text says
    assert 0.9 < cosines[2] < 1


def test_citation_cites_software_and_paper():
    yaml = pytest.importorskip("yaml")
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert (cited["cff-version"], cited["type"], cited["license"]) == ("1.2.0", "software", "Apache-2.0")
    assert {"message", "title", "authors"} <= set(cited)  # which CFF 1.2.0 requires, too
    paper, file = cited["references"]
    for word in (paper["authors"][0]["family-names"], paper["title"], paper["url"], str(paper["year"])):
        assert word in product.CITATION
    assert file["url"].endswith(product.REPOSITORY)
    assert (file["commit"], file["license"]) == (product.REVISION, product.LICENSE)
