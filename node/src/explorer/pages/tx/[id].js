// A transaction: its payment, its confirmations, and the proof that its block contains it.
import { Problem, get } from '../../api.js';
import { address, amount, badge, blockLink, card, empty, facts, foreign, hash, heading, meter, time } from '../../components.js';
import { h, replaceContent, setText } from '../../dom.js';
import { bytes, count, digits, plural } from '../../format.js';
import { chain, on, throttled } from '../../live.js';
import { verifyProof } from '../../verify.js';

/** Confirmations from which on the explorer shows a payment as final. */
const FINAL = 10;

export default async function transactionPage({ param, signal }) {
  const path = `/transactions/${encodeURIComponent(param)}`;
  let transaction = await get(path, signal);
  const badges = h('span', { class: 'state' });
  const confirmations = h('div', { class: 'confirmations' });
  const inclusion = h('div');
  const proof = h('div');
  const download = h('span');
  const title = h('span');
  const payment = h('div');
  const details = h('div');
  const bar = meter(0, 'Confirmations');
  const description = h('p', { role: 'status' });
  confirmations.append(bar.element, description);

  const showConfirmations = () => {
    const { status, height } = transaction;
    const depth = height === null ? 0 : Math.max(1, chain.height - height + 1);
    const isConfirmed = status === 'confirmed';
    badges.replaceChildren(isConfirmed ? badge(plural(depth, 'confirmation'), 'good') : badge(status, ['dropped', 'disconnected'].includes(status) ? 'bad' : 'wait'));
    bar.set(depth / FINAL, `${Math.min(depth, FINAL)} of ${FINAL} confirmations`);
    const confirmed = depth >= FINAL ? `${plural(depth, 'confirmation')}: final.` : `${plural(depth, 'confirmation')}; each further block makes a reversal less likely.`;
    setText(description, isConfirmed ? confirmed : DESCRIPTIONS[status] ?? '');
  };
  let provenBlock;
  let type;
  const show = async () => {
    showConfirmations();
    // The node retains only the status of a dropped transfer: its details remain as shown before.
    if (type === undefined || (transaction.type && transaction.type !== type)) {
      type = transaction.type ?? null;
      setText(title, type === 'coinbase' ? 'Coinbase' : 'Transfer');
      payment.hidden = !type;
      payment.replaceChildren(...(type ? [renderPayment(transaction)] : []));
      details.replaceChildren(renderDetails(transaction));
    }
    replaceContent(inclusion, facts(
      ['Status', h('span', null, transaction.status, transaction.detail && h('span', { class: 'quiet' }, ` · ${transaction.detail}`))],
      ...(transaction.block ? [['Block', h('span', { class: 'inline' }, h('a', { href: `/block/${transaction.block}` }, count(transaction.height)), ' ', blockLink(transaction.block))],
        ['Position', count(transaction.position), 'Index in the block; the coinbase has index 0'], ['Time', time(transaction.time)]] : [['Block', 'none']]),
      ...(transaction.size ? [['Size', bytes(transaction.size)]] : []),
      ...(transaction.fee === undefined ? [] : [['Fee', amount(transaction.fee)], ['Fee rate', `${digits(transaction.fee / transaction.size)} base units per byte`]]),
    ));
    if (transaction.block !== provenBlock) {
      const rendered = await renderProof(path, transaction, signal);
      replaceContent(download, ...(transaction.block ? [h('a', { href: `/v1${path}/proof`, download: `proof-${transaction.id.slice(0, 8)}.json` }, 'Download')] : []));
      replaceContent(proof, rendered);
      provenBlock = transaction.block;
    }
  };
  await show();
  const refresh = throttled(async () => {
    transaction = await readAgain(path, transaction, signal);
    await show();
  }, 250);
  on(['transaction.confirmed', 'transaction.dropped', 'transaction.accepted'], signal, (event) => event.id === transaction.id && refresh());
  on(['block.disconnected', 'resync', 'reset'], signal, refresh);
  // The transaction's block may be connected again.
  on(['block.connected'], signal, () => transaction.status === 'disconnected' && refresh());
  on(['chain'], signal, showConfirmations);

  return {
    title: 'Transaction',
    content: [
      heading(title, badges),
      h('p', { class: 'subject' }, hash(transaction.id, null, { name: 'transaction id' })),
      payment,
      h('div', { class: 'columns even' }, card('Status', confirmations, inclusion), card('Details', details)),
      card([h('span', null, 'Merkle proof'), download], proof),
    ],
  };
}

