"""Retry transient failures with exponential backoff, until time is over."""

from __future__ import annotations

import logging
import math
import random
import time
from collections.abc import Callable, Iterator
from numbers import Real
from typing import TypeVar

from cop_zarr.core.threads import sleep
from cop_zarr.errors import InputError, StorageError
from cop_zarr.storage.line import Attempt, Line
from cop_zarr.storage.transport_errors import (
    asked_pause,
    error_name,
    is_denied,
    is_refused,
    is_transient,
    is_transport_error,
    to_storage_error,
)

T = TypeVar("T")

TIMEOUT_SECONDS = 60.0
"""Default time without a byte of an object, all tries and pauses together."""

MIN_TRIES = 3
"""A try that is silent for the timeout divided by this counts as hung, and is repeated."""

UNREACHED_SHARE = 1 / 12
"""Share of the timeout for a server that has never answered, and refuses connections: a wrong address."""

FIRST_PAUSE, MAX_PAUSE = 0.1, 5.0
"""Seconds before the second try; the bound doubles each time, and a pause is drawn from its upper half."""

BUSY_SHARE = 1 / 4
"""Share of a silent time that counts while the server answers others."""

logger = logging.getLogger(__name__)


def with_retries(request: Callable[[Attempt], T], what: str, timeout: float, line: Line) -> T:
    """Call ``request`` until it succeeds, fails for good or its time is over.

    Time is over after ``timeout`` seconds of silence and pauses since something has arrived that is kept;
    not counted are the wait for a turn, and a pause that the server asks for and that helps.

    ``what`` begins the message: "cannot read URL", with a redacted URL. FileNotFoundError, FileExistsError
    and StorageError are raised as they are, other failures of a transport as StorageError or AccessError.
    """
    patience, tries = _Patience(timeout, line), 0
    while True:
        line.wait()
        attempt, tries = Attempt(timeout / MIN_TRIES, tries), tries + 1
        try:
            result = request(attempt)
        except (FileExistsError, StorageError):
            raise
        except FileNotFoundError as error:  # of a hub, this may be a refusal
            if error.__cause__ is not None and is_denied(error.__cause__):
                raise to_storage_error(what, error.__cause__) from None
            raise
        except Exception as error:
            if not is_transport_error(error):
                raise
            if not is_transient(error, reached=line.reached):
                raise to_storage_error(what, error) from None
            wait = patience.pause_after(attempt, error)
            if patience.left <= 0:
                note = f", {tries} times within {timeout:g} s (timeout=)" if tries > 1 else ""
                raise to_storage_error(what, error, note) from None
            logger.info("%s: %s; trying again in %.1f s", what, error_name(error), wait)
        else:
            line.answered()
            return result
        sleep(wait)


class _Patience:
    """The time that is left for one object."""

    def __init__(self, timeout: float, line: Line) -> None:
        self.left = self._timeout = timeout
        self._line = line
        self._pauses = pauses()

    def pause_after(self, attempt: Attempt, error: Exception) -> float:
        """Count a try that failed, and return the seconds to wait before the next; 0 if all wait."""
        if attempt.kept:
            self.left, self._pauses = self._timeout, pauses()
        elif is_refused(error) and not self._line.reached:
            self.left = min(self.left, self._timeout * UNREACHED_SHARE)
        now = time.monotonic()
        silent = now - max(attempt.began, self._line.heard)
        self.left -= min(max(silent, (now - attempt.began) * BUSY_SHARE), attempt.silence)
        asked = asked_pause(error)
        if asked and self._line.may_pause(asked):
            if self._line.pause(asked):
                logger.warning("%s: the server asks to wait %.0f s", error_name(error), asked)
            return 0
        wait = max(next(self._pauses), asked)
        self.left -= wait
        return wait


def pauses() -> Iterator[float]:
    """Yield the seconds to wait before each further try: exponential, with jitter."""
    longest = FIRST_PAUSE
    while True:
        yield random.uniform(longest / 2, longest)  # noqa: S311  # nothing secret depends on it
        longest = min(2 * longest, MAX_PAUSE)


def check_timeout(timeout: float) -> None:
    """Raise InputError if a timeout is not a positive number of seconds."""
    if not isinstance(timeout, Real) or not 0 < timeout < math.inf:
        raise InputError(f"timeout must be a positive number of seconds; got {timeout!r}")
