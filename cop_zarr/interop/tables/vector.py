"""Read layers of features (GeoJSON, GeoPackage and others that GDAL reads, also zipped) through pyogrio."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyogrio

from cop_zarr.errors import InputError, SourceError
from cop_zarr.interop.tables.archive import FeatureFile, decompressed_bytes, find_member
from cop_zarr.interop.tables.declared import Declared
from cop_zarr.interop.tables.geojson_files import (
    check_single,
    count_features,
    is_lines,
    lines_of_features,
    names_crs,
)
from cop_zarr.interop.tables.row_places import numbered, on_lines
from cop_zarr.storage.files import temporary_folder

JSON_ENDINGS = frozenset({".geojson", ".json"})

LINE_ENDINGS = frozenset({".geojsonl", ".geojsons", ".ndjson"})

MEMBER_ENDINGS = (".geojson", *sorted(LINE_ENDINGS), ".gpkg", ".fgb", ".shp", ".gdb", ".kml")
"""Of files that may be in a ZIP file; a ``.json`` there is often something else."""

ENDINGS = (*MEMBER_ENDINGS, ".json", ".kmz", ".zip")

DRIVERS = frozenset({
    "GeoJSON", "GeoJSONSeq", "TopoJSON", "ESRIJSON", "JSONFG", "GPKG", "FlatGeobuf", "ESRI Shapefile",
    "OpenFileGDB", "KML", "LIBKML",
})  # fmt: skip
"""Of GDAL, which looks at the content: a virtual dataset could name any other file or URL."""

READ_ROWS = 16_384

MAX_KML_BYTES = 128 << 20
"""Reading takes eight times the size in memory."""

GDAL_NAME, USUAL_NAME = "wkb_geometry", "geometry"
"""The name of an unnamed geometry column, in GDAL and elsewhere."""

UNDEFINED_CRS = re.compile(r'\w+\["Undefined ')
"""How GDAL describes that a GeoPackage names none."""

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
            file, layer = self._find_file(layer)
            features = self._count_lines(file)
            self._feature_lines = None if features is None else file.open
            self._gdal_name = file.gdal_name if features is None else f"GeoJSONSeq:{file.gdal_name}"
            self._layer = self._find_layer(layer)
            info = self._info(self._layer)
            self.rows: int = info["features"]
            self._encoding = None if info["encoding"] in {None, "UTF-8"} else info["encoding"]
            with self._open(0) as (meta, reader):
                self.schema = _plain_schema(reader.schema)
        except READ_ERRORS as error:
            raise self._error(error) from error
        if features not in {None, self.rows}:
            raise SourceError(
                f"{path} has {features:,} features, and GDAL reads {self.rows:,}; write it again, in UTF-8 "
                "without a byte order mark, one feature a line"
            )
        if self.rows == 1 and file.ending in JSON_ENDINGS:
            with file.open() as content:
                check_single(path, content)
        self.layer: str | None = f"{self._gdal_name}: {self._layer}"
        name = _usual_name(meta["geometry_name"] or GDAL_NAME)
        self.geometry_column: str | None = name if name in self.schema.names else None
        is_default = file.ending in JSON_ENDINGS | LINE_ENDINGS and not names_crs(file)
        crs = None if UNDEFINED_CRS.match(meta["crs"] or "") else meta["crs"]
        self.geometries = {name: Declared(crs, is_default)} if self.geometry_column else {}

    def read(self, first: int) -> Iterator[pa.RecordBatch]:
        """Yield the rows from ``first`` on."""
        try:
            with self._open(first) as (_, reader):
                for batch in reader:
                    batch.validate(full=True)  # text that isn't UTF-8
                    yield pa.RecordBatch.from_arrays(batch.columns, schema=_plain_schema(batch.schema))
        except READ_ERRORS as error:
            raise self._error(error) from error

    def places(self, rows: Sequence[int]) -> list[str]:
        """The lines of GeoJSON lines, and of other files the numbers of features."""
        if self._feature_lines is None:
            return numbered("feature", rows)
        with self._feature_lines() as content:
            return on_lines(lines_of_features(content), rows)

    def _error(self, error: Exception) -> SourceError:
        reason = str(error).partition("It might help")[0].rstrip("; ")  # it would not: the ending decides
        if "UTF8" in reason:
            reason = (
                "its text is not UTF-8; of a Shapefile, name its encoding in a .cpg file, such as CP1252"
            )
        return SourceError(f"cannot read features from {self.path}: {reason}")

    def _open(self, first: int):  # type: ignore[no-untyped-def]  # noqa: ANN202  # pyogrio names no type
        return pyogrio.raw.open_arrow(
            self._gdal_name,
            layer=self._layer,
            encoding=self._encoding,
            skip_features=first,
            batch_size=READ_ROWS,
            use_pyarrow=True,
        )

    def _find_file(self, layer: str | None) -> tuple[FeatureFile, str | None]:
        """The file, perhaps in a ZIP file, and the layer that is requested."""
        ending = self.path.suffix.lower()
        if ending == ".zip":
            file, layer = find_member(self.path, MEMBER_ENDINGS, layer)
        else:
            size_bytes = decompressed_bytes(self.path) if ending == ".kmz" else self.path.stat().st_size
            file = FeatureFile(str(self.path), size_bytes, lambda: self.path.open("rb"))
        if file.ending in {".kml", ".kmz"} and file.size_bytes > MAX_KML_BYTES:
            raise SourceError(
                f"{self.path} has {file.size_bytes >> 20:,} MiB of KML, which GDAL reads into memory as a "
                f"whole; the limit is {MAX_KML_BYTES >> 20} MiB: convert it to GeoPackage, or split it"
            )
        return file, layer

    def _count_lines(self, file: FeatureFile) -> int | None:
        """The number of features in GeoJSON lines, of which GDAL may read fewer; None for other files."""
        if file.ending not in LINE_ENDINGS | JSON_ENDINGS:
            return None
        with file.open() as content:
            if not is_lines(content, named_so=file.ending in LINE_ENDINGS):
                return None
        with file.open() as content:
            return count_features(self.path, content)

    def _find_layer(self, requested: str | None) -> str:
        """The layer requested, or the only one with geometries, or of those the only one with rows."""
        kinds = {str(name): kind for name, kind in pyogrio.list_layers(self._gdal_name)}
        if not kinds:
            raise InputError(f"{self.path} has no layers")
        if requested is not None:
            if requested not in kinds:
                raise InputError(f"{self.path} has no layer {requested!r}; it has {', '.join(kinds)}")
            return requested
        found = [name for name, kind in kinds.items() if kind is not None] or list(kinds)
        if len(found) > 1:
            found = [name for name in found if self._info(name)["features"]] or found
        if len(found) > 1:
            raise InputError(f"{self.path} has several layers, {', '.join(found)}; choose with layer=")
        return found[0]

    def _info(self, layer: str) -> dict[str, Any]:
        info: dict[str, Any] = pyogrio.read_info(self._gdal_name, layer=layer, force_feature_count=True)
        if info["driver"] not in DRIVERS:
            raise SourceError(
                f"{self.path} is not what its ending says, but {info['driver']}; convert it to GeoPackage"
            )
        return info


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
