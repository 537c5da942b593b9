"""Ways in for other libraries: PyTorch, xarray, rs-embed, files of tables, and files of cells.

Each module needs the package it is named after; ``tables``, and ``cell_files`` but for .npz, need pyarrow
and pyogrio.
"""
