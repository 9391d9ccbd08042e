// How the chain has done lately: the time between blocks, difficulty, hash rate, transfers.
import { get } from '../api.js';
import { chart } from '../chart.js';
import { h } from '../dom.js';
import { count, difficulty, duration, hashrate, median, work } from '../format.js';
import { on, paced, params } from '../live.js';
import { card, heading } from '../parts.js';

const RANGES = [50, 200, 1000];
const PAGE = 100;
const FEW = 10;
/** Blocks over which a hash rate is taken: one alone says little. */
export const WINDOW = 10;

export default async function charts({ query, signal }) {
  const range = RANGES.find((candidate) => String(candidate) === query.get('blocks')) ?? RANGES[1];
  const plots = {
    pace: chart({ title: 'Time between blocks', kind: range > 200 ? 'line' : 'bars', format: duration, whole: true, reference: { value: params.spacing_seconds, name: 'aim' } }),
    difficulty: chart({ title: 'Difficulty', format: difficulty }),
    rate: chart({ title: 'Hash rate', format: hashrate }),
    transfers: chart({ title: 'Transfers per block', kind: range > 200 ? 'line' : 'bars', format: count, whole: true }),
  };
  let blocks = await newest(range, signal);
  const show = () => {
    const oldest = [...blocks].reverse();
    const all = series(oldest);
    const seconds = all.pace.map((point) => point.value).filter((value) => value !== null);
    plots.pace.show(all.pace, seconds.length ? `Median ${duration(median(seconds))}, at most ${duration(Math.max(...seconds))}` : '');
    plots.difficulty.show(all.difficulty);
    plots.rate.show(all.rate);
    plots.transfers.show(all.transfers);
  };
  show();
  const refresh = paced(async () => {
    blocks = await newest(range, signal, blocks);
    show();
  }, 2000);
  on(['block.connected', 'block.disconnected', 'return', 'reset'], signal, refresh);
  const choice = h('div', { class: 'choice', role: 'group', 'aria-label': 'Range' }, RANGES.map((blocksShown) =>
    h('a', { href: `/charts?blocks=${blocksShown}`, 'aria-current': blocksShown === range ? 'true' : null }, `${count(blocksShown)} blocks`)));
  return {
    title: 'Charts',
    content: [
      heading('Charts', choice),
      h('div', { class: 'columns even' },
        card('Time between blocks', plots.pace.element), card('Transfers per block', plots.transfers.element),
        card('Hash rate', plots.rate.element), card('Difficulty', plots.difficulty.element)),
    ],
  };
}

/** The newest blocks, newest first. Of those that are known already, such as what it gave before, only new ones are read. */
export async function newest(wanted, signal, known = []) {
  const places = new Map(known.map((block, place) => [block.hash, place]));
  const found = [];
  let cursor = null;
  do {
    // Few are new where some are known.
    const limit = Math.min(known.length > 0 && !cursor ? FEW : PAGE, wanted - found.length);
    let page;
    try {
      page = await get(`/blocks?limit=${limit}${cursor ? `&cursor=${cursor}` : ''}`, signal);
    } catch (error) {
      if (error.code !== 'cursor-gone') throw error;
      return newest(wanted, signal);
    }
    for (const block of page.items) {
      // Whatever is below a block that is known is known too.
      if (places.has(block.hash)) return [...found, ...known.slice(places.get(block.hash))].slice(0, wanted);
      found.push(block);
    }
    cursor = page.next;
  } while (cursor && found.length < wanted);
  return found;
}

/** Points of all charts from blocks, oldest first. Genesis was mined by nobody, so its time says nothing. */
export function series(blocks) {
  const mined = blocks.filter((block) => block.height > 0);
  return {
    pace: intervals(mined),
    difficulty: mined.map((block) => point(block.difficulty, block)),
    rate: mined.map((block, index) => point(index < 2 ? null : rate(mined[Math.max(0, index - WINDOW)], block), block)),
    transfers: mined.map((block) => point(block.transaction_count - 1, block)),
  };
}

const point = (value, block) => ({ name: count(block.height), value, detail: `block ${count(block.height)}` });

/** Seconds from each block to the next, of blocks without genesis, oldest first. */
export function intervals(mined) {
  return mined.map((block, index) => point(index === 0 ? null : Math.max(0, block.time - mined[index - 1].time), block));
}

/** Hashes a second between two blocks. */
export function rate(first, last) {
  return Number(work(last.chain_work) - work(first.chain_work)) / Math.max(1, last.time - first.time);
}
