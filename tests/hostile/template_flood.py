"""Templates for other payees and changes of the mempool make the node issue very many templates of one tip; half of them are
requested on the node's machine, where limits are loose.

Before: a template was forgotten after 16,384 others of its tip, and the block found on it was refused.
"""

import json
import struct

import wire

SIZES = {"small": 700, "full": 20000}
# Seconds that it takes.
LEAD = {"small": 3, "full": 20}
SAME_TIP = True


def run(node, size, stop):
    path = f"/v1/mining/template?miner={node.address}"
    stream = wire.connect(node.api, wire.ATTACKER)
    for number in range(size):
        if number % 20 == 0:
            node.pay(number)
        try:
            stream.sendall(wire.head("GET", path, node.api))
            status, _ = wire.read_response(stream)
            if number % 2:
                wire.get(node.loopback, path, "127.0.0.1")
        except OSError:
            stream = wire.connect(node.api, wire.ATTACKER)
            continue
        # The rate limit of one address; other addresses go on.
        if status == 429:
            stream.close()
            stream = wire.connect(node.api, f"10.77.3.{1 + number % 250}")
        if stop.is_set():
            return
    stop.wait()


def prepare(node, _):
    """The template whose solution is submitted during the attack."""
    status, body = wire.get(node.api, f"/v1/mining/template?miner={node.address}", wire.HONEST)
    assert status == 200, body
    node.template = json.loads(body)


def check(node):
    """The solution of the template that was issued before the attack is accepted."""
    template, nonce = node.template, 0
    header, target = bytes.fromhex(template["header"]), int(template["target"], 16)
    while not wire.meets(wire.sha256d(header[:76] + struct.pack("<I", nonce)), target):
        nonce += 1
    solution = {"template": template["id"], "nonce": nonce}
    status, body = wire.post(node.api, "/v1/mining/solutions", solution, wire.HONEST)
    return None if status == 201 else f"solution: {status} {body[:200]!r}"
