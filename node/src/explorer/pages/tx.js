// One transaction: who pays whom, how deep it is, and the proof that it is in its block.
import { Problem, get } from '../api.js';
import { h, refill, setText } from '../dom.js';
import { bytes, count, digits, plural } from '../format.js';
import { chain, on, paced } from '../live.js';
import { address, amount, badge, blockLink, card, empty, facts, foreign, hash, heading, meter, time } from '../parts.js';
import { checkProof } from '../proof.js';

/** Confirmations after which a payment is taken for final here. */
const DEEP = 10;

export default async function tx({ name, signal }) {
  const path = `/transactions/${encodeURIComponent(name)}`;
  let shown = await get(path, signal);
  const state = h('span', { class: 'state' });
  const depth = h('div', { class: 'depth' });
  const place = h('div');
  const proof = h('div');
  const file = h('span');
  const title = h('span');
  const payment = h('div');
  const content = h('div');
  const bar = meter(0, 'Confirmations');
  const words = h('p', { role: 'status' });
  depth.append(bar.element, words);

  const countUp = () => {
    const { status, height } = shown;
    const deep = height === null ? 0 : Math.max(1, chain.height - height + 1);
    state.replaceChildren(status === 'confirmed' ? badge(plural(deep, 'confirmation'), 'good') : badge(LABELS[status], ['dropped', 'gone'].includes(status) ? 'bad' : 'wait'));
    bar.set(deep / DEEP, `${Math.min(deep, DEEP)} of ${DEEP} confirmations`);
    setText(words, status === 'confirmed' ? (deep >= DEEP ? `${plural(deep, 'block')} deep: settled.` : `${plural(deep, 'block')} deep; each further one makes it harder to undo.`) : WORDS[status] ?? '');
  };
  let proven;
  let type;
  const show = async () => {
    countUp();
    // Of a transfer that is dropped, what is shown already is more than the node has.
    if (type === undefined || (shown.type && shown.type !== type)) {
      type = shown.type ?? null;
      setText(title, type === 'coinbase' ? 'Coinbase' : 'Transfer');
      payment.hidden = !type;
      payment.replaceChildren(...(type ? [flow(shown)] : []));
      content.replaceChildren(said(shown));
    }
    refill(place, facts(
      ['Status', h('span', null, LABELS[shown.status], shown.detail && h('span', { class: 'quiet' }, ` · ${shown.detail}`))],
      ...(shown.block ? [['Block', h('span', { class: 'inline' }, h('a', { href: `/block/${shown.block}` }, count(shown.height)), ' ', blockLink(shown.block))],
        ['Position', count(shown.position), 'Its place in that block: the coinbase has 0'], ['Time', time(shown.time)]] : [['Block', 'none yet']]),
      ...(shown.size ? [['Size', bytes(shown.size)]] : []),
      ...(shown.fee === undefined ? [] : [['Fee', amount(shown.fee)], ['Fee rate', `${digits(shown.fee / shown.size)} base units per byte`]]),
    ));
    if (shown.block !== proven) {
      const checked = await proofOf(path, shown, signal);
      refill(file, ...(shown.block ? [h('a', { href: `/v1${path}/proof`, download: `proof-${shown.id.slice(0, 8)}.json` }, 'Download')] : []));
      refill(proof, checked);
      proven = shown.block;
    }
  };
  await show();
  const refresh = paced(async () => {
    shown = await again(path, shown, signal);
    await show();
  }, 250);
  on(['transaction.confirmed', 'transaction.dropped', 'transaction.accepted'], signal, (event) => event.id === shown.id && refresh());
  on(['block.disconnected', 'return', 'reset'], signal, refresh);
  // Its block may come back.
  on(['block.connected'], signal, () => shown.status === 'gone' && refresh());
  on(['chain'], signal, countUp);

  return {
    title: 'Transaction',
    content: [
      heading(title, state),
      h('p', { class: 'subject' }, hash(shown.id, null, { name: 'transaction id' })),
      payment,
      h('div', { class: 'columns even' }, card('Where it stands', depth, place), card('What it says', content)),
      card([h('span', null, 'Proof'), file], proof),
    ],
  };
}

