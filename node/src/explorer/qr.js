// QR codes of short texts: byte mode, error correction M, versions 1 to 6. Source: ISO/IEC 18004.
import { s } from './dom.js';

/** Of each version: codewords of error correction per block, blocks, and codewords of data per block. */
const VERSIONS = [[10, 1, 16], [16, 1, 28], [26, 1, 44], [18, 2, 32], [24, 2, 43], [16, 4, 27]];
/** Bits of mode and length, in whole bytes with the terminator. */
const OVERHEAD = 2;
/** Light modules around the code. */
const QUIET = 4;

/** Logarithms and powers of 2 in the field of 256 elements. */
const powers = new Uint8Array(255);
const logarithms = new Uint8Array(256);
for (let index = 0, value = 1; index < 255; index += 1) {
  powers[index] = value;
  logarithms[value] = index;
  value = value & 0x80 ? (value << 1) ^ 0x11d : value << 1;
}
const product = (a, b) => (a === 0 || b === 0 ? 0 : powers[(logarithms[a] + logarithms[b]) % 255]);

/** The codewords of error correction of a block. */
function correction(data, length) {
  let generator = [1];
  for (let degree = 0; degree < length; degree += 1) {
    generator = [...generator, 0].map((value, index) => value ^ product(generator[index - 1] ?? 0, powers[degree]));
  }
  const rest = [...data, ...new Array(length).fill(0)];
  for (let at = 0; at < data.length; at += 1) {
    const factor = rest[at];
    generator.forEach((value, index) => { rest[at + index] ^= product(value, factor); });
  }
  return rest.slice(data.length);
}

/** The codewords of a text in the order of the code: those of all blocks take turns. */
function codewords(bytes, [correctionLength, blocks, dataLength]) {
  const bits = [0, 1, 0, 0, ...[bytes.length, ...bytes].flatMap((byte) => [7, 6, 5, 4, 3, 2, 1, 0].map((bit) => (byte >> bit) & 1)), 0, 0, 0, 0];
  const data = [];
  for (let at = 0; at < bits.length; at += 8) data.push(parseInt(bits.slice(at, at + 8).join(''), 2));
  for (let pad = 0xec; data.length < blocks * dataLength; pad ^= 0xfd) data.push(pad);
  const parts = Array.from({ length: blocks }, (_, index) => data.slice(index * dataLength, (index + 1) * dataLength));
  const corrections = parts.map((part) => correction(part, correctionLength));
  const interleaved = (lists) => lists[0].flatMap((_, index) => lists.map((list) => list[index]));
  return [...interleaved(parts), ...interleaved(corrections)];
}

const MASKS = [
  (x, y) => (x + y) % 2 === 0, (x, y) => y % 2 === 0, (x) => x % 3 === 0, (x, y) => (x + y) % 3 === 0,
  (x, y) => (Math.floor(y / 2) + Math.floor(x / 3)) % 2 === 0, (x, y) => ((x * y) % 2) + ((x * y) % 3) === 0,
  (x, y) => (((x * y) % 2) + ((x * y) % 3)) % 2 === 0, (x, y) => (((x + y) % 2) + ((x * y) % 3)) % 2 === 0,
];

/** Draws finder, alignment and timing patterns; reserves the modules of the format. */
function patterns(version) {
  const size = 17 + 4 * version;
  const modules = Array.from({ length: size }, () => new Array(size).fill(null));
  const square = (cx, cy, radius, isDark) => {
    for (let y = Math.max(0, cy - radius); y <= Math.min(size - 1, cy + radius); y += 1) {
      for (let x = Math.max(0, cx - radius); x <= Math.min(size - 1, cx + radius); x += 1) {
        modules[y][x] = isDark(Math.max(Math.abs(x - cx), Math.abs(y - cy)));
      }
    }
  };
  for (let at = 0; at < size; at += 1) modules[6][at] = modules[at][6] = at % 2 === 0;
  for (const [x, y] of [[3, 3], [size - 4, 3], [3, size - 4]]) square(x, y, 4, (distance) => distance !== 2 && distance !== 4);
  if (version > 1) square(size - 7, size - 7, 2, (distance) => distance !== 1);
  for (const [x, y] of formatPlaces(size).flat()) modules[y][x] = false;
  modules[size - 8][8] = true;
  return modules;
}

