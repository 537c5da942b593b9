"""Tests of the adapter for rs-embed; all but the contract need rs-embed itself (Python 3.12 or newer)."""

from importlib.util import find_spec

NEED_RS_EMBED = ["test_rs_embed.py", "test_sidecar_store.py", "test_sparse_raster.py"]

collect_ignore = [] if find_spec("rs_embed") else NEED_RS_EMBED
