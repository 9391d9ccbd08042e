"""What honest users see during an attack: clients of the API, a miner, and a peer."""

import json
import os
import threading
import time
from multiprocessing import Process, Queue

import wire


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


def mine(node, results):
    """The process of an honest miner, which connects, and whose block counts: puts its failures. In that of the clients its
    hashing would hold the interpreter's lock, and their times would be those of the lock.
    """
    failures = []
    try:
        attempt_to_mine(node, failures)
    finally:
        results.put(failures)


def attempt_to_mine(node, failures):
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
    """The process of the clients and the miner: puts failures, the number of requests and their 99th percentile
    in milliseconds.
    """
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
    mined = Queue()
    miner = Process(target=mine, args=(node, mined))
    if is_mining:
        miner.start()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if is_mining:
        failures += mined.get()
        miner.join()
    chain.sort()
    results.put((failures, len(chain), chain[len(chain) * 99 // 100] * 1000))


class Peer:
    """An honest peer, which syncs before the attack and again during it."""

    MAX_CONNECT_SECONDS, MIN_RATE = 5, 0.5

    def __init__(self, far, chain, folder, node, height, core):
        self.sync = lambda: far.sync(chain, folder, node, height, core)
        self.undisturbed = self.sync()[1]
        self.failures, self.connect, self.rate = [], None, None
        self.thread = None

    def start(self, is_full):
        self.thread = threading.Thread(target=self.compare, args=(is_full,))
        self.thread.start()

    def compare(self, is_full):
        self.connect, seconds = self.sync()
        if seconds is None:
            self.failures.append(f"peer: connected after {self.connect} s, and did not sync")
            return
        self.rate = self.undisturbed / seconds
        if is_full and self.connect > self.MAX_CONNECT_SECONDS:
            self.failures.append(f"peer: connected after {self.connect:.1f} s")
        if is_full and self.rate < self.MIN_RATE:
            self.failures.append(f"peer: syncs at {self.rate:.2f} of {1 / self.undisturbed:.2f} chains/s")

    def result(self):
        """The failures, and a text for the table."""
        self.thread.join()
        if self.rate is None:
            return self.failures, "no"
        return self.failures, f"{self.connect:.1f} s, {self.rate:.2f}"
