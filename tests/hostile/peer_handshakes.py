"""Addresses of eight networks, and of one IPv6 site, complete handshakes with new keys again and again.

Held before: 1,000 handshakes in 4.7 s, and 400 peers that stayed connected.
"""

import hostile_peers
import wire

NETWORK, PEERS = "public", True
SIZES = {"small": 100, "full": 400}


def run(node, size, stop):
    hostile_peers.run(
        node, stop,
        (hostile_peers.V4, "flood", node.multiaddr, "--connections", size),
        (hostile_peers.V4, "flood", node.multiaddr, "--connections", size, "--hello"),
        (wire.site(128), "flood", node.multiaddr_v6, "--connections", size, "--hello"),
    )
