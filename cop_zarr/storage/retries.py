"""Retry transient failures with exponential backoff, within a deadline."""

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
from cop_zarr.storage.transport_errors import (
    error_name,
    is_transient,
    retry_after,
    to_storage_error,
    transport_errors,
)

T = TypeVar("T")

TIMEOUT_SECONDS = 60.0
"""Default time for one object, all tries together."""

MIN_TRIES = 3
"""A try that takes longer than the timeout divided by this counts as hung, and is repeated."""

FIRST_PAUSE, MAX_PAUSE = 0.1, 5.0
"""Seconds before the second try; the bound doubles each time, and a pause is drawn from its upper half."""

logger = logging.getLogger(__name__)


def with_retries(request: Callable[[float], T], what: str, timeout: float) -> T:
    """Call ``request`` with the seconds it may take, until it succeeds, fails for good or time is over.

    ``what`` begins the message: "cannot read URL", with a redacted URL. FileNotFoundError, FileExistsError
    and StorageError are raised as they are, other failures of a transport as StorageError or AccessError.
    """
    end, waits, tries = time.monotonic() + timeout, pauses(), 0
    while True:
        tries += 1
        try:
            return request(min(timeout / MIN_TRIES, max(end - time.monotonic(), 0.001)))
        except (FileNotFoundError, FileExistsError, StorageError):
            raise
        except transport_errors() as error:
            if not is_transient(error):
                raise to_storage_error(what, error) from None
            wait = max(next(waits), retry_after(error))
            if time.monotonic() + wait >= end:
                note = f", {tries} times within {timeout:g} s (--timeout, timeout=)" if tries > 1 else ""
                raise to_storage_error(what, error, note) from None
            logger.info("%s: %s; trying again in %.1f s", what, error_name(error), wait)
        sleep(wait)


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
