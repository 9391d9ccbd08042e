// The best chain, newest first, in pages.
import { get } from '../api.js';
import { h } from '../dom.js';
import { bytes, count } from '../format.js';
import { on, paced } from '../live.js';
import { address, amount, blockLink, card, empty, heading, time } from '../parts.js';
import { table } from '../table.js';

export const columns = [
  { head: 'Height', width: '12%', narrow: '24%', cell: (block) => h('a', { href: `/block/${block.hash}` }, count(block.height)) },
  { head: 'Hash', wide: true, cell: (block) => blockLink(block.hash) },
  { head: 'Age', narrow: '26%', cell: (block) => time(block.time, { plain: true }) },
  { head: 'Miner', cell: (block) => address(block.miner, { copies: false }) },
  { head: 'Transfers', narrow: '23%', number: true, cell: (block) => count(block.transaction_count - 1) },
  { head: 'Size', wide: true, number: true, cell: (block) => bytes(block.size) },
  { head: 'Reward', wide: true, number: true, cell: (block) => amount(block.reward) },
];

export default async function blocks({ signal }) {
  const list = table({
    caption: 'Blocks of the best chain, newest first',
    columns,
    signal,
    load: (cursor) => get(`/blocks?limit=25${cursor ? `&cursor=${cursor}` : ''}`, signal),
    nothing: empty('No blocks', 'Not even a first one: this cannot be.'),
  });
  await list.first();
  on(['block.connected', 'return'], signal, paced(list.refresh, 250));
  // Rows of any page may be of blocks that are gone.
  on(['block.disconnected', 'reset'], signal, paced(list.first, 250));
  return { title: 'Blocks', content: [heading('Blocks'), card(null, list.element)] };
}
