"""Read layers of features (GeoJSON, GeoPackage and others that GDAL reads) through pyogrio."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyogrio

from cop_zarr.errors import InputError, SourceError
from cop_zarr.storage.files import temporary_folder

READ_ROWS = 16_384

GDAL_NAME, USUAL_NAME = "wkb_geometry", "geometry"
"""The name of an unnamed geometry column, in GDAL and elsewhere."""

ARC_STEP_DEG = 0.5
"""Largest angle of an arc that a chord replaces: the area of a circle is 13 millionths too small."""

READ_ERRORS = (pa.ArrowInvalid, OSError, RuntimeError)
"""pyogrio's errors are RuntimeErrors."""


class VectorReader:
    """A layer of features; see :class:`cop_zarr.interop.tables.readers.TableReader`."""

    has_layers: ClassVar[bool] = True
    decimal: str = "."
    dialect: str | None = None

    def __init__(self, path: Path, layer: str | None = None) -> None:
        self.path = path
        try:
            self.layer: str | None = self._find_layer(layer)
            info = pyogrio.read_info(path, layer=self.layer, force_feature_count=True)
            with self._open(0) as (meta, reader):
                self.schema = _plain_schema(reader.schema)
        except READ_ERRORS as error:
            raise SourceError(f"cannot read features from {path}: {error}") from error
        self.rows: int = info["features"]
        self.geometry_crs: object | None = meta["crs"]
        name = _usual_name(meta["geometry_name"] or GDAL_NAME)
        self.geometry_column: str | None = name if name in self.schema.names else None

    def read(self, first: int) -> Iterator[pa.RecordBatch]:
        """Yield the rows from ``first`` on."""
        try:
            with self._open(first) as (_, reader):
                for batch in reader:
                    yield pa.RecordBatch.from_arrays(batch.columns, schema=_plain_schema(batch.schema))
        except READ_ERRORS as error:
            raise SourceError(f"cannot read {self.path}: {error}") from error

    def _open(self, first: int):  # type: ignore[no-untyped-def]  # noqa: ANN202  # pyogrio names no type
        return pyogrio.raw.open_arrow(
            self.path, layer=self.layer, skip_features=first, batch_size=READ_ROWS, use_pyarrow=True
        )

    def _find_layer(self, requested: str | None) -> str:
        names = [str(name) for name, _ in pyogrio.list_layers(self.path)]
        if not names:
            raise InputError(f"{self.path} has no layers")
        if requested is None and len(names) > 1:
            raise InputError(
                f"{self.path} has several layers, {', '.join(names)}; choose with --layer (layer=)"
            )
        if requested is not None and requested not in names:
            raise InputError(f"{self.path} has no layer {requested!r}; it has {', '.join(names)}")
        return requested or names[0]


def _plain_schema(schema: pa.Schema) -> pa.Schema:
    """Use plain binary columns instead of GeoArrow's, and the usual name for an unnamed geometry."""
    return pa.schema([pa.field(_usual_name(field.name), field.type) for field in schema])


def _usual_name(name: str) -> str:
    return USUAL_NAME if name == GDAL_NAME else name


def linearize(values: np.ndarray) -> np.ndarray:
    """Replace the arcs of WKB and WKT by chords: WKB, or None where GDAL cannot read it.

    pyogrio does so when it reads features one by one, but not through Arrow.
    """
    found = np.full(len(values), None, object)
    if not len(values):
        return found
    texts = [value.hex() if isinstance(value, bytes) else value.replace('"', '""') for value in values]
    with temporary_folder() as folder, _arc_step(), suppress(*READ_ERRORS):
        path = folder / "curves.csv"
        path.write_text("geometry\n" + "".join(f'"{text}"\n' for text in texts), encoding="utf-8")
        read = pyogrio.raw.read(path, GEOM_POSSIBLE_NAMES="geometry", KEEP_GEOM_COLUMNS="NO")[2]
        found[:] = read
    return found


@contextmanager
def _arc_step() -> Iterator[None]:
    """Set GDAL's option for arcs, unless the user has set it."""
    name = "OGR_ARC_STEPSIZE"
    if pyogrio.get_gdal_config_option(name) is not None:
        yield
        return
    pyogrio.set_gdal_config_options({name: str(ARC_STEP_DEG)})
    try:
        yield
    finally:
        pyogrio.set_gdal_config_options({name: None})
