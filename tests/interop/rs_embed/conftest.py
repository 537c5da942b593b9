"""Tests of the adapter for rs-embed, which needs rs-embed itself (Python 3.12 or newer)."""

from importlib.util import find_spec

collect_ignore_glob = [] if find_spec("rs_embed") else ["test_*.py"]
