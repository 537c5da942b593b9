"""A Dask cluster: reach it, check that it can do our work, and have that done.

What the work is, this module does not know. A part of it is a function of ours and what that is given: it
may run on any worker, and again on another if its worker dies, so it must come to the same both times.
"""

from __future__ import annotations

import pickle
import uuid
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any

from cop_zarr.core.version import __version__
from cop_zarr.errors import ClusterError, CopZarrError, InputError, MissingDependencyError

if TYPE_CHECKING:
    from distributed import Client

CONNECT_SECONDS = 10.0
"""How long a scheduler may take to answer, and its first worker to come."""

AHEAD = 2
"""Parts that wait or are at work for each thread of the workers: one, and one that follows at once. What
they come to waits in the workers' memory until it is fetched, so this bounds that, too."""


class Cluster:
    """A cluster whose workers can do our work; make one with :func:`connected`.

    Parameters
    ----------
    client : distributed.Client
        Connected.
    """

    def __init__(self, client: Client) -> None:
        self._client = client

    @property
    def threads(self) -> int:
        """Threads of all workers that are there now; at least 1."""
        found: dict[str, int] = self._client.nthreads()
        return max(1, sum(found.values()))

    def each(
        self, work: Callable[..., Any], parts: Iterable[tuple[Any, ...]]
    ) -> Generator[tuple[int, Any]]:
        """Have parts done, a few for each thread at a time.

        Parameters
        ----------
        work : callable
            A function of this package.
        parts : iterable of tuple
            What to call it with, once for each part; taken only when it is that part's turn.

        Yields
        ------
        int, object
            A part's number, and what it came to: the part that is done first comes first.

        Raises
        ------
        ClusterError
            If the cluster fails: workers died again and again, or the scheduler went away.
        CopZarrError
            What a part raised. The others are given up then.
        """
        from distributed import as_completed

        name, waiting = f"{work.__name__}-{uuid.uuid4().hex}", enumerate(parts)
        begun: dict[str, int] = {}
        done = as_completed(loop=self._client.loop)

        def begin(count: int) -> None:
            for number, part in islice(waiting, count):
                key = f"{name}-{number}"
                done.add(self._client.submit(_do, __version__, work, *part, key=key, pure=False))
                begun[key] = number

        try:
            begin(AHEAD * self.threads)
            for future in done:
                with _telling():
                    result = future.result()
                future.release()
                if isinstance(result, CopZarrError):
                    raise result
                yield begun.pop(future.key), result
                begin(1)
        finally:
            if begun:
                self._client.cancel([future for future in done.futures if future.key in begun])

    def refuse_unfit(self) -> None:
        """Refuse a cluster without workers, or whose workers have no cop-zarr, or another one.

        Raises
        ------
        ClusterError
            If it is such a one.
        """

        def version() -> str:  # of a nested function the code is sent, not the name of its module
            from cop_zarr.core.version import __version__

            return __version__

        with _telling():
            self._wait()
            found = self._client.run(version, on_error="return")
        for worker, theirs in found.items():
            if isinstance(theirs, BaseException):
                raise ClusterError(
                    f"the worker {worker} cannot import cop-zarr ({theirs}); install cop-zarr "
                    f"{__version__} on every worker"
                )
            _refuse_other_version(__version__, theirs, worker)

    def _wait(self) -> None:
        try:
            self._client.wait_for_workers(1, timeout=CONNECT_SECONDS)
        except TimeoutError:
            raise ClusterError(
                f"the cluster at {self._client.scheduler.address} has no worker, and none came within "
                f"{CONNECT_SECONDS:g} s; start some with: dask worker {self._client.scheduler.address}"
            ) from None


@contextmanager
def connected(client: Client | str) -> Iterator[Cluster]:
    """Reach a cluster, and see that it can do our work.

    Parameters
    ----------
    client : distributed.Client or str
        A client of the cluster, or its scheduler's address, such as ``"tcp://10.0.0.1:8786"``: then a
        client is made, and closed at the end.

    Raises
    ------
    ClusterError
        If the scheduler cannot be reached, or there are no workers, or not of this version of cop-zarr.
    InputError
        If ``client`` is neither.
    MissingDependencyError
        If Dask's scheduler, the package distributed, is not installed.
    """
    distributed = _package()
    if isinstance(client, str):
        with client_of(client) as made:
            yield _fit(made)
    elif isinstance(client, distributed.Client) and not client.asynchronous:
        if client.status != "running":
            raise ClusterError(f"this client is not connected ({client.status}); make another one")
        yield _fit(client)
    else:
        raise InputError(
            "client must be a distributed.Client that is not asynchronous, or the address of a scheduler "
            f"such as 'tcp://10.0.0.1:8786'; got {client!r}"
        )


