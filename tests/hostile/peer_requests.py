"""Peers of six addresses request blocks as fast as they can, and come back with new keys when they are disconnected.

Before: rate limits were new after each reconnect, so that one address got 16 MB/s.
"""

import hostile_peers

NETWORK, PEERS = "public", True
SIZES = {"small": 6, "full": 18}


def run(node, size, stop):
    hostile_peers.run(node, stop, (hostile_peers.V4[:6], "requests", node.multiaddr, "--clients", size))
