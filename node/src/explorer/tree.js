// A diagram of blocks as a tree: the best chain in one lane, side branches above and below. After a reorganisation blocks glide
// to their new lanes.
import { h, s } from './dom.js';
import { count, hue, plural } from './format.js';

/** Pixels between two lanes. */
const LANE = 44;
/** Least pixels between two heights. */
const STEP = 26;
const MARGIN = { left: 24, right: 34, top: 34, bottom: 40 };
/** Milliseconds of the transition to a new position. */
const TRANSITION = 600;

/**
 * A tree. `show` draws blocks `{ hash, height, previous, miner, isBest, isInvalid, label?, api? }` from the lowest visible height on;
 * `api` is the URL of a node that has the block, if not this one. `onSelect` is called for a block that is selected and when the
 * selected block changes its status.
 */
export function tree({ onSelect }) {
  const edges = s('g', { class: 'edges' });
  const axis = s('g', { class: 'axis' });
  const nodes = s('g', { class: 'nodes' });
  const svg = s('svg', { class: 'tree', role: 'group' }, axis, edges, nodes);
  const scroller = h('div', { class: 'scroller' }, svg);
  const drawn = new Map();
  const reducedMotion = matchMedia('(prefers-reduced-motion: reduce)');
  let shown = null;
  let startedAt = 0;
  let isMoving = false;
  /** Whether the view follows the newest block: until the user scrolls back. */
  let isFollowing = true;
  scroller.addEventListener('scroll', () => {
    isFollowing = scroller.scrollLeft + scroller.clientWidth >= scroller.scrollWidth - 2 * STEP;
  });
  /** The hash of the block in the tab order. */
  let focusable = null;
  /** The block of the last call of `onSelect`, and its status then. */
  let selected = {};
  const notify = (block) => {
    selected = { hash: block.hash, status: statusOf(block) };
    onSelect(block);
  };

  const setFocusable = (block) => {
    drawn.get(focusable)?.node.setAttribute('tabindex', '-1');
    focusable = block.hash;
    drawn.get(focusable)?.node.setAttribute('tabindex', '0');
  };
  const select = (block) => {
    setFocusable(block);
    notify(block);
  };
  svg.addEventListener('keydown', (event) => {
    const from = drawn.get(focusable);
    const target = from && neighbour(event.key, from, [...drawn.values()]);
    if (!target) return;
    event.preventDefault();
    target.node.focus();
  });

  const draw = () => {
    if (!shown || scroller.clientWidth === 0) return;
    const { blocks, lowest } = shown;
    const lanes = assignLanes(blocks);
    const used = [...lanes.values()];
    const [above, below] = [Math.min(0, -1, ...used), Math.max(0, 1, ...used)];
    const highest = Math.max(...blocks.map((block) => block.height));
    const span = Math.max(1, highest - lowest, 20);
    const available = scroller.clientWidth - 2 * parseFloat(getComputedStyle(scroller).paddingLeft);
    const step = Math.max(STEP, (available - MARGIN.left - MARGIN.right) / span);
    const width = MARGIN.left + MARGIN.right + step * span;
    const height = MARGIN.top + MARGIN.bottom + LANE * (below - above);
    const x = (blockHeight) => MARGIN.left + (blockHeight - lowest) * step;
    const y = (lane) => MARGIN.top + (lane - above) * LANE;
    svg.setAttribute('width', width);
    svg.setAttribute('height', height);
    const labelInterval = step < 40 ? 5 : 2;
    axis.replaceChildren(...Array.from({ length: span + 1 }, (_, index) => lowest + index).filter((label) => label % labelInterval === 0 && label <= highest)
      .map((label) => s('text', { x: x(label), y: height - 12, 'text-anchor': 'middle' }, count(label))));
    const known = new Set(blocks.map((block) => block.hash));
    for (const [hash, mark] of drawn) {
      if (known.has(hash)) continue;
      mark.node.remove();
      mark.edge.remove();
      drawn.delete(hash);
    }
    const isFirst = drawn.size === 0;
    const stale = blocks.filter((block) => !block.isBest).length;
    svg.setAttribute('aria-label', `Blocks ${count(lowest)} to ${count(highest)} as a tree: ${plural(blocks.length - stale, 'block')} in the best chain, ${count(stale)} in side branches. Use the arrow keys to move between blocks.`);
    for (const block of [...blocks].sort((a, b) => a.height - b.height)) {
      const to = { x: x(block.height), y: y(lanes.get(block.hash)) };
      let mark = drawn.get(block.hash);
      if (!mark) {
        const parent = drawn.get(block.previous);
        mark = createMark(block, select);
        mark.at = isFirst || !parent ? to : { ...parent.at };
        drawn.set(block.hash, mark);
        nodes.append(mark.node);
        edges.append(mark.edge);
      }
      mark.block = block;
      if (mark.label.textContent !== (block.label ?? '')) mark.label.textContent = block.label ?? '';
      const status = statusOf(block);
      if (block.hash === selected.hash && status !== selected.status) notify(block);
      mark.node.setAttribute('class', `${status}${block.height === highest && block.isBest ? ' tip' : ''}`);
      mark.node.setAttribute('aria-label', `Block ${count(block.height)}, ${block.isBest ? 'best chain' : status}, hash ending in ${block.hash.slice(-6)}${block.label ? `, tip of node ${block.label}` : ''}`);
      mark.edge.setAttribute('class', status);
      mark.from = mark.at;
      mark.to = to;
    }
    // Without the focus in the tree, the Tab key enters it at the newest block.
    if (!drawn.has(focusable) || !svg.contains(document.activeElement)) setFocusable(blocks.find((block) => block.isBest && block.height === highest) ?? blocks[0]);
    startedAt = isFirst || reducedMotion.matches ? -Infinity : performance.now();
    if (!isMoving) move();
    if (isFollowing) scroller.scrollLeft = scroller.scrollWidth;
  };

  const move = () => {
    const progress = Math.min(1, (performance.now() - startedAt) / TRANSITION);
    const eased = 1 - (1 - progress) ** 3;
    for (const mark of drawn.values()) {
      mark.at = { x: mark.from.x + (mark.to.x - mark.from.x) * eased, y: mark.from.y + (mark.to.y - mark.from.y) * eased };
      mark.node.setAttribute('transform', `translate(${mark.at.x.toFixed(1)} ${mark.at.y.toFixed(1)})`);
    }
    for (const mark of drawn.values()) {
      const parent = drawn.get(mark.block.previous);
      mark.edge.setAttribute('d', parent ? curve(parent.at, mark.at) : `M${mark.at.x - 18} ${mark.at.y}H${mark.at.x}`);
    }
    isMoving = progress < 1;
    if (isMoving) requestAnimationFrame(move);
  };

  new ResizeObserver(draw).observe(scroller);
  return {
    element: scroller,
    show(blocks, lowest) {
      shown = { blocks, lowest };
      draw();
    },
  };
}

