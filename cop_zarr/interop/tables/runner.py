"""Run a batch: answer a table part by part, keep the parts, and write the output."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, cast, get_args

import numpy as np
import pyarrow as pa

from cop_zarr.core.progress import Progress
from cop_zarr.core.version import __version__
from cop_zarr.errors import ClusterError, InputError, MissingDependencyError, RegionError, StorageError
from cop_zarr.interop.tables.answered import ERROR_COLUMN, AnsweredTable
from cop_zarr.interop.tables.checkpoint import Checkpoint, storage_errors
from cop_zarr.interop.tables.columns import CoordinateColumns
from cop_zarr.interop.tables.dialect import TextOptions
from cop_zarr.interop.tables.readers import TableReader, iter_parts
from cop_zarr.interop.tables.rows import RowErrors, locate
from cop_zarr.interop.tables.writers import WRITERS, check_writable
from cop_zarr.querying.distributed.cluster import client_of
from cop_zarr.querying.geodataframe import COLUMN
from cop_zarr.querying.options import CheckedOptions, OnError, QueryOptions, check_word
from cop_zarr.querying.points import Method
from cop_zarr.regions import PointBuffer
from cop_zarr.regions.point_buffer import Shape
from cop_zarr.store import Store

PART_BYTES = 256 << 20
"""Size of a part's vectors. A part decodes each chunk under it once, so larger parts are faster."""

MAX_REFUSALS = 20
"""Rows without a vector that a report names."""


@dataclass(frozen=True)
class BatchReport:
    """What a batch did."""

    rois: str
    """The table."""
    out: str
    store: str
    rows: int
    """Rows of the table, and of the output."""
    bands: int
    """Length of a vector."""
    resumed_rows: int
    """How many rows an earlier run had finished."""
    refused: int
    """How many rows have no vector."""
    refusals: list[tuple[int, str]]
    """The first of those, each with its number, counted from 0 as in the output, and the reason."""
    places: list[str]
    """Where each of these is in the table, such as "line 3"."""
    dialect: str | None
    """How a file of text was read, such as "decimal commas"; None for a plain CSV and other formats."""


@dataclass(frozen=True)
class CheckedBatchOptions(CheckedOptions):
    """The keywords of :func:`cop_zarr.batch` with defaults, checked."""

    columns: Sequence[str] | None = None
    layer: str | None = None
    separator: str | None = None
    decimal: str | None = None
    encoding: str | None = None
    buffer_m: float | None = None
    shape: Shape = "box"
    method: Method = "nearest"
    on_error: Literal["raise", "nan"] = "raise"
    client: Any = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_word("method", self.method, get_args(Method))
        check_word("on_error", self.on_error, ("raise", "nan"))
        check_word("shape", self.shape, get_args(Shape))
        if self.buffer_m is not None:
            PointBuffer(0, 0, self.buffer_m, self.shape)  # raises RegionError if no point can have it
        _ = self.text_options  # checks them
        if isinstance(self.columns, str):
            raise InputError(
                f"columns must be a sequence of names; got {self.columns!r}: give {self.columns.split(',')}"
            )

    @property
    def text_options(self) -> TextOptions:
        """How a file of text is written."""
        separator = "\t" if self.separator in {"tab", "\\t"} else self.separator
        return TextOptions(separator, self.decimal, self.encoding)


