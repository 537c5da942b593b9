"""Scripts that run in processes of their own, some by an interpreter that has only rs-embed."""
