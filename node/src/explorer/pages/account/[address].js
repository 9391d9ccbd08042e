// An account: its balance, its pending transfers and its history.
import { get } from '../../api.js';
import { address, amount, badge, card, dot, empty, hash, heading, tile, time, txLink } from '../../components.js';
import { h } from '../../dom.js';
import { coins, count, plural } from '../../format.js';
import { on, params, throttled } from '../../live.js';
import { table } from '../../table.js';

export default async function accountPage({ param, signal }) {
  const path = `/accounts/${encodeURIComponent(param)}`;
  const tiles = {
    balance: tile('Balance', 'Spendable now'),
    pending: tile('Pending balance', 'The balance once all transfers in the mempool are confirmed'),
    immature: tile('Immature', `Mining rewards become spendable after ${plural(params.maturity, 'block')}`),
    sent: tile('Sent', 'Confirmed transfers sent by this account'),
  };
  let account = await get(path, signal);
  const show = () => {
    const exact = (value) => `${count(value)} base units`;
    const change = account.pending_balance - account.balance;
    tiles.balance.show(coins(account.balance), 'coins', exact(account.balance));
    tiles.pending.show(coins(account.pending_balance), change === 0 ? 'no pending transfers' : `${change > 0 ? '+' : ''}${coins(change)}`, exact(account.pending_balance));
    tiles.immature.show(coins(account.immature), `mature after ${plural(params.maturity, 'block')}`, exact(account.immature));
    tiles.sent.show(count(account.nonce), `next nonce ${count(account.next_nonce)}`);
  };
  show();

  const list = table({
    caption: 'Transactions of this account, newest first',
    signal,
    columns: [
      { head: 'Transaction', narrow: '28%', cell: (item) => txLink(item.id, { tail: 6, copyable: false }) },
      { head: 'Age', wide: true, cell: (item) => (item.time === null ? badge(item.status, 'wait') : time(item.time)) },
      { head: 'Block', wide: true, number: true, cell: (item) => (item.height === null ? '–' : h('a', { href: `/block/${item.height}` }, count(item.height))) },
      { head: 'Counterparty', narrow: '32%', cell: (item) => (item.counterpart ? address(item.counterpart, { copyable: false }) : h('span', { class: 'quiet' }, item.direction === 'mined' ? 'mined' : 'itself')) },
      { head: 'Amount', number: true, cell: change },
    ],
    load: (cursor) => get(`${path}/transactions?limit=25${cursor ? `&cursor=${cursor}` : ''}`, signal),
    placeholder: empty('No transactions', 'This address has not sent or received any coins yet.'),
  });
  await list.first();
  const total = h('small', null, count(account.transaction_count));
  const refresh = throttled(async () => {
    account = await get(path, signal);
    show();
    total.textContent = count(account.transaction_count);
    await list.refresh();
  }, 300);
  on(['transaction.accepted', 'transaction.dropped', 'transaction.confirmed'], signal, (event) => {
    if (event.sender === account.address || event.recipient === account.address) refresh();
  });
  on(['block.connected'], signal, (block) => {
    if (block.miner === account.address || account.immature > 0) refresh();
  });
  on(['block.disconnected', 'resync', 'reset'], signal, refresh);
  // Any loaded row may belong to a disconnected block.
  on(['block.disconnected', 'reset'], signal, throttled(list.first, 300));

  const isFunded = params.allocations.some((allocation) => allocation.address === account.address);
  return {
    title: 'Account',
    content: [
      heading('Account', isFunded ? badge('funded by genesis') : null),
      h('p', { class: 'subject' }, dot(account.address), hash(account.address, null, { name: 'address', tail: 6 })),
      h('div', { class: 'tiles four money' }, Object.values(tiles).map(({ element }) => element)),
      card([h('span', null, 'History'), total], list.element),
    ],
  };
}

function change(item) {
  const signs = { in: ['+', 'gain'], mined: ['+', 'gain'], out: ['−', 'loss'], self: ['', ''] };
  const [sign, kind] = signs[item.direction];
  return h('span', { class: kind, title: item.fee ? `plus a fee of ${coins(item.fee)} coins` : null }, amount(item.amount, sign), item.time === null && h('small', { class: 'narrow' }, item.status));
}
