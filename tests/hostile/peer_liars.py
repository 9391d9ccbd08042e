"""Peers claim much work, change the claim while headers are requested, and have none; half of them are dialed.

Before: one of them kept a node from ever syncing, and from mining.
"""

import hostile_peers

PEERS = True
SIZES = {"small": 4, "full": 16}


def run(node, size, stop):
    listen = ",".join(f"/ip4/20.{20 + number}.0.1/tcp/7000" for number in range(size // 2))
    with hostile_peers.started(
        node,
        ([], "liar", "--target", node.multiaddr, "--count", size // 2),
        ([], "liar", "--listen", listen),
    ) as processes:
        for address in hostile_peers.listening(processes[1], size // 2):
            node.order("/v1/peers", {"address": address})
        stop.wait()
