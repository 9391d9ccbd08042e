"""Addresses of eight networks, and of one IPv6 site, hold connections of peers in the encryption handshake: without a
byte, or with one.

Before: 24 addresses with three silent sockets each excluded 31 of 32 newcomers.
"""

import hostile_peers
import wire

NETWORK, PEERS = "public", True
SIZES = {"small": 72, "full": 300}


def run(node, size, stop):
    (address, port), (address_v6, port_v6) = node.peers, node.peers_v6
    v4, v6 = f"{address}:{port}", f"[{address_v6}]:{port_v6}"
    hostile_peers.run(
        node, stop,
        (hostile_peers.V4[:24], "silent", v4, "--sockets", size),
        (hostile_peers.V4, "silent", v4, "--sockets", size, "--byte"),
        (wire.site(128), "silent", v6, "--sockets", size),
    )
