// Tables whose rows come by the page.
import { h, refill, setText } from './dom.js';

/** A table; `load` takes a cursor and gives a page of the API. */
export function table({ caption, columns, load, nothing, signal, row = () => ({}) }) {
  const body = h('tbody');
  const none = h('div', { class: 'none', hidden: true }, nothing);
  const more = h('button', { type: 'button', class: 'more', hidden: true }, 'Show more');
  const note = h('p', { class: 'error', role: 'alert', hidden: true });
  const head = columns.map(({ head, wide, number, width, narrow }) => h('th', { scope: 'col', class: classes(wide, number), style: widths(width, narrow) }, head));
  const cells = (item) => h('tr', row(item), columns.map(({ cell, wide, number }) => h('td', { class: classes(wide, number) }, cell(item))));
  const scroller = h('div', { class: 'rows' }, h('table', null, h('caption', { class: 'hidden' }, caption), h('thead', null, h('tr', null, head)), body));
  let next = null;
  let pages = 0;
  /** The latest reading of rows: what an earlier one brings is over. */
  let turn = 0;
  let isAsking = false;
  const took = (page) => {
    next = page.next;
    more.hidden = !next;
    scroller.hidden = body.childElementCount === 0;
    none.hidden = !scroller.hidden;
  };
  const first = async () => {
    turn += 1;
    const own = turn;
    const page = await load(null);
    if (signal.aborted || own !== turn) return;
    refill(body, ...page.items.map(cells));
    pages = 1;
    took(page);
  };
  more.addEventListener('click', async () => {
    turn += 1;
    const own = turn;
    isAsking = true;
    more.disabled = true;
    note.hidden = true;
    try {
      const page = await load(next);
      if (signal.aborted || own !== turn) return;
      pages += 1;
      const rows = page.items.map(cells);
      body.append(...rows);
      took(page);
      rows[0]?.querySelector('a')?.focus({ preventScroll: true });
    } catch (error) {
      if (signal.aborted) return;
      setText(note, error.code === 'cursor-gone' ? 'The chain was reorganised meanwhile. The list begins again.' : error.message);
      note.hidden = false;
      // The note stays; where the node does not answer, its return fills the list.
      if (error.code === 'cursor-gone') await first().catch(() => { pages = 0; });
    } finally {
      isAsking = false;
      more.disabled = false;
    }
  });
  return {
    element: h('div', { class: 'table' }, scroller, none, note, more),
    /** Reads the first page, again too. */
    first,
    /** Reads the first page again, unless the reader has gone on to further ones. */
    refresh: async () => {
      if (pages <= 1 && !isAsking) await first();
    },
  };
}

/** Widths of a column, on a wide screen and on a narrow one, for a heading's `style`. */
export const widths = (width, narrow) => ({ ...(width && { '--width': width }), ...(narrow && { '--narrow': narrow }) });

const classes = (wide, number) => [wide && 'wide', number && 'number'].filter(Boolean).join(' ') || null;
