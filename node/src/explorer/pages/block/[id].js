// A block: its header, its miner and its transactions, and whether it is in the best chain.
import { find, get } from '../../api.js';
import { address, amount, badge, blockLink, card, copyButton, empty, facts, hash, heading, time, txLink } from '../../components.js';
import { h, replaceContent, setText } from '../../dom.js';
import { bytes, count, difficulty, plural } from '../../format.js';
import { on, throttled } from '../../live.js';
import { table } from '../../table.js';
import { verifyHeader } from '../../verify.js';

export default async function blockPage({ param, signal }) {
  const block = await get(`/blocks/${encodeURIComponent(param)}`, signal);
  // Another block may come to have this height; the page remains that of this block.
  if (param !== block.hash) history.replaceState(null, '', `/block/${block.hash}`);
  const header = await get(`/blocks/${block.hash}/header`, signal);
  const status = h('span', { class: 'state' });
  const neighbours = h('div', { class: 'neighbours' });
  const notice = h('div', { class: 'notice', role: 'status', hidden: true });

  let announced = null;
  const show = async () => {
    const current = await get(`/blocks/${block.hash}`, signal);
    const isBest = current.in_best_chain;
    const winner = isBest ? null : await find(`/blocks/${current.height}`, signal);
    status.replaceChildren(isBest ? badge(plural(current.confirmations, 'confirmation'), 'good') : badge('Stale', 'stale'));
    notice.hidden = isBest;
    // Screen readers announce every change of the notice.
    const announcement = isBest ? null : winner?.hash ?? '';
    if (announcement !== null && announcement !== announced) {
      const stale = h('span', null, 'This block is not in the best chain; its transactions have no effect. ');
      replaceContent(notice, stale, ...(winner ? [h('span', null, 'The best chain has this block at the same height: '), blockLink(winner.hash, { copyable: false })] : [h('span', null, 'The best chain has no block at this height yet.')]));
    }
    announced = announcement;
    replaceContent(neighbours,
      neighbourLink('← Older', current.height > 0 && `/block/${current.previous}`),
      neighbourLink('Newer →', current.next && `/block/${current.next}`));
  };
  await show();
  on(['block.connected', 'block.disconnected', 'resync', 'reset'], signal, throttled(show, 250));

  const list = table({
    caption: `Transactions of block ${block.height}`,
    signal,
    columns: [
      { head: 'Transaction', narrow: '30%', cell: (item) => txLink(item.id, { tail: 6 }) },
      { head: 'From', wide: true, cell: (item) => (item.type === 'transfer' ? address(item.sender_address, { copyable: false }) : h('span', { class: 'quiet' }, 'subsidy and fees')) },
      { head: 'To', narrow: '32%', cell: (item) => address(item.recipient, { copyable: false }) },
      { head: 'Amount', number: true, cell: (item) => amount(item.amount ?? item.reward) },
      { head: 'Fee', wide: true, number: true, cell: (item) => (item.type === 'transfer' ? amount(item.fee) : '–') },
    ],
    load: (cursor) => get(`/blocks/${block.hash}/transactions?limit=25${cursor ? `&cursor=${cursor}` : ''}`, signal),
    placeholder: empty('No transactions'),
  });
  await list.first();

  return {
    title: `Block ${count(block.height)}`,
    content: [
      heading(h('span', null, block.height === 0 ? 'Genesis ' : 'Block ', count(block.height)), status, neighbours),
      h('p', { class: 'subject' }, hash(block.hash, null, { name: 'block hash' })),
      notice,
      h('div', { class: 'columns even' },
        card('Summary', facts(
          ['Time', h('span', null, time(block.time))],
          ['Miner', address(block.miner)],
          ['Reward', h('span', null, amount(block.reward), block.fees > 0 && h('small', { class: 'quiet' }, ' including fees of ', amount(block.fees))), 'The subsidy and the fees of the transfers'],
          ['Transfers', count(block.transaction_count - 1)],
          ['Size', h('span', { title: `${count(block.size)} bytes` }, bytes(block.size))],
          ['Difficulty', h('span', { title: String(block.difficulty) }, difficulty(block.difficulty)), 'Relative to the target 1d00ffff'],
        )),
        card('Header', facts(
          ['Version', `0x${(block.version >>> 0).toString(16).padStart(8, '0')}`],
          ['Parent', block.height > 0 ? blockLink(block.previous) : 'none'],
          ['Merkle root', hash(block.merkle_root, null, { name: 'Merkle root' })],
          ['Bits', h('code', null, block.bits), 'The target in compact form'],
          ['Nonce', count(block.nonce)],
          ['Chain work', hash(block.chain_work.replace(/^0+(?=.)/, ''), null, { name: 'chain work' }), 'Expected hashes of the chain up to this block, hexadecimal'],
        ))),
      card([h('span', null, 'Serialized header, 80 bytes'), copyButton(header, 'header')], headerFields(header), await verification(header, block)),
      card([h('span', null, 'Transactions'), h('small', null, count(block.transaction_count))], list.element),
    ],
  };
}

const neighbourLink = (text, url) => (url ? h('a', { href: url, class: 'button' }, text) : h('span', { class: 'button off' }, text));

const FIELDS = [['version', 4], ['parent', 32], ['Merkle root', 32], ['time', 4], ['bits', 4], ['nonce', 4]];

/** The serialized header, field by field. */
function headerFields(header) {
  let start = 0;
  return h('ol', { class: 'bytes' }, FIELDS.map(([name, length], index) => {
    const field = header.slice(start, start + 2 * length);
    start += 2 * length;
    return h('li', { style: { '--hue': index * 57 + 10 } }, h('code', null, field), h('span', null, name));
  }));
}

async function verification(header, block) {
  const line = h('p', { class: 'verification' });
  const checked = await verifyHeader(header);
  if (!checked) setText(line, 'Browsers compute hashes on https and localhost only.');
  else if (checked.hash === block.hash && (checked.meetsTarget || block.height === 0)) {
    line.append(badge('verified', 'good'), h('span', null, ' Verified in this browser: the header hashes to the block hash, and ', block.height === 0 ? 'genesis needs no proof of work.' : 'the hash meets the target.'));
  } else line.append(badge('invalid', 'bad'), h('span', null, ' Verified in this browser: the header does not hash to the block hash, or the hash exceeds the target.'));
  return line;
}
