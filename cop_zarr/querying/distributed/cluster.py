"""Connection to a Dask cluster: reach it, check that it can run this package, and run functions on it.

A function may run again on another worker if its worker dies: it must return the same both times.
"""

from __future__ import annotations

import pickle
import uuid
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any

from cop_zarr.core.packages import missing_package
from cop_zarr.core.version import __version__
from cop_zarr.errors import ClusterError, CopZarrError, InputError

if TYPE_CHECKING:
    from distributed import Client

CONNECT_SECONDS = 10.0
"""How long a scheduler may take to answer, and its first worker to join."""

PREFETCH = 2
"""Calls that wait or run for each thread of the workers: one, and one that follows at once. Results wait in
the workers' memory until they are fetched, so this bounds that, too."""


class Cluster:
    """A cluster whose workers run this version of the package; make one with :func:`connected`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    @property
    def threads(self) -> int:
        """Threads of all workers that are there now; at least 1."""
        found: dict[str, int] = self._client.nthreads()
        return max(1, sum(found.values()))

    def map(
        self, fn: Callable[..., Any], arguments: Iterable[tuple[Any, ...]]
    ) -> Generator[tuple[int, Any]]:
        """Call a function of this package on the workers, a few times for each thread at once.

        Arguments are taken only when they are sent. Yields the number of a call and what it returned, in
        the order in which they end. If one raises, the others are cancelled.
        """
        from distributed import as_completed

        name, waiting = f"{fn.__name__}-{uuid.uuid4().hex}", enumerate(arguments)
        pending: dict[str, int] = {}
        completed = as_completed(loop=self._client.loop)

        def submit(count: int) -> None:
            for number, given in islice(waiting, count):
                key = f"{name}-{number}"
                completed.add(self._client.submit(_run, __version__, fn, *given, key=key, pure=False))
                pending[key] = number

        try:
            submit(PREFETCH * self.threads)
            for future in completed:
                with _cluster_errors():
                    result = future.result()
                future.release()
                if isinstance(result, CopZarrError):
                    raise result
                yield pending.pop(future.key), result
                submit(1)
        finally:
            if pending:
                self._client.cancel([future for future in completed.futures if future.key in pending])

    def check_workers(self) -> None:
        """Check that there are workers, and that they have this version of the package."""

        def version() -> str:  # of a nested function the code is sent, not the name of its module
            from cop_zarr.core.version import __version__

            return __version__

        with _cluster_errors():
            try:
                self._client.wait_for_workers(1, timeout=CONNECT_SECONDS)
            except TimeoutError:
                address = self._client.scheduler.address
                raise ClusterError(
                    f"the cluster at {address} has no worker, and none joined within "
                    f"{CONNECT_SECONDS:g} s; start some with: dask worker {address}"
                ) from None
            found = self._client.run(version, on_error="return")
        for worker, theirs in found.items():
            if isinstance(theirs, BaseException):
                raise ClusterError(
                    f"the worker {worker} cannot import cop-zarr ({theirs}); install cop-zarr "
                    f"{__version__} on every worker"
                )
            _check_version(__version__, theirs, worker)


@contextmanager
def connected(client: Client | str) -> Iterator[Cluster]:
    """Connect to a cluster by a client or by its scheduler's address, and check its workers."""
    distributed = _package()
    if isinstance(client, str):
        with client_of(client) as made, connected(made) as cluster:
            yield cluster
        return
    if not isinstance(client, distributed.Client) or client.asynchronous:
        raise InputError(
            "client must be a distributed.Client that is not asynchronous, or the address of a scheduler "
            f"such as 'tcp://10.0.0.1:8786'; got {client!r}"
        )
    if client.status != "running":
        raise ClusterError(f"this client is not connected ({client.status}); make another one")
    cluster = Cluster(client)
    cluster.check_workers()
    yield cluster


@contextmanager
def client_of(address: str) -> Iterator[Client]:
    """A client of the scheduler at an address, closed at the end."""
    distributed = _package()
    from distributed.utils import LoopRunner

    try:
        LoopRunner().run_sync(_check_reachable, address)  # not in this thread: in Jupyter it has a loop
    except ValueError as error:
        raise InputError(
            f"{address!r} is not an address of a scheduler: {error}; give one such as 'tcp://10.0.0.1:8786'"
        ) from error
    except OSError as error:
        raise ClusterError(
            f"no Dask scheduler answers at {address} within {CONNECT_SECONDS:g} s: check that it runs "
            "(dask scheduler prints its address), and that this machine may connect to it"
        ) from error
    with distributed.Client(address, timeout=CONNECT_SECONDS, set_as_default=False) as client:
        yield client


async def _check_reachable(address: str) -> None:
    """Connect once: a client that nobody answers is half made, and delays the end of Python."""
    from distributed import Security
    from distributed.comm import connect

    arguments = Security().get_connection_args("client")
    connection = await connect(address, timeout=CONNECT_SECONDS, **arguments)
    await connection.close()


def worker_name() -> str:
    """The name of this worker, for messages."""
    import socket

    from distributed import get_worker

    try:
        return f"the worker {get_worker().address} on {socket.gethostname()}"
    except ValueError:  # called in a process that is not a worker
        return f"the process on {socket.gethostname()}"


def pickle_group(group: Any) -> bytes:
    """Pickle regions or points as Dask would, with the classes that no worker can import."""
    from cloudpickle import dumps

    try:
        data: bytes = dumps(group)
    except (TypeError, AttributeError, pickle.PicklingError) as error:
        raise InputError(
            f"a region cannot be sent to the workers, because it cannot be pickled: {error}; give its "
            "__geo_interface__"
        ) from error
    return data


def unpickle_group(data: bytes) -> Any:
    """Unpickle what :func:`pickle_group` returned."""
    try:
        return pickle.loads(data)  # noqa: S301  # Dask itself unpickles what it receives
    except (ImportError, AttributeError, pickle.UnpicklingError) as error:
        raise InputError(
            f"a region cannot be unpickled by {worker_name()}: {error}; give its __geo_interface__"
        ) from error


def _package() -> Any:
    try:
        import distributed
    except ImportError as error:
        raise missing_package("a Dask cluster needs", ["distributed"], "dask", error) from error
    return distributed


def _run(version: str, fn: Callable[..., Any], *given: Any) -> Any:
    """Call a function on a worker, which may have joined after the cluster was checked.

    A CopZarrError is returned: if it were raised, Dask would log it as its own.
    """
    try:
        _check_version(version, __version__, worker_name())
        return fn(*given)
    except CopZarrError as error:
        return error


def _check_version(ours: str, theirs: str, worker: str) -> None:
    """Refuse a worker whose answers may differ."""
    if ours != theirs:
        raise ClusterError(
            f"{worker} has cop-zarr {theirs}, and this process {ours}; install the same on every worker"
        )


@contextmanager
def _cluster_errors() -> Iterator[None]:
    """Raise a ClusterError that says what to do when Dask says that a cluster failed."""
    from concurrent.futures import CancelledError

    from distributed import KilledWorker
    from distributed.comm import CommClosedError

    try:
        yield
    except CopZarrError:
        raise
    except KilledWorker as error:
        raise ClusterError(
            f"several workers died one after another at the same part of the work: {error}. They may have "
            "too little memory: give them more, or fewer threads each"
        ) from error
    except (CancelledError, CommClosedError) as error:
        raise ClusterError(
            f"the connection to the cluster was lost, or the work was cancelled there: {error}"
        ) from error
