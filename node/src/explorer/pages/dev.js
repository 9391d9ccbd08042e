// Tools of development networks: blocks on demand, the faucet, payments and mining jobs.
import { authorized, get, post } from '../api.js';
import { address, amount, blockLink, card, empty, facts, heading, txLink } from '../components.js';
import { h, replaceContent } from '../dom.js';
import { coins, count, parseCoins, plural } from '../format.js';
import { attempt, field, jobs } from '../jobs.js';
import * as key from '../key.js';
import { chain, on, params, throttled } from '../live.js';

const isAvailable = ({ apis }) => (apis.dev ?? 'disabled') !== 'disabled';

export const menu = { label: 'Developer', order: 8, isAvailable };

export default async function devPage({ signal }) {
  if (!isAvailable(chain)) {
    return { title: 'Developer', content: [heading('Developer'), card(null, empty('Not available on this network', `Blocks of ${chain.network} need proof of work. Start a node with --network dev to create blocks on demand.`))] };
  }
  const jobCard = jobs(signal);
  await jobCard.load();
  const faucet = faucetCard();
  return {
    title: 'Developer',
    content: [
      heading('Developer'),
      h('p', { class: 'subject quiet' }, `Coins of ${chain.network} have no value: generate blocks, request coins and send payments. Requests that control the node ask for its API token once.`),
      h('div', { class: 'columns even' }, generateCard(), faucet.element, await paymentCard(signal, faucet), submitCard()),
      jobCard.element,
    ],
  };
}

function input(name, attributes) {
  return h('input', { name, spellcheck: 'false', autocomplete: 'off', ...attributes });
}

const submitButton = (text) => h('button', { type: 'submit', class: 'primary' }, text);

/** A form that shows its outcome below: `action` returns the content to show, or null. */
function form(action, ...fields) {
  const result = h('p', { class: 'result', role: 'status' });
  const element = h('form', { class: 'stack-form' }, fields, result);
  element.addEventListener('submit', async (event) => {
    event.preventDefault();
    const button = event.submitter ?? element.querySelector('button');
    button.disabled = true;
    const values = Object.fromEntries(new FormData(element, event.submitter));
    try {
      const shown = await action(values);
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

function parseAmount(text) {
  const units = parseCoins(text);
  if (!units) throw new Error('Enter an amount of coins with at most 8 decimals.');
  return units;
}

function generateCard() {
  const action = async ({ blocks, miner }) => {
    const generated = await authorized('POST', '/dev/generate', { blocks: Number(blocks), ...(miner.trim() && { miner: miner.trim() }) });
    return generated && [`Generated ${plural(generated.blocks.length, 'block')}, the last is `, blockLink(generated.blocks.at(-1), { copyable: false })];
  };
  return card('Generate blocks', form(action,
    field('Blocks', input('blocks', { type: 'number', min: 1, max: 10000, value: 1, required: true })),
    field('Payout address', input('miner', { placeholder: 'the node’s address' })),
    h('div', { class: 'actions' }, submitButton('Generate'))));
}

function faucetCard() {
  const recipient = input('address', { required: true, placeholder: `${params.hrp}1…` });
  const action = async ({ address: text, amount: coinText }) => {
    const paid = await authorized('POST', '/dev/faucet', { address: text.trim(), amount: parseAmount(coinText) });
    return paid && ['Sent; confirmed by the next block: ', paid.id && txLink(paid.id, { copyable: false })];
  };
  const element = card('Faucet', form(action,
    field('Address', recipient), field('Coins', input('amount', { value: '100', inputmode: 'decimal', required: true })),
    h('div', { class: 'actions' }, submitButton('Request coins'))));
  return { recipient, element };
}

async function paymentCard(signal, faucet) {
  const body = h('div', { class: 'stack-form' });
  const balance = h('div');
  const showBalance = async () => {
    if (!key.ownAddress) return;
    const account = await get(`/accounts/${key.ownAddress}`, signal);
    replaceContent(balance, facts(['Address of this tab', address(key.ownAddress)], ['Balance', amount(account.balance)], account.pending_balance !== account.balance && ['Pending balance', amount(account.pending_balance)], account.immature > 0 && ['Immature', amount(account.immature)]));
  };
  const action = async ({ recipient, amount: coinText, memo }) => {
    const units = parseAmount(coinText);
    const [account, fees] = await Promise.all([get(`/accounts/${key.ownAddress}`), get('/fees')]);
    const fee = fees[1] * key.size(memo);
    const signed = await key.sign({ genesis: chain.genesis, hrp: params.hrp, nonce: account.next_nonce, recipient: recipient.trim(), amount: units, fee, memo });
    const sent = await post('/transactions?replace=false', signed).catch((error) => {
      if (error.code !== 'insufficient-balance') throw error;
      const hint = account.pending_balance > account.balance ? 'Generate a block to confirm its pending coins.' : 'Request coins from the faucet.';
      throw new Error(`This payment needs ${coins(units + fee)} coins including its fee, more than the balance. ${hint}`);
    });
    await showBalance();
    return [`Sent with a fee of ${count(fee)} base units: `, txLink(sent.id, { copyable: false })];
  };
  const useFaucet = () => {
    faucet.recipient.value = key.ownAddress;
    faucet.recipient.focus();
  };
  const showForm = () => body.replaceChildren(balance, form(action,
    field('Recipient', input('recipient', { required: true, placeholder: `${params.hrp}1…` })),
    field('Coins', input('amount', { value: '1', inputmode: 'decimal', required: true })),
    field('Memo', input('memo', { maxlength: 256 })),
    h('div', { class: 'actions' }, submitButton('Sign and send'),
      h('button', { type: 'button', onclick: useFaucet }, 'Copy address to faucet'))));
  const generateKey = async () => {
    const generated = await attempt(() => key.generate(params.hrp), 'Key generated');
    if (!generated) return;
    await showBalance();
    showForm();
  };
  if (key.ownAddress) {
    await showBalance();
    showForm();
  } else {
    body.append(h('p', null, 'A payment needs a key to sign it. This browser can generate a temporary one: it is never stored or sent, and it is lost with its coins when the tab reloads.'),
      h('div', { class: 'actions' }, h('button', { type: 'button', class: 'primary', onclick: generateKey }, 'Generate a temporary key')));
  }
  on(['chain'], signal, throttled(showBalance, 500));
  return card('Send a payment', body);
}

function submitCard() {
  const action = async ({ signed }) => {
    const text = signed.trim();
    const sent = await post('/transactions', text.startsWith('{') ? JSON.parse(text) : { hex: text });
    return ['Submitted: ', txLink(sent.id, { copyable: false })];
  };
  return card('Submit a signed transfer', form(action,
    field('Signed transfer', h('textarea', { name: 'signed', rows: 5, required: true, spellcheck: 'false', placeholder: 'hexadecimal, or JSON as in POST /v1/transactions' })),
    h('div', { class: 'actions' }, submitButton('Submit'))));
}
