// What a browser can check by itself: hashes, proof of work, and that a transaction is in a block.
// Source: PROTOCOL.md, "Header", "Block" and "Merkle root".

const subtle = globalThis.crypto?.subtle;

/** Whether this page may hash: browsers allow it on https and localhost only. */
export const canHash = Boolean(subtle);

export const unhex = (text) => Uint8Array.from(text.match(/../g) ?? [], (pair) => parseInt(pair, 16));
export const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
/** Hashes are shown in reverse. */
const reversed = (bytes) => Uint8Array.from(bytes).reverse();

export async function sha256(bytes) {
  return new Uint8Array(await subtle.digest('SHA-256', bytes));
}

const sha256d = async (bytes) => sha256(await sha256(bytes));

/** The hash of a header of 160 hexadecimal digits, and whether it meets the header's own target; null where nothing can be hashed. */
export async function checkHeader(header) {
  if (!canHash) return null;
  const bytes = unhex(header);
  const hash = hex(reversed(await sha256d(bytes)));
  return { hash, meetsTarget: BigInt(`0x${hash}`) <= target(bytes), merkleRoot: hex(bytes.slice(36, 68).reverse()) };
}

function target(header) {
  const bits = new DataView(header.buffer).getUint32(72, true);
  const [exponent, mantissa] = [bits >>> 24, BigInt(bits & 0x7fffff)];
  return exponent >= 3 ? mantissa << BigInt(8 * (exponent - 3)) : mantissa >> BigInt(8 * (3 - exponent));
}

/** The bytes whose hash is a transaction's id: of a coinbase, those after its kind and length. */
function hashed(raw) {
  const bytes = unhex(raw);
  return bytes[0] === 0 ? bytes.slice(5) : bytes;
}

/** Follows a proof of `GET /v1/transactions/{id}/proof` from the transaction's bytes up to the block: the steps, and whether all hold. */
export async function checkProof(proof, raw) {
  if (!canHash) return null;
  let node = await sha256d(hashed(raw));
  const isIt = hex(reversed(node)) === proof.id;
  const steps = [];
  let { position } = proof;
  for (const sibling of proof.branch) {
    const other = reversed(unhex(sibling));
    const isRight = position % 2 === 1;
    node = await sha256d(Uint8Array.from(isRight ? [...other, ...node] : [...node, ...other]));
    steps.push({ sibling, side: isRight ? 'left' : 'right', result: hex(reversed(node)) });
    position = Math.floor(position / 2);
  }
  const header = await checkHeader(proof.header);
  const root = hex(reversed(node));
  return { steps, root, holds: isIt && position === 0 && root === header.merkleRoot && header.hash === proof.block && header.meetsTarget };
}
