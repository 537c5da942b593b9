"""Stand before a server, be late and count: ``python -m benchmarks.cases.serve_late URL SECONDS``.

Prints the proxy's URL and, on the same line, a port where each connection is told how many requests there
were so far. Ends with its stdin.
"""

import socketserver
import sys
import threading

from tests.support.proxy import fault_proxy

with fault_proxy(sys.argv[1]) as proxy:
    proxy.latency = float(sys.argv[2])

    class Count(socketserver.StreamRequestHandler):
        """Tell how many requests there were."""

        def handle(self) -> None:
            """Write the number, as a line."""
            self.wfile.write(b"%d\n" % len(proxy.requests))

    with socketserver.TCPServer(("127.0.0.1", 0), Count) as counter:
        threading.Thread(target=counter.serve_forever, daemon=True).start()
        print(proxy.url, counter.server_address[1], flush=True)
        sys.stdin.read()
        counter.shutdown()
