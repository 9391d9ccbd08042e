// What waits for a block, and what it takes to be among the next.
import { get } from '../api.js';
import { chart } from '../chart.js';
import { h } from '../dom.js';
import { bytes, count, plural } from '../format.js';
import { on, paced } from '../live.js';
import { address, amount, badge, card, empty, heading, tile, txLink } from '../parts.js';
import { table } from '../table.js';

export default async function mempool({ signal }) {
  const tiles = {
    count: tile('Waiting', 'Transfers in the mempool; queued ones wait for an earlier nonce'),
    bytes: tile('Size', 'Bytes of them'),
    least: tile('Least rate', 'Base units per byte for which this node takes another transfer'),
    next: tile('Next block', 'Base units per byte that bring a transfer into the next block, and below into one of the next 3 or 6'),
  };
  const histogram = chart({ title: 'Transfers by fee rate', kind: 'bars', height: 180, format: count, whole: true });
  const show = async () => {
    const [pool, fees] = await Promise.all([get('/mempool', signal), get('/fees', signal)]);
    tiles.count.show(count(pool.count), `${count(pool.queued)} queued`);
    tiles.bytes.show(bytes(pool.bytes), plural(pool.bytes, 'byte'));
    tiles.least.show(count(pool.min_fee_rate), 'base units per byte');
    tiles.next.show(count(fees[1]), `in 3: ${count(fees[3])} · in 6: ${count(fees[6])}`);
    histogram.show(pool.fee_histogram.map((bucket, index, all) => ({
      name: count(bucket.rate), value: bucket.count,
      detail: `${range(bucket.rate, all[index + 1]?.rate)} per byte, ${bytes(bucket.bytes)}`,
    })), `${plural(pool.count, 'transfer')} in ${plural(pool.fee_histogram.length, 'bucket')}`);
  };
  const list = table({
    caption: 'Waiting transfers, newest first',
    signal,
    columns: [
      { head: 'Transfer', narrow: '30%', cell: (item) => txLink(item.id, { tail: 6, copies: false }) },
      { head: 'From', wide: true, cell: (item) => address(item.sender_address, { copies: false }) },
      { head: 'To', narrow: '32%', cell: (item) => address(item.recipient, { copies: false }) },
      { head: 'Nonce', wide: true, number: true, cell: (item) => h('span', null, item.status === 'queued' && badge('queued', 'wait'), ' ', count(item.nonce)) },
      { head: 'Rate', wide: true, number: true, cell: (item) => h('span', { title: 'base units per byte' }, count(Math.floor(item.fee / item.size))) },
      { head: 'Amount', number: true, cell: (item) => amount(item.amount) },
    ],
    load: (cursor) => get(`/mempool/transactions?limit=25${cursor ? `&cursor=${cursor}` : ''}`, signal),
    nothing: empty('Nothing waits', 'Every transfer the node knows is in a block.'),
  });
  await Promise.all([show(), list.first()]);
  const refresh = paced(() => Promise.all([show(), list.refresh()]), 300);
  on(['transaction.accepted', 'transaction.dropped', 'block.connected', 'block.disconnected', 'return', 'reset'], signal, refresh);
  return {
    title: 'Mempool',
    content: [
      heading('Mempool'),
      h('div', { class: 'tiles four' }, Object.values(tiles).map(({ element }) => element)),
      card([h('span', null, 'Fee rates'), h('small', null, 'base units per byte')], histogram.element),
      card('Waiting transfers', list.element),
    ],
  };
}

const range = (from, to) => (to ? `${count(from)} to ${count(to - 1)}` : `${count(from)} and more`);