/** What the node has on it by now. What it does not know any more is in no block of the best chain and waits nowhere. */
async function again(path, before, signal) {
  try {
    return await get(path, signal);
  } catch (error) {
    if (!(error instanceof Problem) || error.status !== 404) throw error;
    const status = before.block || before.status === 'gone' ? 'gone' : 'dropped';
    return { ...before, status, block: null, height: null, position: null, time: null };
  }
}

const LABELS = { pending: 'waiting', queued: 'queued', confirmed: 'confirmed', dropped: 'dropped', gone: 'gone' };
const WORDS = {
  pending: 'Waits in the mempool for one of the next blocks.',
  queued: 'Waits for an earlier transfer of its sender.',
  dropped: 'Left the mempool and is in no block.',
  gone: 'Its block left the best chain, and nobody waits for it.',
};

function flow(shown) {
  const from = shown.type === 'transfer' ? address(shown.sender_address) : h('span', { class: 'quiet' }, 'New coins and fees');
  return h('section', { class: 'flow card', 'aria-label': 'Payment' },
    h('div', null, h('small', null, 'From'), from),
    h('div', { class: 'sum' }, amount(shown.amount ?? shown.reward), h('i', { 'aria-hidden': 'true' })),
    h('div', null, h('small', null, 'To'), address(shown.recipient)));
}

function said(shown) {
  if (shown.type === 'coinbase') {
    return facts(
      ['Reward', amount(shown.reward)],
      ['Tag', memo(shown.tag, shown.tag_hex), 'What the miner says'],
      ['Extra nonce', h('code', null, shown.extra_nonce)],
      ['Accounts', hash(shown.commitment, null, { name: 'commitment' }), 'Commitment to all balances after this block'],
    );
  }
  if (shown.type !== 'transfer') return empty('Its content is gone', 'The node keeps why a transfer was dropped, not the transfer.');
  return facts(
    ['Memo', memo(shown.memo, shown.memo_hex), 'What the sender says; anybody may write anything'],
    ['Nonce', count(shown.nonce), 'Transfers of this sender before it'],
    ['Public key', hash(shown.sender, null, { name: 'public key' })],
    ['Signature', hash(shown.signature, null, { name: 'signature' })],
  );
}

function memo(text, bytesHex) {
  if (bytesHex === '') return h('span', { class: 'quiet' }, 'none');
  return text === null ? h('code', { class: 'long' }, bytesHex) : foreign(text);
}

async function proofOf(path, shown, signal) {
  if (!shown.block) return empty('Nothing to prove yet', 'A transaction is proven by the block that holds it.');
  const [proof, raw] = await Promise.all([get(`${path}/proof`, signal), get(`${path}/raw`, signal)]);
  const checked = await checkProof(proof, raw);
  const steps = checked?.steps ?? proof.branch.map((sibling) => ({ sibling }));
  const line = checked
    ? h('p', { class: 'verdict' }, checked.holds
      ? [badge('checked here', 'good'), ` This browser hashed the transaction and ${plural(steps.length, 'neighbour')} up to the block’s Merkle root, and the header’s hash meets its target.`]
      : [badge('does not hold', 'bad'), ' What the node sent does not prove that the transaction is in this block.'])
    : h('p', { class: 'verdict' }, 'A browser checks hashes on https and localhost only; `chain verify-proof` does it anywhere.');
  return h('div', null, line, h('ol', { class: 'climb' },
    h('li', null, h('span', null, 'transaction'), hash(shown.id, null, { copies: false })),
    steps.map((step) => h('li', null, h('span', null, step.side ? `with ${step.side} neighbour` : 'neighbour'), hash(step.sibling, null, { copies: false }))),
    h('li', null, h('span', null, 'Merkle root'), hash(checked?.root ?? '', null, { copies: false })),
    h('li', null, h('span', null, 'block'), blockLink(proof.block, { copies: false }))));
}
