// A temporary key for test payments. It is generated in the browser, never leaves the tab, and is lost when the tab reloads.
// Source: PROTOCOL.md, "Transfer" and "Keys and addresses".
import { hex, sha256, unhex } from './verify.js';

const CHARACTERS = 'qpzry9x8gf2tvdw0s3jn54khce6mua7l';
const BECH32M = 0x2bc830a3;
const ascii = (text) => new TextEncoder().encode(text);

let pair = null;
let publicKey = null;
/** The address of the key; null until it is generated. */
export let ownAddress = null;

/** Generates the key and returns its address. Fails if the browser does not support Ed25519. */
export async function generate(hrp) {
  if (!globalThis.crypto?.subtle) throw new Error('Browsers generate keys on https and localhost only.');
  try {
    pair = await crypto.subtle.generateKey('Ed25519', false, ['sign', 'verify']);
  } catch {
    throw new Error('This browser does not support Ed25519 keys. Use `chain wallet` instead.');
  }
  publicKey = new Uint8Array(await crypto.subtle.exportKey('raw', pair.publicKey));
  ownAddress = encode(hrp, (await sha256(Uint8Array.from([...ascii('chain/address/1'), ...publicKey]))).slice(0, 20));
  return ownAddress;
}

/** Signs a transfer. Returns the body of `POST /v1/transactions`. */
export async function sign({ genesis, hrp, nonce, recipient, amount, fee, memo }) {
  const memoBytes = ascii(memo);
  const message = Uint8Array.from([
    ...ascii('chain/transfer/1'), ...unhex(genesis).reverse(),
    2, ...publicKey, ...littleEndian(nonce, 8), ...decode(hrp, recipient), ...littleEndian(amount, 8), ...littleEndian(fee, 8), ...littleEndian(memoBytes.length, 4), ...memoBytes,
  ]);
  const signature = new Uint8Array(await crypto.subtle.sign('Ed25519', pair.privateKey, message));
  return { sender: hex(publicKey), nonce, recipient, amount, fee, memo, signature: hex(signature) };
}

/** The size in bytes of a transfer with a memo. */
export const size = (memo) => 145 + ascii(memo).length;

function littleEndian(number, bytes) {
  let rest = BigInt(number);
  return Array.from({ length: bytes }, () => {
    const byte = Number(rest & 0xffn);
    rest >>= 8n;
    return byte;
  });
}

/** Encodes 20 bytes as an address: bech32m (BIP 350) with version 0. */
function encode(hrp, bytes) {
  const data = [0, ...regroup(bytes, 8, 5)];
  const sum = polymod([...expand(hrp), ...data, 0, 0, 0, 0, 0, 0]) ^ BECH32M;
  const check = Array.from({ length: 6 }, (_, index) => (sum >>> (5 * (5 - index))) & 31);
  return `${hrp}1${[...data, ...check].map((digit) => CHARACTERS[digit]).join('')}`;
}

/** Decodes an address of this network to its 20 bytes. */
function decode(hrp, text) {
  const digits = [...text.slice(hrp.length + 1)].map((character) => CHARACTERS.indexOf(character));
  const isWellFormed = text.startsWith(`${hrp}1`) && !digits.includes(-1) && digits.length === 39 && digits[0] === 0;
  if (!isWellFormed || polymod([...expand(hrp), ...digits]) !== BECH32M) throw new Error(`Not an address of this network: its addresses begin with ${hrp}1.`);
  return regroup(digits.slice(1, -6), 5, 8);
}

const expand = (hrp) => [...ascii(hrp)].flatMap((byte) => byte >> 5).concat(0, [...ascii(hrp)].map((byte) => byte & 31));

function polymod(values) {
  const factors = [0x3b6a57b2, 0x26508e6d, 0x1ea119fa, 0x3d4233dd, 0x2a1462b3];
  let sum = 1;
  for (const value of values) {
    const top = sum >>> 25;
    sum = ((sum & 0x1ffffff) << 5) ^ value;
    factors.forEach((factor, bit) => {
      if ((top >>> bit) & 1) sum ^= factor;
    });
  }
  return sum >>> 0;
}

function regroup(values, from, to) {
  const groups = [];
  let [sum, bits] = [0, 0];
  for (const value of values) {
    sum = ((sum << from) | value) & 0xfff;
    bits += from;
    while (bits >= to) {
      bits -= to;
      groups.push((sum >>> bits) & ((1 << to) - 1));
    }
  }
  if (from > to && bits > 0) groups.push((sum << (to - bits)) & ((1 << to) - 1));
  return groups;
}
