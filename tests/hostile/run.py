"""Runs attacks against a node, each against a fresh one, while an honest client measures it: see run.sh."""

import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from multiprocessing import Event, Process, Queue
from pathlib import Path

import wire

ATTACKS = [
    "held_responses", "many_addresses", "event_readers", "stratum_seats", "unread_responses", "large_bodies",
    "websocket_flood",
    "slow_requests", "template_churn", "worker_names", "share_replay",
]
NODE = "10.77.0.1"
DEADLINE = 60
# An account of `dev`, to which every reward and payment goes.
ADDRESS = "dch1qyetsgnljgc35n9yapuxfhjnya3re9njjxrwmyh"
# A network like `dev`, whose blocks take some thousand hashes each: most shares are no blocks.
WORK = """name = "work"
hrp = "dch"
spacing_seconds = 5
half_life_seconds = 125
fixed_difficulty = true
limit_bits = "1f00ffff"
genesis_bits = "1f00ffff"
genesis_time = 1767225600
initial_subsidy = 5000000000
halving_interval = 210000
maturity = 10
max_future_seconds = 60
max_block_bytes = 2000000
message = "work"
"""
# Bounds of docs/threats.md.
MAX_P99_MS, MAX_RSS_MIB, MAX_LOG_KIB_PER_MINUTE = 100, 256, 1024


class Node:
    """A node in a temporary directory."""

    def __init__(self, chain, folder, network, settings, core):
        self.address, self.is_dev = ADDRESS, network == "dev"
        self.data, self.log = Path(folder) / "data", Path(folder) / "log"
        if not self.is_dev:
            network = Path(folder) / "network.toml"
            network.write_text(WORK)
        command = [
            chain, "node", "--network", str(network), "--data", str(self.data), "--api", "0.0.0.0:0", "--api-host", NODE,
            "--stratum", "0.0.0.0:0", "--listen", "none", *settings,
        ]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=self.log.open("w"))
        if core is not None:
            os.sched_setaffinity(self.process.pid, {core})
        until = time.monotonic() + DEADLINE
        while not (self.data / "node.json").exists():
            if self.process.poll() is not None or time.monotonic() > until:
                raise SystemExit(f"the node does not start: {self.log.read_text()}")
            time.sleep(0.05)
        file = json.loads((self.data / "node.json").read_text())
        self.api = (NODE, int(file["api"].rsplit(":", 1)[1]))
        self.loopback = ("127.0.0.1", self.api[1])
        self.stratum = (NODE, int(file["stratum"].rsplit(":", 1)[1]))
        self.token = (self.data / "api-token").read_text().strip()

    def dev(self, path, value):
        """Orders something as the operator of the node."""
        status, body = wire.post(self.loopback, f"/v1/dev/{path}", value, "127.0.0.1", self.token)
        assert status < 300, (path, status, body)
        return json.loads(body)

    def pay(self, number):
        """Changes the mempool by a payment."""
        wire.post(
            self.loopback, "/v1/dev/faucet", {"address": self.address, "amount": 1000 + number}, "127.0.0.1",
            self.token,
        )

    def prepare(self):
        """A chain whose headers and blocks are worth requesting."""
        if not self.is_dev:
            return
        self.dev("generate", {"blocks": 2100, "miner": self.address})
        _, block = wire.get(self.loopback, "/v1/blocks/tip", "127.0.0.1")
        self.transaction = json.loads(block)["transactions"][0]

    def rss_mib(self):
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                return int(line.split()[1]) / 1024
        return 0

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(DEADLINE)
        assert status == 0, f"the node ended with {status}"
        text = self.log.read_text()
        assert "panicked" not in text, text[-2000:]


def poll(failures, times, target, path, source, interval, until):
    """Requests a path again and again over new connections."""
    while time.monotonic() < until:
        begun = time.monotonic()
        try:
            status, body = wire.get(target, path, source)
            if status != 200:
                failures.append(f"{path} from {source}: {status} {body[:80]!r}")
        except OSError as error:
            failures.append(f"{path} from {source}: {error!r}")
        times.append(time.monotonic() - begun)
        time.sleep(max(0, interval - (time.monotonic() - begun)))


def mine(node, failures):
    """An honest miner connects, and its block counts."""
    try:
        miner = wire.Miner(node.stratum, wire.HONEST, f"{node.address}.measured")
        if miner.authorized["result"] is not True:
            failures.append(f"miner: {miner.authorized}")
        for attempt in range(5):
            _, before = wire.get(node.api, "/v1/chain", wire.HONEST)
            reply = miner.submit(miner.find_block(attempt * 1000))
            _, after = wire.get(node.api, "/v1/chain", wire.HONEST)
            if reply["result"] is True and json.loads(after)["height"] > json.loads(before)["height"]:
                return
        failures.append(f"miner: {reply}")
    except (OSError, KeyError, ValueError) as error:
        failures.append(f"miner: {error!r}")


