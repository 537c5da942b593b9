"""From source to store: ingest, verify, repair."""
