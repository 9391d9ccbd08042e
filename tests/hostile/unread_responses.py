"""One address requests large responses over many connections and reads a little now and then.

Before: the memory of the node grew to 1.5 GB and more, and stayed there.
"""

from contextlib import suppress

import wire

SIZES = {"small": 300, "full": 500}


def run(node, size, stop):
    paths = ["/v1/headers?from=0&count=2000", f"/v1/mining/template?miner={node.address}&block=true"]
    streams = []
    while not stop.wait(0.5):
        for number in range(len(streams), size):
            with suppress(OSError):
                stream = wire.connect(node.api, wire.ATTACKER, window=2048)
                stream.sendall(wire.head("GET", paths[number % 4 == 3], node.api))
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
