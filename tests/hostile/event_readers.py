"""One address subscribes to events as often as it can, by SSE and WebSocket, and reads nothing.

Before: 200 subscriptions of one address were all that there were.
"""

from contextlib import suppress

import wire

SIZES = {"small": 300, "full": 500}


def run(node, size, stop):
    open_streams = []
    for number in range(size):
        with suppress(OSError):
            if number % 2:
                open_streams.append(wire.websocket(node.api, "/v1/ws", wire.ATTACKER))
            else:
                stream = wire.connect(node.api, wire.ATTACKER, window=4096)
                stream.sendall(wire.head("GET", "/v1/events?since=0", node.api))
                open_streams.append(stream)
        if stop.is_set():
            return
    stop.wait()


def check(node):
    """An honest client still gets a subscription, from its first event on."""
    with wire.connect(node.api, wire.HONEST) as stream:
        stream.sendall(wire.head("GET", "/v1/events?since=0", node.api))
        first = stream.recv(4096)
        if b" 200 " not in first.split(b"\r\n")[0]:
            return f"events: {first[:40]!r}"
    return None
