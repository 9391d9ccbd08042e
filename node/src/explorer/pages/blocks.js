// The blocks of the best chain.
import { get } from '../api.js';
import { address, amount, blockLink, card, empty, heading, time } from '../components.js';
import { h } from '../dom.js';
import { bytes, count } from '../format.js';
import { on, throttled } from '../live.js';
import { table } from '../table.js';

export const menu = { label: 'Blocks', order: 2 };

const columns = [
  { head: 'Height', width: '12%', narrow: '24%', cell: (block) => h('a', { href: `/block/${block.hash}` }, count(block.height)) },
  { head: 'Hash', wide: true, cell: (block) => blockLink(block.hash) },
  { head: 'Age', narrow: '26%', cell: (block) => time(block.time, { plain: true }) },
  { head: 'Miner', cell: (block) => address(block.miner, { copyable: false }) },
  { head: 'Transfers', narrow: '23%', number: true, cell: (block) => count(block.transaction_count - 1) },
  { head: 'Size', wide: true, number: true, cell: (block) => bytes(block.size) },
  { head: 'Reward', wide: true, number: true, cell: (block) => amount(block.reward) },
];

export default async function blocksPage({ signal }) {
  const list = table({
    caption: 'Blocks of the best chain, newest first',
    columns,
    signal,
    load: (cursor) => get(`/blocks?limit=25${cursor ? `&cursor=${cursor}` : ''}`, signal),
    placeholder: empty('No blocks'),
  });
  await list.first();
  on(['block.connected', 'resync'], signal, throttled(list.refresh, 250));
  // Any loaded row may belong to a disconnected block.
  on(['block.disconnected', 'reset'], signal, throttled(list.first, 250));
  return { title: 'Blocks', content: [heading('Blocks'), card(null, list.element)] };
}
