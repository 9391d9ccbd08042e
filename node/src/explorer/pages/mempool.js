// The mempool: unconfirmed transfers and the fee rates they pay.
import { get } from '../api.js';
import { chart } from '../chart.js';
import { address, amount, badge, card, empty, heading, tile, txLink } from '../components.js';
import { h } from '../dom.js';
import { bytes, count, digits, plural } from '../format.js';
import { on, throttled } from '../live.js';
import { table } from '../table.js';

export const menu = { label: 'Mempool', order: 3 };

export default async function mempoolPage({ signal }) {
  const tiles = {
    count: tile('Transfers', 'Unconfirmed transfers; queued ones wait for an earlier nonce of their sender'),
    bytes: tile('Size', 'Total size of the transfers'),
    minimum: tile('Minimum fee rate', 'The least fee rate in base units per byte that this node accepts now'),
    next: tile('Next block', 'The fee rate in base units per byte for the next block; below, for one of the next 3 or 6 blocks'),
  };
  const histogram = chart({ title: 'Transfers by fee rate', kind: 'bars', height: 180, format: count, integer: true });
  const show = async () => {
    const [pool, fees] = await Promise.all([get('/mempool', signal), get('/fees', signal)]);
    tiles.count.show(count(pool.count), `${count(pool.queued)} queued`);
    tiles.bytes.show(bytes(pool.bytes), plural(pool.bytes, 'byte'));
    tiles.minimum.show(count(pool.min_fee_rate), 'base units per byte');
    tiles.next.show(count(fees[1]), `in 3: ${count(fees[3])} · in 6: ${count(fees[6])}`);
    histogram.show(pool.fee_histogram.map((bucket, index, all) => ({
      name: count(bucket.rate), value: bucket.count,
      detail: `${range(bucket.rate, all[index + 1]?.rate)} per byte, ${bytes(bucket.bytes)}`,
    })), `${plural(pool.count, 'transfer')} in ${plural(pool.fee_histogram.length, 'bucket')}`);
  };
  const list = table({
    caption: 'Unconfirmed transfers, newest first',
    signal,
    columns: [
      { head: 'Transfer', narrow: '30%', cell: (item) => txLink(item.id, { tail: 6, copyable: false }) },
      { head: 'From', wide: true, cell: (item) => address(item.sender_address, { copyable: false }) },
      { head: 'To', narrow: '32%', cell: (item) => address(item.recipient, { copyable: false }) },
      { head: 'Nonce', wide: true, number: true, cell: (item) => h('span', null, item.status === 'queued' && badge('queued', 'wait'), ' ', count(item.nonce)) },
      { head: 'Fee rate', wide: true, number: true, cell: (item) => h('span', { title: 'base units per byte' }, digits(item.fee / item.size)) },
      { head: 'Amount', number: true, cell: (item) => amount(item.amount) },
    ],
    load: (cursor) => get(`/mempool/transactions?limit=25${cursor ? `&cursor=${cursor}` : ''}`, signal),
    placeholder: empty('No transactions waiting', 'All known transfers are confirmed.'),
  });
  await Promise.all([show(), list.first()]);
  const refresh = throttled(() => Promise.all([show(), list.refresh()]), 300);
  on(['transaction.accepted', 'transaction.dropped', 'block.connected', 'block.disconnected', 'resync', 'reset'], signal, refresh);
  return {
    title: 'Mempool',
    content: [
      heading('Mempool'),
      h('div', { class: 'tiles four' }, Object.values(tiles).map(({ element }) => element)),
      card([h('span', null, 'Fee rates'), h('small', null, 'base units per byte')], histogram.element),
      card('Unconfirmed transfers', list.element),
    ],
  };
}

const range = (from, to) => (to ? `${count(from)} to ${count(to - 1)}` : `${count(from)} and more`);
