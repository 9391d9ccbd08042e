"""The nodes of a run: the one that is attacked, and honest ones that connect with it from elsewhere."""

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import wire
from accounts import ADDRESSES, Account

# The attacked node, as clients and peers see it, and the honest peer.
API, PEERS, FAR = "10.77.0.1", "20.0.0.1", "30.0.0.2"
DEADLINE = 60
# An account of `dev`, to which every reward and payment goes.
ADDRESS = "dch1qyetsgnljgc35n9yapuxfhjnya3re9njjxrwmyh"
COMMON = """hrp = "dch"
spacing_seconds = 5
genesis_time = 1767225600
initial_subsidy = 5000000000
halving_interval = 210000
maturity = 10
max_future_seconds = 60
max_block_bytes = 2000000
"""
NETWORKS = {
    # Like `dev`, but blocks take some thousand hashes each: most shares are no blocks.
    "work": COMMON + """name = "work"
message = "work"
half_life_seconds = 125
fixed_difficulty = true
limit_bits = "1f00ffff"
genesis_bits = "1f00ffff"
""",
    # The limits by address apply to its peers, as on `main`; its first blocks are as easy as those of `dev`.
    "public": COMMON + """name = "public"
message = "public"
half_life_seconds = 5000
limit_bits = "207fffff"
genesis_bits = "207fffff"
""",
}


def network_file(folder, network):
    """The name of a network, or the path of its file."""
    if network not in NETWORKS:
        return network
    path = Path(folder) / f"{network}.toml"
    path.write_text(NETWORKS[network])
    return str(path)


def start(command, data, log, core=None):
    """Starts a node, and waits until it can be reached; returns its process and node.json."""
    pin = None if core is None else lambda: os.sched_setaffinity(0, {core})
    (data / "node.json").unlink(missing_ok=True)
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log.open("a"), preexec_fn=pin)
    until = time.monotonic() + DEADLINE
    while not (data / "node.json").exists():
        if process.poll() is not None or time.monotonic() > until:
            raise SystemExit(f"the node does not start: {log.read_text()}")
        time.sleep(0.01)
    return process, json.loads((data / "node.json").read_text())


def port(address):
    return int(address.rsplit(":", 1)[1])


def stop(process):
    process.send_signal(signal.SIGTERM)
    status = process.wait(DEADLINE)
    assert status == 0, f"the node ended with {status}"


class Node:
    """The attacked node, in a directory."""

    def __init__(self, chain, folder, network, settings, core=None, base=None):
        self.address, self.network = ADDRESS, network
        Path(folder).mkdir(exist_ok=True)
        self.data, self.log = Path(folder) / "data", Path(folder) / "log"
        if base:
            shutil.copytree(base, self.data, ignore=shutil.ignore_patterns("node.key", "node.json", "api-token"))
        self.file_of_network = network_file(folder, network)
        command = [
            chain, "node", "--network", self.file_of_network, "--data", str(self.data), "--api", "[::]:0",
            "--api-host", API, "--stratum", "[::]:0", "--listen", "/ip4/0.0.0.0/tcp/0,/ip6/::/tcp/0",
            "--discover", "false", "--mdns", "false", *settings,
        ]
        self.process, file = start(command, self.data, self.log, core)
        self.api = (API, port(file["api"]))
        self.loopback = ("127.0.0.1", self.api[1])
        self.stratum = (API, port(file["stratum"]))
        self.token = (self.data / "api-token").read_text().strip()
        self.genesis = file["genesis"]
        ports = {parts[1]: int(parts[4]) for parts in (peer.split("/") for peer in file["peers"])}
        self.peers = (PEERS, ports["ip4"])
        self.peers_v6 = (wire.NODE_V6, ports["ip6"])
        self.multiaddr = f"/ip4/{PEERS}/tcp/{self.peers[1]}"
        self.multiaddr_v6 = f"/ip6/{self.peers_v6[0]}/tcp/{self.peers_v6[1]}"

    def order(self, path, value):
        """Orders something as the operator of the node."""
        status, body = wire.post(self.loopback, path, value, "127.0.0.1", self.token)
        assert status < 300, (path, status, body)
        return json.loads(body)

    def pay(self, number):
        """Changes the mempool by a payment."""
        self.order("/v1/dev/faucet", {"address": self.address, "amount": 1000 + number})

    def get(self, path):
        """Requests a resource as the operator of the node."""
        status, body = wire.get(self.loopback, path, "127.0.0.1")
        assert status == 200, (path, status, body)
        return json.loads(body)

    def mine(self, blocks):
        """Extends the chain."""
        if self.network == "dev":
            for first in range(0, blocks, 10_000):
                self.order("/v1/dev/generate", {"blocks": min(10_000, blocks - first), "miner": self.address})
            return
        self.order("/v1/mining/jobs", {"blocks": blocks, "miner": self.address, "threads": 1})
        until = time.monotonic() + blocks * 0.05 + DEADLINE
        while self.get("/v1/chain")["height"] < blocks:
            assert time.monotonic() < until, "the chain does not grow"
            time.sleep(0.1)

    def fill(self, size):
        """Fills the mempool with a number of bytes of transfers, which accounts of `dev` pay in turn."""
        accounts = [Account(index, self.genesis) for index in range(len(ADDRESSES))]
        for account, address in zip(accounts, ADDRESSES):
            account.nonce = self.get(f"/v1/accounts/{address}")["next_nonce"]
        count, batch = size // 401, []
        for number in range(count):
            batch.append({"hex": accounts[number % len(accounts)].pay(memo=bytes(256)).hex()})
            if len(batch) == 100 or number + 1 == count:
                self.order("/v1/transactions/batch", batch)
                batch = []

    def tip(self):
        return self.get("/v1/blocks/tip")

    def rss_mib(self):
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                return int(line.split()[1]) / 1024
        return 0

    def stop(self):
        stop(self.process)
        text = self.log.read_text()
        assert "panicked" not in text, text[-2000:]


