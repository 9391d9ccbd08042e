"""One address after another changes the mempool by a transfer, and requests a template after each.

Before: a template was forgotten after 256 others of its tip, and the block found on it was refused.
"""

import wire
from accounts import Account
from template_flood import check, prepare  # the solution of an earlier template is accepted

SIZES = {"small": 300, "full": 2000}
# Seconds that the transfers take.
LEAD = {"small": 8, "full": 25}
SAME_TIP = True
__all__ = ["check", "prepare", "run"]


def run(node, size, stop):
    accounts = [Account(index, node.genesis) for index in range(4)]
    path = f"/v1/mining/template?miner={node.address}"
    address, sent = 0, 0
    while sent < size and not stop.is_set():
        account = accounts[sent % len(accounts)]
        status, _ = wire.post_text(node.api, "/v1/transactions", account.pay().hex(), f"10.77.3.{1 + address % 250}")
        if status == 429:
            # The rate limit of one address; other addresses go on.
            account.nonce, address = account.nonce - 1, address + 1
            continue
        sent += 1
        wire.get(node.api, path, f"10.77.3.{1 + address % 250}")
    stop.wait()
