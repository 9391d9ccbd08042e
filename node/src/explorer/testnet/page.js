// The dashboard of a testnet: tips side by side, links, propagation, forks, and the faults as buttons.
import { badge, card, empty, heading, tile, time } from '../components.js';
import { h, replaceContent, setText } from '../dom.js';
import { count, digits, median, plural } from '../format.js';
import { simpleTable } from '../table.js';
import { statusOf, tree } from '../tree.js';
import { read } from './client.js';
import { controls, execute, showToken } from './controls.js';
import { graph, pairs, tipHue } from './graph.js';

/** Milliseconds between two reads of the state. */
const INTERVAL = 700;
/** Blocks in the table of propagation times. */
const SHOWN_BLOCKS = 10;
/** Most nodes with a column of their own there. */
const MAX_COLUMNS = 8;
/** Rows of the lists of forks and reorganisations. */
const ROWS = 25;

const BADGES = { running: 'good', silent: 'wait', paused: 'wait', stopped: '', killed: 'bad' };
const STATUS = { 'valid-fork': ['stale', 'stale'], 'headers-only': ['headers only', ''], invalid: ['invalid', 'bad'] };

const main = document.getElementById('main');
const isNarrow = matchMedia('(max-width: 640px)');
const tiles = {
  height: tile('Height', 'The highest tip'),
  tips: tile('Tips', 'Different tips of the nodes that run'),
  spread: tile('Propagation', 'Median time until a block is at every node that runs'),
  forks: tile('Side branches', 'Branches that are not best chains, in the indexes of the nodes'),
};
const nodeList = h('div', { class: 'table-actions' });
const links = h('div');
const blocks = h('div');
const range = h('span');
const selected = h('div', { class: 'selected' }, 'Select a block with the pointer, or with Tab and the arrow keys.');
const forks = h('div');
const reorgs = h('ul', { class: 'log' });
const diagram = tree({ onSelect: showBlock });
let state = null;
let faults = null;
/** The number of nodes that the page was built for. */
let builtFor = 0;
/** The height around which the tree is shown; null for the newest blocks. */
let around = null;
let shownTree = '';
let shownGraph = '';
let shownNodes = '';
/** Whether a pointer is pressed: what it presses must not be replaced. */
let isPressed = false;
addEventListener('pointerdown', () => { isPressed = true; });
for (const end of ['pointerup', 'pointercancel', 'blur']) addEventListener(end, () => setTimeout(() => { isPressed = false; }));

const short = (hash) => hash.slice(-12);
/** A link to a page of the explorer of a node that has what it shows. */
const nodePage = (api, path, text, title) => (api ? h('a', { href: `${api}${path}`, target: '_blank', rel: 'noreferrer', title }, text) : h('span', { title }, text));
const apiOf = (numbers) => state.nodes[(numbers ?? []).find((number) => state.nodes[number - 1]?.state === 'running') - 1]?.api ?? state.nodes.find((node) => node.state === 'running')?.api;
const tipMark = (tip) => h('i', { class: 'dot', style: { '--hue': tipHue(tip) }, 'aria-hidden': 'true' });

function showBlock(block) {
  const at = block.nodes.length ? `tip of node ${block.nodes.join(', ')}` : '';
  replaceContent(selected, badge(...{ best: ['best chain', 'good'], stale: ['side branch', 'stale'], invalid: ['invalid', 'bad'] }[statusOf(block)]),
    h('strong', null, count(block.height)), nodePage(block.api, `/block/${block.hash}`, short(block.hash), block.hash), time(block.time), at);
}

function nodeRow(node, index) {
  const number = index + 1;
  const button = (action, label) => h('button', { type: 'button', 'data-key': `${action}-${number}`, 'aria-label': `${label} node ${number}`, onclick: () => execute({ action, node: number }) }, label);
  const isUp = ['running', 'silent'].includes(node.state);
  return [isUp && button('pause', 'Pause'), node.state === 'paused' && button('resume', 'Resume'), node.pid !== null && button('kill', 'Kill'), node.pid === null && button('start', 'Start')];
}