/** Both places of each of the 15 bits of the format, from the lowest. */
function formatPlaces(size) {
  const first = [[8, 0], [8, 1], [8, 2], [8, 3], [8, 4], [8, 5], [8, 7], [8, 8], [7, 8], [5, 8], [4, 8], [3, 8], [2, 8], [1, 8], [0, 8]];
  return first.map((place, bit) => [place, bit < 8 ? [size - 1 - bit, 8] : [8, size - 15 + bit]]);
}

/** The places of data, in order: two columns at a time, upwards and downwards by turns. */
function* dataPlaces(modules) {
  const size = modules.length;
  for (let right = size - 1, isUp = true; right > 0; right -= 2, isUp = !isUp) {
    // The column of the timing pattern is skipped.
    if (right === 6) right = 5;
    for (let step = 0; step < size; step += 1) {
      const y = isUp ? size - 1 - step : step;
      for (const x of [right, right - 1]) if (modules[y][x] === null) yield [x, y];
    }
  }
}

function withMask(modules, places, bits, mask) {
  const masked = modules.map((line) => [...line]);
  places.forEach(([x, y], index) => { masked[y][x] = (bits[index] ?? 0) === 1 !== MASKS[mask](x, y); });
  let remainder = mask << 10;
  for (let bit = 14; bit >= 10; bit -= 1) if ((remainder >> bit) & 1) remainder ^= 0x537 << (bit - 10);
  const format = ((mask << 10) | remainder) ^ 0x5412;
  formatPlaces(modules.length).forEach((both, bit) => { for (const [x, y] of both) masked[y][x] = ((format >> bit) & 1) === 1; });
  return masked;
}

/** How hard a code is to read: runs and squares of one colour, and their balance. */
function penalty(modules) {
  const size = modules.length;
  let sum = 0;
  for (const at of [(x, y) => modules[y][x], (x, y) => modules[x][y]]) {
    for (let y = 0; y < size; y += 1) {
      for (let x = 1, run = 1; x <= size; x += 1) {
        if (x < size && at(x, y) === at(x - 1, y)) run += 1;
        else {
          if (run >= 5) sum += run - 2;
          run = 1;
        }
      }
    }
  }
  for (let y = 1; y < size; y += 1) {
    for (let x = 1; x < size; x += 1) {
      if (modules[y][x] === modules[y - 1][x] && modules[y][x] === modules[y][x - 1] && modules[y][x] === modules[y - 1][x - 1]) sum += 3;
    }
  }
  const dark = modules.flat().filter(Boolean).length / (size * size);
  return sum + 10 * Math.floor(Math.abs(dark - 0.5) * 20);
}

/** The modules of the code of a text, row by row, true for dark ones; null if the text is too long. */
export function qrModules(text) {
  const bytes = [...new TextEncoder().encode(text)];
  const index = VERSIONS.findIndex(([, blocks, length]) => bytes.length + OVERHEAD <= blocks * length);
  if (index < 0) return null;
  const bits = codewords(bytes, VERSIONS[index]).flatMap((word) => [7, 6, 5, 4, 3, 2, 1, 0].map((bit) => (word >> bit) & 1));
  const modules = patterns(index + 1);
  const places = [...dataPlaces(modules)];
  const candidates = MASKS.map((_, mask) => withMask(modules, places, bits, mask));
  const penalties = candidates.map(penalty);
  return candidates[penalties.indexOf(Math.min(...penalties))];
}

/** The code of a text as an image; null if the text is too long. */
export function qrCode(text) {
  const modules = qrModules(text);
  if (!modules) return null;
  const size = modules.length + 2 * QUIET;
  const dark = modules.flatMap((line, y) => line.map((isDark, x) => (isDark ? `M${x + QUIET} ${y + QUIET}h1v1h-1z` : '')));
  return s('svg', { class: 'qr', viewBox: `0 0 ${size} ${size}`, role: 'img', 'aria-label': `QR code of ${text}`, 'shape-rendering': 'crispEdges' },
    s('rect', { width: size, height: size, class: 'light' }), s('path', { d: dark.join(''), class: 'dark' }));
}
