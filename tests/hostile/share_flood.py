"""Connections of several addresses submit shares of the least difficulty as fast as their rate limits permit.

Before: 1,200 of them filled the set of seen shares, and honest shares of that job were rejected.
"""

import json
import select
from contextlib import suppress

import wire

SIZES = {"small": 60, "full": 1200}
NETWORK = "work"


def run(node, size, stop):
    miners, number = [], 0
    for connection in range(size):
        with suppress(OSError, KeyError, TypeError):
            source = f"10.77.{20 + connection % 6}.1"
            miners.append(wire.Miner(node.stratum, source, f"{node.address}.flood{connection % 64}", difficulty=2.4e-10))
        if stop.is_set():
            return
    assert miners, "no connection was authorized"
    while not stop.is_set():
        for miner in list(miners):
            try:
                while miner.job is None or select.select([miner.stream], [], [], 0)[0]:
                    miner.receive()
                lines = []
                for _ in range(10):
                    number += 1
                    params = [miner.user, miner.job[0], f"{number >> 20:08x}", miner.job[7], f"{number:08x}"]
                    lines.append(json.dumps({"id": number, "method": "mining.submit", "params": params}))
                miner.stream.sendall(("\n".join(lines) + "\n").encode())
            except (OSError, ValueError):
                miners.remove(miner)
        stop.wait(0.01)
