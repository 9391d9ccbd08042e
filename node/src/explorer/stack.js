// A list of fixed places in which the newest comes first: items glide to their places, and nothing around them moves.
import { h } from './dom.js';

/** `render` makes an item's content; an item has a `key`, and is rendered again when its `version` changes. */
export function stack({ kind, size, label, render }) {
  const list = h('ol', { class: `stack ${kind} still`, 'aria-label': label, style: { '--size': size } });
  const rows = new Map();
  const show = (items) => {
    const shown = items.slice(0, size);
    const keys = new Set(shown.map((item) => item.key));
    for (const [key, row] of rows) {
      if (keys.has(key)) continue;
      rows.delete(key);
      leave(row, items.some((item) => item.key === key) ? 'passed' : 'fallen', list.classList.contains('still'));
    }
    shown.forEach((item, place) => {
      let row = rows.get(item.key);
      if (!row) {
        row = { element: h('li', { class: list.classList.contains('still') ? null : 'entering' }) };
        rows.set(item.key, row);
      }
      if (row.version !== item.version || !row.element.firstChild) {
        row.version = item.version;
        row.element.replaceChildren(render(item));
      }
      row.element.style.setProperty('--place', place);
      if (list.children[place] !== row.element) list.insertBefore(row.element, list.children[place] ?? null);
    });
    requestAnimationFrame(() => requestAnimationFrame(() => list.classList.remove('still')));
  };
  return { element: list, show };
}

function leave(row, how, atOnce) {
  if (atOnce) {
    row.element.remove();
    return;
  }
  row.element.classList.add('leaving', how);
  row.element.inert = true;
  row.element.setAttribute('aria-hidden', 'true');
  setTimeout(() => row.element.remove(), 500);
}