class Batch:
    """One batch: an open table, the output, the store, and how rows are answered."""

    def __init__(
        self,
        reader: TableReader,
        out: Path,
        store: Store,
        coordinates: CoordinateColumns,
        options: CheckedBatchOptions,  # ``crs`` is that of the coordinates
    ) -> None:
        self._reader, self._out, self._store = reader, out, store
        self._coordinates, self._options = coordinates, options
        self._part_rows = max(1, PART_BYTES // (4 * store.bands))
        self._checkpoint = Checkpoint(out, self._settings())
        fields = [*reader.schema, pa.field(COLUMN, pa.list_(pa.float32(), store.bands))]
        if options.on_error == "nan":
            fields.append(pa.field(ERROR_COLUMN, pa.string()))
        self._schema = pa.schema(fields)

    def run(self, *, overwrite: bool, resume: bool, client: Any, progress: Progress | None) -> BatchReport:
        """Answer the parts that are missing, then write the output."""
        checkpoint = self._checkpoint
        with checkpoint.locked():
            checkpoint.check(resume=resume, overwrite=overwrite)
            try:
                finished = checkpoint.start(resume=resume)
                self._answer_parts(finished, client, progress)
                result = checkpoint.result_path()
                with storage_errors(self._out):
                    WRITERS[self._out.suffix.lower()](result, self._answered_table())
                report = self._report(min(finished * self._part_rows, self._reader.rows))
                check_writable(self._out, overwrite=overwrite)  # another program may have written meanwhile
                checkpoint.publish(result)
            except InputError:  # a batch with another table or other options cannot use the parts
                checkpoint.discard()
                raise
            except StorageError as error:
                if checkpoint.discard_if_empty():
                    raise
                raise type(error)(
                    f"{error}. Finished parts have been kept: resume with resume=True"
                ) from error
            except (ClusterError, MissingDependencyError):
                checkpoint.discard_if_empty()
                raise
        return report

    def _answer_parts(self, finished: int, client: Any, progress: Progress | None) -> None:
        """Answer all parts but the first ones, which are finished."""
        first = min(finished * self._part_rows, self._reader.rows)
        with client_of(client) if isinstance(client, str) else nullcontext(client) as connected:
            for number, part in enumerate(iter_parts(self._reader, first, self._part_rows), finished):
                vectors, errors = self._answer(part, first, connected, progress)
                self._checkpoint.write_part(number, self._with_vectors(part, vectors, errors))
                first += len(part)
                if progress:
                    progress(first, self._reader.rows)

    def _answer(
        self, part: pa.Table, first: int, client: Any, progress: Progress | None
    ) -> tuple[np.ndarray, RowErrors]:
        """The vectors of a part whose first row is number ``first``; NaN for rows that have an error."""
        options, errors = self._options, RowErrors()
        buffer = None if options.buffer_m is None else (options.buffer_m, options.shape)
        located = locate(part, self._coordinates, options.crs, buffer, errors)
        self._raise_first(errors, first)
        vectors = np.full((len(part), self._store.bands), np.nan, "f4")
        points, regions = located.point_rows, located.region_rows
        query = {name: getattr(options, name) for name in QueryOptions.__annotations__}
        with _rows_of(vectors, points) as out:
            self._store.sample(
                located.lons,
                located.lats,
                method=options.method,
                empty=options.empty,
                out=out,
                on_error=_recorder(errors, points),
                progress=self._continued(progress, first),
                client=client,
            )
        with _rows_of(vectors, regions) as out:
            self._store.query_many(
                located.regions,
                out=out,
                on_error=_recorder(errors, regions),
                progress=self._continued(progress, first + len(points)),
                client=client,
                **cast("QueryOptions", query | {"crs": located.crs}),
            )
        self._raise_first(errors, first)
        return vectors, errors

    def _raise_first(self, errors: RowErrors, first: int) -> None:
        """Raise the error of the first row that has one, with ``on_error="raise"``."""
        if errors and self._options.on_error == "raise":
            row, error = min(errors.items(), key=lambda item: item[0])
            place = self._reader.places([first + row])[0]
            raise type(error)(f"{place} of {self._reader.path}: {error}")

    def _continued(self, progress: Progress | None, first: int) -> Progress | None:
        """Report the progress of rows that follow ``first`` others."""
        if progress is None:
            return None
        return lambda done, _: progress(first + done, self._reader.rows)

    def _with_vectors(self, part: pa.Table, vectors: np.ndarray, errors: RowErrors) -> pa.Table:
        """Add the columns of the output to a part."""
        missing = np.zeros(len(part), "?")
        missing[list(errors)] = True
        mask = pa.array(missing) if errors else None
        column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1], mask=mask)
        columns = [*part.columns, column]
        if self._options.on_error == "nan":
            reasons = {row: str(error) for row, error in errors.items()}
            columns.append(pa.array([reasons.get(row) for row in range(len(part))], pa.string()))
        return pa.table(columns, schema=self._schema)

    def _answered_table(self) -> AnsweredTable:
        return AnsweredTable(
            schema=self._schema,
            rows=self._reader.rows,
            parts=self._parts,
            coordinates=self._coordinates,
            crs=self._options.crs,
            geometry_column=self._reader.geometry_column,
            geometries=self._reader.geometries,
        )

    def _parts(self) -> Iterator[pa.Table]:
        return map(self._checkpoint.read_part, range(-(-self._reader.rows // self._part_rows)))

    def _report(self, resumed_rows: int) -> BatchReport:
        refused, refusals, first = 0, list[tuple[int, str]](), 0
        for part in self._parts() if self._options.on_error == "nan" else ():
            reasons = part.column(ERROR_COLUMN)
            refused += len(part) - reasons.null_count
            if len(refusals) < MAX_REFUSALS and reasons.null_count < len(part):
                named = [(first + row, text) for row, text in enumerate(reasons.to_pylist()) if text]
                refusals += named[: MAX_REFUSALS - len(refusals)]
            first += len(part)
        return BatchReport(
            rois=str(self._reader.path),
            out=str(self._out),
            store=self._store.url,
            rows=self._reader.rows,
            bands=self._store.bands,
            resumed_rows=resumed_rows,
            refused=refused,
            refusals=refusals,
            places=self._reader.places([row for row, _ in refusals]),
            dialect=self._reader.dialect,
        )

    def _settings(self) -> dict[str, Any]:
        """Everything that the vectors depend on."""
        path = self._reader.path
        return {
            "table": str(path),
            "bytes": path.stat().st_size,
            "modified_ns": max(each.stat().st_mtime_ns for each in (path, *path.rglob("*"))),  # of folders
            "rows": self._reader.rows,
            "schema": str(self._reader.schema),
            "layer": self._reader.layer,
            "coordinates": self._coordinates.names,
            "made_by": __version__,
            "store_sha256": self._store.sha256,
            "bands": self._store.bands,
            "part_rows": self._part_rows,
            "options": asdict(self._options),
        }


def _recorder(errors: RowErrors, rows: np.ndarray) -> OnError:
    """Record the error of the n-th of some rows."""

    def record(number: int, error: RegionError) -> None:
        errors.setdefault(int(rows[number]), error)

    return record


@contextmanager
def _rows_of(vectors: np.ndarray, rows: np.ndarray) -> Iterator[np.ndarray]:
    """Give an array to fill for some rows: all of ``vectors`` without a copy, or a copy of some."""
    if len(rows) == len(vectors):
        yield vectors
        return
    part = np.empty((len(rows), vectors.shape[1]), "f4")
    yield part
    vectors[rows] = part
