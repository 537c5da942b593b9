"""Decode every tile and throw it away, the floor of any ingest: ``decode_only.py TIF THREADS``."""

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import imagecodecs
import tifffile

path, threads = sys.argv[1], int(sys.argv[2])
with tifffile.TiffFile(path) as tiff:
    page = tiff.pages.first
    segments = sorted(
        zip(page.databytecounts, page.dataoffsets, strict=True), reverse=True
    )  # the largest first, as the ingest takes them
    decoded_bytes = page.tilelength * page.tilewidth * page.samplesperpixel * 4

with Path(path).open("rb") as file, ThreadPoolExecutor(threads) as pool:

    def decode(segment: tuple[int, int]) -> int:
        """Read and decode one tile; gives its decoded size."""
        length, offset = segment
        return len(imagecodecs.deflate_decode(os.pread(file.fileno(), length, offset), out=decoded_bytes))

    print(sum(pool.map(decode, segments)))
