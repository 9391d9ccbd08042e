// Where the chain branches: the last heights with every side branch, and the reorganisations that were.
import { find, get } from '../api.js';
import { h, refill, setText } from '../dom.js';
import { count, plural } from '../format.js';
import { chain, every, on, paced, since } from '../live.js';
import { address, badge, blockLink, card, empty, heading, tile, time } from '../parts.js';
import { kindOf, tree } from '../tree.js';
import { widths } from '../table.js';
import { newest } from './charts.js';

/** Heights in view. */
const HEIGHTS = 50;
/** Side branches that are followed, the highest first. */
const BRANCHES = 16;
/** Reorganisations that are kept while the page is open. */
const KEPT = 1000;
/** Milliseconds between two looks at the ends of all branches. */
const LOOK = 2000;

export default async function forks({ signal }) {
  const tiles = {
    branches: tile('Side branches', `That end in the last ${HEIGHTS} heights`),
    stale: tile('Stale blocks', `Of the last ${HEIGHTS} heights`),
    reorgs: tile('Reorganisations', 'That this node remembers'),
    deepest: tile('Deepest', 'Blocks left in one reorganisation'),
  };
  const picture = tree({ onchoose: (block) => showBlock(block) });
  // Its age changes all the time and is not read out.
  const summary = h('span', { 'aria-live': 'polite' });
  const rest = h('span');
  const chosen = h('div', { class: 'chosen' }, summary, rest);
  const branches = h('div');
  const events = h('ul', { class: 'log' });
  const reorgs = [];
  const bodies = new Map();
  let recent = [];
  let ends = [];

  const showBlock = (block) => {
    if (!block) setText(summary, 'Point at a block, or go from one to the next with Tab and the arrow keys.');
    else {
      refill(summary, badge(...KINDS[kindOf(block)]), h('strong', null, count(block.height)), blockLink(block.hash));
      refill(rest, address(block.miner, { copies: false }), time(block.time));
    }
  };
  const showReorgs = () => {
    tiles.reorgs.show(count(reorgs.length), reorgs.length ? time(reorgs[0].time) : 'none so far');
    const deepest = reorgs.reduce((best, reorg) => (best && best.depth >= reorg.depth ? best : reorg), null);
    tiles.deepest.show(deepest ? count(deepest.depth) : '–', deepest ? `left at height ${count(deepest.fork_height)}` : '\u00a0');
    if (reorgs.length === 0) events.replaceChildren(h('li', null, empty('None so far', 'When a heavier branch wins, it is told here, and the picture above changes while you watch.')));
    else {
      refill(events, ...reorgs.slice(0, 20).map((reorg) => h('li', null, time(reorg.time),
        h('span', null, `${plural(reorg.depth, 'block')} above ${count(reorg.fork_height)} ${reorg.connected ? `gave way to ${count(reorg.connected)}` : 'set aside'}`),
        h('span', { class: 'swap' }, blockLink(reorg.old_tip, { copies: false }), h('span', { class: 'arrow', role: 'img', 'aria-label': 'gave way to' }, '→'), blockLink(reorg.new_tip, { copies: false })))));
    }
  };
  const show = async () => {
    const [best, tips] = await Promise.all([newest(HEIGHTS, signal, recent), get('/chain/tips', signal)]);
    [recent, ends] = [best, tips];
    const lowest = best[best.length - 1].height;
    const blocks = new Map(best.map((block) => [block.hash, { ...block, isBest: true }]));
    const sides = tips.filter((tip) => tip.status !== 'active' && tip.height >= lowest).sort((a, b) => b.height - a.height);
    for (const tip of sides.slice(0, BRANCHES)) await follow(tip, blocks, lowest);
    picture.show([...blocks.values()], lowest);
    const stale = [...blocks.values()].filter((block) => !block.isBest).length;
    tiles.branches.show(count(sides.length), tips.length > sides.length + 1 ? `${count(tips.length - 1)} in the whole chain` : 'in the whole chain');
    tiles.stale.show(count(stale), `${((stale / blocks.size) * 100).toFixed(1).replace(/\.0$/, '')} % of the view`);
    refill(branches, tips.length > 1 ? tableOf(tips) : empty('One branch only', 'Every block this node knows is in the best chain.'));
  };
  /** Blocks of a side branch down to the best chain. */
  const follow = async (tip, blocks, lowest) => {
    for (let { hash } = tip; !blocks.has(hash);) {
      const block = bodies.get(hash) ?? await find(`/blocks/${hash}`, signal);
      if (!block || block.height < lowest) return;
      bodies.set(hash, block);
      blocks.set(hash, { ...block, isBest: false, isInvalid: tip.status === 'invalid' });
      hash = block.previous;
    }
  };
  showBlock(null);
  showReorgs();
  await show();
  const refresh = paced(show, 250);
  on(['block.connected', 'block.disconnected', 'reorg', 'return', 'reset'], signal, refresh);
  // A side branch that does not win is no event. An unchanged answer has no body.
  every(LOOK, signal, paced(async () => {
    const tips = await get('/chain/tips', signal);
    if (!isSame(tips, ends)) refresh();
  }));
  since(['reorg'], signal, (reorg) => {
    reorgs.unshift(reorg);
    reorgs.splice(KEPT);
    showReorgs();
  }, () => {
    reorgs.length = 0;
    showReorgs();
  });

  return {
    title: 'Forks',
    content: [
      heading('Forks'),
      h('div', { class: 'tiles four' }, Object.values(tiles).map(({ element }) => element)),
      card([h('span', null, `The last ${HEIGHTS} heights`), h('span', { class: 'legend' }, h('span', { class: 'key best', title: 'In the colours of its miners' }, 'best chain'), h('span', { class: 'key lost' }, 'stale'), h('span', { class: 'key refused' }, 'invalid'))], picture.element, chosen),
      h('div', { class: 'columns even' }, card('Branches', branches), card('Reorganisations', events)),
    ],
  };
}

const isSame = (some, others) => some.length === others.length && some.every((tip, place) => tip.hash === others[place].hash && tip.status === others[place].status);

const KINDS = { best: ['best chain', 'good'], stale: ['stale', 'stale'], invalid: ['invalid', 'bad'] };

const STATUS = { active: ['best chain', 'good'], 'valid-fork': ['stale', 'stale'], 'headers-only': ['headers only', ''], invalid: ['invalid', 'bad'] };

function tableOf(tips) {
  const sorted = [...tips].sort((a, b) => (b.status === 'active') - (a.status === 'active') || b.height - a.height).slice(0, 25);
  const rows = sorted.map((tip) => {
    const [name, kind] = STATUS[tip.status] ?? [tip.status, ''];
    return h('tr', null, h('td', null, h('span', { title: tip.code }, badge(name, kind))), h('td', { class: 'number' }, count(tip.height)),
      h('td', { class: 'number' }, tip.branch_length ? plural(tip.branch_length, 'block') : '–'), h('td', null, blockLink(tip.hash, { copies: false, tail: 6 })));
  });
  return h('div', { class: 'rows' }, h('table', null, h('caption', { class: 'hidden' }, `Branches of ${chain.network}`),
    h('thead', null, h('tr', null, [['Status', '34%'], ['Height', '19%', 'number'], ['Length', '23%', 'number'], ['Tip', '24%']].map(([name, narrow, kind]) => h('th', { scope: 'col', class: kind, style: widths(null, narrow) }, name)))), h('tbody', null, rows)));
}
