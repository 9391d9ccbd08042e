"""Peers send malformed and oversized requests of every protocol, each with a new key.

Held before.
"""

import hostile_peers

PEERS = True
SIZES = {"small": 4, "full": 16}


def run(node, size, stop):
    hostile_peers.run(node, stop, *[([], "malformed", node.multiaddr) for _ in range(size)])
