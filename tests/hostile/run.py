"""Runs attacks against a node, each against a fresh one, while honest users measure it: see run.sh."""

import importlib
import os
import sys
import tempfile
import time
from multiprocessing import Event, Process, Queue
from pathlib import Path

import honest
import hostile_peers
import wire
from node import DEADLINE, Far, Node

ATTACKS = [
    "held_responses", "many_addresses", "one_network", "event_readers", "unread_responses", "large_bodies",
    "websocket_flood", "slow_requests", "template_churn", "template_flood",
    "stratum_seats", "share_flood", "worker_names", "share_replay",
    "peer_silent", "peer_handshakes", "peer_unread", "peer_requests", "peer_malformed", "peer_announcements",
    "peer_liars", "peer_withholding",
]
# Bounds of docs/threats.md.
MAX_P99_MS, MAX_RSS_MIB, MAX_LOG_KIB_PER_MINUTE = 100, 256, 1024
# Blocks of the chains: headers and blocks are worth requesting.
HEIGHTS = {"dev": (2100, 20_000), "work": (0, 0), "public": (300, 5000)}


class Run:
    """What the attacks of a run have in common: programs, sizes, cores, and chains to begin with."""

    def __init__(self, chain, is_full, folder):
        self.chain, self.is_full, self.folder = chain, is_full, Path(folder)
        self.hostile_peer = hostile_peers.program(chain)
        self.far = Far()
        self.node_core, self.client_core = (0, 1) if is_full and os.cpu_count() > 1 else (None, None)

    def base(self, network):
        """A data directory of a network with a chain, and the height of that."""
        height = HEIGHTS[network][self.is_full]
        base = self.folder / network
        if not base.exists():
            node = Node(self.chain, self.folder / f"{network}.new", network, [])
            if height:
                node.mine(height)
            node.stop()
            node.data.rename(base)
        return base, height


def assault(attack, node, size, stop, core, results):
    """The attacker's process. Honest users would be on machines of their own, so they come first on its core."""
    if core is not None:
        os.sched_setaffinity(0, {core})
        os.nice(10)
    wire.allow_files()
    try:
        attack.run(node, size, stop)
    finally:
        results.put({name: value for name, value in vars(node).items() if name in ("credited", "jobs")})


def attacked(run, attack, size, seconds, lead, folder):
    """Attacks a node; returns what failed, and the columns of the table."""
    network = getattr(attack, "NETWORK", "dev")
    settings = getattr(attack, "SETTINGS", {}).get("full" if run.is_full else "small", [])
    base, height = run.base(network)
    node = Node(run.chain, folder, network, settings, run.node_core, base)
    node.hostile_peer = run.hostile_peer
    peer = None
    try:
        if hasattr(attack, "prepare"):
            attack.prepare(node, size)
        # The peers of an idle node, and all at full size.
        if height and (run.is_full or hasattr(attack, "PEERS")):
            peer = honest.Peer(run.far, run.chain, folder, node, height, run.client_core)
        rss, log = [node.rss_mib()], node.log.stat().st_size
        stop, outcome, results = Event(), Queue(), Queue()
        # A new tip would end what some attacks do.
        is_mining = not hasattr(attack, "SAME_TIP") and network != "public"
        attacker = Process(target=assault, args=(attack, node, size, stop, run.client_core, outcome))
        attacker.start()
        begun = time.monotonic()
        while time.monotonic() < begun + lead:
            time.sleep(0.1)
            rss.append(node.rss_mib())
        found = [attack.check(node)] if hasattr(attack, "check") else []
        user = Process(target=honest.measure, args=(node, seconds, is_mining, results, run.client_core))
        user.start()
        if peer:
            peer.start(run.is_full)
        while user.is_alive() and results.empty():
            time.sleep(0.1)
            rss.append(node.rss_mib())
        failures, requests, p99 = results.get(timeout=DEADLINE)
        peer_failures, peer_text = peer.result() if peer else ([], "")
        stop.set()
        vars(node).update(outcome.get(timeout=DEADLINE))
        found += [attack.check_after(node)] if hasattr(attack, "check_after") else []
        failures += filter(None, [*peer_failures, *found])
        attacker.join(DEADLINE)
        if attacker.exitcode != 0:
            failures.append(f"the attacker ended with {attacker.exitcode}")
        minutes = (time.monotonic() - begun) / 60
        log = (node.log.stat().st_size - log) / 1024
        # A burst of each kind of line is written at once.
        if log > 64 and log / minutes > MAX_LOG_KIB_PER_MINUTE:
            failures.append(f"the log grew by {log:.0f} KiB")
        if max(rss) > MAX_RSS_MIB:
            failures.append(f"memory: {max(rss):.0f} MiB")
        if run.is_full and p99 > MAX_P99_MS:
            failures.append(f"p99 {p99:.0f} ms")
    finally:
        node.stop()
    return failures, [
        requests, f"{p99:.1f} ms", peer_text, f"{rss[0]:.0f} → {max(rss):.0f} MiB", f"{log / minutes:.0f} KiB/min",
    ]


def withstands(run, name):
    """Runs one attack, and prints its row; returns whether the node withstood it."""
    attack = importlib.import_module(name)
    size = attack.SIZES["full" if run.is_full else "small"]
    seconds, lead = (30, 5) if run.is_full else (3, 1)
    lead = getattr(attack, "LEAD", {}).get("full" if run.is_full else "small", lead)
    # The size of an attack that lasts is its duration.
    seconds = size if getattr(attack, "LASTS", False) else seconds
    with tempfile.TemporaryDirectory(dir=run.folder) as folder:
        failures, columns = attacked(run, attack, size, seconds, lead, folder)
    result = "held" if not failures else "**failed**"
    print("| " + " | ".join(map(str, [name, size, *columns, result])) + " |", flush=True)
    for failure in failures[:5]:
        print(f"  {failure}", flush=True)
    return not failures


def main():
    arguments = sys.argv[1:]
    is_full = arguments[0] == "--full"
    chain, *names = arguments[is_full:]
    wire.allow_files()
    print(
        "| attack | size | requests | p99 | peer: connected, rate | memory | log | result |\n"
        "|---|---|---|---|---|---|---|---|",
        flush=True,
    )
    with tempfile.TemporaryDirectory() as folder:
        run = Run(chain, is_full, folder)
        try:
            withstood = [withstands(run, name) for name in names or ATTACKS]
        finally:
            run.far.close()
    sys.exit(0 if all(withstood) else 1)


if __name__ == "__main__":
    main()
