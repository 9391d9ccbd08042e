"""Extensions of schemathesis: values that exist on the node for the formats of the OpenAPI document, and
limits for expensive requests. Does not check anything."""

import time

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
schemathesis.openapi.format("worker-id", st.builds(str.__add__, sampled(owners), sampled(["", ".rig"])))


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
    """Reduces the number of blocks to mine, and keeps the clock and the times of blocks near the present: a tip
    ahead of the clock stops mining, which most operations report with status 503."""
    if not isinstance(body, dict):
        return body
    blocks = body.get("blocks")
    if isinstance(blocks, int) and 50 < blocks <= 10_000:
        body["blocks"] = 1 + blocks % 50
    now = int(time.time())
    for name in ("time", "next_block_time"):
        if isinstance(body.get(name), int) and 0 <= body[name] < 2**32:
            body[name] = now
    if isinstance(body.get("offset_seconds"), int) and abs(body["offset_seconds"]) <= 315_360_000:
        body["offset_seconds"] = 0
    if body.get("frozen") is True:
        body["frozen"] = False
    return body


def remove_contradictions(case):
    """Removes parameters that exclude each other, which the document says in words only."""
    query, body = case.query, case.body
    if case.operation.path == "/v1/blocks/{id}" and query:
        if case.path_parameters["id"] != "tip":
            query.pop("after", None)
        if "after" not in query:
            query.pop("wait", None)
    if case.operation.path == "/v1/dev/time" and isinstance(body, dict):
        if body.get("offset_seconds") is not None:
            body.pop("time", None)


def integral(value):
    """Converts 1.0 to 1: an integer to JSON Schema, but rejected by this API, whose amounts are exact."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {name: integral(member) for name, member in value.items()}
    return [integral(item) for item in value] if isinstance(value, list) else value


@schemathesis.hook
def before_call(context, case, kwargs):
    """Sends integers without a fraction, and valid requests without contradictions."""
    case.body = integral(case.body)
    if case.meta and case.meta.generation.mode.is_positive:
        remove_contradictions(case)
