"""The store on disk: layout, documents, codec, metadata, and reading its chunks."""
