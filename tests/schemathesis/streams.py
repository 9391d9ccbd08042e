"""Reads the event streams of the node, which do not end, for as long as events come: every event has to conform to the
OpenAPI document, and every invalid query has to be refused with a problem. Uses the libraries of schemathesis."""

import base64
import json
import os
import socket
import struct
import urllib.parse

import requests
from jsonschema_rs import Draft202012Validator

NODE = os.environ["NODE"]
# Seconds without an event after which a stream has no more for now: below the 15 of keep-alive lines.
SILENCE = 2
INVALID = ["topics=block", "topics=", "since=-1", "since=x", "address=x", "misspelt=1", "since=1&since=2"]

document = requests.get(f"{NODE}/openapi.json", timeout=60).json()
owner = requests.get(f"{NODE}/v1/chain/params", timeout=60).json()["allocations"][0]["address"]


def validator(name):
    return Draft202012Validator({"components": document["components"], "$ref": f"#/components/schemas/{name}"})


event_schema, message_schema = validator("Event"), validator("WebSocketMessage")


def server_sent_events(query):
    """Yields the events of a stream until it is silent."""
    with requests.get(f"{NODE}/v1/events?{query}", stream=True, timeout=SILENCE) as response:
        assert response.status_code == 200, response.text
        assert response.headers["content-type"] == "text/event-stream", response.headers
        fields = {}
        try:
            for line in response.iter_lines(chunk_size=1, decode_unicode=True):
                if line:
                    name, value = line.split(": ", 1)
                    fields[name] = value
                else:
                    if "data" in fields:
                        event = {"event": fields["event"], "id": int(fields["id"]), "data": json.loads(fields["data"])}
                        assert event["id"] == event["data"]["number"], event
                        yield event
                    fields = {}
        except requests.exceptions.ConnectionError as error:
            assert "timed out" in str(error).lower(), error


def websocket_messages(query, requests_):
    """Sends messages over a WebSocket and yields those of the node until it is silent. Source: RFC 6455."""
    url = urllib.parse.urlsplit(NODE)
    with socket.create_connection((url.hostname, url.port), timeout=SILENCE) as stream:
        key = base64.b64encode(os.urandom(16)).decode()
        stream.sendall(
            f"GET /v1/ws?{query} HTTP/1.1\r\nHost: {url.netloc}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        reader = stream.makefile("rb")
        assert b" 101 " in reader.readline()
        while reader.readline() != b"\r\n":
            pass
        for message in requests_:
            payload = json.dumps(message).encode()
            # A mask of zeros changes nothing.
            stream.sendall(struct.pack("!BBH4x", 0x81, 0x80 | 126, len(payload)) + payload)
        while True:
            try:
                opcode, length = reader.read(2)
                length = {126: lambda: struct.unpack("!H", reader.read(2)), 127: lambda: struct.unpack("!Q", reader.read(8))}.get(
                    length, lambda: (length,)
                )()[0]
                payload = reader.read(length)
            except TimeoutError:
                return
            if opcode == 0x81:
                yield json.loads(payload)


def check(schema, messages):
    messages = list(messages)
    for message in messages:
        schema.validate(message)
    return messages


everything = check(event_schema, server_sent_events("since=0"))
topics = {event["event"] for event in everything}
assert {"block.connected", "transaction.confirmed"} <= topics, topics
for topic in sorted(topics):
    found = check(event_schema, server_sent_events(f"since=0&topics={topic}"))
    assert {event["event"] for event in found} == {topic}, topic
assert check(event_schema, server_sent_events(f"since=0&address={owner}"))
over_websocket = check(message_schema, websocket_messages("since=0", []))
assert over_websocket[: len(everything)] == everything, "the two streams differ"
responses = check(
    message_schema,
    websocket_messages("", [{"subscribe": ["reorg"]}, {"submit_transaction": "00"}, {"subscribe": ["x"]}, {"x": 1}]),
)
assert [sorted(response) for response in responses] == [["since", "subscribed"], ["error"], ["error"], ["error"]], responses
for query in INVALID:
    for path in ("/v1/events", "/v1/ws"):
        response = requests.get(f"{NODE}{path}?{query}", timeout=60)
        assert response.status_code == 400, (path, query, response.status_code)
        validator("Problem").validate(response.json())
print(f"{len(everything)} events of {len(topics)} topics conform to the document")
