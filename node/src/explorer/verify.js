// Verification in the browser: hashes, proof of work, and the inclusion of a transaction in a block.
// Source: PROTOCOL.md, "Header", "Block" and "Merkle root".

const subtle = globalThis.crypto?.subtle;

/** Whether the browser provides hashing: it does on https and localhost only. */
const canHash = Boolean(subtle);

export const unhex = (text) => Uint8Array.from(text.match(/../g) ?? [], (pair) => parseInt(pair, 16));
export const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
/** The bytes of a hash in display order: hashes are displayed in reverse. */
const reversed = (bytes) => Uint8Array.from(bytes).reverse();

export async function sha256(bytes) {
  return new Uint8Array(await subtle.digest('SHA-256', bytes));
}

const sha256d = async (bytes) => sha256(await sha256(bytes));

/** The hash of a header of 160 hexadecimal digits, and whether it meets the header's target; null if the browser cannot hash. */
export async function verifyHeader(header) {
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

/** The bytes whose hash is the id of a transaction: those of a coinbase follow its kind and length. */
function hashedBytes(raw) {
  const bytes = unhex(raw);
  return bytes[0] === 0 ? bytes.slice(5) : bytes;
}

/**
 * Verifies a proof of `GET /v1/transactions/{id}/proof` from the transaction's bytes up to the block's header. Returns each step,
 * the computed Merkle root and whether the proof is valid; null if the browser cannot hash.
 */
export async function verifyProof(proof, raw) {
  if (!canHash) return null;
  let node = await sha256d(hashedBytes(raw));
  const isId = hex(reversed(node)) === proof.id;
  const steps = [];
  let { position } = proof;
  for (const sibling of proof.branch) {
    const other = reversed(unhex(sibling));
    const isRight = position % 2 === 1;
    node = await sha256d(Uint8Array.from(isRight ? [...other, ...node] : [...node, ...other]));
    steps.push({ sibling, side: isRight ? 'left' : 'right' });
    position = Math.floor(position / 2);
  }
  const header = await verifyHeader(proof.header);
  const root = hex(reversed(node));
  return { steps, root, isValid: isId && position === 0 && root === header.merkleRoot && header.hash === proof.block && header.meetsTarget };
}
