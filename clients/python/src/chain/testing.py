"""Testnets for tests: real nodes that are started for a test and removed after it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypedDict, cast

from .api import Api, Block, GenerateRequest, Transaction
from .http import ApiError, Transport
from .signature import TEST_WORDS, Key, SignedTransfer, decode_address

#: Default timeout of everything that is awaited, in seconds.
TIMEOUT = 60.0
#: Longest long poll in seconds; a longer wait needs several.
LONG_POLL = 30
#: Seconds between requests for a transaction that a node does not know yet.
POLL = 0.02
#: Default fee of a transfer in base units: above the minimum rate for the longest memo.
FEE = 1_000
#: Number of accounts that own coins from the genesis block on.
ACCOUNTS = 10


class CommandError(Exception):
    """`chain testnet` failed: the text is its last line on standard error."""


class TransactionDropped(Exception):
    """A transfer left the mempool unconfirmed: `reason` is the stable code of the reason."""

    def __init__(self, id: str, reason: str) -> None:
        super().__init__(f"transfer {id} was dropped: {reason}")
        self.id = id
        self.reason = reason


class Reorg(TypedDict):
    """A reorganisation of all nodes, as `chain testnet reorg --json` prints it."""

    nodes: list[str]
    fork_height: int
    depth: int
    connected: int
    old_tip: str
    new_tip: str
    dropped: list[str]
    replaced: dict[str, str]
    left_out: list[str]


class _Limit:
    """The end of a wait."""

    def __init__(self, timeout: float) -> None:
        self._end = time.monotonic() + timeout

    @property
    def is_over(self) -> bool:
        return time.monotonic() >= self._end

    @property
    def poll(self) -> int:
        """Seconds of the next long poll."""
        return max(1, min(LONG_POLL, int(self._end - time.monotonic())))


class Node:
    """A node of a testnet."""

    def __init__(self, number: int, url: str, token: str) -> None:
        self.number = number
        self.url = url
        self.token = token
        self.transport = Transport(url, token)
        #: The routes of the node, by their operation ids.
        self.api = Api(self.transport)
        #: The address that mined blocks pay.
        self.miner: str | None = None

    def __repr__(self) -> str:
        return f"<node {self.number} at {self.url}>"

    def tip(self) -> Block:
        """The last block of the best chain."""
        return self.api.get_blocks_id("tip")

    def wait_for_tip(self, after: str, timeout: float = TIMEOUT) -> Block:
        """Waits until the tip is another block than the one with a hash."""
        limit = _Limit(timeout)
        while (tip := self.api.get_blocks_id("tip", after=after, wait=limit.poll))["hash"] == after:
            if limit.is_over:
                raise TimeoutError(f"{self!r} has the tip {after} after {timeout} s")
        return tip

    def wait_for_height(self, height: int, timeout: float = TIMEOUT) -> Block:
        """Waits until the best chain has a height, and returns the tip."""
        limit = _Limit(timeout)
        tip = self.tip()
        while tip["height"] < height:
            if limit.is_over:
                raise TimeoutError(f"{self!r} is at height {tip['height']} after {timeout} s")
            tip = self.api.get_blocks_id("tip", after=tip["hash"], wait=limit.poll)
        return tip

    def wait_for_transaction(self, id: str, confirmations: int = 1, timeout: float = TIMEOUT) -> Transaction:
        """Waits until a transaction has a number of confirmations; raises `TransactionDropped` if it cannot.

        It may have been submitted to another node, and not have arrived yet.
        """
        limit = _Limit(timeout)
        while True:
            try:
                found = self.api.get_transactions_id(
                    id, wait="confirmed", confirmations=confirmations, timeout=limit.poll
                )
            except ApiError as error:
                if error.code != "not-found" or limit.is_over:
                    raise
                time.sleep(POLL)
                continue
            if found["status"] == "dropped":
                raise TransactionDropped(id, found.get("reason") or "")
            if found["confirmations"] >= confirmations:
                return found
            if limit.is_over:
                status, count = found["status"], found["confirmations"]
                raise TimeoutError(f"{id} is {status} with {count} confirmations after {timeout} s")

    def mine(
        self, blocks: int = 1, *, transactions: Sequence[str] | None = None, time: int | None = None
    ) -> list[str]:
        """Mines blocks, without waiting for other nodes, and returns their hashes.

        With `transactions`, the first block has exactly these: ids of the mempool, or signed transfers.
        """
        order: GenerateRequest = {
            "blocks": blocks,
            "miner": self.miner,
            "transactions": None if transactions is None else list(transactions),
            "time": time,
        }
        return self.api.post_dev_generate(order)["blocks"]

    def submit(self, transfer: SignedTransfer) -> str:
        """Submits a transfer and returns its id."""
        return self.api.post_transactions({"hex": transfer.hex})["id"]

    def events(self, topics: Sequence[str] = (), since: int | None = None) -> Iterator[tuple[str, dict[str, Any]]]:
        """The events of the node as topics and data, without end: those after the event `since`, or new ones."""
        return self.transport.events({"topics": ",".join(topics) or None, "since": since})


class Account:
    """One of the accounts that own coins from the genesis block on."""

    def __init__(self, testnet: Testnet, number: int) -> None:
        self._testnet = testnet
        self.key = Key.from_words(TEST_WORDS, number)
        self.address = self.key.address(testnet.hrp)

    def balance(self) -> int:
        """The spendable balance in base units, as node 1 has it."""
        return self._testnet.nodes[0].api.get_accounts_address(self.address)["balance"]

    def sign(
        self, recipient: str, amount: int, *, nonce: int | None = None, fee: int = FEE, memo: str = ""
    ) -> SignedTransfer:
        """Signs a transfer of base units to an address; without `nonce`, with the next one that node 1 knows."""
        if nonce is None:
            nonce = self._testnet.nodes[0].api.get_accounts_address(self.address)["next_nonce"]
        return self.key.sign_transfer(
            genesis=self._testnet.genesis,
            recipient=decode_address(recipient, self._testnet.hrp),
            amount=amount,
            fee=fee,
            nonce=nonce,
            memo=memo.encode(),
        )

    def pay(self, recipient: str, amount: int, *, fee: int = FEE, memo: str = "") -> str:
        """Signs a transfer, submits it to node 1, and returns its id."""
        return self._testnet.nodes[0].submit(self.sign(recipient, amount, fee=fee, memo=memo))


class Testnet:
    """A running testnet: its nodes, and the commands that control it."""

    __test__ = False  # not a class of tests

    def __init__(self, binary: str, directory: Path) -> None:
        """The testnet of a directory, which runs."""
        self.binary = binary
        self.directory = directory
        self.nodes = [
            Node(number, node["api"], (directory / f"node-{number}" / "api-token").read_text().strip())
            for number, node in enumerate(self.status()["nodes"], 1)
        ]
        parameters = self.nodes[0].api.get_chain_params()
        self.hrp = parameters["hrp"]
        self.genesis = self.nodes[0].api.get_chain()["genesis"]
        self.accounts = [Account(self, number) for number in range(ACCOUNTS)]
        for node in self.nodes:
            node.miner = self.accounts[-1].address

    def command(self, *arguments: str) -> str:
        """Runs a command of `chain testnet` on this testnet, such as `command("link", "1", "2", "--cut")`."""
        return _command(self.binary, self.directory, *arguments)

    def status(self) -> dict[str, Any]:
        """The state of nodes and links, as `chain testnet status --json` prints it."""
        # It exits with 1 if tips differ.
        command = [self.binary, "testnet", "--dir", str(self.directory), "status", "--json"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if not done.stdout:
            raise CommandError(_last_line(done.stderr))
        return cast(dict[str, Any], json.loads(done.stdout))

    def mine(
        self, blocks: int = 1, *, transactions: Sequence[str] | None = None, time: int | None = None
    ) -> list[str]:
        """Mines blocks on node 1 as `Node.mine` does, and waits until all running nodes have them.

        During a partition they never do: use `Node.mine`.
        """
        hashes = self.nodes[0].mine(blocks, transactions=transactions, time=time)
        self.wait_until_agreed()
        return hashes

    def reorg(
        self, depth: int, *, replace: Sequence[SignedTransfer] = (), drop: Sequence[str] = ()
    ) -> Reorg:
        """Replaces the last blocks on every node by a branch with more work.

        Transfers in `replace` take the places of those with their senders and nonces; those with ids in `drop` are
        left out, and removed from the mempools.
        """
        changes = [argument for transfer in replace for argument in ("--replace", transfer.hex)]
        changes += [argument for id in drop for argument in ("--drop", id)]
        return cast(Reorg, json.loads(self.command("reorg", "--depth", str(depth), *changes, "--json")))

    def snapshot(self, name: str) -> None:
        """Takes a snapshot of all nodes: chains, mempools, clocks, links."""
        self.command("snapshot", name)

    def revert(self, name: str) -> None:
        """Returns all nodes to a snapshot."""
        self.command("revert", name)

    def wait_until_agreed(self, timeout: float = TIMEOUT) -> None:
        """Waits until all running nodes have one tip."""
        self.command("wait", "--agree", "--timeout", str(max(1, int(timeout))))

    def wait_for_transaction(self, id: str, confirmations: int = 1, timeout: float = TIMEOUT) -> None:
        """Waits until a transaction has a number of confirmations on every node; all must run."""
        limit = time.monotonic() + timeout
        for node in self.nodes:
            node.wait_for_transaction(id, confirmations, max(1.0, limit - time.monotonic()))

    def partition(self, *sides: Sequence[int]) -> None:
        """Disconnects the nodes of each side from all others; those of no side form one more."""
        self.command("partition", *(",".join(map(str, side)) for side in sides))

    def heal(self) -> None:
        """Ends the partition and all cuts."""
        self.command("heal")

    def kill(self, *nodes: int) -> None:
        """Kills nodes, as a crash would."""
        self.command("kill", *map(str, nodes))

    def start(self, *nodes: int) -> None:
        """Starts nodes that do not run."""
        self.command("start", *map(str, nodes))

    def pause(self, *nodes: int) -> None:
        """Stops the execution of nodes, as of a suspended computer."""
        self.command("pause", *map(str, nodes))

    def resume(self, *nodes: int) -> None:
        """Continues the execution of paused nodes."""
        self.command("resume", *map(str, nodes))


@contextmanager
def testnet(
    nodes: int = 3,
    *,
    network: str | None = "dev",
    topology: str | None = None,
    miners: int | None = None,
    automine: bool = False,
    block_time: int | None = None,
    binary: str | os.PathLike[str] | None = None,
    keep: bool = False,
) -> Iterator[Testnet]:
    """A testnet that is removed at the end of the `with` block.

    By default no node mines, and blocks are mined with `Testnet.mine`. `automine` mines one for every transfer,
    `block_time` one every number of seconds, and with `miners` that number of nodes mines; `network=None` generates a
    network with a difficulty that suits the machine. `binary` is the program, by default the environment variable
    `CHAIN_BIN`, or `chain` on the path. `keep` leaves the testnet running, with its logs. Otherwise the testnet is
    removed even if the process is killed.
    """
    program = shutil.which(binary or os.environ.get("CHAIN_BIN") or "chain")
    if program is None:
        raise FileNotFoundError("no program `chain`: set CHAIN_BIN to its path, or add it to PATH")
    home = Path(tempfile.mkdtemp(prefix="chain-testnet-"))
    directory = home / "testnet"
    options = ["--nodes", str(nodes)]
    generates = automine or block_time is not None
    if miners is not None or not generates:
        options += ["--miners", str(miners or 0)]
    for name, value in (("network", network), ("topology", topology), ("block-time", block_time)):
        options += [] if value is None else [f"--{name}", str(value)]
    options += ["--automine"] if automine else []
    guard = None if keep else _guard(program, directory)
    try:
        _command(program, directory, "up", *options)
        yield Testnet(program, directory)
    finally:
        if guard is not None:
            _, notices = guard.communicate()
            shutil.rmtree(home, ignore_errors=True)
            if guard.returncode:
                raise CommandError(_last_line(notices))


testnet.__test__ = False  # type: ignore[attr-defined]  # not a test


def _command(binary: str, directory: Path, *arguments: str) -> str:
    command = [binary, "testnet", "--dir", str(directory), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CommandError(_last_line(done.stderr))
    return done.stdout


def _guard(binary: str, directory: Path) -> subprocess.Popen[str]:
    """A process that removes a testnet once its standard input is closed, which the end of this process does, too."""
    command = [binary, "testnet", "--dir", str(directory), "down", "--delete", "--when-input-ends"]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no output"])[-1]