def here() -> str:
    """The name of this worker, for messages."""
    import socket

    from distributed import get_worker

    try:
        return f"the worker {get_worker().address} on {socket.gethostname()}"
    except ValueError:  # no worker: somebody calls its function in another process
        return f"the process on {socket.gethostname()}"


def dumped(objects: list[Any]) -> bytes:
    """Pickle what a caller gave, as Dask would: classes that no worker can import go along.

    Raises
    ------
    InputError
        If it cannot be pickled.
    """
    from cloudpickle import dumps

    try:
        data: bytes = dumps(objects)
    except (TypeError, AttributeError, pickle.PicklingError) as error:
        raise InputError(
            f"a region cannot be sent to the workers, because it cannot be pickled: {error}; give its "
            "__geo_interface__"
        ) from error
    return data


def loaded(data: bytes) -> list[Any]:
    """What :func:`dumped` made bytes of.

    Raises
    ------
    InputError
        If this worker lacks a class.
    """
    try:
        found: list[Any] = pickle.loads(data)  # noqa: S301  # Dask itself unpickles what it is sent
    except (ImportError, AttributeError, pickle.UnpicklingError) as error:
        raise InputError(
            f"a region cannot be unpickled by {here()}: {error}; give its __geo_interface__"
        ) from error
    return found


def _fit(client: Client) -> Cluster:
    cluster = Cluster(client)
    cluster.refuse_unfit()
    return cluster


def _package() -> Any:
    """Dask's scheduler and its client."""
    try:
        import distributed
    except ImportError as error:
        raise MissingDependencyError(
            "a cluster needs the package distributed; install it with: pip install 'cop-zarr[dask]'"
        ) from error
    return distributed


@contextmanager
def client_of(address: str) -> Iterator[Client]:
    """A client of the scheduler at an address, closed at the end.

    Raises
    ------
    ClusterError, InputError, MissingDependencyError
        As :func:`connected`.
    """
    import asyncio  # which takes time that nobody pays who has no cluster

    distributed = _package()
    try:
        with ThreadPoolExecutor(1, "cop-zarr-dask") as pool:  # this thread may have a loop, as in Jupyter
            pool.submit(asyncio.run, _knock(address)).result()
    except ValueError as error:
        raise InputError(
            f"{address!r} is no address of a scheduler: {error}; give one such as 'tcp://10.0.0.1:8786'"
        ) from error
    except OSError as error:
        raise ClusterError(
            f"no Dask scheduler answers at {address} within {CONNECT_SECONDS:g} s: see that it runs (dask "
            "scheduler prints its address), and that this machine may connect to it"
        ) from error
    with distributed.Client(address, timeout=CONNECT_SECONDS, set_as_default=False) as client:
        yield client


async def _knock(address: str) -> None:
    """See that somebody answers: a client that nobody does is half made, and holds up the end of Python."""
    from distributed import Security
    from distributed.comm import connect

    arguments = Security().get_connection_args("client")
    answered = await connect(address, timeout=CONNECT_SECONDS, **arguments)
    await answered.close()


def _do(version: str, work: Callable[..., Any], *part: Any) -> Any:
    """Do a part, on a worker; workers may come after the cluster was checked.

    An error of ours is sent back as what the part came to: if it were raised, Dask would log it as its own.
    """
    try:
        _refuse_other_version(version, __version__, here())
        return work(*part)
    except CopZarrError as error:
        return error


def _refuse_other_version(ours: str, theirs: str, worker: str) -> None:
    """Refuse a worker that might come to something else.

    Raises
    ------
    ClusterError
        If it has another cop-zarr.
    """
    if ours != theirs:
        raise ClusterError(
            f"{worker} has cop-zarr {theirs}, and this process {ours}; install the same on every worker"
        )


@contextmanager
def _telling() -> Iterator[None]:
    """Turn what Dask says of a cluster that fails into an error that says what to do."""
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
