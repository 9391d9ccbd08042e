"""Fills a node's chain: blocks, confirmed and pending transfers, a side branch."""

from node import request

owners = [owner["address"] for owner in request("/v1/chain/params")["allocations"]]
request("/v1/dev/generate", {"blocks": 150})
for number, owner in enumerate(owners):
    for amount in range(1, 6):
        request("/v1/dev/faucet", {"address": owner, "amount": 1_000 * amount + number})
    request("/v1/dev/generate", {"blocks": 15, "miner": owner})
stale = request("/v1/blocks/298")["hash"]
request("/v1/dev/invalidate", {"hash": stale})
request("/v1/dev/generate", {"blocks": 8})
request("/v1/dev/reconsider", {"hash": stale})
for amount in range(1, 31):
    request("/v1/dev/faucet", {"address": owners[amount % 10], "amount": amount})
print("height", request("/v1/chain")["height"], "pending", request("/v1/mempool")["count"])
