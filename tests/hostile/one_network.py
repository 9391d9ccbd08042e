"""Addresses of many IPv6 networks (/64) of one site (/48), each within its share, hold responses, subscribe to events
and take seats of Stratum.

Shares of a site bind as those of an address do.
"""

from contextlib import suppress

import wire

SIZES = {"small": 300, "full": 2000}


def run(node, size, stop):
    held = "/v1/transactions/" + node.tip()["transactions"][0] + "?wait=confirmed&confirmations=9000000&timeout=120"
    authorize = b'{"id":1,"method":"mining.authorize","params":["%s"]}\n' % node.address.encode()
    streams = []
    for source in wire.site(size):
        for port, request in [
            (node.api[1], wire.head("GET", held, node.api)),
            (node.api[1], wire.head("GET", "/v1/events", node.api)),
            (node.stratum[1], authorize),
        ]:
            with suppress(OSError):
                stream = wire.connect((wire.NODE_V6, port), source, timeout=2)
                stream.sendall(request)
                streams.append(stream)
        if stop.is_set():
            return
    stop.wait()
