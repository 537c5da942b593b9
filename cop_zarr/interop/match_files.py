"""Write matches to a file: ``.geojson``, ``.csv``, ``.parquet``, or a picture."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

from cop_zarr.outputs.files import PICTURES, check_target
from cop_zarr.outputs.matches import Matches
from cop_zarr.storage import replacing

TABLES = (".parquet", ".geoparquet")
SUFFIXES = (".geojson", ".csv", *TABLES, *PICTURES)


def check_match_file(path: Path, *, overwrite: bool) -> None:
    """Check suffix, absence, and the packages that write it, before the work is done."""
    check_target(path, overwrite, SUFFIXES)
    if path.suffix.lower() in TABLES:
        from cop_zarr.interop.tables.writers import check_writable  # needs pyarrow

        check_writable(path, overwrite=overwrite)
    if path.suffix.lower() in PICTURES:
        from cop_zarr.outputs.plotting import save  # noqa: F401  # needs matplotlib


def write_matches(path: Path, matches: Matches, *, overwrite: bool) -> None:
    """Write matches, the best first.

    - ``.geojson``: points with their properties, as :meth:`Matches.to_geojson`
    - ``.csv``: ``rank``, ``lon``, ``lat``, ``score``, ``row`` and ``col``
    - ``.parquet``, ``.geoparquet``: GeoParquet of points, with the same columns but the rank, and
      ``embedding``
    - ``.png``, ``.svg``, ``.pdf``: as :meth:`Matches.plot`

    The file appears when it is complete. Errors are those of :func:`check_match_file`.
    """
    check_match_file(path, overwrite=overwrite)
    suffix = path.suffix.lower()
    if suffix in TABLES:
        from cop_zarr.interop.tables.cells import write_match_table

        write_match_table(path, matches)
    elif suffix in PICTURES:
        from cop_zarr.outputs.plotting import save

        save.save_plot(path, lambda axes: matches.plot(ax=axes), overwrite=overwrite)
    else:
        text = json.dumps(matches.to_geojson()) if suffix == ".geojson" else _csv(matches)
        with replacing(path) as partial:
            partial.write_text(text, "utf-8", newline="")


def _csv(matches: Matches) -> str:
    file = io.StringIO()
    writer = csv.DictWriter(file, ["rank", *matches.fields()], lineterminator="\n")
    writer.writeheader()
    writer.writerows({"rank": rank, **cell} for rank, cell in enumerate(matches.records(), 1))
    return file.getvalue()
