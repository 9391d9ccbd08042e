// One block: what its header says, who was paid, what is in it, and whether it still counts.
import { find, get } from '../api.js';
import { h, refill, setText } from '../dom.js';
import { bytes, count, difficulty, plural } from '../format.js';
import { on, paced } from '../live.js';
import { address, amount, badge, blockLink, card, copy, empty, facts, hash, heading, time, txLink } from '../parts.js';
import { checkHeader } from '../proof.js';
import { table } from '../table.js';

export default async function block({ name, signal, go }) {
  const shown = await get(`/blocks/${encodeURIComponent(name)}`, signal);
  // A height may pass to another block; the page is of this one.
  if (name !== shown.hash) history.replaceState(null, '', `/block/${shown.hash}`);
  const header = await get(`/blocks/${shown.hash}/header`, signal);
  const state = h('span', { class: 'state' });
  const around = h('div', { class: 'around' });
  const notice = h('div', { class: 'notice', role: 'status', hidden: true });

  let told = null;
  const show = async () => {
    const now = await get(`/blocks/${shown.hash}`, signal);
    const winner = now.in_best_chain ? null : await find(`/blocks/${now.height}`, signal);
    state.replaceChildren(now.in_best_chain ? badge(plural(now.confirmations, 'confirmation'), 'good') : badge('Stale', 'stale'));
    notice.hidden = now.in_best_chain;
    // It is read out whenever it changes.
    const said = now.in_best_chain ? null : winner?.hash ?? '';
    if (said !== null && said !== told) {
      const gone = h('span', null, 'This block is not in the best chain: what it paid counts nowhere. ');
      refill(notice, gone, ...(winner ? [h('span', null, 'The winner at this height is '), blockLink(winner.hash, { copies: false })] : [h('span', null, 'The best chain has no block at this height yet.')]));
    }
    told = said;
    refill(around,
      step('← Older', now.height > 0 && `/block/${now.previous}`),
      step('Newer →', now.next && `/block/${now.next}`));
  };
  await show();
  on(['block.connected', 'block.disconnected', 'return', 'reset'], signal, paced(show, 250));

  const list = table({
    caption: `Transactions of block ${shown.height}`,
    signal,
    columns: [
      { head: 'Transaction', narrow: '30%', cell: (item) => txLink(item.id, { tail: 6 }) },
      { head: 'From', wide: true, cell: (item) => (item.type === 'transfer' ? address(item.sender_address, { copies: false }) : h('span', { class: 'quiet' }, 'new coins and fees')) },
      { head: 'To', narrow: '32%', cell: (item) => address(item.recipient, { copies: false }) },
      { head: 'Amount', number: true, cell: (item) => amount(item.amount ?? item.reward) },
      { head: 'Fee', wide: true, number: true, cell: (item) => (item.type === 'transfer' ? amount(item.fee) : '–') },
    ],
    load: (cursor) => get(`/blocks/${shown.hash}/transactions?limit=25${cursor ? `&cursor=${cursor}` : ''}`, signal),
    nothing: empty('No transactions'),
  });
  await list.first();

  return {
    title: `Block ${count(shown.height)}`,
    content: [
      heading(h('span', null, shown.height === 0 ? 'Genesis ' : 'Block ', count(shown.height)), state, around),
      h('p', { class: 'subject' }, hash(shown.hash, null, { name: 'block hash' })),
      notice,
      h('div', { class: 'columns even' },
        card('Summary', facts(
          ['Time', h('span', null, time(shown.time))],
          ['Miner', address(shown.miner)],
          ['Reward', h('span', null, amount(shown.reward), shown.fees > 0 && h('small', { class: 'quiet' }, ' of which fees ', amount(shown.fees))), 'New coins and the fees of its transfers'],
          ['Transfers', count(shown.transaction_count - 1)],
          ['Size', h('span', { title: `${count(shown.size)} bytes` }, bytes(shown.size))],
          ['Difficulty', h('span', { title: String(shown.difficulty) }, difficulty(shown.difficulty)), 'How many times as hard as bits 1d00ffff'],
        )),
        card('Header', facts(
          ['Version', `0x${(shown.version >>> 0).toString(16).padStart(8, '0')}`],
          ['Parent', shown.height > 0 ? blockLink(shown.previous) : 'none'],
          ['Merkle root', hash(shown.merkle_root, null, { name: 'Merkle root' })],
          ['Bits', h('code', null, shown.bits), 'The target, in compact form'],
          ['Nonce', count(shown.nonce)],
          ['Chain work', hash(shown.chain_work.replace(/^0+(?=.)/, ''), null, { name: 'chain work' }), 'Expected hashes of the chain up to this block, hexadecimal'],
        ))),
      card([h('span', null, 'The 80 bytes that were mined'), copy(header, 'header')], bytesOf(header), await verdict(header, shown)),
      card([h('span', null, 'Transactions'), h('small', null, count(shown.transaction_count))], list.element),
    ],
  };
}

const step = (text, url) => (url ? h('a', { href: url, class: 'button' }, text) : h('span', { class: 'button off' }, text));

const FIELDS = [['version', 4], ['parent', 32], ['Merkle root', 32], ['time', 4], ['bits', 4], ['nonce', 4]];

/** The header as it is hashed, field by field. */
function bytesOf(header) {
  let at = 0;
  return h('ol', { class: 'bytes' }, FIELDS.map(([name, length], index) => {
    const part = header.slice(at, at + 2 * length);
    at += 2 * length;
    return h('li', { style: { '--hue': index * 57 + 10 } }, h('code', null, part), h('span', null, name));
  }));
}

async function verdict(header, shown) {
  const line = h('p', { class: 'verdict' });
  const checked = await checkHeader(header);
  if (!checked) setText(line, 'A browser checks hashes on https and localhost only.');
  else if (checked.hash === shown.hash && (checked.meetsTarget || shown.height === 0)) {
    line.append(badge('checked here', 'good'), h('span', null, ' This browser hashed them: the result is the hash above, and ', shown.height === 0 ? 'genesis needs no work.' : 'it meets the target.'));
  } else line.append(badge('does not hold', 'bad'), h('span', null, ' This browser computed another hash than the node tells, or one above the target.'));
  return line;
}
