"""The site: `sphinx-build -W -n docs build/site`, with what the extra `docs` installs.

Pages are the Markdown files beside this one, as they are read on GitHub, too; `api/` is made from the
docstrings. Nothing is fetched: a build without a network is the same build.
"""

import os
import re
from importlib.util import find_spec
from typing import Any

from sphinx.application import Sphinx

from cop_zarr import __version__

project = "cop-zarr"
author = "cop-zarr contributors"
copyright = author  # noqa: A001  # Sphinx's name
release = version = __version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "myst_nb",
    "sphinx_click",
]
exclude_patterns = ["pictures"]

# The reference: docstrings state types in words, with units and shapes; the annotations are for checkers.
autodoc_typehints = "none"
autodoc_member_order = "bysource"
autodoc_mock_imports = [name for name in ("torch", "rs_embed") if find_spec(name) is None]  # gigabytes
autosummary_generate = False  # tables only; everything is described on the page that lists it
napoleon_google_docstring = False
napoleon_use_param = False
napoleon_use_rtype = False
add_module_names = False
python_maximum_signature_line_length = 88
python_display_short_literal_types = True

# The notebook is kept without outputs and run in docs/, as by its readers: one that fails stops the build.
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 120
nb_merge_streams = True
myst_heading_anchors = 3
myst_enable_extensions = ["deflist"]

smartquotes = False  # options and commands stay as they are typed

html_theme = "furo"
html_title = f"cop-zarr {release}"
html_show_copyright = False
html_show_sphinx = False
html_static_path = ["_static"]
html_css_files = ["site.css"]

nitpick_ignore = [
    ("py:class", "ndarray"),  # NumPy's
    ("py:class", "sequence"),  # a word
    ("py:class", "GeoTiffInfo"),  # what a plan holds for reports, not public
    ("py:class", "Layout"),
    ("py:class", "QueryOptions"),  # the keywords of Store.query, described there
]
nitpick_ignore_regex = [
    ("py:.*", r"(torch|rs_embed|xarray|dask|distributed|geopandas|matplotlib|zarr)\..*")
]

# Links to the pages of other packages need their inventories, and those a network: COP_ZARR_DOCS_ONLINE=1.
if os.environ.get("COP_ZARR_DOCS_ONLINE"):
    extensions.append("sphinx.ext.intersphinx")
    intersphinx_mapping = {
        "python": ("https://docs.python.org/3", None),
        "numpy": ("https://numpy.org/doc/stable", None),
        "xarray": ("https://docs.xarray.dev/en/stable", None),
    }

OUTSIDE = {
    "README.md": "start.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "benchmarks/README.md": "benchmarks.md",
}
"""Pages of the repository, and those that include them here."""


def link_inside(_app: Sphinx, *source: Any) -> None:
    """Have links lead to the site's pages: in the repository they are right as they are."""
    page: list[str] = source[-1]  # after one name, or two; its one text is changed in place
    for there, here in OUTSIDE.items():
        page[0] = re.sub(rf"\]\((?:\.\./)?{re.escape(there)}(?=[)#])", f"]({here}", page[0])
    page[0] = re.sub(r"\]\((?:\.\./)?docs/", "](", page[0])


def add_examples(_app: Sphinx, context: Any, lines: list[str]) -> None:
    """Print a command's examples below its options."""
    if examples := getattr(context.command, "examples", ()):
        lines += ["", ".. code-block:: console", "", *(f"   $ {example}" for example in examples), ""]


def setup(app: Sphinx) -> None:
    """Connect."""
    app.connect("sphinx-click-process-epilog", add_examples)
    app.connect("source-read", link_inside)
    app.connect("include-read", link_inside)
