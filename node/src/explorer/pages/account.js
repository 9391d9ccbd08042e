// One account: what it holds, what is on its way, and its history.
import { get } from '../api.js';
import { h } from '../dom.js';
import { coins, count, plural } from '../format.js';
import { chain, on, paced, params } from '../live.js';
import { address, amount, badge, card, empty, hash, heading, dot, tile, time, txLink } from '../parts.js';
import { table } from '../table.js';

export default async function account({ name, signal }) {
  const path = `/accounts/${encodeURIComponent(name)}`;
  const tiles = {
    balance: tile('Balance', 'What it may spend'),
    pending: tile('Once all is confirmed', 'The balance when everything that waits is in a block'),
    immature: tile('Immature', `Rewards can be spent after ${plural(params.maturity, 'block')}`),
    sent: tile('Sent', 'Transfers of this account in the best chain'),
  };
  let shown = await get(path, signal);
  const show = () => {
    const units = (value) => `${count(value)} base units`;
    tiles.balance.show(coins(shown.balance), 'coins', units(shown.balance));
    const change = shown.pending_balance - shown.balance;
    tiles.pending.show(coins(shown.pending_balance), change === 0 ? 'nothing waits' : `${change > 0 ? '+' : ''}${coins(change)}`, units(shown.pending_balance));
    tiles.immature.show(coins(shown.immature), `free after ${plural(params.maturity, 'block')}`, units(shown.immature));
    tiles.sent.show(count(shown.nonce), `next nonce ${count(shown.next_nonce)}`);
  };
  show();

  const list = table({
    caption: 'Transactions of this account, newest first',
    signal,
    columns: [
      { head: 'Transaction', narrow: '28%', cell: (item) => txLink(item.id, { tail: 6, copies: false }) },
      { head: 'When', wide: true, cell: (item) => (item.time === null ? badge(waits(item), 'wait') : time(item.time)) },
      { head: 'Block', wide: true, number: true, cell: (item) => (item.height === null ? '–' : h('a', { href: `/block/${item.height}` }, count(item.height))) },
      { head: 'With', narrow: '32%', cell: (item) => (item.counterpart ? address(item.counterpart, { copies: false }) : h('span', { class: 'quiet' }, item.direction === 'mined' ? 'mined' : 'itself')) },
      { head: 'Amount', number: true, cell: moved },
    ],
    load: (cursor) => get(`${path}/transactions?limit=25${cursor ? `&cursor=${cursor}` : ''}`, signal),
    nothing: empty('No transactions', 'Nobody has paid this address yet, and it has paid nobody.'),
  });
  await list.first();
  const total = h('small', null, count(shown.transaction_count));
  const refresh = paced(async () => {
    shown = await get(path, signal);
    show();
    total.textContent = count(shown.transaction_count);
    await list.refresh();
  }, 300);
  on(['transaction.accepted', 'transaction.dropped', 'transaction.confirmed'], signal, (event) => {
    if (event.sender === shown.address || event.recipient === shown.address) refresh();
  });
  on(['block.connected'], signal, (block) => {
    if (block.miner === shown.address || shown.immature > 0) refresh();
  });
  on(['block.disconnected', 'return', 'reset'], signal, refresh);
  // Rows of any page may be of blocks that are gone.
  on(['block.disconnected', 'reset'], signal, paced(list.first, 300));

  const given = chain.height >= 0 && params.allocations.find((allocation) => allocation.address === shown.address);
  return {
    title: 'Account',
    content: [
      heading('Account', given ? badge('funded by genesis') : null),
      h('p', { class: 'subject' }, dot(shown.address), hash(shown.address, null, { name: 'address', tail: 6 })),
      h('div', { class: 'tiles four money' }, Object.values(tiles).map(({ element }) => element)),
      card([h('span', null, 'History'), total], list.element),
    ],
  };
}

function moved(item) {
  const signs = { in: ['+', 'gain'], mined: ['+', 'gain'], out: ['−', 'loss'], self: ['', ''] };
  const [sign, kind] = signs[item.direction];
  return h('span', { class: kind, title: item.fee ? `and a fee of ${coins(item.fee)} coins` : null }, amount(item.amount, sign), item.time === null && h('small', { class: 'narrow' }, waits(item)));
}

const waits = (item) => (item.status === 'queued' ? 'queued' : 'waiting');
