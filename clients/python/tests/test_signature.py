"""The signer against the test vectors of chain/PROTOCOL.md and RFC 8032."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from chain.signature import TEST_WORDS, Key, decode_address, encode_address

PROTOCOL = Path(__file__).parents[3] / "chain" / "PROTOCOL.md"


def vector(name: str) -> str:
    """The value of `name = value` in PROTOCOL.md, which continues in indented lines."""
    found = re.search(rf"^{re.escape(name)} *= (.*(?:\n +\S+)*)$", PROTOCOL.read_text(), re.MULTILINE)
    assert found, name
    return found[1] if name == "key.mnemonic" else "".join(found[1].split())


def test_key_and_addresses_match_the_vectors() -> None:
    assert vector("key.mnemonic") == TEST_WORDS
    key = Key.from_words(TEST_WORDS, 0)
    assert key.public.hex() == vector("key.public")
    assert Key(bytes.fromhex(vector("key.secret"))).public == key.public
    for name, hrp in (("main", "ch"), ("testnet", "tch"), ("dev", "dch")):
        address = vector(f"key.{name}")
        assert key.address(hrp) == address
        assert decode_address(address, hrp).hex() == vector("key.address")
        assert decode_address(address.upper(), hrp).hex() == vector("key.address")


def test_signed_transfer_matches_the_vector() -> None:
    recipient = decode_address(Key.from_words(TEST_WORDS, 1).address("dch"), "dch")
    signed = Key.from_words(TEST_WORDS, 0).sign_transfer(
        genesis=vector("genesis.dev"), recipient=recipient, amount=150_000_000, fee=1_000, nonce=0, memo=b"hello"
    )
    assert signed.hex == vector("transfer.bytes")
    assert signed.id == vector("transfer.id")


# RFC 8032, section 7.1, tests 1 to 3.
@pytest.mark.parametrize(
    ("secret", "public", "message", "signature"),
    [
        (
            "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
            "",
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155" + "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
        ),
        (
            "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
            "72",
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da" + "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
        ),
        (
            "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
            "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
            "af82",
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac" + "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
        ),
    ],
)
def test_signature_matches_rfc_8032(secret: str, public: str, message: str, signature: str) -> None:
    key = Key(bytes.fromhex(secret))
    assert key.public.hex() == public
    assert key.sign(bytes.fromhex(message)).hex() == signature


@pytest.mark.parametrize(
    "text",
    [
        "",
        "dch1",
        "dch1qm3qtyy6z0gzcaekzhjyhhh2gq5mak060jua96q",
        "Dch1qm3qtyy6z0gzcaekzhjyhhh2gq5mak060jua960",
        "tch1qm3qtyy6z0gzcaekzhjyhhh2gq5mak060e5nt9r",
        "dch1qm3qtyy6z0gzcaekzhjyhhh2gq5mak060jua960q",
    ],
)
def test_malformed_address_is_rejected(text: str) -> None:
    with pytest.raises(ValueError, match="is not an address with the prefix dch1"):
        decode_address(text, "dch")


def test_addresses_round_trip() -> None:
    for first in range(256):
        payload = bytes([first]) + bytes(range(19))
        assert decode_address(encode_address(payload, "lch"), "lch") == payload


def test_values_out_of_range_are_rejected() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        Key(b"short")
    key = Key.from_words(TEST_WORDS, 0)
    with pytest.raises(ValueError, match="256 bytes at most"):
        key.sign_transfer(genesis="00" * 32, recipient=bytes(20), amount=1, fee=0, nonce=0, memo=bytes(257))
