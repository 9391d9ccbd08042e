"""One address takes all seats of Stratum: connections that authorize, and others that reconnect all the time.

Before: 2,048 authorized connections shut out every other miner, and each rejection was a line in the log.
"""

from contextlib import suppress

import wire

SIZES = {"small": 400, "full": 2100}
# The small size fills fewer seats.
SETTINGS = {"small": ["--stratum-connections", "256/32"], "full": []}


def run(node, size, stop):
    lines = b"".join(
        b'{"id":%d,"method":"%s","params":["%s"]}\n' % (number, method, argument)
        for number, (method, argument) in enumerate(
            [(b"mining.subscribe", b"x/1"), (b"mining.authorize", node.address.encode())]
        )
    )
    seats = []
    while not stop.is_set():
        with suppress(OSError):
            stream = wire.connect(node.stratum, wire.ATTACKER, timeout=2)
            stream.sendall(lines)
            if len(seats) < size:
                seats.append(stream)
            else:
                stream.close()
