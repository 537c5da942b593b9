"""Exclusive write access to a folder, marked by an object in it that says who has it.

Object stores have no locks that end with their holder, and no clock tells a dead holder from a paused one.
So nobody takes a lock because time has passed: only if its holder is surely dead, which can be known on its
own machine, or if the user says so. A holder looks at its lock again before it writes or deletes anything,
unless it has seen it within :data:`LOOK_SECONDS`: one that was paused finds that it has lost it.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from cop_zarr import system
from cop_zarr.errors import StorageError, StoreBusyError

LOOK_SECONDS = 1.0
"""How long a holder believes that it still has the lock, from before the request with which it looked."""

BREAK_LOCK = "take its lock with break_lock=True"
"""What to do about a holder that cannot end any more."""

_held_tokens: set[str] = set()
"""Tokens of the locks of this process."""


class StaleLookError(ConnectionError):
    """Too long ago the lock was looked at; a request that fails with it is tried again."""


class Place(Protocol):
    """Where a lock is: a folder on an object store, or on a disk without file locks."""

    url: str

    def read(self, key: str) -> bytes:
        """Read an object."""

    def create(self, key: str, data: bytes) -> bool:
        """Write an object unless there is one; return whether it was written."""

    def remove(self, keys: list[str]) -> None:
        """Remove objects."""


class Lock:
    """A lock of a folder, marked by the object ``key`` and held until :meth:`release`.

    ``break_lock`` takes it from whoever has it. Raises StoreBusyError if another process has it, which says
    what to do if that cannot end, and StorageError if the folder cannot be written.
    """

    def __init__(
        self, place: Place, key: str, *, break_lock: bool = False, remedy: str = BREAK_LOCK
    ) -> None:
        self._place, self._key, self._remedy = place, key, remedy
        self._token = uuid.uuid4().hex
        self._seen, self._looking = system.clock(), False
        _held_tokens.add(self._token)
        try:
            self._acquire(break_lock=break_lock)
        except BaseException:
            _held_tokens.discard(self._token)
            raise

    def check(self) -> None:
        """Look at the lock unless that was done a moment ago; raise StoreBusyError if it is lost."""
        age = system.clock() - self._seen
        if age > LOOK_SECONDS or (age > LOOK_SECONDS / 2 and not self._looking):
            self._looking = True  # one thread of many looks before they all have to
            try:
                self.look()
            finally:
                self._looking = False

    def guard(self) -> None:
        """Raise StaleLookError if it was last looked at too long ago for a request to be sent."""
        if system.clock() - self._seen > LOOK_SECONDS:
            raise StaleLookError

    def release(self) -> None:
        """Remove the lock if it is still held."""
        _held_tokens.discard(self._token)
        with contextlib.suppress(StorageError, StoreBusyError):
            self.look()
            self._place.remove([self._key])

    def _acquire(self, *, break_lock: bool) -> None:
        holder = self._read()
        takes = holder is not None and (break_lock or not _may_be_alive(holder))
        if holder is not None and not takes:
            raise self._busy(holder)
        if takes and self._read() == holder:
            self._place.remove([self._key])
        exclusive = True
        if self._place.create(self._key, self._record()):
            exclusive = not self._place.create(self._key, self._record())  # does the server refuse it?
        if takes or not exclusive:
            # Who had it has stopped by then; of several who take it now, the last one has it.
            time.sleep(2 * LOOK_SECONDS)
        self.look()

    def look(self) -> None:
        """Raise StoreBusyError unless the lock is this one."""
        now = system.clock()
        holder = self._read() or {}
        if holder.get("token") != self._token:
            raise self._busy(holder)
        self._seen = now

    def _busy(self, holder: dict[str, Any]) -> StoreBusyError:
        return StoreBusyError(
            f"another ingest, repair or batch is writing to {self._place.url}: {_named(holder)}. Wait for "
            f"it to end; if it cannot, {self._remedy}"
        )

    def _read(self) -> dict[str, Any] | None:
        try:
            record = json.loads(self._place.read(self._key))
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
            "birth": _birth(os.getpid()),
            "since": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        return json.dumps(record).encode()


def _named(holder: dict[str, Any]) -> str:
    """Who holds a lock, for messages."""
    if not holder:
        return "an unknown process"
    return f"process {holder.get('pid')} on {holder.get('host')}, since {holder.get('since')}"


def _machine() -> str:
    """Identify where process numbers are the same: boot and PID namespace, or the host's name."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}:{Path('/proc/self/ns/pid').stat().st_ino}"
    except OSError:
        return f"{socket.gethostname()}:{uuid.getnode()}"


def _birth(pid: int) -> str | None:
    """When a process was started, in ticks since boot; empty if it is dead, None if that is unknown."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="latin-1").rpartition(")")[2].split()
    except OSError:
        return None
    return "" if fields[0] in "ZX" else fields[19]


def _may_be_alive(holder: dict[str, Any]) -> bool:
    """Whether a holder may be alive; certain on this machine only."""
    pid = holder.get("pid")
    if holder.get("machine") != _machine() or not isinstance(pid, int):
        return True
    if pid == os.getpid():
        return holder.get("token") in _held_tokens
    if not system.may_be_alive(pid):
        return False
    birth = _birth(pid)
    return birth is None or holder.get("birth") in {None, birth}
