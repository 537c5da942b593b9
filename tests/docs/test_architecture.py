"""docs/architecture.md is a true picture: of every module, and of what each may import."""

import ast
import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "cop_zarr"
PAGE = (ROOT / "docs" / "architecture.md").read_text("utf-8")
ROWS = re.findall(r"^\| (`[^|]+`) \|", PAGE, re.MULTILINE)
NAMED = [name for row in ROWS for name in re.findall(r"`([\w.]+)`", row)]

FILES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path
    for path in PACKAGE.rglob("*.py")
    if path.name != "__init__.py"
}
PACKAGES = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}


def imported(path):
    """The modules of this package that a file imports, wherever in it, but not for types alone."""
    tree = ast.parse(path.read_text("utf-8"))
    typing = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in set(ast.walk(tree)) - typing:
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "cop_zarr":
            inside = node.module.partition(".")[2]
            for alias in node.names:
                name = f"{inside}.{alias.name}".strip(".")
                yield name if name in FILES or name in PACKAGES else inside


def test_every_module_has_its_line():
    assert set(FILES) - set(NAMED) == set()


def test_every_line_is_of_a_module_that_is_there():
    assert set(NAMED) - set(FILES) - PACKAGES == set()
    assert len(NAMED) == len(set(NAMED))


def test_a_module_imports_those_above_it():
    def row(name):
        """Its own, or that of its package."""
        return NAMED.index(name if name in top else name.partition(".")[0])

    top = NAMED[: NAMED.index("cli") + 1]
    seen = 0
    for module, path in FILES.items():
        for name in filter(None, imported(path)):
            inside = module.partition(".")[0] == name.partition(".")[0] and module not in top
            if not inside and module != name:
                assert row(name) < row(module), f"{module} imports {name}"
                seen += 1
    assert seen > 100


def test_every_module_has_its_layer():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    layers = {
        name.removeprefix("cop_zarr.")
        for contract in contracts
        if contract["type"] == "layers"
        for layer in contract["layers"]
        for name in layer.split(" | ")
    }
    lacking = {name for name in set(FILES) | PACKAGES if name not in layers and not name.startswith("cli.")}
    assert lacking == {"interop", "clusters"}  # whose modules lie in several
