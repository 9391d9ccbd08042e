"""A peer serves valid headers with more work than the chain has, and none of their blocks; another one comes after it.

Before: the node was not ready and did not mine for a minute, again and again.
"""

import hostile_peers

PEERS = True
SIZES = {"small": 5000, "full": 400_000}
# Seconds in which the headers are forged, and in which the node may wait for their blocks.
LEAD = {"small": 6, "full": 20}


def run(node, size, stop):
    hostile_peers.run(node, stop, *[
        ([], "withhold", "--target", node.multiaddr, "--headers", size) for _ in range(2)
    ])
