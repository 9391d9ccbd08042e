"""Peers announce transfers with invalid signatures, a block that cannot be completed, and garbage, as fast as they can.

Before: senders of invalid signatures were never penalised.
"""

import hostile_peers

PEERS = True
SIZES = {"small": 1, "full": 2}


def run(node, size, stop):
    hostile_peers.run(node, stop, *[
        ([], "announce", node.multiaddr, "--clients", size, "--what", what)
        for what in ("signatures", "blocks", "garbage")
    ])
