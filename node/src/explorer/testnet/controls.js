// The forms that cause faults. Each button is a command of `chain testnet`, which the page shows with its output.
import { card } from '../components.js';
import { h } from '../dom.js';
import { act, hasToken } from './client.js';

const number = (name, value, attributes) => h('input', { name, type: 'number', value, required: true, ...attributes });
const field = (label, input) => h('label', { class: 'field' }, h('span', null, label), input);
const button = (text, attributes) => h('button', { type: 'submit', ...attributes }, text);

/** The command that was executed last, and its output. */
const command = h('code', null, 'chain testnet …');
const output = h('pre', { class: 'output' }, 'Buttons execute commands of the testnet; the last one is shown here.');
const hint = h('p', { class: 'notice', hidden: true }, 'Buttons need the token: open the link that ', h('code', null, 'chain testnet status'), ' prints.');

/** Executes an action and shows its command. */
export async function execute(action) {
  command.textContent = `chain testnet ${action.action} …`;
  output.textContent = 'running';
  output.classList.remove('error');
  document.body.classList.add('acting');
  try {
    const outcome = await act(action);
    command.textContent = outcome.command;
    output.textContent = outcome.output || 'done';
    output.classList.toggle('error', !outcome.is_success);
  } catch (error) {
    output.textContent = error.message;
    output.classList.add('error');
  } finally {
    document.body.classList.remove('acting');
    showToken();
  }
}

function form(actionOf, ...content) {
  const element = h('form', { class: 'fault' }, content);
  element.addEventListener('submit', (event) => {
    event.preventDefault();
    execute(actionOf(new FormData(element), element));
  });
  return element;
}

/** The cards of faults, for a number of nodes; `fill` sets the link form to a link. */
export function controls(count) {
  const numbers = Array.from({ length: count }, (_, index) => index + 1);
  const nodes = (name, first) => h('select', { name }, first && h('option', { value: '' }, first), numbers.map((node) => h('option', { value: node }, `node ${node}`)));
  const sides = h('div', { class: 'choices', role: 'group', 'aria-label': 'Nodes of one side' }, numbers.map((node) => h('label', null, h('input', { type: 'checkbox', name: 'side', value: node }), `node ${node}`)));
  const partition = form((data) => ({ action: 'partition', sides: [data.getAll('side').map(Number)] }),
    h('h3', null, 'Partition'), h('p', null, 'The chosen nodes against the others.'), sides,
    h('div', { class: 'actions' }, button('Partition', { class: 'primary' }), h('button', { type: 'button', onclick: () => execute({ action: 'heal' }) }, 'Heal')));
  const link = form((data) => ({
    action: 'link', from: Number(data.get('from')), to: Number(data.get('to')), latency_ms: Number(data.get('latency')), jitter_ms: Number(data.get('jitter')), loss_percent: Number(data.get('loss')),
    bandwidth_kbit: data.get('bandwidth') ? Number(data.get('bandwidth')) : null, cut: data.has('cut'), one_way: data.has('one_way'),
  }),
  h('h3', null, 'Link'), h('p', null, 'Choose two neighbours, or a link in the graph. Zeros are a perfect link.'),
  h('div', { class: 'grid' },
    field('From', nodes('from')), field('To', nodes('to')), field('Latency, ms', number('latency', 0, { min: 0, max: 3600000 })), field('Jitter, ms', number('jitter', 0, { min: 0, max: 3600000 })),
    field('Loss, %', number('loss', 0, { min: 0, max: 100, step: 'any' })), field('Bandwidth, kbit/s', number('bandwidth', '', { min: 1, required: false, placeholder: 'no limit' }))),
  h('div', { class: 'choices' }, h('label', null, h('input', { type: 'checkbox', name: 'cut' }), 'cut'), h('label', null, h('input', { type: 'checkbox', name: 'one_way' }), 'one way only')),
  h('div', { class: 'actions' }, button('Set conditions', { class: 'primary' })));
  link.elements.to.selectedIndex = Math.min(1, count - 1);
  const reorg = form((data) => ({ action: 'reorg', depth: Number(data.get('depth')), node: data.get('node') ? Number(data.get('node')) : null }),
    h('h3', null, 'Reorganisation'), h('p', null, 'Replaces the last blocks by a branch with more work.'),
    h('div', { class: 'grid' }, field('Depth', number('depth', 3, { min: 1, max: 100 })), field('On', nodes('node', 'every node'))),
    h('div', { class: 'actions' }, button('Reorganise', { class: 'primary' })));
  const skew = form((data) => ({ action: 'skew', node: Number(data.get('node')), seconds: Number(data.get('seconds')) }),
    h('h3', null, 'Clock'), h('p', null, 'Seconds ahead; development networks only.'),
    h('div', { class: 'grid' }, field('Of', nodes('node')), field('Seconds', number('seconds', 0))), h('div', { class: 'actions' }, button('Set clock', { class: 'primary' })));
  return {
    element: card('Faults', hint, h('div', { class: 'faults' }, partition, link, reorg, skew), h('div', { class: 'command', 'aria-live': 'polite' }, command, output)),
    /** Sets the form to the state of a link. */
    fill({ from, to, directions: [{ latency_ms, jitter_ms, loss, bandwidth, is_cut }] }) {
      const values = { from, to, latency: latency_ms, jitter: jitter_ms, loss: Number((loss * 100).toFixed(4)), bandwidth: bandwidth ? bandwidth / 1000 : '' };
      for (const [name, value] of Object.entries(values)) link.elements[name].value = value;
      link.elements.cut.checked = is_cut;
      link.elements.latency.focus();
    },
  };
}

/** Disables the buttons and explains why, where there is no token. */
export function showToken() {
  hint.hidden = hasToken();
  document.body.classList.toggle('no-token', !hasToken());
  for (const element of document.querySelectorAll('.fault button, .table-actions button')) element.disabled = !hasToken();
}
