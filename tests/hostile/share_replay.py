"""A miner submits one header again under every later job of the same tip, and over later connections.

Before: each of them was credited, seven times in two minutes.
"""

import select

import wire

# Seconds: jobs are renewed every 20.
SIZES = {"small": 25, "full": 215}
NETWORK = "work"
SAME_TIP = LASTS = True
CONNECTIONS = 5


def run(node, size, stop):
    name = f"{node.address}.replay"
    # Others of other difficulty do not hit by chance.
    miner = wire.Miner(node.stratum, wire.ATTACKER, name, difficulty=1e-6)
    share = miner.find_share()
    node.credited, node.jobs = int(miner.submit(share)["result"] is True), 1
    while not stop.wait(0.5):
        while select.select([miner.stream], [], [], 0)[0]:
            miner.receive()
        if miner.job[0] != share[1]:
            share[1], node.jobs = miner.job[0], node.jobs + 1
            node.credited += miner.submit(share)["result"] is True
        # The session may be resumed, with its extra nonce.
        if node.jobs <= CONNECTIONS + 1:
            miner.stream.close()
            miner = wire.Miner(node.stratum, wire.ATTACKER, name, difficulty=1e-6, session=miner.session)
            while miner.job is None:
                miner.receive()
            node.credited += miner.submit([name, miner.job[0], *share[2:]])["result"] is True


def check_after(node):
    """The header was credited once."""
    return None if node.credited == 1 else f"one header was credited {node.credited} times in {node.jobs} jobs"
