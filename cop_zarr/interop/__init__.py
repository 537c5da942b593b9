"""Ways in for other libraries: PyTorch, xarray, rs-embed, and files of tables.

Each module needs the package it is named after; ``tables`` needs pyarrow and pyogrio.
"""
