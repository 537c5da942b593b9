"""The page that opens a store in a browser, and the small server for it.

``page/`` is what a browser gets. It is built from ``src/`` (TypeScript) and shipped as it is, so that
neither an installation nor a server needs Node. The page reads the store itself, as any Zarr reader does;
the server only hands out objects.
"""