/** The status of a block: `best`, `stale` or `invalid`. */
export const statusOf = (block) => (block.isInvalid ? 'invalid' : block.isBest ? 'best' : 'stale');

/** The block that an arrow key selects: along the branch, or the nearest one at the same height. */
function neighbour(key, from, marks) {
  const children = (mark) => marks.filter(({ block }) => block.previous === mark.block.hash);
  if (key === 'ArrowLeft') return marks.find(({ block }) => block.hash === from.block.previous);
  if (key === 'ArrowRight') return children(from).sort((a, b) => b.block.isBest - a.block.isBest)[0];
  if (key === 'Home' || key === 'End') {
    const best = marks.filter(({ block }) => block.isBest).sort((a, b) => a.block.height - b.block.height);
    return best[key === 'Home' ? 0 : best.length - 1];
  }
  const side = { ArrowUp: -1, ArrowDown: 1 }[key];
  if (!side) return undefined;
  const sameHeight = marks.filter((mark) => mark.block.height === from.block.height && Math.sign(mark.to.y - from.to.y) === side);
  return sameHeight.sort((a, b) => side * (a.to.y - b.to.y))[0];
}

function curve(from, to) {
  const middle = (from.x + to.x) / 2;
  return `M${from.x.toFixed(1)} ${from.y.toFixed(1)}C${middle.toFixed(1)} ${from.y.toFixed(1)} ${middle.toFixed(1)} ${to.y.toFixed(1)} ${to.x.toFixed(1)} ${to.y.toFixed(1)}`;
}

function createMark(block, select) {
  const label = s('text', { y: -13, 'text-anchor': 'middle', class: 'label' });
  const other = block.api ? { target: '_blank', rel: 'noreferrer' } : {};
  const node = s('a', { href: `${block.api ?? ''}/block/${block.hash}`, tabindex: '-1', style: { '--hue': hue(block.miner) }, ...other },
    s('rect', { x: -12, y: -14, width: 24, height: 28, class: 'hit-area' }), s('rect', { x: -8, y: -8, width: 16, height: 16, rx: 4, class: 'square' }), label);
  for (const event of ['pointerenter', 'focus']) node.addEventListener(event, () => select(mark.block));
  const mark = { node, edge: s('path'), block, label };
  return mark;
}

/** The lane of each block by hash: 0 for the best chain, the nearest free lane for each side branch. */
function assignLanes(blocks) {
  const byHash = new Map(blocks.map((block) => [block.hash, block]));
  const lanes = new Map(blocks.filter((block) => block.isBest).map((block) => [block.hash, 0]));
  const parents = new Set(blocks.map((block) => block.previous));
  const tips = blocks.filter((block) => !block.isBest && !parents.has(block.hash)).sort((a, b) => b.height - a.height);
  const occupied = [];
  for (const tip of tips) {
    const branch = [];
    for (let block = tip; block && !lanes.has(block.hash); block = byHash.get(block.previous)) branch.push(block);
    const [from, to] = [branch[branch.length - 1].height - 1, tip.height];
    const lane = [1, -1, 2, -2, 3, -3, 4, -4, 5, -5, 6, -6, 7, -7, 8, -8].find((candidate) =>
      !occupied.some((other) => other.lane === candidate && other.from <= to && from <= other.to)) ?? 9;
    occupied.push({ lane, from, to });
    for (const block of branch) lanes.set(block.hash, lane);
  }
  return lanes;
}
