// Decodes coinbases and addresses, so that a page can show the payee of a coinbase without trusting the node's decoder.

/** Bytes before the script of input 0, and those between the script and output 0. */
const START = 41;
const MIDDLE = 5;
/** The first byte of the script of output 0: its length. */
const REWARD_SCRIPT = '160014';
const LETTERS = 'qpzry9x8gf2tvdw0s3jn54khce6mua7l';
/** Letters of an address after its prefix: the version, 20 bytes, and the checksum. */
const ADDRESS_LETTERS = 39;
const HASH_LETTERS = 32;

/** The reward in base units and the recipient in hexadecimal of a coinbase in hexadecimal; null for any other text. */
export function decodeCoinbase(hex) {
  const scriptLength = parseInt(hex.slice(2 * START, 2 * START + 2), 16);
  const at = 2 * (START + 1 + scriptLength + MIDDLE);
  const reward = hex.slice(at, at + 16).match(/../g)?.reverse().join('');
  if (!reward || hex.slice(at + 16, at + 22) !== REWARD_SCRIPT) return null;
  return { reward: parseInt(reward, 16), recipient: hex.slice(at + 22, at + 62) };
}

/** The 20 bytes of an address in hexadecimal. Its checksum is not verified. */
export function addressBytes(address) {
  const letters = address.slice(-ADDRESS_LETTERS).slice(1, 1 + HASH_LETTERS);
  const bits = [...letters].map((letter) => LETTERS.indexOf(letter).toString(2).padStart(5, '0')).join('');
  return bits.match(/.{4}/g).map((digit) => parseInt(digit, 2).toString(16)).join('');
}
