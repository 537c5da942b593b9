"""The diagram of docs/architecture.md is the import contract, and the contract names all of the package."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
(LAYERS,) = (contract["layers"] for contract in CONTRACTS if contract["type"] == "layers")


def test_every_folder_and_module_has_a_layer():
    found = {path.stem for path in (ROOT / "cop_zarr").iterdir() if path.suffix == ".py" or path.is_dir()}
    named = {name for layer in LAYERS for name in layer.split(" | ")}
    assert named == found - {"__init__", "__pycache__"}


def test_diagram_shows_the_layers_in_their_order():
    page = (ROOT / "docs/architecture.md").read_text("utf-8")
    diagram = page.partition("```text\n")[2].partition("```")[0]
    rows = [re.search(rf"^ +{layer.replace(' | ', ' +')}  ", diagram, re.MULTILINE) for layer in LAYERS]
    assert None not in rows, LAYERS[rows.index(None)]
    assert sorted(row.start() for row in rows) == [row.start() for row in rows]
