// Tables: simple ones, and ones that load their rows page by page.
import { h, replaceContent, setText } from './dom.js';

/**
 * A table with all its rows. A column is `{ head, cell, wide?, wider?, number?, width?, narrow? }`: `cell` renders an item, `wide`
 * columns are hidden on narrow screens, `wider` ones on all but the widest, `width` and `narrow` are widths on a wide and a narrow screen.
 */
export function simpleTable(caption, columns, items) {
  return frame(caption, columns, h('tbody', null, items.map((item) => row(columns, item))));
}

/** A table that loads its rows: `load` reads a page of the API for a cursor. */
export function table({ caption, columns, load, placeholder, signal }) {
  const body = h('tbody');
  const none = h('div', { hidden: true }, placeholder);
  const more = h('button', { type: 'button', class: 'more', hidden: true }, 'Show more');
  const error = h('p', { class: 'error', role: 'alert', hidden: true });
  const scroller = frame(caption, columns, body);
  let next = null;
  let pages = 0;
  /** The number of the latest load: results of earlier ones are outdated. */
  let latest = 0;
  let isLoadingMore = false;
  const update = (page) => {
    next = page.next;
    more.hidden = !next;
    scroller.hidden = body.childElementCount === 0;
    none.hidden = !scroller.hidden;
  };
  const first = async () => {
    latest += 1;
    const own = latest;
    const page = await load(null);
    if (signal.aborted || own !== latest) return;
    replaceContent(body, ...page.items.map((item) => row(columns, item)));
    pages = 1;
    update(page);
  };
  more.addEventListener('click', async () => {
    latest += 1;
    const own = latest;
    isLoadingMore = true;
    more.disabled = true;
    error.hidden = true;
    try {
      const page = await load(next);
      if (signal.aborted || own !== latest) return;
      pages += 1;
      const rows = page.items.map((item) => row(columns, item));
      body.append(...rows);
      update(page);
      rows[0]?.querySelector('a')?.focus({ preventScroll: true });
    } catch (failure) {
      if (signal.aborted) return;
      setText(error, failure.code === 'cursor-gone' ? 'The chain was reorganised. The list restarts from the top.' : failure.message);
      error.hidden = false;
      // The message remains visible. If the node is unreachable now, its return fills the list.
      if (failure.code === 'cursor-gone') await first().catch(() => { pages = 0; });
    } finally {
      isLoadingMore = false;
      more.disabled = false;
    }
  });
  return {
    element: h('div', { class: 'table' }, scroller, none, error, more),
    /** Loads the first page and drops the others. */
    first,
    /** Loads the first page again, unless further ones are shown. */
    refresh: async () => {
      if (pages <= 1 && !isLoadingMore) await first();
    },
  };
}

function frame(caption, columns, body) {
  const head = columns.map((column) => h('th', { scope: 'col', class: classes(column), style: widths(column) }, column.head));
  return h('div', { class: 'rows' }, h('table', null, h('caption', { class: 'hidden' }, caption), h('thead', null, h('tr', null, head)), body));
}

const row = (columns, item) => h('tr', null, columns.map((column) => h('td', { class: classes(column) }, column.cell(item))));

const widths = ({ width, narrow }) => ({ ...(width && { '--width': width }), ...(narrow && { '--narrow': narrow }) });

const classes = ({ wide, wider, number }) => [wide && 'wide', wider && 'wider', number && 'number'].filter(Boolean).join(' ') || null;
