"""Each of many addresses, within its share, holds responses and subscribes to events.

Shares do not bind here: connections that merely wait give way to new addresses.
"""

from contextlib import suppress

import wire

SIZES = {"small": 300, "full": 2000}


def run(node, size, stop):
    held = f"/v1/transactions/{node.tip()['transactions'][0]}?wait=confirmed&confirmations=9000000&timeout=120"
    streams = []
    for number in range(size):
        source = f"10.77.{100 + number // 250}.{1 + number % 250}"
        for path in (held, held, "/v1/events"):
            with suppress(OSError):
                stream = wire.connect(node.api, source, timeout=2)
                stream.sendall(wire.head("GET", path, node.api))
                streams.append(stream)
        if stop.is_set():
            return
    stop.wait()
