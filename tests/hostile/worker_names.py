"""One address authorizes as many invented worker names as the node records.

Before: 4,096 of them removed the accounts of miners that were not connected at that moment.
"""

import json
from contextlib import suppress

import wire

SIZES = {"small": 5000, "full": 20000}
NETWORK = "work"


def prepare(node, _):
    """An honest miner has accepted shares, and disconnects."""
    miner = wire.Miner(node.stratum, wire.HONEST, f"{node.address}.honest")
    for first in range(0, 3000, 1000):
        assert miner.submit(miner.find_share(first))["result"], "an honest share"
    miner.stream.close()


def run(node, size, stop):
    for connection in range(size // 16):
        lines = ['{"id":1,"method":"mining.subscribe","params":["x/1"]}']
        for name in range(16):
            user = f"{node.address}.invented{connection}x{name}"
            lines.append(json.dumps({"id": 2, "method": "mining.authorize", "params": [user, "x"]}))
        with suppress(OSError), wire.connect(node.stratum, wire.ATTACKER, timeout=2) as stream:
            stream.sendall(("\n".join(lines) + "\n").encode())
            stream.recv(65536)
        if stop.is_set():
            return
    stop.wait()


def check(node):
    """The shares of the honest miner are still recorded."""
    return counted(node, 3)


def check_after(node):
    """The honest miner comes back, and its next share counts too."""
    miner = wire.Miner(node.stratum, wire.HONEST, f"{node.address}.honest")
    reply = miner.submit(miner.find_share(5000))
    return counted(node, 4) if reply["result"] is True else f"honest share: {reply}"


def counted(node, shares):
    _, body = wire.get(node.api, "/v1/mining/workers", wire.HONEST)
    honest = [worker for worker in json.loads(body) if worker["name"] == "honest"]
    if honest and honest[0]["accepted"] >= shares:
        return None
    return f"workers: {honest}"
