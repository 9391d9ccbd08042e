"""What schemathesis cannot know by itself: names of things that are there, in the formats of the
document, and how much to ask for at once. Checks nothing."""

import schemathesis
from hypothesis import strategies as st
from node import ask

owners = [owner["address"] for owner in ask("/v1/chain/params")["allocations"]]
blocks = [block["hash"] for block in ask("/v1/blocks?limit=100")["items"]]
confirmed = [entry["id"] for entry in ask(f"/v1/accounts/{owners[0]}/transactions")["items"]]
waiting = [entry["id"] for entry in ask("/v1/mempool/transactions")["items"]]

texts = st.sampled_from
hashes = st.from_regex(r"[0-9a-f]{64}", fullmatch=True)
ids = texts([
    "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN",
    "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N",
])
ips = st.ip_addresses().map(str)
# Nobody listens there, so nobody is disturbed.
multiaddrs = st.integers(1, 9).map(lambda port: f"/ip4/127.0.0.1/tcp/{port}")

schemathesis.openapi.format("address", texts(owners))
schemathesis.openapi.format("block-hash", st.one_of(texts(blocks), hashes))
schemathesis.openapi.format("transaction-id", st.one_of(texts(confirmed), texts(waiting), hashes))
schemathesis.openapi.format(
    "block-id", st.one_of(st.just("tip"), st.integers(0, 400).map(str), texts(blocks), hashes)
)
schemathesis.openapi.format("ip", ips)
schemathesis.openapi.format("peer-id", ids)
schemathesis.openapi.format("ban-id", st.one_of(ids, ips))
schemathesis.openapi.format("multiaddr", multiaddrs)


@schemathesis.hook
def map_query(context, query):
    """Waits are short."""
    for name in ("timeout", "wait"):
        seconds = (query or {}).get(name)
        if isinstance(seconds, int) and seconds > 1:
            query[name] = 1
    return query


@schemathesis.hook
def map_body(context, body):
    """A few blocks are as good as thousands."""
    if isinstance(body, dict) and isinstance(body.get("blocks"), int) and body["blocks"] > 50:
        if body["blocks"] <= 10_000:
            body["blocks"] = 1 + body["blocks"] % 50
    return body


def whole(value):
    """JSON Schema takes 1.0 for an integer; this API does not, on purpose: amounts are exact."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {name: whole(member) for name, member in value.items()}
    return [whole(item) for item in value] if isinstance(value, list) else value


@schemathesis.hook
def before_call(context, case, kwargs):
    """Integers are written as such."""
    case.body = whole(case.body)
