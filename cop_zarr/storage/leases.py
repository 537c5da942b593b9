"""Have a place on an object store to oneself.

Object stores know no locks that end with their owner. So an owner writes a small object and rewrites it
every few seconds; one that is no longer rewritten is nobody's, and may be taken.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

from cop_zarr.errors import StorageError, StoreBusyError

BEAT_SECONDS = 5.0
"""How often an owner shows that it is alive."""

STALE_BEATS = 6
"""An owner that has not shown itself for so many beats is dead."""

_mine: set[str] = set()
"""Tokens of the leases that this process holds."""


class Place(Protocol):
    """What a lease needs of a folder; :class:`cop_zarr.storage.RemoteFolder` is one."""

    @property
    def url(self) -> str:
        """The place, for people."""

    def read(self, key: str) -> bytes:
        """Read an object."""

    def write(self, key: str, data: bytes) -> None:
        """Write an object."""

    def create(self, key: str, data: bytes) -> None:
        """Write an object unless there is one."""

    def remove(self, keys: Iterable[str]) -> None:
        """Remove objects."""


class Lease:
    """A place on an object store, held until :meth:`release`.

    Parameters
    ----------
    folder : Place
        The place.
    key : str
        The object that marks it as taken.

    Raises
    ------
    StoreBusyError
        If another process holds it. That takes a while to tell if it runs on another machine: half a
        minute for one that is dead.
    StorageError
        If the place cannot be written.
    """

    def __init__(self, folder: Place, key: str) -> None:
        self._folder, self._key = folder, key
        self._token = uuid.uuid4().hex
        self._lost = False
        self._seen = _clock()
        self._over = threading.Event()
        _mine.add(self._token)
        try:
            self._take()
        except BaseException:
            _mine.discard(self._token)
            raise
        self._beating = threading.Thread(target=self._beat, name="cop-zarr-lease", daemon=True)
        self._beating.start()

    def check(self) -> None:
        """Refuse to go on if somebody else has taken the place meanwhile."""
        if not self._lost and _clock() - self._seen > STALE_BEATS / 2 * BEAT_SECONDS:
            self._look()  # this process may have been asleep
        if self._lost:
            raise StorageError(
                f"another process took {self._folder.url} over, because this one had stopped for too long"
            )

    def release(self) -> None:
        """Give the place back."""
        self._over.set()
        with contextlib.suppress(StorageError):
            self._look()
        self._beating.join(BEAT_SECONDS)  # a network that is away must not hold up the end
        _mine.discard(self._token)
        if not self._lost:
            self._folder.remove([self._key])

    def _take(self) -> None:
        for last in (False, True):
            owner = self._read()
            if owner is None:
                self._folder.create(self._key, self._mark())
                owner = self._read() or {}  # whoever was first
            if last:
                time.sleep(BEAT_SECONDS / 5)  # two may have found the same owner dead: the later one stays
                owner = self._read() or {}
            if owner.get("token") == self._token:
                return
            if last or owner.get("token") in _mine or (_alive(owner) and not self._falls_silent(owner)):
                raise StoreBusyError(
                    f"another ingest or repair is writing to {self._folder.url} (process "
                    f"{owner.get('pid')} on {owner.get('host')}); wait for it to end"
                )
            if self._read() == owner:  # nobody was quicker
                self._folder.remove([self._key])

    def _falls_silent(self, mark: dict[str, Any]) -> bool:
        """Watch another owner for as long as it may be silent."""
        for _ in range(STALE_BEATS):
            time.sleep(BEAT_SECONDS)
            now = self._read()
            if now is None:
                return True
            if now != mark:
                return False
        return True

    def _beat(self) -> None:
        while not self._over.wait(BEAT_SECONDS):
            try:
                self._look()
                if self._lost:
                    return
                self._folder.write(self._key, self._mark())
            except StorageError:
                continue  # the network is away: the next write of the work itself will tell

    def _look(self) -> None:
        """See whether the place is still held."""
        mark = self._read()
        self._lost = mark is None or mark.get("token") != self._token
        self._seen = _clock()

    def _read(self) -> dict[str, Any] | None:
        try:
            mark = json.loads(self._folder.read(self._key))
        except FileNotFoundError:
            return None
        except ValueError:
            return {}
        return mark if isinstance(mark, dict) else {}

    def _mark(self) -> bytes:
        mark = {
            "token": self._token,
            "host": socket.gethostname(),
            "machine": _machine(),
            "pid": os.getpid(),
            "beat": time.time(),
        }
        return json.dumps(mark).encode()


def _machine() -> str:
    """Where process numbers mean the same as here: the boot and the PID namespace, or the host's name."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}:{Path('/proc/self/ns/pid').stat().st_ino}"
    except OSError:
        return f"{socket.gethostname()}:{uuid.getnode()}"


def _clock() -> float:
    """Seconds that go on while the machine is suspended, where it can tell."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def _alive(mark: dict[str, Any]) -> bool:
    """Whether an owner may be alive; on this machine that can be told."""
    if mark.get("machine") != _machine() or not isinstance(mark.get("pid"), int):
        return True
    if mark["pid"] == os.getpid():
        return mark.get("token") in _mine
    try:
        os.kill(mark["pid"], 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
