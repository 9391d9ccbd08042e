// Forks: the newest heights, or those around a fork, with their side branches; all branches and the reorganisations.
import { find, get } from '../api.js';
import { address, badge, blockLink, card, empty, heading, tile, time } from '../components.js';
import { h, replaceContent, setText } from '../dom.js';
import { count, plural } from '../format.js';
import { recentBlocks } from '../history.js';
import { chain, on, poll, replay, throttled } from '../live.js';
import { simpleTable } from '../table.js';
import { statusOf, tree } from '../tree.js';

export const menu = { label: 'Forks', order: 4 };

/** Heights shown. */
const HEIGHTS = 50;
/** Heights shown before the one that the URL names. */
const HEIGHTS_BEFORE = 10;
/** Most side branches shown, highest first. */
const MAX_BRANCHES = 16;
/** Most branches read, the highest ones. */
const MAX_TIPS = 100;
/** Rows of the table of branches. */
const TABLE_ROWS = 25;
/** Reorganisations counted. */
const MAX_REORGS = 1000;
/** Reorganisations listed. */
const LISTED_REORGS = 20;
/** Milliseconds between two polls of the tips. */
const POLL_INTERVAL = 2000;

export default async function forksPage({ query, signal }) {
  /** The height around which the tree is shown; null for the newest ones. */
  const around = /^\d{1,10}$/.test(query.get('height') ?? '') ? Number(query.get('height')) : null;
  const tiles = {
    branches: tile('Side branches', 'At the heights that the tree shows'),
    stale: tile('Stale blocks', 'At the heights that the tree shows'),
    reorgs: tile('Reorganisations', 'In the node’s event log'),
    deepest: tile('Deepest', 'Most blocks disconnected by one reorganisation'),
  };
  const diagram = tree({ onSelect: (block) => showBlock(block) });
  const range = h('span');
  const summary = h('span', { 'aria-live': 'polite' });
  // Outside the live region: screen readers do not announce the age, which changes all the time.
  const rest = h('span');
  const selected = h('div', { class: 'selected' }, summary, rest);
  const branches = h('div');
  const log = h('ul', { class: 'log' });
  const reorgs = [];
  const sideBlocks = new Map();
  let recent = [];
  let shownTips = [];

  const showBlock = (block) => {
    replaceContent(summary, badge(...BADGES[statusOf(block)]), h('strong', null, count(block.height)), blockLink(block.hash));
    replaceContent(rest, address(block.miner, { copyable: false }), time(block.time));
  };
  const showReorgs = () => {
    tiles.reorgs.show(count(reorgs.length), reorgs.length ? time(reorgs[0].time) : 'none yet');
    const deepest = reorgs.reduce((best, reorg) => (best && best.depth >= reorg.depth ? best : reorg), null);
    tiles.deepest.show(deepest ? count(deepest.depth) : '–', deepest ? `fork at height ${count(deepest.fork_height)}` : '\u00a0');
    if (reorgs.length === 0) log.replaceChildren(h('li', null, empty('No reorganisations', 'When a heavier branch becomes the best chain, the reorganisation is listed here.')));
    else replaceContent(log, ...reorgs.slice(0, LISTED_REORGS).map(renderReorg));
  };
  const show = async () => {
    const shown = around === null ? recentBlocks(HEIGHTS, signal, recent) : blocksAround(around, signal);
    const [best, tips] = await Promise.all([shown, getTips(signal)]);
    [recent, shownTips] = [best, tips];
    const lowest = best[best.length - 1].height;
    const highest = around === null ? Infinity : best[0].height;
    const blocks = new Map(best.map((block) => [block.hash, { ...block, isBest: true }]));
    const isShown = (tip) => tip.status !== 'active' && tip.height >= lowest && tip.height - tip.branch_length <= highest;
    const sideTips = tips.filter(isShown).sort((a, b) => b.height - a.height);
    for (const tip of sideTips.slice(0, MAX_BRANCHES)) await addBranch(tip, blocks, lowest, highest);
    diagram.show([...blocks.values()], lowest);
    if (around === null) setText(range, `Last ${HEIGHTS} heights`);
    else replaceContent(range, `Heights ${count(lowest)} to ${count(best[0].height)} · `, h('a', { href: '/forks' }, 'newest'));
    const stale = [...blocks.values()].filter((block) => !block.isBest).length;
    const all = `${tips.length < MAX_TIPS ? '' : 'at least '}${count(tips.length - 1)} in the whole chain`;
    tiles.branches.show(count(sideTips.length), tips.length > sideTips.length + 1 ? all : 'in the whole chain');
    tiles.stale.show(count(stale), `${((stale / blocks.size) * 100).toFixed(1).replace(/\.0$/, '')} % of the blocks shown`);
    replaceContent(branches, tips.length > 1 ? tipTable(tips) : empty('No side branches', 'All known blocks are in the best chain.'));
  };
  /** Adds the blocks of a side branch from its tip down to the best chain. */
  const addBranch = async (tip, blocks, lowest, highest) => {
    for (let { hash } = tip; !blocks.has(hash);) {
      const block = sideBlocks.get(hash) ?? await find(`/blocks/${hash}`, signal);
      if (!block || block.height < lowest) return;
      sideBlocks.set(hash, block);
      if (block.height <= highest) blocks.set(hash, { ...block, isBest: false, isInvalid: tip.status === 'invalid' });
      hash = block.previous;
    }
  };
  setText(summary, 'Select a block with the pointer, or with Tab and the arrow keys.');
  showReorgs();
  await show();
  const refresh = throttled(show, 250);
  // A new block does not change the tree around an old one.
  on([...(around === null ? ['block.connected'] : []), 'block.disconnected', 'reorg', 'resync', 'reset'], signal, refresh);
  // A block in a side branch has no event.
  poll(POLL_INTERVAL, signal, throttled(async () => {
    const tips = await getTips(signal);
    if (!isEqual(tips, shownTips)) refresh();
  }));
  replay(['reorg'], signal, (reorg) => {
    reorgs.unshift(reorg);
    reorgs.splice(MAX_REORGS);
    showReorgs();
  }, () => {
    reorgs.length = 0;
    showReorgs();
  });

  const legend = h('span', { class: 'legend' }, h('span', { class: 'key best', title: 'Best chain: each block in the colour of its miner' }, 'best chain, by miner'),
    h('span', { class: 'key stale' }, 'stale'), h('span', { class: 'key invalid' }, 'invalid'));
  return {
    title: 'Forks',
    content: [
      heading('Forks'),
      h('div', { class: 'tiles four' }, Object.values(tiles).map(({ element }) => element)),
      card([range, legend], diagram.element, selected),
      h('div', { class: 'columns even' }, card('Branches', branches), card('Reorganisations', log)),
    ],
  };
}

