"""Which columns of a table say where its rows are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from cop_zarr.errors import InputError

Kind = Literal["geometry", "point", "box"]

KNOWN: tuple[tuple[Kind, tuple[str, ...]], ...] = (
    ("point", ("lon", "lat")),
    ("point", ("longitude", "latitude")),
    ("point", ("lng", "lat")),
    ("point", ("lon", "latitude")),
    ("box", ("minlon", "minlat", "maxlon", "maxlat")),
    ("box", ("min_lon", "min_lat", "max_lon", "max_lat")),
    ("box", ("west", "south", "east", "north")),
    ("box", ("minx", "miny", "maxx", "maxy")),
    ("box", ("xmin", "ymin", "xmax", "ymax")),
    ("geometry", ("wkt",)),
    ("geometry", ("geometry",)),
    ("geometry", ("geom",)),
    ("geometry", ("wkb",)),
)
"""Names that are understood, whatever their case. ``x`` and ``y`` are not among them: of what CRS?"""

KINDS: dict[int, Kind] = {1: "geometry", 2: "point", 4: "box"}
"""What so many columns are."""


@dataclass(frozen=True)
class Where:
    """The columns that say where a row is.

    Attributes
    ----------
    kind : {"geometry", "point", "box"}
        WKB or WKT in one column; x and y (longitude and latitude) in two; the west, south, east and north
        edge in four.
    names : tuple of str
        The columns.
    """

    kind: Kind
    names: tuple[str, ...]


def find(columns: Sequence[str], geometry: str | None, asked: Sequence[str] | None) -> Where:
    """Find the columns that say where the rows of a table are.

    Parameters
    ----------
    columns : sequence of str
        All columns.
    geometry : str or None
        The one that the file itself says is its geometry. It goes before all others.
    asked : sequence of str or None
        What the caller named: one, two or four columns.

    Raises
    ------
    InputError
        If there are none, or several that could be meant.
    """
    if asked is not None:
        return _asked(columns, tuple(asked))
    if geometry is not None:
        return Where("geometry", (geometry,))
    found = _known(columns)
    if not found:
        raise InputError(
            f"no columns say where the rows are; there are {', '.join(columns) or 'none'}. Name them with "
            "--columns (columns=): one of WKT or WKB, lon,lat, or west,south,east,north"
        )
    if len(found) > 1:
        several = " or ".join(",".join(where.names) for where in found)
        raise InputError(
            f"the columns could be read in more than one way, {several}; say which: --columns (columns=)"
        )
    return found[0]


def _known(columns: Sequence[str]) -> list[Where]:
    by_name: dict[str, list[str]] = {}
    for column in columns:
        by_name.setdefault(column.strip().lower(), []).append(column)
    found = []
    for kind, names in KNOWN:
        if all(name in by_name for name in names):
            found += [Where(kind, each) for each in _choices([by_name[name] for name in names])]
    return found


def _choices(several: Iterable[list[str]]) -> list[tuple[str, ...]]:
    """The columns of each name: one choice, or as many as the longest has, which differ in their case."""
    columns = list(several)
    return [
        tuple(each[min(number, len(each) - 1)] for each in columns)
        for number in range(max(map(len, columns)))
    ]


def _asked(columns: Sequence[str], names: tuple[str, ...]) -> Where:
    missing = [name for name in names if name not in columns]
    if missing:
        raise InputError(
            f"there is no column {', '.join(map(repr, missing))}; the columns are {', '.join(columns)}"
        )
    if len(names) not in KINDS or len(set(names)) != len(names):
        raise InputError(
            "columns must be one (WKT or WKB), two (lon,lat) or four (west,south,east,north), all "
            f"different; got {','.join(names)}"
        )
    return Where(KINDS[len(names)], names)
