"""Waiting for a request: a call that has ended is noticed, whatever signals arrive meanwhile."""

from __future__ import annotations

import subprocess
import sys

from tests.support.patience import STUCK_SECONDS

PROGRAM = """
import asyncio, signal, threading
from cop_zarr.core.threads import Cancelled
from cop_zarr.storage import async_calls

POLLS = 200
left = POLLS

def check_cancelled():
    global left
    left -= 1
    if not left:
        raise Cancelled

async_calls.CANCEL_POLL_SECONDS, async_calls.check_cancelled = 0.002, check_cancelled
loop = asyncio.new_event_loop()
threading.Thread(target=loop.run_forever, daemon=True).start()
signal.signal(signal.SIGALRM, lambda *_: None)
signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
try:
    async_calls.run_async(loop, lambda: asyncio.sleep(3600))
except Cancelled:
    signal.setitimer(signal.ITIMER_REAL, 0)
    print("cancelled")
"""


def test_signals_do_not_keep_an_ended_call_from_being_noticed() -> None:
    """Of Python 3.11's ``SimpleQueue.get``, one wait of some fifteen became endless so."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=STUCK_SECONDS, check=False
    )
    assert (done.returncode, done.stdout) == (0, "cancelled\n"), done.stderr
