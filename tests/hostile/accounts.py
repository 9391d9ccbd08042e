"""The accounts of `dev`, whose seed words are public, and their transfers: Ed25519 of RFC 8032, keys of SLIP-0010."""

import hashlib
import hmac

WORDS = "test test test test test test test test test test test junk"
# All but that of the faucet, in their order.
ADDRESSES = [
    "dch1qm3qtyy6z0gzcaekzhjyhhh2gq5mak060jua960", "dch1qt4mq8569lyl8x0sxahatd6cj2mne3k6hhrleaa",
    "dch1qyetsgnljgc35n9yapuxfhjnya3re9njjxrwmyh", "dch1qeqruuxqcpfdf0fn609t5w52fefwskt9tps8g4s",
    "dch1qvutzmrlnuchx9n93sl8z8wa98rn9apw94ncqyz", "dch1qjwelhpyaav9e85nnjae53alah3u85ljhrzkdd4",
    "dch1qs2lcuhd5gsed5lrptdda5xveg3dgxawpcrgckj", "dch1qjxuc72psjktqtnhnaulcpvdlr5ekwvlau88yps",
    "dch1qc0zpe0s7x44kkswd5epagkdqrepkv0t6u09ddd",
]
P, L = 2**255 - 19, 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
ROOT = pow(2, (P - 1) // 4, P)


def add(a, b):
    """The sum of points in extended coordinates."""
    x = (a[1] - a[0]) * (b[1] - b[0]) % P
    y = (a[1] + a[0]) * (b[1] + b[0]) % P
    t, z = 2 * a[3] * b[3] * D % P, 2 * a[2] * b[2] % P
    e, f, g, h = y - x, z - t, z + t, y + x
    return e * f % P, g * h % P, f * g % P, e * h % P


def base_point():
    y = 4 * pow(5, P - 2, P) % P
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * ROOT % P
    x = P - x if x % 2 else x
    return x, y, 1, x * y % P


def multiples():
    """For each 4 bits of a number, the 16 multiples of the base point that they stand for."""
    table, step = [], base_point()
    for _ in range(64):
        row = [(0, 1, 1, 0)]
        for _ in range(15):
            row.append(add(row[-1], step))
        table.append(row)
        step = add(row[-1], step)
    return table


TABLE = multiples()


def times_base(number):
    """The encoding of a multiple of the base point."""
    point = (0, 1, 1, 0)
    for at in range(64):
        point = add(point, TABLE[at][number >> 4 * at & 15])
    inverse = pow(point[2], P - 2, P)
    x, y = point[0] * inverse % P, point[1] * inverse % P
    return (y | (x & 1) << 255).to_bytes(32, "little")


def number(*parts):
    return int.from_bytes(hashlib.sha512(b"".join(parts)).digest(), "little") % L


class Account:
    """An account of `dev` by its number, on the network of a genesis hash as it is displayed."""

    def __init__(self, index, genesis):
        seed = hashlib.pbkdf2_hmac("sha512", WORDS.encode(), b"mnemonic", 2048)
        node = hmac.digest(b"ed25519 seed", seed, "sha512")
        for step in (44, 1, index):
            step = (0x80000000 | step).to_bytes(4, "big")
            node = hmac.digest(node[32:], b"\0" + node[:32] + step, "sha512")
        digest = hashlib.sha512(node[:32]).digest()
        self.secret = int.from_bytes(digest[:32], "little") & ~7 & (1 << 255) - 1 | 1 << 254
        self.prefix, self.key = digest[32:], times_base(self.secret)
        self.domain = b"chain/transfer/1" + bytes.fromhex(genesis)[::-1]
        self.nonce = 0

    def sign(self, message):
        r = number(self.prefix, message)
        point = times_base(r)
        s = (r + number(point, self.key, message) * self.secret) % L
        return point + s.to_bytes(32, "little")

    def pay(self, fee=10_000, memo=b"", recipient=b"\7" * 20, amount=1):
        """The next transfer of the account, encoded."""
        fields = b"".join([
            b"\2", self.key, self.nonce.to_bytes(8, "little"), recipient, amount.to_bytes(8, "little"),
            fee.to_bytes(8, "little"), len(memo).to_bytes(4, "little"), memo,
        ])
        self.nonce += 1
        return fields + self.sign(self.domain + fields)
