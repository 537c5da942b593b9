"""Measurements of cop-zarr against named peers, all of them in one run: ``python -m benchmarks``."""
