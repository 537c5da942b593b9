"""What all datasets have in common: indices to items, and the store that a worker reads."""

from __future__ import annotations

import operator
import os
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, get_worker_info

from cop_zarr.core.settings import WORKERS_VARIABLE
from cop_zarr.errors import InputError
from cop_zarr.querying.options import OnError
from cop_zarr.storage import local_path
from cop_zarr.store import Store
from cop_zarr.store import open as open_store


class VectorDataset(Dataset):
    """Maps indices to vectors, and perhaps labels."""

    kind: str  # what the items are made from, for messages

    def __init__(self, store: Store | str | os.PathLike[str], on_error: OnError) -> None:
        self.store: Store = store if isinstance(store, Store) else open_store(store)
        workers_given = isinstance(store, Store) or bool(os.environ.get(WORKERS_VARIABLE))
        self._share_processors = not workers_given and local_path(self.store.url) is not None
        # a callable has been called when the items were checked, and need not be pickled
        self._on_error: OnError = "raise" if on_error == "raise" else "nan"

    def _set_items(self, count: int, labels: Any | None) -> None:
        self._count = count
        self.labels = None if labels is None else _check_labels(labels, count, self.kind)

    def __len__(self) -> int:
        return self._count

    def __repr__(self) -> str:
        labels = "" if self.labels is None else ", labelled"
        return f"<{type(self).__name__} of {self._count:,} {self.kind}{labels}: {self.store!r}>"

    def __getitem__(self, index: int | slice | Sequence[int] | Sequence[bool]) -> Any:
        """One item; or, for a list of indices, a slice or a mask, one tensor of them, and their labels.

        A mask has a bool for each item, and selects those where it is True. A DataLoader with
        ``batch_size=None`` and a BatchSampler as its sampler asks for lists of indices. Raises IndexError
        if there is no such item, InputError if this is no index, and what :meth:`cop_zarr.Store.query`
        raises.
        """
        if not (isinstance(index, slice) or _is_several(index)):
            return self.__getitems__([index])[0]
        positions = self._selected(index)
        vectors = torch.from_numpy(self._answer(positions))
        return vectors if self.labels is None else (vectors, select(self.labels, positions))

    def __getitems__(self, indices: Iterable[Any]) -> list[Any]:
        """The items of a batch; a DataLoader calls this."""
        positions = self._positions(indices)
        vectors = torch.from_numpy(self._answer(positions)).unbind()
        if self.labels is None:
            return list(vectors)
        labels = (self.labels[position] for position in positions.tolist())
        return list(zip(vectors, labels, strict=True))

    def _selected(self, index: Any) -> np.ndarray:
        """What a slice, a mask or a list of indices selects, as positions: int64, ``(n,)``."""
        if isinstance(index, slice):
            return np.arange(self._count)[index]
        mask = _as_mask(index)
        if mask is None:
            return self._positions(index)
        if mask.shape != (self._count,):
            raise InputError(
                f"a mask must have one entry for each of the {self._count:,} {self.kind}; got the shape "
                f"{mask.shape}"
            )
        return np.flatnonzero(mask)

    def _positions(self, indices: Iterable[Any]) -> np.ndarray:
        """Indices, which may be negative, as positions from 0 on: int64, ``(n,)``."""
        given = [_as_integer(index) for index in indices]
        for index in given:
            if not -self._count <= index < self._count:
                raise IndexError(f"index {index} is out of range for {self._count:,} {self.kind}")
        positions = np.array(given, "i8")
        return np.where(positions < 0, positions + self._count, positions)

    def _local_store(self) -> Store:
        """The store, with this worker's share of the processors as threads.

        On two processors, two workers of one thread each answer a quarter more than two of two threads do.
        Over a network, threads wait rather than compute, and keep the number they were opened with.
        """
        worker = get_worker_info()
        if self._share_processors and worker is not None:
            self.store = self.store.with_workers(max(1, (os.cpu_count() or 1) // worker.num_workers))
            self._share_processors = False
        return self.store

    @abstractmethod
    def _answer(self, positions: np.ndarray) -> np.ndarray:
        """The vectors of some items: float32, ``(len(positions), bands)``, a new array."""


def _check_labels(labels: Any, count: int, kind: str) -> Any:
    """Labels indexed by position; a column of a table, which is not, becomes an array."""
    if np.ma.is_masked(labels):
        raise InputError("labels must not be masked; leave out the items without one")
    found = labels if isinstance(labels, list | tuple | torch.Tensor) else np.asarray(labels)
    size = len(found) if isinstance(found, list | tuple) or found.ndim else None
    if size != count:
        got = f"one {type(labels).__name__}" if size is None else f"{size:,}"
        raise InputError(f"labels must have one entry for each of the {count:,} {kind}; got {got}")
    return found


def select(values: Any, positions: np.ndarray) -> Any:
    """Values at some positions: an array or tensor of them, or a list."""
    if isinstance(values, list | tuple):
        return [values[position] for position in positions.tolist()]
    return values[positions]


def _is_several(index: Any) -> bool:
    """Whether an index has a length: no scalar, nor an array or a tensor without dimensions."""
    return isinstance(index, Iterable) and not isinstance(index, str) and getattr(index, "ndim", 1) > 0


def _as_mask(index: Any) -> np.ndarray | None:
    """A list of bools, or an array, tensor or column of them, as an array; None for anything else."""
    if isinstance(index, list | tuple):
        return np.array(index) if index and all(isinstance(entry, bool) for entry in index) else None
    if str(getattr(index, "dtype", "")) not in {"bool", "boolean", "torch.bool"}:
        return None
    try:
        return np.asarray(index.cpu() if isinstance(index, torch.Tensor) else index, bool)
    except (TypeError, ValueError):
        raise InputError("a mask must be True or False for each item; some entries are missing") from None


def _as_integer(index: Any) -> int:
    """One index; a bool is none, though Python takes it for 0 or 1."""
    is_bool = isinstance(index, bool) or str(getattr(index, "dtype", "")) in {"bool", "torch.bool"}
    try:
        return operator.index(None if is_bool else index)  # type: ignore[arg-type]  # raises TypeError
    except (TypeError, ValueError):
        raise InputError(
            f"an index must be an integer; got {index!r}. Of a mask, give the whole, as in dataset[mask], "
            "and the indices to what selects one by one: Subset(dataset, np.flatnonzero(mask))"
        ) from None
