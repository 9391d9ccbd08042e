"""Testnets, waits, block control and faults against real nodes."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from pathlib import Path

import pytest

import chain

GENERATOR = Path(__file__).parents[1] / "generate.py"


def is_running(pid: int) -> bool:
    """Whether a process has not ended; nothing may have waited for it yet."""
    done = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return done.stdout.strip() != "" and not done.stdout.startswith("Z")


def test_testnet_is_removed_after_the_block() -> None:
    started = time.monotonic()
    with chain.testnet(3) as net:
        # Two seconds on an idle machine.
        assert time.monotonic() - started < 20
        assert [node["state"] for node in net.status()["nodes"]] == ["running"] * 3
        directory = net.directory
        pids = [node["pid"] for node in net.status()["nodes"]]
        assert all(map(is_running, pids))
    assert not directory.exists()
    assert not any(map(is_running, pids))


KILLED = """
import os, signal, chain
with chain.testnet(2) as net:
    print(net.directory, *(node["pid"] for node in net.status()["nodes"]), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_testnet_does_not_survive_a_killed_process() -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED], stdout=subprocess.PIPE, text=True, check=False)
    assert killed.returncode < 0
    directory, *pids = killed.stdout.split()
    limit = time.monotonic() + 60
    while Path(directory).exists() or any(is_running(int(pid)) for pid in pids):
        assert time.monotonic() < limit
        time.sleep(0.05)
    assert len(pids) == 2


def test_testnets_that_start_at_once_do_not_disturb_each_other() -> None:
    def use(_: int) -> str:
        with chain.testnet(3, network=None, automine=True) as net:
            payment = net.accounts[0].pay(net.accounts[1].address, 5)
            net.wait_for_transaction(payment)
            return net.genesis

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(use, range(4)))) == 4


def test_transfer_is_awaited_on_nodes_that_it_has_not_reached(net: chain.Testnet) -> None:
    alice, bob = net.accounts[:2]
    payment = alice.sign(bob.address, 5)
    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(net.nodes[2].wait_for_transaction, payment.id)
        with pytest.raises(FutureTimeoutError):
            found.result(0.2)
        net.nodes[0].submit(payment)
        net.nodes[0].mine()
        assert found.result(60)["confirmations"] == 1
    with pytest.raises(chain.ApiError, match="not-found"):
        net.nodes[0].wait_for_transaction("00" * 32, timeout=0)


def test_signed_transfer_is_accepted_and_confirmed_on_every_node(net: chain.Testnet) -> None:
    alice, bob = net.accounts[:2]
    before = bob.balance()
    payment = alice.pay(bob.address, 700, memo="coffee")
    found = net.nodes[0].api.get_transactions_id(payment)
    assert (found["status"], found.get("memo")) == ("pending", "coffee")
    net.mine(2)
    net.wait_for_transaction(payment, confirmations=2)
    assert bob.balance() == before + 700


def test_wait_ends_with_the_next_block(net: chain.Testnet) -> None:
    node = net.nodes[2]
    tip = node.tip()
    waits = threading.Event()

    def wait() -> tuple[str, int]:
        waits.set()
        found = node.wait_for_tip(after=tip["hash"])
        return found["hash"], node.wait_for_height(tip["height"] + 2)["height"]

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(wait)
        waits.wait()
        [first] = net.mine()
        net.mine()
        assert waiting.result()[1] == tip["height"] + 2
        assert first in {node.api.get_blocks_id(str(tip["height"] + 1))["hash"]}
    with pytest.raises(TimeoutError, match="at height"):
        node.wait_for_height(10**6, timeout=0)