function showNodes() {
  const key = JSON.stringify(state.nodes);
  if (key === shownNodes) return;
  shownNodes = key;
  const rows = state.nodes.map((node, index) => ({ ...node, index }));
  replaceContent(nodeList, simpleTable('Nodes', [
    { head: 'Node', narrow: '18%', width: '12%', cell: (node) => nodePage(node.state === 'running' && node.api, '/', `node ${node.index + 1}`, 'The explorer of the node') },
    { head: 'State', narrow: '28%', width: '14%', cell: (node) => badge(node.state, BADGES[node.state]) },
    { head: 'Height', narrow: '17%', width: '11%', number: true, cell: (node) => (node.height === undefined ? '–' : count(node.height)) },
    { head: 'Tip', wide: true, width: '23%', cell: (node) => (node.tip ? h('span', { class: 'tip-cell', title: node.tip }, tipMark(node.tip), h('code', null, short(node.tip))) : '–') },
    { head: 'Peers', wide: true, number: true, width: '10%', cell: (node) => (node.peers === undefined ? '–' : String(node.peers)) },
    { head: 'Clock', wide: true, number: true, width: '11%', cell: (node) => (node.clock_offset ? `${node.clock_offset > 0 ? '+' : '−'}${count(Math.abs(node.clock_offset))} s` : 'right') },
    { head: 'Faults', narrow: '37%', width: '19%', cell: (node) => h('span', { class: 'buttons' }, nodeRow(node, node.index)) },
  ], rows));
}

/** Milliseconds from the first arrival of a block to that at each node. */
const delays = ({ arrivals }) => {
  const first = Math.min(...Object.values(arrivals));
  return Object.fromEntries(Object.entries(arrivals).map(([node, at]) => [node, at - first]));
};
/** The time until a block was at every node that runs; null while one lacks it. */
const spread = (block) => (state.nodes.every((node, index) => node.state !== 'running' || block.arrivals[index + 1]) ? Math.max(...Object.values(delays(block))) : null);
const milliseconds = (value) => (value === undefined || value === null ? '–' : value >= 10_000 ? `${digits(value / 1000)} s` : `${count(value)} ms`);

function showBlocks() {
  if (state.blocks.length === 0) {
    replaceContent(blocks, empty('No blocks yet', 'The arrival of blocks is measured while this page is open, since it was opened first.'));
    return;
  }
  const columns = state.nodes.length <= MAX_COLUMNS
    ? state.nodes.map((_, index) => ({ head: `Node ${index + 1}`, wide: index > 1, number: true, cell: (block) => milliseconds(delays(block)[index + 1]) }))
    : [{ head: 'Median', number: true, cell: (block) => milliseconds(median(Object.values(delays(block)))) }, { head: 'Nodes', number: true, cell: (block) => `${Object.keys(block.arrivals).length} of ${state.nodes.length}` }];
  replaceContent(blocks, simpleTable('Propagation of blocks', [
    { head: 'Height', width: '9%', narrow: '18%', cell: (block) => nodePage(apiOf(Object.keys(block.arrivals).map(Number)), `/block/${block.hash}`, count(block.height), block.hash) },
    { head: 'Block', wide: true, width: '15%', cell: (block) => h('code', null, short(block.hash)) },
    ...columns,
    { head: 'All', number: true, cell: (block) => milliseconds(spread(block)) },
  ], state.blocks.slice(0, SHOWN_BLOCKS)));
}

const treeButton = (height, text, title) => h('button', { type: 'button', class: 'text', 'data-key': `tree-${height}-${text}`, title, onclick: () => showAround(height) }, text);

function showForks() {
  const { branches } = state;
  replaceContent(forks, branches.length === 0 ? empty('No side branches', 'All known blocks are in best chains.') : simpleTable('Side branches', [
    { head: 'Fork', narrow: '24%', number: true, cell: (branch) => treeButton(branch.height - branch.length, count(branch.height - branch.length), 'Show the tree around this fork') },
    { head: 'Length', narrow: '24%', number: true, cell: (branch) => plural(branch.length, 'block') },
    { head: 'Status', narrow: '24%', cell: (branch) => badge(...(STATUS[branch.status] ?? [branch.status])) },
    { head: 'Nodes', narrow: '28%', cell: (branch) => branch.nodes.join(', ') },
    { head: 'Tip', wide: true, cell: (branch) => nodePage(apiOf(branch.nodes), `/block/${branch.hash}`, short(branch.hash), branch.hash) },
  ], branches.slice(0, ROWS)));
  if (state.reorgs.length === 0) {
    replaceContent(reorgs, h('li', null, empty('No reorganisations', 'When a heavier branch becomes the best chain of a node, it is listed here.')));
    return;
  }
  replaceContent(reorgs, ...state.reorgs.slice(0, ROWS).map((reorg) => h('li', null, time(reorg.time),
    treeButton(reorg.fork_height, `${plural(reorg.depth, 'block')} above ${count(reorg.fork_height)} replaced by ${count(reorg.connected)}`, 'Show the tree around this fork'),
    h('span', { class: 'quiet' }, `node ${reorg.nodes.join(', ')}`))));
}

function showGraph() {
  const nodes = state.nodes.map(({ state: at, tip, height }) => [at, tip, height]);
  const key = JSON.stringify([isNarrow.matches, nodes, pairs(state.links).map(({ kind, text }) => [kind, text])]);
  if (key === shownGraph) return;
  shownGraph = key;
  replaceContent(links, graph(state, isNarrow.matches, (pair) => faults.fill(pair)));
}

