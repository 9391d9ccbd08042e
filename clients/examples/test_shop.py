"""The shop on a testnet of three nodes, whose chain is reorganised."""

import pytest
from shop import Shop

import chain


@pytest.fixture
def shop(chain_testnet: chain.Testnet) -> Shop:
    return Shop(chain_testnet.nodes[1].url)


def test_payment_is_delivered_after_three_confirmations(chain_testnet: chain.Testnet, shop: Shop) -> None:
    customer, till = chain_testnet.accounts[:2]
    payment = customer.pay(till.address, 500)
    shop.invoice(payment)
    chain_testnet.mine(2)
    shop.update()
    assert shop.invoices[payment] == "open"
    chain_testnet.mine()
    shop.update()
    assert shop.invoices[payment] == "delivered"


def test_payment_that_a_reorganisation_returns_waits_again(chain_testnet: chain.Testnet, shop: Shop) -> None:
    customer, till = chain_testnet.accounts[:2]
    payment = customer.pay(till.address, 500)
    shop.invoice(payment)
    chain_testnet.partition([3])
    chain_testnet.nodes[0].mine(3)
    chain_testnet.nodes[1].wait_for_height(3)
    shop.update()
    assert shop.invoices[payment] == "delivered"
    # Node 3 mines more blocks, without the payment.
    for _ in range(4):
        [longer] = chain_testnet.nodes[2].mine(transactions=[])
    chain_testnet.heal()
    chain_testnet.wait_until_agreed()
    assert chain_testnet.nodes[1].tip()["hash"] == longer
    shop.update()
    assert shop.invoices[payment] == "open"
    chain_testnet.mine(3)
    shop.update()
    assert shop.invoices[payment] == "delivered"


def test_double_spent_payment_is_revoked(chain_testnet: chain.Testnet, shop: Shop) -> None:
    customer, till, accomplice = chain_testnet.accounts[:3]
    payment = customer.sign(till.address, 500)
    chain_testnet.nodes[0].submit(payment)
    shop.invoice(payment.id)
    chain_testnet.mine(3)
    shop.update()
    assert shop.invoices[payment.id] == "delivered"
    chain_testnet.reorg(depth=3, replace=[customer.sign(accomplice.address, 500, nonce=0)])
    shop.update()
    assert shop.invoices[payment.id] == "revoked"
