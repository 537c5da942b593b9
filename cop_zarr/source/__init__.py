"""The GeoTIFF: find it, check it, read it."""
