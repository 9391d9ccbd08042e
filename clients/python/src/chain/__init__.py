"""Testnets of real nodes for tests in Python.

    import chain

    with chain.testnet(3) as net:
        alice, bob = net.accounts[:2]
        payment = alice.pay(bob.address, 500)
        net.mine()
        net.wait_for_transaction(payment, confirmations=1)
"""

from .api import Api
from .http import ApiError, Transport
from .signature import TEST_WORDS, Key, SignedTransfer, decode_address, encode_address
from .testing import Account, CommandError, Node, Reorg, Testnet, TransactionDropped, testnet

__all__ = [
    "TEST_WORDS",
    "Account",
    "Api",
    "ApiError",
    "CommandError",
    "Key",
    "Node",
    "Reorg",
    "SignedTransfer",
    "Testnet",
    "TransactionDropped",
    "Transport",
    "decode_address",
    "encode_address",
    "testnet",
]
