// Tables whose rows come by the page.
import { h, setText } from './dom.js';

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
  const took = (page) => {
    next = page.next;
    more.hidden = !next;
    scroller.hidden = body.childElementCount === 0;
    none.hidden = !scroller.hidden;
    note.hidden = true;
  };
  const first = async () => {
    const page = await load(null);
    if (signal.aborted) return;
    const focused = body.contains(document.activeElement) ? document.activeElement.getAttribute('href') : null;
    body.replaceChildren(...page.items.map(cells));
    if (focused) body.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus();
    pages = 1;
    took(page);
  };
  more.addEventListener('click', async () => {
    more.disabled = true;
    try {
      const page = await load(next);
      pages += 1;
      const rows = page.items.map(cells);
      body.append(...rows);
      took(page);
      rows[0]?.querySelector('a')?.focus({ preventScroll: true });
    } catch (error) {
      setText(note, error.code === 'cursor-gone' ? 'The chain was reorganised meanwhile. The list begins again.' : error.message);
      note.hidden = false;
      if (error.code === 'cursor-gone') await first();
    } finally {
      more.disabled = false;
    }
  });
  return {
    element: h('div', { class: 'table' }, scroller, none, note, more),
    first,
    /** Reads the first page again, unless the reader has gone on to further ones. */
    refresh: async () => {
      if (pages <= 1) await first();
    },
  };
}

/** Widths of a column, on a wide screen and on a narrow one, for a heading's `style`. */
export const widths = (width, narrow) => ({ ...(width && { '--width': width }), ...(narrow && { '--narrow': narrow }) });

const classes = (wide, number) => [wide && 'wide', number && 'number'].filter(Boolean).join(' ') || null;