def measure(node, seconds, is_mining, results, core):
    """What an honest user sees meanwhile."""
    if core is not None:
        os.sched_setaffinity(0, {core})
    failures, chain, other = [], [], []
    until = time.monotonic() + seconds
    threads = [
        threading.Thread(target=poll, args=(failures, chain, node.api, "/v1/chain", wire.HONEST, 0.02, until)),
        threading.Thread(target=poll, args=(failures, other, node.api, "/livez", wire.HONEST, 0.2, until)),
        threading.Thread(target=poll, args=(failures, other, node.loopback, "/v1/chain", "127.0.0.1", 0.2, until)),
        threading.Thread(target=poll, args=(failures, other, node.loopback, "/livez", "127.0.0.1", 0.2, until)),
    ]
    for thread in threads:
        thread.start()
    if is_mining:
        mine(node, failures)
    for thread in threads:
        thread.join()
    chain.sort()
    results.put((failures, len(chain), chain[len(chain) * 99 // 100] * 1000))


def assault(attack, node, size, stop, core, results):
    """The attacker's process."""
    if core is not None:
        os.sched_setaffinity(0, {core})
    wire.allow_files()
    try:
        attack.run(node, size, stop)
    finally:
        results.put({name: value for name, value in vars(node).items() if name in ("credited", "jobs")})


def run(name, chain, is_full):
    """Runs one attack; returns whether the node withstood it."""
    attack = importlib.import_module(name)
    kind = "full" if is_full else "small"
    size, settings = attack.SIZES[kind], getattr(attack, "SETTINGS", {}).get(kind, [])
    node_core, client_core = (0, 1) if is_full and os.cpu_count() > 1 else (None, None)
    seconds, lead = (30, getattr(attack, "LEAD", 5)) if is_full else (4, 2)
    # A new tip would end what some attacks do.
    is_mining = not hasattr(attack, "SAME_TIP")
    if name == "share_replay":
        seconds = size
    with tempfile.TemporaryDirectory() as folder:
        node = Node(chain, folder, getattr(attack, "NETWORK", "dev"), settings, node_core)
        try:
            node.prepare()
            if hasattr(attack, "prepare"):
                attack.prepare(node)
            rss, log = [node.rss_mib()], node.log.stat().st_size
            stop, outcome, results = Event(), Queue(), Queue()
            attacker = Process(target=assault, args=(attack, node, size, stop, client_core, outcome))
            attacker.start()
            begun = time.monotonic()
            while time.monotonic() < begun + lead:
                time.sleep(0.1)
                rss.append(node.rss_mib())
            found = [attack.check(node)] if hasattr(attack, "check") else []
            honest = Process(target=measure, args=(node, seconds, is_mining, results, client_core))
            honest.start()
            while honest.is_alive() and results.empty():
                time.sleep(0.1)
                rss.append(node.rss_mib())
            failures, requests, p99 = results.get(timeout=DEADLINE)
            stop.set()
            vars(node).update(outcome.get(timeout=DEADLINE))
            found += [attack.check_after(node)] if hasattr(attack, "check_after") else []
            failures += filter(None, found)
            attacker.join(DEADLINE)
            minutes = (time.monotonic() - begun) / 60
            log = (node.log.stat().st_size - log) / 1024
            # A burst of each kind of line is written at once.
            if log > 64 and log / minutes > MAX_LOG_KIB_PER_MINUTE:
                failures.append(f"the log grew by {log:.0f} KiB")
            if max(rss) > MAX_RSS_MIB:
                failures.append(f"memory: {max(rss):.0f} MiB")
            if is_full and p99 > MAX_P99_MS:
                failures.append(f"p99 {p99:.0f} ms")
        finally:
            node.stop()
    print(
        f"| {name} | {size} | {requests} | {p99:.1f} ms | {rss[0]:.0f} → {max(rss):.0f} MiB | {log / minutes:.0f} KiB/min "
        f"| {'held' if not failures else '**failed**'} |", flush=True,
    )
    for failure in failures[:5]:
        print(f"  {failure}", flush=True)
    return not failures


def main():
    arguments = sys.argv[1:]
    is_full = arguments[0] == "--full"
    chain, *names = arguments[is_full:]
    wire.allow_files()
    print("| attack | size | honest requests | p99 | memory | log | result |\n|---|---|---|---|---|---|---|", flush=True)
    withstood = [run(name, chain, is_full) for name in names or ATTACKS]
    sys.exit(0 if all(withstood) else 1)


if __name__ == "__main__":
    main()
