"""A chain with some history: blocks, transfers that are confirmed and that wait, a side branch."""

from node import ask

owners = [owner["address"] for owner in ask("/v1/chain/params")["allocations"]]
ask("/v1/dev/generate", {"blocks": 150})
for number, owner in enumerate(owners):
    for amount in range(1, 6):
        ask("/v1/dev/faucet", {"address": owner, "amount": 1_000 * amount + number})
    ask("/v1/dev/generate", {"blocks": 15, "miner": owner})
left = ask("/v1/blocks/298")["hash"]
ask("/v1/dev/invalidate", {"hash": left})
ask("/v1/dev/generate", {"blocks": 8})
ask("/v1/dev/reconsider", {"hash": left})
for amount in range(1, 31):
    ask("/v1/dev/faucet", {"address": owners[amount % 10], "amount": amount})
print("height", ask("/v1/chain")["height"], "waiting", ask("/v1/mempool")["count"])
