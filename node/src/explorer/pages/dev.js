// For networks made for trying things out: blocks on demand, coins from the faucet, a payment, mining.
import { get, order, post } from '../api.js';
import { h, refill } from '../dom.js';
import { coins, count, plural, units } from '../format.js';
import { field, jobs, tell } from '../jobs.js';
import * as key from '../key.js';
import { chain, on, paced, params } from '../live.js';
import { address, amount, blockLink, card, empty, facts, heading, txLink } from '../parts.js';

export default async function dev({ signal }) {
  if ((chain.apis.dev ?? 'disabled') === 'disabled') {
    return { title: 'Try it', content: [heading('Try it'), card(null, empty('Not on this network', `Blocks of ${chain.network} take work: they are mined. A node of the network dev makes them on demand.`))] };
  }
  const job = jobs(signal);
  await job.load();
  const faucet = faucetCard();
  return {
    title: 'Try it',
    content: [
      heading('Try it'),
      h('p', { class: 'subject quiet' }, `Nothing on ${chain.network} is worth anything: make blocks, get coins, pay. What steers the node asks once for its token.`),
      h('div', { class: 'columns even' }, generateCard(), faucet.element, await paymentCard(signal, faucet), signedCard()),
      job.element,
    ],
  };
}

function input(name, attributes) {
  return h('input', { name, spellcheck: 'false', autocomplete: 'off', ...attributes });
}

/** A form whose outcome is shown below it. `act` gives what to show, or null. */
function form(act, ...fields) {
  const result = h('p', { class: 'result', role: 'status' });
  const element = h('form', { class: 'stack-form' }, fields, result);
  element.addEventListener('submit', async (event) => {
    event.preventDefault();
    const button = event.submitter ?? element.querySelector('button');
    button.disabled = true;
    const values = Object.fromEntries(new FormData(element, event.submitter));
    try {
      const shown = await act(values);
      if (shown) result.replaceChildren(...shown.filter(Boolean));
      result.classList.remove('error');
    } catch (error) {
      result.textContent = error.message;
      result.classList.add('error');
    } finally {
      button.disabled = false;
    }
  });
  return element;
}

function generateCard() {
  const act = async ({ blocks, miner }) => {
    const made = await order('POST', '/dev/generate', { blocks: Number(blocks), ...(miner.trim() && { miner: miner.trim() }) });
    return made && [`${plural(made.blocks.length, 'block')} made, the last is `, blockLink(made.blocks.at(-1), { copies: false })];
  };
  return card('Make blocks', form(act,
    field('How many', input('blocks', { type: 'number', min: 1, max: 10000, value: 1, required: true })),
    field('Paid to', input('miner', { placeholder: 'the node’s own address' })),
    h('div', { class: 'actions' }, h('button', { type: 'submit', class: 'primary' }, 'Make them'))));
}

function faucetCard() {
  const to = input('address', { required: true, placeholder: `${params.hrp}1…` });
  const act = async ({ address: text, amount: typed }) => {
    const sum = units(typed);
    if (!sum) throw new Error('The amount is a number of coins, with at most 8 decimals.');
    const paid = await order('POST', '/dev/faucet', { address: text.trim(), amount: sum });
    return paid && ['Paid in the next block: ', paid.id && txLink(paid.id, { copies: false })];
  };
  return { to, element: card('Faucet', form(act,
    field('Address', to), field('Coins', input('amount', { value: '100', inputmode: 'decimal', required: true })),
    h('div', { class: 'actions' }, h('button', { type: 'submit', class: 'primary' }, 'Get coins')))) };
}

async function paymentCard(signal, faucet) {
  const body = h('div', { class: 'stack-form' });
  const purse = h('div');
  const showPurse = async () => {
    if (!key.own) return;
    const account = await get(`/accounts/${key.own}`, signal);
    refill(purse, facts(['This tab’s address', address(key.own)], ['It may spend', amount(account.balance)], account.pending_balance !== account.balance && ['Once all is confirmed', amount(account.pending_balance)], account.immature > 0 && ['Immature', amount(account.immature)]));
  };
  const act = async ({ recipient, amount: typed, memo }) => {
    const sum = units(typed);
    if (!sum) throw new Error('The amount is a number of coins, with at most 8 decimals.');
    const [account, fees] = await Promise.all([get(`/accounts/${key.own}`), get('/fees')]);
    const fee = fees[1] * key.size(memo);
    const signed = await key.sign({ genesis: chain.genesis, hrp: params.hrp, nonce: account.next_nonce, recipient: recipient.trim(), amount: sum, fee, memo });
    const sent = await post('/transactions', signed).catch((error) => {
      if (error.code !== 'insufficient-balance') throw error;
      const help = account.pending_balance > account.balance ? 'What is on its way to it counts once it is in a block: make one.' : 'The faucet has more.';
      throw new Error(`This takes ${coins(sum + fee)} coins with its fee, more than this key may spend. ${help}`);
    });
    await showPurse();
    return [`Sent for a fee of ${count(fee)} base units: `, txLink(sent.id, { copies: false })];
  };
  const pay = () => body.replaceChildren(purse, form(act,
    field('To', input('recipient', { required: true, placeholder: `${params.hrp}1…` })),
    field('Coins', input('amount', { value: '1', inputmode: 'decimal', required: true })),
    field('Memo', input('memo', { maxlength: 256 })),
    h('div', { class: 'actions' }, h('button', { type: 'submit', class: 'primary' }, 'Sign and send'),
      h('button', { type: 'button', onclick: () => { faucet.to.value = key.own; faucet.to.focus(); } }, 'Fill it from the faucet'))));
  const begin = async () => {
    const made = await tell(() => key.make(params.hrp), 'The key is made');
    if (!made) return;
    await showPurse();
    pay();
  };
  if (key.own) {
    await showPurse();
    pay();
  } else {
    body.append(h('p', null, 'To pay, a key has to sign. This browser can make one for this tab: it is never stored or sent, and is gone when the tab is reloaded, with whatever it owns.'),
      h('div', { class: 'actions' }, h('button', { type: 'button', class: 'primary', onclick: begin }, 'Make a key in this tab')));
  }
  on(['chain'], signal, paced(showPurse, 500));
  return card('Send a payment', body);
}

function signedCard() {
  const act = async ({ signed }) => {
    const text = signed.trim();
    const sent = await post('/transactions', text.startsWith('{') ? JSON.parse(text) : { hex: text });
    return ['Taken: ', txLink(sent.id, { copies: false })];
  };
  return card('Send what a wallet has signed', form(act,
    field('Signed transfer', h('textarea', { name: 'signed', rows: 5, required: true, spellcheck: 'false', placeholder: 'hexadecimal or JSON, from `chain wallet sign`' })),
    h('div', { class: 'actions' }, h('button', { type: 'submit', class: 'primary' }, 'Send it'))));
}
