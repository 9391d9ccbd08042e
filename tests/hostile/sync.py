"""Measures how nodes sync, among liars and undisturbed, and how far a burst of blocks spreads: see run.sh."""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import hostile_peers
import wire
from node import COMMON, port, start, stop

# Blocks cost no work and no network has another chain, so that 100,000 of them are made in seconds.
NETWORK = COMMON + """name = "sync"
message = "sync"
half_life_seconds = 125
fixed_difficulty = true
limit_bits = "207fffff"
genesis_bits = "207fffff"
"""
MINER = "dch1qyetsgnljgc35n9yapuxfhjnya3re9njjxrwmyh"
LONG, SHORT, BURST = 100_000, 50_000, 50
HONEST, LIARS = 4, 16
# Bounds: of a sync among liars, of the rate of a sync in those of `chain verify`, and of a burst.
MAX_RATIO, MAX_MORE_SECONDS, MIN_RATE, MAX_BURST_SECONDS = 1.5, 15, 0.8, 0.5
DEADLINE = 600


class Node:
    """A node of its own address, perhaps with a copy of a chain."""

    def __init__(self, setup, number, *settings, base=None, network=None):
        self.data, self.log = setup.folder / f"node{number}", setup.folder / f"node{number}.log"
        shutil.rmtree(self.data, ignore_errors=True)
        self.log.unlink(missing_ok=True)
        if base:
            shutil.copytree(base, self.data, ignore=shutil.ignore_patterns("node.key", "node.json", "api-token"))
        command = [
            setup.chain, "node", "--network", str(network or setup.network), "--data", str(self.data), "--api",
            "127.0.0.1:0", "--mdns", "false", *settings,
        ]
        self.begun = time.monotonic()
        self.process, file = start(command, self.data, self.log)
        self.api, self.genesis = ("127.0.0.1", port(file["api"])), file["genesis"]
        self.peers, self.token = file["peers"], (self.data / "api-token").read_text().strip()

    def get(self, path):
        return json.loads(wire.get(self.api, path, "127.0.0.1")[1])

    def height(self):
        return self.get("/v1/chain")["height"]

    def generate(self, blocks):
        for first in range(0, blocks, 10_000):
            order = {"blocks": min(10_000, blocks - first), "miner": MINER}
            status, body = wire.post(self.api, "/v1/dev/generate", order, "127.0.0.1", self.token)
            assert status == 200, body

    def await_height(self, height, pause=0.02):
        """Waits until the node is at a height; returns the seconds since its start, or none after the deadline."""
        while time.monotonic() < self.begun + DEADLINE:
            if self.height() >= height:
                return time.monotonic() - self.begun
            time.sleep(pause)
        return None

    def await_peers(self, count):
        while len(self.get("/v1/peers")["items"]) < count:
            time.sleep(0.01)

    def stop(self):
        stop(self.process)
        text = self.log.read_text()
        assert "panicked" not in text, text[-2000:]
        return text


class Setup:
    """What the measurements have in common: programs, networks, chains."""

    def __init__(self, chain, folder):
        self.chain, self.folder, self.hostile_peer = chain, Path(folder), hostile_peers.program(chain)
        self.network, self.booted = self.folder / "sync.toml", self.folder / "booted.toml"
        self.network.write_text(NETWORK)
        self.booted.write_text(NETWORK + 'boot_nodes = ["/ip4/20.10.0.1/tcp/8401"]\n')

    def base(self, height):
        """A data directory with a chain of a height."""
        base = self.folder / f"chain{height}"
        if not base.exists():
            node = Node(self, "new", "--listen", "none")
            node.generate(height)
            self.genesis = node.genesis
            node.stop()
            shutil.move(node.data, base)
        return base

    def servers(self, count, height):
        """Honest nodes with a chain, each at an address of its own."""
        base = self.base(height)
        return [
            Node(self, f"server{number}", "--listen", f"/ip4/20.{10 + number}.0.1/tcp/8401", "--discover", "false", base=base)
            for number in range(count)
        ]

    def liars(self, count):
        listen = ",".join(f"/ip4/20.{40 + number}.0.1/tcp/8401" for number in range(count))
        return ([], "liar", "--listen", listen)

    def sync(self, height, *settings, network=None):
        """Syncs a new node; returns the seconds, and its log."""
        node = Node(self, "fresh", "--listen", "none", *settings, network=network)
        try:
            return node.await_height(height)
        finally:
            node.stop()


def peers(addresses):
    return [flag for address in addresses for flag in ("--peer", address)]


def among_liars(setup, repetitions):
    """A new node with 16 liars and 4 honest nodes as its persistent peers, with and without boot nodes."""
    honest = setup.servers(HONEST, LONG)
    try:
        addresses = [server.peers[0] for server in honest]
        return disturbed(
            setup, repetitions, [*peers(addresses), "--discover", "false"], setup.liars(LIARS),
            lambda liars: [*peers(liars), *peers(addresses), "--discover", "false"], LIARS,
        )
    finally:
        for server in honest:
            server.stop()


