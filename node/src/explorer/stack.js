// A list of fixed size, newest item first: items glide to their positions, and nothing around the list moves.
import { h } from './dom.js';

/** A stack: `render` renders an item, which has a `key` and is rendered again when its `version` changes. */
export function stack({ kind, size, label, render }) {
  const list = h('ol', { class: `stack ${kind} still`, 'aria-label': label, style: { '--size': size } });
  const rows = new Map();
  const show = (items) => {
    const shown = items.slice(0, size);
    const keys = new Set(shown.map((item) => item.key));
    for (const [key, row] of rows) {
      if (keys.has(key)) continue;
      rows.delete(key);
      remove(row, items.some((item) => item.key === key) ? 'passed' : 'dropped', list.classList.contains('still'));
    }
    shown.forEach((item, position) => {
      let row = rows.get(item.key);
      if (!row) {
        row = { element: h('li', { class: list.classList.contains('still') ? null : 'entering' }) };
        rows.set(item.key, row);
      }
      if (row.version !== item.version || !row.element.firstChild) {
        row.version = item.version;
        row.element.replaceChildren(render(item));
      }
      row.element.style.setProperty('--position', position);
      if (list.children[position] !== row.element) list.insertBefore(row.element, list.children[position] ?? null);
    });
    requestAnimationFrame(() => requestAnimationFrame(() => list.classList.remove('still')));
  };
  return { element: list, show };
}

function remove(row, kind, immediately) {
  if (immediately) {
    row.element.remove();
    return;
  }
  row.element.classList.add('leaving', kind);
  row.element.inert = true;
  row.element.setAttribute('aria-hidden', 'true');
  setTimeout(() => row.element.remove(), 500);
}