/** Shows the tree around a height; `null` shows the newest blocks. */
async function showAround(height) {
  around = height;
  await showTree();
  range.closest('.card').scrollIntoView({ block: 'nearest' });
}

async function showTree() {
  const found = await read(around === null ? 'tree' : `tree?height=${around}`);
  const key = JSON.stringify(found);
  if (key === shownTree) return;
  shownTree = key;
  diagram.show(found.blocks.map((block) => ({ ...block, api: apiOf(block.nodes), label: block.nodes.join(' ') })), found.lowest);
  const shown = `Heights ${count(found.lowest)} to ${count(Math.max(...found.blocks.map((block) => block.height)))}`;
  if (around === null) setText(range, 'Newest blocks');
  else replaceContent(range, `${shown} · `, h('button', { type: 'button', class: 'text', onclick: () => showAround(null) }, 'newest'));
}

function show() {
  const running = state.nodes.filter((node) => node.state === 'running');
  const highest = Math.max(0, ...running.map((node) => node.height));
  document.title = `${state.network} · ${state.tips === 1 ? 'one tip' : `${state.tips} tips`}`;
  setText(document.getElementById('facts'), `${state.network} · ${state.topology} · ${running.length} of ${plural(state.nodes.length, 'node')} running`);
  tiles.height.show(running.length ? count(highest) : '–', plural(running.filter((node) => node.height === highest).length, 'node'));
  tiles.tips.show(count(state.tips), state.sides.length ? `partition ${state.sides.map((side) => side.join(',')).join(' | ')}` : state.tips > 1 ? 'the nodes differ' : 'all agree');
  const spreads = state.blocks.map(spread).filter((value) => value !== null);
  tiles.spread.show(milliseconds(median(spreads)), `last ${plural(spreads.length, 'block')}`);
  tiles.forks.show(count(state.branches.length), state.reorgs.length ? `${plural(state.reorgs.length, 'reorganisation')}` : 'no reorganisation');
  showNodes();
  showGraph();
  showBlocks();
  showForks();
  showToken();
}

function build() {
  builtFor = state.nodes.length;
  faults = controls(state.nodes.length);
  const legend = h('span', { class: 'legend' }, h('span', { class: 'key best' }, 'best chain, by miner'), h('span', { class: 'key stale' }, 'side branch'), h('span', { class: 'key invalid' }, 'invalid'));
  const linkLegend = h('p', { class: 'legend' }, ['perfect', 'bad', 'cut', 'partitioned', 'closed'].map((kind) => h('span', { class: `key line ${kind}` }, kind === 'bad' ? 'bad link' : kind === 'closed' ? 'not connected' : kind)));
  main.replaceChildren(
    heading('Testnet'),
    h('div', { class: 'tiles four' }, Object.values(tiles).map(({ element }) => element)),
    h('div', { class: 'columns nodes-links' }, card('Nodes', nodeList), card('Links', links, linkLegend)),
    faults.element,
    card([range, legend], diagram.element, selected),
    h('div', { class: 'columns even' }, card('Side branches', forks), card('Reorganisations', reorgs)),
    card('Propagation', blocks));
  main.removeAttribute('aria-busy');
}

function showLive(name, text) {
  const indicator = document.getElementById('live');
  indicator.dataset.state = name;
  setText(indicator.lastElementChild, text);
}

async function update() {
  try {
    state = await read('state');
    if (isPressed) return;
    if (builtFor !== state.nodes.length) build();
    show();
    await showTree();
    showLive('live', 'live');
  } catch (error) {
    showLive('offline', state ? 'testnet unreachable, retrying' : error.message);
  }
}

const themeButton = document.getElementById('theme');
const prefersDark = matchMedia('(prefers-color-scheme: dark)');
const isDark = () => (document.documentElement.dataset.theme ?? (prefersDark.matches ? 'dark' : 'light')) === 'dark';
const labelTheme = () => themeButton.setAttribute('aria-label', `Switch to the ${isDark() ? 'light' : 'dark'} theme`);
themeButton.addEventListener('click', () => {
  document.documentElement.dataset.theme = isDark() ? 'light' : 'dark';
  localStorage.setItem('theme', document.documentElement.dataset.theme);
  labelTheme();
});
prefersDark.addEventListener('change', labelTheme);
labelTheme();
isNarrow.addEventListener('change', () => state && show());

async function run() {
  for (;;) {
    if (!document.hidden) await update();
    await new Promise((resolve) => { setTimeout(resolve, INTERVAL); });
  }
}
run();
