"""From a region, many regions or points to vectors."""
