"""Serve a folder's files over HTTP: ``python -m benchmarks.cases.serve_files FOLDER``; prints the port.

Ends with its stdin.
"""

import asyncio
import sys

from aiohttp import web


async def main(folder: str) -> None:
    """Serve until stdin ends."""
    app = web.Application()
    app.router.add_static("/", folder)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.to_thread(sys.stdin.read)


asyncio.run(main(sys.argv[1]))