/** Reads the transaction again. One that the node no longer knows is neither in the best chain nor in the mempool. */
async function readAgain(path, before, signal) {
  try {
    return await get(path, signal);
  } catch (error) {
    if (!(error instanceof Problem) || error.status !== 404) throw error;
    const status = before.block || before.status === 'disconnected' ? 'disconnected' : 'dropped';
    return { ...before, status, block: null, height: null, position: null, time: null };
  }
}

const DESCRIPTIONS = {
  pending: 'In the mempool, ready for one of the next blocks.',
  queued: 'In the mempool, behind an earlier transfer of its sender.',
  dropped: 'Left the mempool without being confirmed.',
  disconnected: 'Its block left the best chain, and it is not in the mempool.',
};

function renderPayment(transaction) {
  const from = transaction.type === 'transfer' ? address(transaction.sender_address) : h('span', { class: 'quiet' }, 'Subsidy and fees');
  return h('section', { class: 'flow card', 'aria-label': 'Payment' },
    h('div', null, h('small', null, 'From'), from),
    h('div', { class: 'sum' }, amount(transaction.amount ?? transaction.reward), h('i', { 'aria-hidden': 'true' })),
    h('div', null, h('small', null, 'To'), address(transaction.recipient)));
}

function renderDetails(transaction) {
  if (transaction.type === 'coinbase') {
    return facts(
      ['Reward', amount(transaction.reward)],
      ['Tag', renderText(transaction.tag, transaction.tag_hex), 'Arbitrary text of the miner'],
      ['Extra nonce', h('code', null, transaction.extra_nonce)],
      ['Commitment', hash(transaction.commitment, null, { name: 'commitment' }), 'Commitment to all accounts after this block'],
    );
  }
  if (transaction.type !== 'transfer') return empty('Details unavailable', 'The node retains the reason why a transfer was dropped, but not the transfer.');
  return facts(
    ['Memo', renderText(transaction.memo, transaction.memo_hex), 'Arbitrary text of the sender'],
    ['Nonce', count(transaction.nonce), 'Number of earlier transfers of the sender'],
    ['Public key', hash(transaction.sender, null, { name: 'public key' })],
    ['Signature', hash(transaction.signature, null, { name: 'signature' })],
  );
}

function renderText(text, bytesHex) {
  if (bytesHex === '') return h('span', { class: 'quiet' }, 'none');
  return text === null ? h('code', { class: 'long' }, bytesHex) : foreign(text);
}

async function renderProof(path, transaction, signal) {
  if (!transaction.block) return empty('No proof yet', 'A transaction has a proof once it is in a block.');
  const [proof, raw] = await Promise.all([get(`${path}/proof`, signal), get(`${path}/raw`, signal)]);
  const verified = await verifyProof(proof, raw);
  const steps = verified?.steps ?? proof.branch.map((sibling) => ({ sibling }));
  const valid = [badge('verified', 'good'), ` Verified in this browser: the transaction and ${plural(steps.length, 'sibling')} hash to the block’s Merkle root, and the hash of the header meets its target.`];
  const invalid = [badge('invalid', 'bad'), ' Verified in this browser: the proof does not show that the transaction is in this block.'];
  const unavailable = 'Browsers compute hashes on https and localhost only; `chain verify-proof` verifies the proof without a browser.';
  return h('div', null, h('p', { class: 'verification' }, verified ? (verified.isValid ? valid : invalid) : unavailable), h('ol', { class: 'merkle-path' },
    h('li', null, h('span', null, 'transaction'), hash(transaction.id, null, { copyable: false })),
    steps.map((step) => h('li', null, h('span', null, step.side ? `${step.side} sibling` : 'sibling'), hash(step.sibling, null, { copyable: false }))),
    h('li', null, h('span', null, 'Merkle root'), hash(verified?.root ?? '', null, { copyable: false })),
    h('li', null, h('span', null, 'block'), blockLink(proof.block, { copyable: false }))));
}
