"""Extensions of schemathesis: values that exist on the node for the formats of the OpenAPI document, and
limits for expensive requests. Does not check anything."""

import schemathesis
from hypothesis import strategies as st
from node import request

owners = [owner["address"] for owner in request("/v1/chain/params")["allocations"]]
blocks = [block["hash"] for block in request("/v1/blocks?limit=100")["items"]]
confirmed = [entry["id"] for entry in request(f"/v1/accounts/{owners[0]}/transactions")["items"]]
pending = [entry["id"] for entry in request("/v1/mempool/transactions")["items"]]

sampled = st.sampled_from
hashes = st.from_regex(r"[0-9a-f]{64}", fullmatch=True)
ids = sampled([
    "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN",
    "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N",
])
ips = st.ip_addresses().map(str)
# Ports without a listener.
multiaddrs = st.integers(1, 9).map(lambda port: f"/ip4/127.0.0.1/tcp/{port}")

schemathesis.openapi.format("address", sampled(owners))
schemathesis.openapi.format("block-hash", st.one_of(sampled(blocks), hashes))
schemathesis.openapi.format("transaction-id", st.one_of(sampled(confirmed), sampled(pending), hashes))
schemathesis.openapi.format(
    "block-id", st.one_of(st.just("tip"), st.integers(0, 400).map(str), sampled(blocks), hashes)
)
schemathesis.openapi.format("ip", ips)
schemathesis.openapi.format("peer-id", ids)
schemathesis.openapi.format("ban-id", st.one_of(ids, ips))
schemathesis.openapi.format("multiaddr", multiaddrs)


@schemathesis.hook
def map_query(context, query):
    """Shortens long polls."""
    for name in ("timeout", "wait"):
        seconds = (query or {}).get(name)
        if isinstance(seconds, int) and seconds > 1:
            query[name] = 1
    return query


@schemathesis.hook
def map_body(context, body):
    """Reduces the number of blocks to mine."""
    if isinstance(body, dict) and isinstance(body.get("blocks"), int) and body["blocks"] > 50:
        if body["blocks"] <= 10_000:
            body["blocks"] = 1 + body["blocks"] % 50
    return body


def integral(value):
    """Converts 1.0 to 1: an integer to JSON Schema, but rejected by this API, whose amounts are exact."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {name: integral(member) for name, member in value.items()}
    return [integral(item) for item in value] if isinstance(value, list) else value


@schemathesis.hook
def before_call(context, case, kwargs):
    """Sends integers without a fraction."""
    case.body = integral(case.body)