def test_payment_is_double_spent_by_a_reorganisation(net: chain.Testnet) -> None:
    alice, shop, thief = net.accounts[2:5]
    payment = alice.sign(shop.address, 900)
    theft = alice.sign(thief.address, 900)
    net.nodes[0].submit(payment)
    net.mine(3)
    net.wait_for_transaction(payment.id, confirmations=3)
    done = net.reorg(depth=3, replace=[theft])
    assert (done["depth"], done["connected"], done["replaced"]) == (3, 4, {payment.id: theft.id})
    net.wait_for_transaction(theft.id, confirmations=4)
    for node in net.nodes:
        with pytest.raises(chain.TransactionDropped) as dropped:
            node.wait_for_transaction(payment.id)
        assert dropped.value.reason == "nonce-used"
    topics = []
    for topic, data in net.nodes[1].events(["block.disconnected", "reorg"], since=0):
        topics.append(topic)
        if topic == "reorg":
            assert data["depth"] == 3
            break
    assert topics == ["block.disconnected"] * 3 + ["reorg"]


def test_dropped_transfer_leaves_the_mempool(net: chain.Testnet) -> None:
    payment = net.accounts[5].pay(net.accounts[6].address, 1)
    net.mine()
    net.reorg(depth=1, drop=[payment])
    with pytest.raises(chain.TransactionDropped):
        net.nodes[0].wait_for_transaction(payment)


def test_block_has_exactly_the_given_transfers(net: chain.Testnet) -> None:
    first = net.accounts[7].pay(net.accounts[6].address, 1)
    second = net.accounts[8].sign(net.accounts[6].address, 2)
    [hash] = net.mine(transactions=[second.hex])
    assert second.id in net.nodes[0].api.get_blocks_id(hash)["transactions"]
    assert net.nodes[0].api.get_transactions_id(first)["status"] == "pending"


def test_nodes_return_to_a_snapshot(net: chain.Testnet) -> None:
    net.mine()
    before = net.nodes[2].tip()["hash"]
    net.snapshot("before")
    net.accounts[9].pay(net.accounts[6].address, 3)
    net.mine(2)
    net.revert("before")
    assert [node.tip()["hash"] for node in net.nodes] == [before] * 3


def test_partition_has_two_tips_until_healed(net: chain.Testnet) -> None:
    net.partition([1], [2, 3])
    net.nodes[0].mine(2)
    height = net.nodes[1].tip()["height"]
    net.nodes[1].mine()
    net.nodes[2].wait_for_height(height + 1)
    assert net.status()["tips"] == 2
    net.heal()
    net.wait_until_agreed()
    assert net.status()["tips"] == 1


def test_killed_node_starts_again(net: chain.Testnet) -> None:
    height = net.nodes[0].tip()["height"]
    net.kill(3)
    assert net.status()["nodes"][2]["state"] == "killed"
    net.start(3)
    net.nodes[2].wait_for_height(height)


def test_errors_have_codes_and_causes(net: chain.Testnet) -> None:
    with pytest.raises(chain.ApiError) as error:
        net.nodes[0].submit(chain.SignedTransfer(id="", hex="00"))
    assert error.value.status in (400, 422)
    assert error.value.code
    anonymous = chain.Api(chain.Transport(net.nodes[0].url))
    with pytest.raises(chain.ApiError) as error:
        anonymous.post_dev_generate({"blocks": 1})
    assert (error.value.status, error.value.code) == (401, "unauthorized")
    with pytest.raises(chain.CommandError, match="no node `9`"):
        net.kill(9)


def test_missing_program_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAIN_BIN", "/nonexistent/chain")
    with pytest.raises(FileNotFoundError, match="set CHAIN_BIN"), chain.testnet(1):
        pass


def test_methods_are_those_of_the_api(net: chain.Testnet, tmp_path: Path) -> None:
    document = tmp_path / "openapi.json"
    document.write_text(json.dumps(net.nodes[0].transport.request("GET", ["openapi.json"], {}, None)))
    done = subprocess.run([sys.executable, GENERATOR, "--check", document], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_plugin_has_fixtures_for_one_testnet_and_several(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.chain_testnet(1)
        def test_one(chain_testnet):
            assert len(chain_testnet.nodes) == 1

        def test_several(chain_testnets):
            one, other = chain_testnets(1, network=None, automine=True), chain_testnets(1)
            assert one.genesis != other.genesis
        """
    )
    result = pytester.runpytest_subprocess("-p", "chain.pytest_plugin", "--strict-markers", "-q")
    result.assert_outcomes(passed=2)
