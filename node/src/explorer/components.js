// Small components of pages: hashes, amounts, times, badges, lists of facts.
import { h, s, setText, toast } from './dom.js';
import { ago, coins, count, hue, moment } from './format.js';

/** A long text that is shortened in its middle where there is no room, with a button that copies all of it. */
export function hash(text, href, { tail = 8, copyable = true, name = 'hash' } = {}) {
  const split = Math.max(0, text.length - tail);
  const parts = [h('span', { class: 'head' }, text.slice(0, split)), h('span', { class: 'tail' }, text.slice(split))];
  const shown = href ? h('a', { href, class: 'mid', title: text }, parts) : h('span', { class: 'mid', title: text }, parts);
  return h('span', { class: 'hash' }, shown, copyable && copyButton(text, name));
}

/** A button that copies a text; null where the browser has no clipboard. */
export function copyButton(text, name) {
  if (!navigator.clipboard) return null;
  const button = h('button', { type: 'button', class: 'copy', 'data-key': text, 'aria-label': `Copy ${name}`, title: `Copy ${name}` },
    s('svg', { viewBox: '0 0 24 24', 'aria-hidden': 'true' }, s('rect', { x: 9, y: 9, width: 11, height: 12, rx: 2 }), s('path', { d: 'M15 5H6a2 2 0 0 0-2 2v10' })));
  button.addEventListener('click', async (event) => {
    event.preventDefault();
    event.stopPropagation();
    await navigator.clipboard.writeText(text).then(() => toast(`Copied ${name}`), () => toast('The browser blocked access to the clipboard'));
  });
  return button;
}

export const blockLink = (text, options) => hash(text, `/block/${text}`, { name: 'block hash', ...options });
export const txLink = (id, options) => hash(id, `/tx/${id}`, { name: 'transaction id', ...options });

/** A link to an account, with a dot in the colour of its address. */
export function address(text, options) {
  const link = hash(text, `/account/${text}`, { tail: 6, name: 'address', ...options });
  link.prepend(dot(text));
  return link;
}

export const dot = (text) => h('i', { class: 'dot', style: { '--hue': hue(text) }, 'aria-hidden': 'true' });

/** A miner's bar in a breakdown of blocks by miner. */
export const minerBar = ({ miner, blockCount, fraction }) => ({
  label: address(miner, { copyable: false }), value: blockCount, hue: hue(miner),
  text: `${count(blockCount)} · ${Math.round(fraction * 100)} %`,
});

/** An amount of base units in coins; the tooltip shows base units. */
export function amount(units, sign = '') {
  return h('span', { class: 'amount', title: `${count(units)} base units` }, sign, coins(units), h('small', null, ' coins'));
}

/** The age of a Unix time, updated every second; the tooltip shows the exact time. */
export function time(at, { plain = false } = {}) {
  return h('time', { datetime: new Date(at * 1000).toISOString(), title: moment(at), 'data-at': at, 'data-plain': plain }, relative(at, plain));
}

const relative = (at, plain) => (plain ? ago(at).replace(/ ago$/, '') : ago(at));

setInterval(() => {
  for (const element of document.querySelectorAll('time[data-at]')) {
    setText(element, relative(Number(element.dataset.at), element.hasAttribute('data-plain')));
  }
}, 1000);

export const badge = (text, kind = '') => h('span', { class: `badge ${kind}` }, text);

/** The placeholder of an empty list. */
export const empty = (title, text) => h('div', { class: 'empty' }, h('strong', null, title), text && h('p', null, text));

/** A list of names and values; each row is `[name, value, tooltip?]`. */
export function facts(...rows) {
  const shown = rows.filter(Boolean).map(([name, value, hint]) =>
    h('div', null, h('dt', hint ? { title: hint, class: 'hinted' } : null, name), h('dd', null, value)));
  return h('dl', { class: 'facts' }, shown);
}

/** A section with a heading. */
export function card(title, ...content) {
  return h('section', { class: 'card' }, title && h('h2', null, title), content);
}

/** A key figure with its name and a note below. */
export function tile(name, hint) {
  const value = h('span', { class: 'value' }, '–');
  const note = h('span', { class: 'note' }, '\u00a0');
  const element = h('div', { class: 'tile', title: hint }, h('span', { class: 'name' }, name), value, note);
  return {
    element,
    show(text, small, exact) {
      setText(value, text);
      if (exact) value.title = exact;
      if (small instanceof Node) note.replaceChildren(small);
      else setText(note, small ?? '\u00a0');
    },
  };
}

/** The title of a page. */
export function heading(title, ...rest) {
  return h('div', { class: 'heading' }, h('h1', { tabindex: '-1' }, title), rest);
}

/** A progress bar for a fraction from 0 to 1. */
export function meter(fraction, label) {
  const bar = h('i', { style: { '--fraction': clamp(fraction) } });
  const element = h('div', { class: 'meter', role: 'img', 'aria-label': label }, bar);
  return {
    element,
    set(value, name) {
      bar.style.setProperty('--fraction', clamp(value));
      if (name) element.setAttribute('aria-label', name);
    },
  };
}

const clamp = (fraction) => Math.min(1, Math.max(0, fraction));

/** Untrusted text, shown literally: control characters become visible symbols. */
export function foreign(text) {
  const shown = text.replace(/[\u0000-\u001f]/g, (c) => String.fromCharCode(0x2400 + c.charCodeAt(0)))
    .replace(/[\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g, '\ufffd');
  return h('bdi', { class: 'foreign' }, shown);
}
