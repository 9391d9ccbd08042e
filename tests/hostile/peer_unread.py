"""Peers request blocks of the largest size, and read no reply.

Before: once 64 MiB were unsent, all peers got the reply busy to every request; 16 peers were enough.
"""

import hostile_peers

PEERS = True
SIZES = {"small": 16, "full": 32}


def prepare(node, size):
    node.fill(100_000 if size < 20 else 2_000_000)
    node.mine(1)


def run(node, size, stop):
    hostile_peers.run(node, stop, ([], "unread", node.multiaddr, "--clients", size))
