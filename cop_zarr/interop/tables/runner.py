"""A batch at work: the parts of a table are answered, kept, and at last put together."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa

from cop_zarr.core.progress import Progress
from cop_zarr.core.version import __version__
from cop_zarr.errors import ClusterError, InputError, MissingDependencyError, RegionError, StorageError
from cop_zarr.interop.tables.checkpoint import Parts, telling
from cop_zarr.interop.tables.columns import Where
from cop_zarr.interop.tables.readers import Source, parts
from cop_zarr.interop.tables.rows import Buffer, Places, places
from cop_zarr.interop.tables.writers import ERROR, Output, check_writable
from cop_zarr.querying.distributed.cluster import client_of
from cop_zarr.querying.geodataframe import COLUMN
from cop_zarr.querying.options import CheckedOptions, QueryOptions
from cop_zarr.querying.points import Method
from cop_zarr.store import Store

PART_BYTES = 256 << 20
"""What the vectors of a part take. Each part decodes the chunks under it once, so larger is quicker."""

MOST_TOLD = 20
"""So many refused rows are named in a report."""


@dataclass(frozen=True)
class BatchReport:
    """What a batch did.

    Attributes
    ----------
    rois, out, store : str
        The table, the output, and the store.
    rows : int
        How many rows the table has, and the output.
    bands : int
        Length of a vector.
    resumed_rows : int
        How many of them an earlier run had finished.
    refused : int
        How many have no vector.
    refusals : list of (int, str)
        The first of those: their numbers, counted from 0, and why.
    """

    rois: str
    out: str
    store: str
    rows: int
    bands: int
    resumed_rows: int
    refused: int
    refusals: list[tuple[int, str]]


@dataclass(frozen=True)
class Question:
    """What is asked of every row; the words are those of ``Store.query_many`` and ``Store.sample``."""

    where: Where
    options: CheckedOptions
    buffer: Buffer | None
    on_error: str
    method: Method
    client: Any = field(default=None, compare=False)

    def record(self) -> dict[str, Any]:
        """All of it that answers depend on, JSON-ready."""
        return {
            **vars(self.options),
            "crs": str(self.options.crs),
            "where": asdict(self.where),
            "buffer": self.buffer and asdict(self.buffer),
            "on_error": self.on_error,
            "method": self.method,
        }


class Job:
    """One batch at work."""

    def __init__(self, table: Path, out: Path, source: Source, store: Store, asked: Question) -> None:
        self._table, self._out = table, out
        self._source, self._store, self._asked = source, store, asked
        self._size = max(1, PART_BYTES // (4 * store.bands))
        self._kept = Parts(out, self._record())

    def run(self, *, overwrite: bool, resume: bool, progress: Progress | None) -> BatchReport:
        """Answer what is missing, then put all of it together."""
        kept, rows = self._kept, self._source.rows
        with kept.claimed():
            kept.refuse_left(resume=resume, overwrite=overwrite)
            try:
                done = kept.begin(resume=resume)
                resumed = min(done * self._size, rows)
                self._answer(done, resumed, progress)
                result = kept.result()
                schema = self._schema()
                output = Output(
                    self._out,
                    self._asked.where,
                    self._asked.options.crs,
                    self._source.geometry,
                    self._source.crs,
                )
                with telling(self._out):
                    output.write(result, self._parts, schema, rows)
                report = self._report(resumed)
                check_writable(self._out, overwrite=overwrite)  # what has come meanwhile must not be lost
                kept.publish(result)
            except InputError:  # of table or options: with others, nothing of this is of use
                kept.discard()
                raise
            except StorageError as error:
                raise type(error)(f"{error}. {kept.advice()}") from error
            except (ClusterError, MissingDependencyError):
                kept.discard_if_empty()
                raise
        return report

    def _answer(self, done: int, first: int, progress: Progress | None) -> None:
        """Answer the rows that no earlier run has, and keep them part by part."""
        given = self._asked.client
        with client_of(given) if isinstance(given, str) else nullcontext(given) as client:
            for number, part in enumerate(parts(self._source, first, self._size), done):
                self._kept.write(number, self._answered(part, first, client, progress))
                first += len(part)
                if progress:
                    progress(first, self._source.rows)

    def _answered(self, part: pa.Table, first: int, client: Any, progress: Progress | None) -> pa.Table:
        """Some rows with their vectors, and if asked for, with the reasons why some have none."""
        asked = self._asked
        reasons = _Reasons(self._table, first, raises=asked.on_error == "raise")
        found = places(part, asked.where, asked.options.crs, asked.buffer, reasons.add)
        reasons.refuse()
        vectors = np.full((len(part), self._store.bands), np.nan, "f4")
        self._look_up(found, vectors, reasons, client, _shifted(progress, first, self._source.rows))
        first += len(found.points)
        self._pool(found, vectors, reasons, client, _shifted(progress, first, self._source.rows))
        reasons.refuse()
        return self._with_vectors(part, vectors, {row: str(error) for row, error in reasons.found.items()})

    def _look_up(
        self, found: Places, vectors: np.ndarray, reasons: _Reasons, client: Any, progress: Progress
    ) -> None:
        """Answer the rows that are points."""
        with _rows_of(vectors, found.points) as out:
            self._store.sample(
                found.lons,
                found.lats,
                method=self._asked.method,
                empty=self._asked.options.empty,
                out=out,
                on_error=lambda number, error: reasons.add(int(found.points[number]), error),
                progress=progress,
                client=client,
            )

    def _pool(
        self, found: Places, vectors: np.ndarray, reasons: _Reasons, client: Any, progress: Progress
    ) -> None:
        """Answer the rows that are regions."""
        options = cast("QueryOptions", {**vars(self._asked.options), "crs": found.crs})
        with _rows_of(vectors, found.areas) as out:
            self._store.query_many(
                found.rois,
                out=out,
                on_error=lambda number, error: reasons.add(int(found.areas[number]), error),
                progress=progress,
                client=client,
                **options,
            )

    def _with_vectors(self, part: pa.Table, vectors: np.ndarray, reasons: dict[int, str]) -> pa.Table:
        lacking = np.zeros(len(part), "?")
        lacking[list(reasons)] = True
        mask = pa.array(lacking) if reasons else None
        column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1], mask=mask)
        columns = [*part.columns, column]
        if self._asked.on_error == "nan":
            columns.append(pa.array([reasons.get(row) for row in range(len(part))], pa.string()))
        return pa.table(columns, schema=self._schema())

    def _schema(self) -> pa.Schema:
        """The table's columns, the vectors, and if asked for, the reasons."""
        fields = [*self._source.schema, pa.field(COLUMN, pa.list_(pa.float32(), self._store.bands))]
        if self._asked.on_error == "nan":
            fields.append(pa.field(ERROR, pa.string()))
        return pa.schema(fields)

    def _parts(self) -> Iterator[pa.Table]:
        """All finished parts."""
        for number in range(-(-self._source.rows // self._size)):
            yield self._kept.read(number)

    def _report(self, resumed: int) -> BatchReport:
        refused, refusals, first = 0, list[tuple[int, str]](), 0
        for part in self._parts() if self._asked.on_error == "nan" else ():
            reasons = part.column(ERROR)
            refused += len(part) - reasons.null_count
            if len(refusals) < MOST_TOLD and reasons.null_count < len(part):
                told = [(first + row, text) for row, text in enumerate(reasons.to_pylist()) if text]
                refusals += told[: MOST_TOLD - len(refusals)]
            first += len(part)
        return BatchReport(
            rois=str(self._table),
            out=str(self._out),
            store=self._store.url,
            rows=self._source.rows,
            bands=self._store.bands,
            resumed_rows=resumed,
            refused=refused,
            refusals=refusals,
        )

    def _record(self) -> dict[str, Any]:
        """All that the answers depend on."""
        found = self._table.stat()
        return {
            "table": str(self._table.absolute()),
            "bytes": found.st_size,
            "modified_ns": found.st_mtime_ns,
            "rows": self._source.rows,
            "schema": str(self._source.schema),
            "layer": self._source.layer,
            "made_by": __version__,
            "store_sha256": self._store.sha256,
            "bands": self._store.bands,
            "part_rows": self._size,
            **self._asked.record(),
        }


class _Reasons:
    """Why rows of a part have no vector; or what is raised if that is an error."""

    def __init__(self, table: Path, first: int, *, raises: bool) -> None:
        self.found: dict[int, RegionError] = {}
        self._table, self._first, self._raises = table, first, raises

    def add(self, row: int, error: RegionError) -> None:
        """Take a reason, unless there is one for this row."""
        self.found.setdefault(row, error)

    def refuse(self) -> None:
        """Raise the first row's, if that is asked for."""
        if self.found and self._raises:
            row, error = min(self.found.items(), key=lambda each: each[0])
            raise type(error)(f"row {self._first + row} of {self._table}: {error}")


def _shifted(progress: Progress | None, first: int, total: int) -> Progress:
    """Tell of rows that follow others."""

    def tell(done: int, _: int) -> None:
        if progress:
            progress(first + done, total)

    return tell


@contextmanager
def _rows_of(vectors: np.ndarray, rows: np.ndarray) -> Iterator[np.ndarray]:
    """Some rows of an array, to be filled: without a copy, if they are all of them."""
    if len(rows) == len(vectors):
        yield vectors
        return
    part = np.empty((len(rows), vectors.shape[1]), "f4")
    yield part
    vectors[rows] = part
