// Formats numbers, amounts and times for display.

const COIN = 100_000_000;

const integers = new Intl.NumberFormat('en');

/** An integer with separators: 1,234,567. */
export const count = (number) => integers.format(number);

/** A count with its noun: `1 block`, `2 blocks`. */
export const plural = (number, noun) => `${count(number)} ${noun}${number === 1 ? '' : 's'}`;

/** An amount of base units in coins, exact. */
export function coins(units) {
  const sign = units < 0 ? '−' : '';
  const absolute = Math.abs(units);
  const decimals = String(absolute % COIN).padStart(8, '0').replace(/0+$/, '');
  return sign + count(Math.floor(absolute / COIN)) + (decimals ? `.${decimals}` : '');
}

/** Parses an amount of coins: base units, or null if the text is not an amount. */
export function parseCoins(text) {
  const found = /^(\d{1,8})(?:\.(\d{1,8}))?$/.exec(text.trim());
  if (!found) return null;
  const sum = Number(found[1]) * COIN + Number((found[2] ?? '').padEnd(8, '0'));
  return Number.isSafeInteger(sum) ? sum : null;
}

const PREFIXES = ['', 'k', 'M', 'G', 'T', 'P', 'E', 'Z'];

/** A number with three significant digits and a metric prefix: 43.4 M. */
function scaled(number) {
  let step = 0;
  let rest = number;
  while (rest >= 999.5 && step < PREFIXES.length - 1) {
    rest /= 1000;
    step += 1;
  }
  return `${digits(rest)} ${PREFIXES[step]}`;
}

/** A number with about three significant digits. */
export function digits(number) {
  if (number === 0) return '0';
  if (number >= 1000) return count(Math.round(number));
  if (number >= 100) return number.toFixed(0);
  if (number >= 10) return trim(number.toFixed(1));
  if (number >= 1) return trim(number.toFixed(2));
  if (number >= 0.001) return trim(number.toPrecision(3));
  const [mantissa, exponent] = number.toExponential(2).split('e');
  return `${trim(mantissa)}×10${superscript(exponent)}`;
}

const trim = (text) => (text.includes('.') ? text.replace(/\.?0+$/, '') : text);
const superscript = (text) => [...text.replace('+', '')].map((c) => (c === '-' ? '⁻' : '⁰¹²³⁴⁵⁶⁷⁸⁹'[c])).join('');

export const hashrate = (number) => (number === null || number === undefined ? '–' : `${scaled(number)}H/s`);

export const bytes = (number) => (number < 1000 ? `${number} B` : `${scaled(number)}B`);

export const difficulty = (number) => (number >= 1e6 ? scaled(number).trim() : digits(number));

/** A duration in seconds as its two largest units. */
export function duration(seconds) {
  const rounded = Math.max(0, Math.round(seconds));
  if (rounded < 60) return `${rounded} s`;
  if (rounded < 3600) return pair(Math.floor(rounded / 60), 'min', rounded % 60, 's');
  if (rounded < 86_400) return pair(Math.floor(rounded / 3600), 'h', Math.floor((rounded % 3600) / 60), 'min');
  return pair(Math.floor(rounded / 86_400), 'd', Math.floor((rounded % 86_400) / 3600), 'h');
}

const pair = (large, name, small, unit) => (small > 0 && large < 10 ? `${large} ${name} ${small} ${unit}` : `${large} ${name}`);

/** The age of a Unix time. */
export function ago(time, now = Date.now() / 1000) {
  const seconds = now - time;
  if (seconds < -5) return `in ${duration(-seconds)}`;
  if (seconds < 1) return 'now';
  return `${duration(seconds)} ago`;
}

/** An exact Unix time: local, UTC and in seconds. */
export function moment(time) {
  const date = new Date(time * 1000);
  const local = date.toLocaleString('en', { dateStyle: 'medium', timeStyle: 'medium' });
  return `${local} · ${date.toISOString().replace('.000', '')} · ${time}`;
}

/** A hue derived from a text, so that an address has the same colour everywhere. */
export function hue(text) {
  let sum = 7;
  for (const character of text) sum = (sum * 31 + character.codePointAt(0)) >>> 0;
  return (sum * 137) % 360;
}

/** Chain work of hexadecimal digits: a number of expected hashes. */
export const work = (hex) => BigInt(`0x${hex}`);

/** The median; null if there are no numbers. */
export function median(numbers) {
  if (numbers.length === 0) return null;
  const sorted = [...numbers].sort((a, b) => a - b);
  return (sorted[(sorted.length - 1) >> 1] + sorted[sorted.length >> 1]) / 2;
}
