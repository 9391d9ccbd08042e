"""One address holds as many responses as it can by long polls, within its rate limit, and renews them.

Before: 520 of them took all connections; `/livez` and the machine's own clients were refused.
"""

import select
from contextlib import suppress

import wire

SIZES = {"small": 520, "full": 600}


def run(node, size, stop):
    path = f"/v1/transactions/{node.tip()['transactions'][0]}?wait=confirmed&confirmations=9000000&timeout=120"
    held = []
    while not stop.is_set():
        with suppress(OSError):
            while len(held) < size and not stop.is_set():
                stream = wire.connect(node.api, wire.ATTACKER)
                stream.sendall(wire.head("GET", path, node.api))
                held.append(stream)
        ended, _, _ = select.select(held, [], [], 0.05) if len(held) < 1000 else ([], [], [])
        for stream in ended:
            held.remove(stream)
            stream.close()
