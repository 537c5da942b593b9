"""Exclusive write access to a folder on an object store.

Object stores have no locks that end with their owner. The owner of a lease therefore writes a small object
and rewrites it every few seconds (a beat). A lease that is no longer rewritten may be taken over.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cop_zarr import system
from cop_zarr.errors import StorageError, StoreBusyError

if TYPE_CHECKING:
    from cop_zarr.storage.remote import RemoteFolder

BEAT_SECONDS = 5.0
"""Time between two beats."""

STALE_BEATS = 6
"""An owner that missed so many beats is dead."""

_held_tokens: set[str] = set()
"""Tokens of the leases of this process."""


class Lease:
    """A lease of a folder, marked by the object ``key`` and held until :meth:`release`.

    Raises StoreBusyError if another process holds it (for an owner on another machine that takes up to half
    a minute), StorageError if the folder cannot be written.
    """

    def __init__(self, folder: RemoteFolder, key: str) -> None:
        self._folder, self._key = folder, key
        self._token = uuid.uuid4().hex
        self._lost = False
        self._last_seen = system.clock()
        self._released = threading.Event()
        _held_tokens.add(self._token)
        try:
            self._acquire()
        except BaseException:
            _held_tokens.discard(self._token)
            raise
        self._thread = threading.Thread(target=self._beat, name="cop-zarr-lease", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raise StorageError if another process has taken the lease over."""
        if not self._lost and system.clock() - self._last_seen > STALE_BEATS / 2 * BEAT_SECONDS:
            self._update()  # this process may have been suspended
        if self._lost:
            raise StorageError(
                f"another process took {self._folder.url} over, because this one had stopped for too long"
            )

    def release(self) -> None:
        """Remove the lease."""
        self._released.set()
        with contextlib.suppress(StorageError):
            self._update()
        self._thread.join(BEAT_SECONDS)  # do not wait for a network that is down
        _held_tokens.discard(self._token)
        if not self._lost:
            self._folder.remove([self._key])

    def _acquire(self) -> None:
        for last in (False, True):
            owner = self._read()
            if owner is None:
                self._folder.create(self._key, self._record())
                owner = self._read() or {}  # another process may have been first
            if last:
                time.sleep(BEAT_SECONDS / 5)  # two may have found the same owner dead: the later one stays
                owner = self._read() or {}
            if owner.get("token") == self._token:
                return
            ours = owner.get("token") in _held_tokens
            if last or ours or (_may_be_alive(owner) and self._beats(owner)):
                raise StoreBusyError(
                    f"another ingest or repair is writing to {self._folder.url} (process "
                    f"{owner.get('pid')} on {owner.get('host')}); wait for it to end"
                )
            if self._read() == owner:  # no other process took it meanwhile
                self._folder.remove([self._key])

    def _beats(self, owner: dict[str, Any]) -> bool:
        """Watch another owner's lease until it beats or ends, or is stale."""
        for _ in range(STALE_BEATS):
            time.sleep(BEAT_SECONDS)
            now = self._read()
            if now != owner:
                return now is not None
        return False

    def _beat(self) -> None:
        while not self._released.wait(BEAT_SECONDS):
            with contextlib.suppress(StorageError):  # a network that is down fails the next write, too
                self._update()
                if self._lost:
                    return
                self._folder.write(self._key, self._record())

    def _update(self) -> None:
        """Find out whether the lease is still held."""
        owner = self._read()
        self._lost = owner is None or owner.get("token") != self._token
        self._last_seen = system.clock()

    def _read(self) -> dict[str, Any] | None:
        try:
            record = json.loads(self._folder.read(self._key))
        except FileNotFoundError:
            return None
        except ValueError:
            return {}
        return record if isinstance(record, dict) else {}

    def _record(self) -> bytes:
        record = {
            "token": self._token,
            "host": socket.gethostname(),
            "machine": _machine(),
            "pid": os.getpid(),
            "beat": time.time(),
        }
        return json.dumps(record).encode()


def _machine() -> str:
    """Identify where process numbers are the same: boot and PID namespace, or the host's name."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}:{Path('/proc/self/ns/pid').stat().st_ino}"
    except OSError:
        return f"{socket.gethostname()}:{uuid.getnode()}"


def _may_be_alive(owner: dict[str, Any]) -> bool:
    """Whether an owner may be alive; certain on this machine only."""
    if owner.get("machine") != _machine() or not isinstance(owner.get("pid"), int):
        return True
    if owner["pid"] == os.getpid():
        return owner.get("token") in _held_tokens
    return system.may_be_alive(owner["pid"])