def by_exchange(setup, repetitions):
    """A new node that learns of 8 liars and 2 honest nodes from its only persistent peer."""
    honest = setup.servers(2, LONG)
    introducer, begun = "/ip4/20.30.0.1/tcp/8401", ["--discover", "true"]

    def introduced(nodes):
        command = ([], "introduce", "--listen", introducer, "--node", ",".join(nodes))
        return hostile_peers.started(setup, command)

    addresses = [server.peers[0] for server in honest]
    try:
        with introduced(addresses) as processes:
            address = hostile_peers.listening(processes[0], 1)
            undisturbed = [setup.sync(LONG, *peers(address), *begun) for _ in range(3)]
        with hostile_peers.started(setup, setup.liars(8)) as processes:
            liars = hostile_peers.listening(processes[0], 8)
            with introduced([*liars, *addresses]) as processes:
                address = hostile_peers.listening(processes[0], 1)
                times = [
                    setup.sync(LONG, *peers(address), *begun, network=[setup.network, setup.booted][number % 2])
                    for number in range(repetitions)
                ]
        return compare(undisturbed, times)
    finally:
        for server in honest:
            server.stop()


def disturbed(setup, repetitions, undisturbed_settings, liars, settings, count):
    """Compares syncs among liars with undisturbed ones."""
    undisturbed = [setup.sync(LONG, *undisturbed_settings) for _ in range(3)]
    times = []
    for number in range(repetitions):
        with hostile_peers.started(setup, liars) as processes:
            addresses = hostile_peers.listening(processes[0], count)
            network = [setup.network, setup.booted][number % 2]
            times.append(setup.sync(LONG, *settings(addresses), network=network))
    return compare(undisturbed, times)


def compare(undisturbed, times):
    base = statistics.median(undisturbed)
    limit = MAX_RATIO * base + MAX_MORE_SECONDS
    held = [seconds for seconds in times if seconds is not None and seconds <= limit]
    worst = max((seconds for seconds in times if seconds is not None), default=0)
    result = f"{len(held)} of {len(times)} within {limit:.1f} s (undisturbed {base:.1f} s, worst {worst:.1f} s)"
    return len(held) == len(times), result


def rate(setup, repetitions, count):
    """The rate of a sync of small blocks from servers, in rates of `chain verify` of the same data."""
    servers = setup.servers(count, SHORT)
    ratios, disconnects = [], 0
    try:
        settings = [*peers(server.peers[0] for server in servers), "--discover", "false", "--listen", "none"]
        for _ in range(repetitions):
            node = Node(setup, "fresh", *settings)
            node.await_peers(1)
            begun = time.monotonic()
            # Each request costs the node and this program time on the cores that they share.
            node.await_height(SHORT, pause=0.05)
            seconds = time.monotonic() - begun
            disconnects += node.log.read_text().count("peer disconnected")
            node.stop()
            begun = time.monotonic()
            command = [setup.chain, "verify", "--network", str(setup.network), "--data", str(node.data)]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            verified = time.monotonic() - begun
            ratios.append(verified / seconds)
            print(f"  {count} servers: synced in {seconds:.2f} s, verified in {verified:.2f} s", flush=True)
    finally:
        for server in servers:
            server.stop()
    median = statistics.median(ratios)
    result = f"{median:.2f} of `chain verify` ({min(ratios):.2f} to {max(ratios):.2f}), {disconnects} disconnects"
    return median >= MIN_RATE and disconnects == 0, result


def one_server(setup, repetitions):
    """50,000 small blocks from one server."""
    return rate(setup, repetitions, 1)


def three_servers(setup, repetitions):
    """50,000 small blocks from three servers."""
    return rate(setup, repetitions, 3)


def line(setup, repetitions):
    """50 blocks at one end of a line of five nodes, until the other end has them."""
    nodes = []
    for number in range(5):
        before = peers([nodes[-1].peers[0]]) if nodes else []
        listen = ["--listen", f"/ip4/20.{10 + number}.0.1/tcp/8401", "--discover", "false"]
        nodes.append(Node(setup, f"line{number}", *listen, *before))
    times = []
    try:
        for number, node in enumerate(nodes):
            node.await_peers(1 if number in (0, 4) else 2)
        nodes[0].generate(1)
        nodes[4].await_height(1)
        for number in range(repetitions):
            nodes[0].generate(BURST)
            begun = time.monotonic()
            nodes[4].await_height(1 + BURST * (number + 1), pause=0.002)
            times.append(time.monotonic() - begun)
            time.sleep(0.5)
    finally:
        for node in nodes:
            node.stop()
    held = [seconds for seconds in times if seconds < MAX_BURST_SECONDS]
    result = f"{len(held)} of {len(times)} within {MAX_BURST_SECONDS} s (median {statistics.median(times):.3f} s, worst {max(times):.3f} s)"
    return len(held) == len(times), result


FIGURES = {function.__name__: function for function in (among_liars, by_exchange, one_server, three_servers, line)}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--repetitions", type=int, default=20)
    parser.add_argument("chain")
    parser.add_argument("figures", nargs="*", default=list(FIGURES))
    arguments = parser.parse_args()
    wire.allow_files()
    all_held = True
    print("| figure | result | |\n|---|---|---|", flush=True)
    for name in arguments.figures:
        with tempfile.TemporaryDirectory() as folder:
            is_held, result = FIGURES[name](Setup(arguments.chain, folder), arguments.repetitions)
        print(f"| {name} | {result} | {'held' if is_held else '**failed**'} |", flush=True)
        all_held &= is_held
    sys.exit(0 if all_held else 1)


if __name__ == "__main__":
    main()
