"""Tables of features: GeoJSON, GeoPackage and others that GDAL reads, through pyogrio."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from cop_zarr.errors import InputError, MissingDependencyError, SourceError

try:
    import pyogrio
    from pyogrio.errors import DataLayerError, DataSourceError, FieldError, GeometryError
except ImportError as error:
    raise MissingDependencyError(
        "files of features need a package that is not installed: pip install 'cop-zarr[tables]'"
    ) from error

BATCH_ROWS = 16_384
"""Rows that are read at once."""

UNNAMED = "wkb_geometry", "geometry"
"""What GDAL calls a column of geometries that has no name, and what everybody else does."""

_FAILURES = (
    DataSourceError,
    DataLayerError,
    FieldError,
    GeometryError,
    pa.ArrowInvalid,
    OSError,
    RuntimeError,
)


class VectorSource:
    """A layer of features; the attributes are those of :class:`cop_zarr.interop.tables.readers.Source`."""

    usual_crs: str | None = None

    def __init__(self, path: Path, layer: str | None = None) -> None:
        self._path = path
        try:
            self.layer: str | None = self._the_layer(layer)
            info = pyogrio.read_info(path, layer=self.layer, force_feature_count=True)
            with self._stream(0) as (meta, reader):
                name = meta["geometry_name"] or UNNAMED[0]
                self.schema = self._renamed(reader.schema)
        except _FAILURES as error:
            raise SourceError(f"{path} cannot be read as features: {error}") from error
        self.rows: int = info["features"]
        self.crs: object | None = meta["crs"]
        self.geometry: str | None = UNNAMED[1] if name == UNNAMED[0] else name
        if self.geometry not in self.schema.names:
            self.geometry = None

    def batches(self, first: int) -> Iterator[pa.RecordBatch]:
        """The rows from one on."""
        try:
            with self._stream(first) as (_, reader):
                for batch in reader:
                    yield pa.RecordBatch.from_arrays(batch.columns, schema=self._renamed(batch.schema))
        except _FAILURES as error:
            raise SourceError(f"cannot read {self._path}: {error}") from error

    def _stream(self, first: int):  # type: ignore[no-untyped-def]  # noqa: ANN202  # pyogrio names no type
        return pyogrio.raw.open_arrow(
            self._path, layer=self.layer, skip_features=first, batch_size=BATCH_ROWS, use_pyarrow=True
        )

    def _the_layer(self, asked: str | None) -> str:
        names = [str(name) for name, _ in pyogrio.list_layers(self._path)]
        if asked is None and len(names) > 1:
            raise InputError(
                f"{self._path} has the layers {', '.join(names)}; say which with --layer (layer=)"
            )
        if asked is not None and asked not in names:
            raise InputError(f"{self._path} has no layer {asked!r}; it has {', '.join(names)}")
        if not names:
            raise InputError(f"{self._path} has no layer")
        return asked or names[0]

    @staticmethod
    def _renamed(schema: pa.Schema) -> pa.Schema:
        """Plain binary columns instead of GeoArrow's, and the usual name for a geometry without one."""
        fields = [
            pa.field(UNNAMED[1], field.type)
            if field.name == UNNAMED[0]
            else pa.field(field.name, field.type)
            for field in schema
        ]
        return pa.schema(fields)
