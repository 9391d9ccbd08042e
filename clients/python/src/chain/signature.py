"""Keys, addresses and signed transfers, as chain/PROTOCOL.md specifies them.

Signing is written for tests: it is not protected against the measurement of its duration. Keys of real money
belong into `chain wallet`.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass

#: The words whose first ten accounts own coins from the genesis block on, in `dev` and in local testnets.
TEST_WORDS = "test test test test test test test test test test test junk"

# Ed25519, RFC 8032: the prime of the field, the order of the base point, and d of the curve.
_P = 2**255 - 19
_L = 2**252 + 27742317777372353535851937790883648493
_D = -121665 * pow(121666, -1, _P) % _P

# A point in extended homogeneous coordinates.
_Point = tuple[int, int, int, int]


def _add(one: _Point, other: _Point) -> _Point:
    a = (one[1] - one[0]) * (other[1] - other[0]) % _P
    b = (one[1] + one[0]) * (other[1] + other[0]) % _P
    c = 2 * one[3] * other[3] * _D % _P
    d = 2 * one[2] * other[2] % _P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % _P, g * h % _P, f * g % _P, e * h % _P


def _base() -> _Point:
    y = 4 * pow(5, -1, _P) % _P
    square = (y * y - 1) * pow(_D * y * y + 1, -1, _P) % _P
    x = pow(square, (_P + 3) // 8, _P)
    if (x * x - square) % _P:
        x = x * pow(2, (_P - 1) // 4, _P) % _P
    x = x if x % 2 == 0 else _P - x
    return x, y, 1, x * y % _P


def _doublings(point: _Point) -> list[_Point]:
    points = [point]
    while len(points) < 256:
        points.append(_add(points[-1], points[-1]))
    return points


_POWERS = _doublings(_base())


def _multiply_base(scalar: int) -> bytes:
    """The encoding of a multiple of the base point."""
    point: _Point = (0, 1, 1, 0)
    for power in _POWERS:
        if scalar & 1:
            point = _add(point, power)
        scalar >>= 1
    inverse = pow(point[2], -1, _P)
    x, y = point[0] * inverse % _P, point[1] * inverse % _P
    return (y | (x & 1) << 255).to_bytes(32, "little")


_CHARACTERS = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_BECH32M = 0x2BC830A3


def _checksum(prefix: str, digits: list[int]) -> int:
    expanded = [ord(character) >> 5 for character in prefix] + [0] + [ord(character) & 31 for character in prefix]
    total = 1
    for digit in expanded + digits:
        top = total >> 25
        total = (total & 0x1FFFFFF) << 5 ^ digit
        for bit, factor in enumerate((0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)):
            if top >> bit & 1:
                total ^= factor
    return total


def encode_address(payload: bytes, hrp: str) -> str:
    """Encodes the 20 bytes of an address with the prefix of a network."""
    number = int.from_bytes(payload, "big")
    digits = [0] + [number >> 5 * (31 - index) & 31 for index in range(32)]
    checksum = _checksum(hrp, digits + [0] * 6) ^ _BECH32M
    digits += [checksum >> 5 * (5 - index) & 31 for index in range(6)]
    return f"{hrp}1{''.join(_CHARACTERS[digit] for digit in digits)}"


def decode_address(text: str, hrp: str) -> bytes:
    """Decodes an address of a network to its 20 bytes; raises `ValueError` if it is not one."""
    lower = text.lower()
    digits = [_CHARACTERS.find(character) for character in lower[len(hrp) + 1 :]]
    is_well_formed = (
        text in (lower, text.upper())
        and lower.startswith(f"{hrp}1")
        and len(digits) == 39
        and -1 not in digits
        and digits[0] == 0
    )
    if not is_well_formed or _checksum(hrp, digits) != _BECH32M:
        raise ValueError(f"{text!r} is not an address with the prefix {hrp}1")
    number = 0
    for digit in digits[1:33]:
        number = number << 5 | digit
    return number.to_bytes(20, "big")


@dataclass(frozen=True)
class SignedTransfer:
    """A signed transfer: `hex` is its encoding, as `POST /v1/transactions` accepts it."""

    id: str
    hex: str


class Key:
    """A private key of Ed25519."""

    def __init__(self, secret: bytes) -> None:
        """The key of 32 secret bytes."""
        if len(secret) != 32:
            raise ValueError(f"a secret key has 32 bytes, not {len(secret)}")
        digest = hashlib.sha512(secret).digest()
        self._scalar = int.from_bytes(digest[:32], "little") & ((1 << 254) - 8) | 1 << 254
        self._prefix = digest[32:]
        self.public = _multiply_base(self._scalar)

    @staticmethod
    def from_words(words: str, account: int) -> Key:
        """Derives the key of an account from a mnemonic by SLIP-0010, as `chain wallet` does."""
        seed = hashlib.pbkdf2_hmac("sha512", words.encode(), b"mnemonic", 2048)
        node = hmac.digest(b"ed25519 seed", seed, "sha512")
        for index in (44, 1, account):
            data = b"\0" + node[:32] + (index | 1 << 31).to_bytes(4, "big")
            node = hmac.digest(node[32:], data, "sha512")
        return Key(node[:32])

    def address(self, hrp: str) -> str:
        """The address of the key in the network with a prefix."""
        return encode_address(hashlib.sha256(b"chain/address/1" + self.public).digest()[:20], hrp)

    def sign(self, message: bytes) -> bytes:
        """The signature of a message, 64 bytes."""
        nonce = int.from_bytes(hashlib.sha512(self._prefix + message).digest(), "little") % _L
        point = _multiply_base(nonce)
        digest = hashlib.sha512(point + self.public + message).digest()
        scalar = (nonce + int.from_bytes(digest, "little") * self._scalar) % _L
        return point + scalar.to_bytes(32, "little")

    def sign_transfer(
        self, *, genesis: str, recipient: bytes, amount: int, fee: int, nonce: int, memo: bytes = b""
    ) -> SignedTransfer:
        """Signs a transfer to the 20 bytes of an address, in base units, for the network of a genesis hash."""
        if len(memo) > 256:
            raise ValueError(f"a memo has 256 bytes at most, not {len(memo)}")
        fields = b"".join(
            (
                b"\x02",
                self.public,
                nonce.to_bytes(8, "little"),
                recipient,
                amount.to_bytes(8, "little"),
                fee.to_bytes(8, "little"),
                len(memo).to_bytes(4, "little"),
                memo,
            )
        )
        signature = self.sign(b"chain/transfer/1" + bytes.fromhex(genesis)[::-1] + fields)
        encoded = fields + signature
        digest = hashlib.sha256(hashlib.sha256(encoded).digest()).digest()
        return SignedTransfer(id=digest[::-1].hex(), hex=encoded.hex())
