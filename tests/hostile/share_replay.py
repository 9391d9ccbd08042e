"""A miner submits one header again under every later job of the same tip.

Before: each of them was credited, seven times in two minutes.
"""

import select

import wire

# Seconds: jobs are renewed every 20.
SIZES = {"small": 25, "full": 130}
NETWORK = "work"
SAME_TIP = True


def run(node, size, stop):
    miner = wire.Miner(node.stratum, wire.ATTACKER, f"{node.address}.replay")
    share = miner.find_share()
    node.credited, node.jobs = int(miner.submit(share)["result"] is True), 1
    for _ in range(size):
        if stop.is_set():
            break
        while select.select([miner.stream], [], [], 1)[0]:
            miner.receive()
            if miner.job[0] != share[1]:
                share[1], node.jobs = miner.job[0], node.jobs + 1
                node.credited += miner.submit(share)["result"] is True


def check_after(node):
    """The header was credited once."""
    return None if node.credited == 1 else f"one header was credited {node.credited} times in {node.jobs} jobs"
