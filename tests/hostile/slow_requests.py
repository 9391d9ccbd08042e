"""Many addresses of one network send heads byte by byte and malformed heads, and reconnect when they are closed.

Held before: connections were closed after ten seconds. They are kept here, as they use what others need.
"""

import itertools
from contextlib import suppress

import wire

SIZES = {"small": 600, "full": 5000}
MALFORMED = [b"\x00" * 64, b"GET / HTTP/9.9\r\n\r\n", b"GET /" + b"x" * 20000, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"]


def run(node, size, stop):
    streams, sources = [], itertools.count()
    while not stop.is_set():
        while len(streams) < size and not stop.is_set():
            number = next(sources)
            source = f"10.77.{100 + number // 250 % 100}.{1 + number % 250}"
            with suppress(OSError):
                stream = wire.connect(node.api, source)
                stream.sendall(MALFORMED[number % 16 // 4] if number % 4 == 0 else b"GET /v1/chain HTTP/1.1\r\nHo")
                streams.append(stream)
        for stream in list(streams):
            try:
                stream.setblocking(False)
                stream.send(b"s")
                if not stream.recv(512):
                    raise ConnectionError
            except BlockingIOError:
                pass
            except OSError:
                streams.remove(stream)
