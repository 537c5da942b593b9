"""Facts of the product, grid arithmetic, reducers and threads: NumPy at most, no I/O."""