class Far:
    """A network namespace of another machine, for honest peers."""

    def __init__(self):
        self.holder = subprocess.Popen(["unshare", "--net", "--", "sleep", "infinity"])
        own = os.readlink("/proc/self/ns/net")
        while os.readlink(f"/proc/{self.holder.pid}/ns/net") == own:
            time.sleep(0.01)
        self.enter = ["nsenter", f"--net=/proc/{self.holder.pid}/ns/net", "--"]
        for command in [
            ["ip", "link", "add", "near", "type", "veth", "peer", "name", "far", "netns", str(self.holder.pid)],
            ["ip", "address", "add", "30.0.0.1/24", "dev", "near"],
            ["ip", "link", "set", "near", "up"],
            [*self.enter, "ip", "link", "set", "lo", "up"],
            [*self.enter, "ip", "address", "add", f"{FAR}/24", "dev", "far"],
            [*self.enter, "ip", "link", "set", "far", "up"],
            [*self.enter, "ip", "route", "add", "default", "via", "30.0.0.1"],
        ]:
            subprocess.run(command, check=True)

    def close(self):
        self.holder.kill()
        self.holder.wait()

    def sync(self, chain, folder, node, height, core=None, limit=DEADLINE):
        """Syncs a new node from the attacked one; returns the seconds until it is connected, and then until
        it is at a height. None of both if they did not come in time.
        """
        data, log = Path(folder) / "peer", Path(folder) / "peer.log"
        shutil.rmtree(data, ignore_errors=True)
        command = [
            *self.enter, chain, "node", "--network", node.file_of_network, "--data", str(data), "--api", "0.0.0.0:0",
            "--api-host", FAR, "--listen", "none", "--discover", "false", "--mdns", "false", "--peer", node.multiaddr,
        ]
        begun = time.monotonic()
        process, file = start(command, data, log, core)
        api, connected = (FAR, port(file["api"])), None
        try:
            while time.monotonic() < begun + limit:
                now = time.monotonic()
                if connected is None:
                    _, body = wire.get(api, "/v1/peers", "30.0.0.1")
                    connected = now if json.loads(body)["items"] else None
                _, body = wire.get(api, "/v1/chain", "30.0.0.1")
                if json.loads(body)["height"] >= height:
                    connected = connected or now
                    # The node was asked every few milliseconds.
                    return connected - begun, max(0.01, now - connected)
                time.sleep(0.005)
            return (None if connected is None else connected - begun), None
        finally:
            stop(process)