const getTips = async (signal) => (await get(`/chain/tips?limit=${MAX_TIPS}`, signal)).items;

/** The blocks of the best chain around a height, newest first. */
async function blocksAround(height, signal) {
  const tip = await get('/blocks/tip', signal);
  const lowest = Math.max(0, Math.min(height, tip.height) - HEIGHTS_BEFORE);
  const heights = Array.from({ length: HEIGHTS }, (_, index) => lowest + index).filter((at) => at <= tip.height);
  const blocks = await Promise.all(heights.map((at) => find(`/blocks/${at}`, signal)));
  // The chain may have become shorter meanwhile.
  return blocks.filter((block) => block !== null).reverse();
}

/** The URL of the tree around the last common block of a branch. */
const treeAround = (height) => `/forks?height=${height}`;

const isEqual = (tips, others) => tips.length === others.length && tips.every((tip, index) => tip.hash === others[index].hash && tip.status === others[index].status);

const BADGES = { best: ['best chain', 'good'], stale: ['stale', 'stale'], invalid: ['invalid', 'bad'] };

const TIP_BADGES = { active: BADGES.best, 'valid-fork': BADGES.stale, 'headers-only': ['headers only', ''], invalid: BADGES.invalid };

function renderReorg(reorg) {
  const change = `${plural(reorg.depth, 'block')} above ${count(reorg.fork_height)} ${reorg.connected ? `replaced by ${count(reorg.connected)}` : 'invalidated'}`;
  return h('li', null, time(reorg.time), h('a', { href: treeAround(reorg.fork_height), title: 'Show the tree around this fork' }, change),
    h('span', { class: 'swap' }, blockLink(reorg.old_tip, { copyable: false }), h('span', { class: 'arrow', role: 'img', 'aria-label': 'replaced by' }, '→'), blockLink(reorg.new_tip, { copyable: false })));
}

function tipTable(tips) {
  const sorted = [...tips].sort((a, b) => (b.status === 'active') - (a.status === 'active') || b.height - a.height).slice(0, TABLE_ROWS);
  return simpleTable(`Branches of ${chain.network}`, [
    { head: 'Status', narrow: '34%', cell: (tip) => h('span', { title: tip.code }, badge(...(TIP_BADGES[tip.status] ?? [tip.status]))) },
    { head: 'Height', narrow: '19%', number: true, cell: (tip) => (tip.branch_length ? h('a', { href: treeAround(tip.height - tip.branch_length), title: 'Show the tree around this branch' }, count(tip.height)) : count(tip.height)) },
    { head: 'Length', narrow: '23%', number: true, cell: (tip) => (tip.branch_length ? plural(tip.branch_length, 'block') : '–') },
    { head: 'Tip', narrow: '24%', cell: (tip) => blockLink(tip.hash, { copyable: false, tail: 6 }) },
  ], sorted);
}
