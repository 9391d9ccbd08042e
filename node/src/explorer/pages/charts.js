// Charts of the recent best chain: time between blocks, difficulty, hash rate, transfers.
import { chart } from '../chart.js';
import { card, heading } from '../components.js';
import { h } from '../dom.js';
import { count, difficulty, duration, hashrate, median } from '../format.js';
import { recentBlocks, series } from '../history.js';
import { on, params, throttled } from '../live.js';

export const menu = { label: 'Charts', order: 7 };

/** Selectable numbers of blocks. */
const RANGES = [50, 200, 1000];

export default async function chartsPage({ query, signal }) {
  const range = RANGES.find((candidate) => String(candidate) === query.get('blocks')) ?? RANGES[1];
  const kind = range > 200 ? 'line' : 'bars';
  const charts = {
    intervals: chart({ title: 'Time between blocks', kind, format: duration, integer: true, reference: { value: params.spacing_seconds, name: 'target' } }),
    difficulty: chart({ title: 'Difficulty', format: difficulty }),
    hashrate: chart({ title: 'Hash rate', format: hashrate }),
    transfers: chart({ title: 'Transfers per block', kind, format: count, integer: true }),
  };
  let blocks = await recentBlocks(range, signal);
  const show = () => {
    const points = series([...blocks].reverse());
    const seconds = points.intervals.map((point) => point.value).filter((value) => value !== null);
    charts.intervals.show(points.intervals, seconds.length ? `Median ${duration(median(seconds))}, maximum ${duration(Math.max(...seconds))}` : '');
    for (const name of ['difficulty', 'hashrate', 'transfers']) charts[name].show(points[name]);
  };
  show();
  const refresh = throttled(async () => {
    blocks = await recentBlocks(range, signal, blocks);
    show();
  }, 2000);
  on(['block.connected', 'block.disconnected', 'resync', 'reset'], signal, refresh);
  const ranges = h('div', { class: 'options', role: 'group', 'aria-label': 'Range' }, RANGES.map((size) =>
    h('a', { href: `/charts?blocks=${size}`, 'aria-current': size === range ? 'true' : null }, `${count(size)} blocks`)));
  return {
    title: 'Charts',
    content: [
      heading('Charts', ranges),
      h('div', { class: 'columns even' },
        card('Time between blocks', charts.intervals.element), card('Transfers per block', charts.transfers.element),
        card('Hash rate', charts.hashrate.element), card('Difficulty', charts.difficulty.element)),
    ],
  };
}
