"""The clients of attacks and of the honest user: HTTP, WebSocket and Stratum over plain sockets.

Nothing here is code of the node. A client binds the address that it comes from, so that the node can distinguish
clients.
"""

import base64
import hashlib
import json
import os
import resource
import socket
import struct

ATTACKER = "10.77.0.2"
HONEST = "10.77.0.3"
# The node by IPv6.
NODE_V6 = "2a00:88::1"


def site(count):
    """Addresses of different networks (/64) of one IPv6 site (/48)."""
    return [f"2a00:77:1:{number:x}::1" for number in range(1, count + 1)]


def allow_files():
    """Raises the number of files that this process may open to what the system permits."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def connect(target, source, timeout=10, window=None):
    """Opens a connection from an address; a small window makes the client read little at a time."""
    family = socket.AF_INET6 if ":" in source else socket.AF_INET
    stream = socket.socket(family)
    stream.settimeout(timeout)
    if window:
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
    stream.bind((source, 0))
    stream.connect(target)
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return stream


def head(method, path, target, *headers):
    """The bytes of a request without a body."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {target[0]}:{target[1]}", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def read_response(stream):
    """Reads one response; returns its status and body."""
    received = b""
    while b"\r\n\r\n" not in received:
        more = stream.recv(65536)
        if not more:
            raise ConnectionError("closed before a response")
        received += more
    top, body = received.split(b"\r\n\r\n", 1)
    length = 0
    for line in top.split(b"\r\n")[1:]:
        name, value = line.split(b":", 1)
        if name.lower() == b"content-length":
            length = int(value)
    while len(body) < length:
        more = stream.recv(65536)
        if not more:
            raise ConnectionError("closed within a response")
        body += more
    return int(top.split(b" ", 2)[1]), body


def get(target, path, source, timeout=10):
    """Sends one request over a new connection; returns the status and the body."""
    with connect(target, source, timeout) as stream:
        stream.sendall(head("GET", path, target, "Connection: close"))
        return read_response(stream)


def post(target, path, value, source, token=None):
    """Posts JSON over a new connection; returns the status and the body."""
    body = json.dumps(value).encode()
    headers = ["Connection: close", "Content-Type: application/json", f"Content-Length: {len(body)}"]
    if token:
        headers.append(f"Authorization: Bearer {token}")
    with connect(target, source, 60) as stream:
        stream.sendall(head("POST", path, target, *headers) + body)
        return read_response(stream)


def post_text(target, path, text, source):
    """Posts plain text over a new connection; returns the status and the body."""
    headers = ["Connection: close", "Content-Type: text/plain", f"Content-Length: {len(text)}"]
    with connect(target, source, 60) as stream:
        stream.sendall(head("POST", path, target, *headers) + text.encode())
        return read_response(stream)


def websocket(target, path, source):
    """Opens a WebSocket."""
    stream = connect(target, source)
    key = base64.b64encode(os.urandom(16)).decode()
    stream.sendall(head(
        "GET", path, target, "Upgrade: websocket", "Connection: Upgrade",
        "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {key}",
    ))
    received = b""
    while b"\r\n\r\n" not in received:
        more = stream.recv(1)
        if not more:
            raise ConnectionError("closed before the upgrade")
        received += more
    if b" 101 " not in received.split(b"\r\n")[0]:
        raise ConnectionError(received.split(b"\r\n")[0].decode())
    return stream


def text_frame(text):
    """A masked text frame of a WebSocket client."""
    payload, mask = text.encode(), b"\x01\x02\x03\x04"
    size = struct.pack("!B", 0x80 | len(payload)) if len(payload) < 126 else struct.pack("!BH", 0xFE, len(payload))
    return b"\x81" + size + mask + bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))


def sha256d(data):
    return hashlib.sha256(hashlib.sha256(data).digest()).digest()


def meets(digest, target):
    """Whether a hash is at most a target, an integer."""
    return int.from_bytes(digest, "little") <= target


def target_of_bits(bits):
    return (bits & 0xFFFFFF) << 8 * ((bits >> 24) - 3)


class Miner:
    """A Stratum miner with its last job."""

    def __init__(self, target, source, user, timeout=10, difficulty=1e-9, session=None):
        self.stream = connect(target, source, timeout)
        self.lines = self.stream.makefile("rb")
        self.user, self.job, self.difficulty, self.extra_nonce_1 = user, None, None, ""
        self.id = 0
        self.request("mining.suggest_difficulty", [difficulty])
        subscribed = self.request("mining.subscribe", ["hostile/1", *([session] if session else [])])
        self.session, self.extra_nonce_1 = subscribed["result"][0][0][1], subscribed["result"][1]
        self.authorized = self.request("mining.authorize", [user, "x"])

    def receive(self):
        line = self.lines.readline()
        if not line.endswith(b"\n"):
            raise ConnectionError("closed by the node")
        line = json.loads(line)
        if line.get("method") == "mining.set_difficulty":
            self.difficulty = line["params"][0]
        elif line.get("method") == "mining.notify":
            self.job = line["params"]
        return line

    def request(self, method, params):
        self.id += 1
        self.stream.sendall(json.dumps({"id": self.id, "method": method, "params": params}).encode() + b"\n")
        while True:
            line = self.receive()
            if line.get("method") is None and line.get("id") == self.id:
                return line

    def header(self, job, extra_nonce_2, time, nonce):
        root = sha256d(bytes.fromhex(job[2] + self.extra_nonce_1 + extra_nonce_2 + job[3]))
        for sibling in job[4]:
            root = sha256d(root + bytes.fromhex(sibling))
        previous = bytes.fromhex(job[1])
        previous = b"".join(previous[at:at + 4][::-1] for at in range(0, 32, 4))
        version, bits = (bytes.fromhex(job[at])[::-1] for at in (5, 6))
        return version + previous + root + struct.pack("<I", time) + bits + struct.pack("<I", nonce)

    def search(self, wanted, first=0, extra_nonce_2="00000001", time=None):
        """Searches the last job for a hash that satisfies a condition; returns what to submit."""
        while self.job is None:
            self.receive()
        job, time = self.job, int(self.job[7], 16) if time is None else time
        nonce = first
        while not wanted(sha256d(self.header(job, extra_nonce_2, time, nonce))):
            nonce += 1
        return [self.user, job[0], extra_nonce_2, f"{time:08x}", f"{nonce:08x}"]

    def find_block(self, first=0):
        while self.job is None:
            self.receive()
        network = target_of_bits(int(self.job[6], 16))
        return self.search(lambda digest: meets(digest, network), first)

    def find_share(self, first=0):
        """Finds a share that is no block."""
        while self.job is None or self.difficulty is None:
            self.receive()
        network = target_of_bits(int(self.job[6], 16))
        share = int(0xFFFF * 2**208 / self.difficulty)
        return self.search(lambda digest: meets(digest, share) and not meets(digest, network), first)

    def submit(self, share):
        return self.request("mining.submit", share)
