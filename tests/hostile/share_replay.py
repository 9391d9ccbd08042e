"""A miner submits one header again under every later job of the same tip, and over later connections.

Before: each of them was credited, seven times in two minutes.
"""

import collections
import select

import wire

# Seconds: jobs are renewed every 20.
SIZES = {"small": 25, "full": 215}
NETWORK = "work"
SAME_TIP = LASTS = True
CONNECTIONS = 5


def submit(node, miner, share):
    """Submits a share under the miner's job, and counts it by its header: another one may meet the target by chance."""
    _, _, extra_nonce, time, nonce = share
    header = miner.header(miner.job, extra_nonce, int(time, 16), int(nonce, 16))
    if miner.submit([miner.user, miner.job[0], extra_nonce, time, nonce])["result"] is True:
        node.credited[header] += 1


def run(node, size, stop):
    name = f"{node.address}.replay"
    miner = wire.Miner(node.stratum, wire.ATTACKER, name, difficulty=1e-6)
    share = miner.find_share()
    node.credited, node.jobs = collections.Counter(), 1
    submit(node, miner, share)
    while not stop.wait(0.5):
        while select.select([miner.stream], [], [], 0)[0]:
            miner.receive()
        if miner.job[0] != share[1]:
            share[1], node.jobs = miner.job[0], node.jobs + 1
            submit(node, miner, share)
        # The session may be resumed, with its extra nonce.
        if node.jobs <= CONNECTIONS + 1:
            miner.stream.close()
            miner = wire.Miner(node.stratum, wire.ATTACKER, name, difficulty=1e-6, session=miner.session)
            while miner.job is None:
                miner.receive()
            submit(node, miner, share)


def check_after(node):
    """Each header was credited once."""
    most = max(node.credited.values(), default=0)
    return None if most == 1 else f"a header was credited {most} times in {node.jobs} jobs"
