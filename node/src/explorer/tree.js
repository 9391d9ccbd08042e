// A picture of blocks as a tree: the best chain on its own line, side branches above and below. When one becomes
// another, blocks glide to their new places.
import { h, s } from './dom.js';
import { count, hue, plural } from './format.js';

const LANE = 44;
const STEP = 26;
const MARGIN = { left: 24, right: 34, top: 34, bottom: 40 };
/** Milliseconds of a glide. */
const GLIDE = 600;

/** `show` takes blocks `{ hash, height, previous, miner, isBest, isInvalid }` and the lowest height in view. */
export function tree({ onchoose }) {
  const edges = s('g', { class: 'edges' });
  const axis = s('g', { class: 'axis' });
  const nodes = s('g', { class: 'nodes' });
  const svg = s('svg', { class: 'tree', role: 'group' }, axis, edges, nodes);
  const scroller = h('div', { class: 'scroller' }, svg);
  const drawn = new Map();
  const still = matchMedia('(prefers-reduced-motion: reduce)');
  let shown = null;
  let begun = 0;
  let running = false;
  /** Whether the newest block is to stay in sight: until somebody looks at older ones. */
  let follows = true;
  scroller.addEventListener('scroll', () => {
    follows = scroller.scrollLeft + scroller.clientWidth >= scroller.scrollWidth - 2 * STEP;
  });
  /** The hash of the block that Tab leads to. */
  let chosen = null;
  /** The block that was told last, and as what. */
  let told = {};
  const tell = (block) => {
    told = { hash: block.hash, kind: kindOf(block) };
    onchoose(block);
  };

  const choose = (block, isTold = true) => {
    drawn.get(chosen)?.node.setAttribute('tabindex', '-1');
    chosen = block.hash;
    drawn.get(chosen)?.node.setAttribute('tabindex', '0');
    if (isTold) tell(block);
  };
  svg.addEventListener('keydown', (event) => {
    const from = drawn.get(chosen);
    const beside = from && next(event.key, from, [...drawn.values()]);
    if (!beside) return;
    event.preventDefault();
    beside.node.focus();
  });

  const draw = () => {
    if (!shown || scroller.clientWidth === 0) return;
    const { blocks, lowest } = shown;
    const lanes = assign(blocks);
    const used = [...lanes.values()];
    const [above, below] = [Math.min(0, -1, ...used), Math.max(0, 1, ...used)];
    const highest = Math.max(...blocks.map((block) => block.height));
    const span = Math.max(1, highest - lowest, 20);
    const room = scroller.clientWidth - 2 * parseFloat(getComputedStyle(scroller).paddingLeft);
    const step = Math.max(STEP, (room - MARGIN.left - MARGIN.right) / span);
    const width = MARGIN.left + MARGIN.right + step * span;
    const height = MARGIN.top + MARGIN.bottom + LANE * (below - above);
    const x = (at) => MARGIN.left + (at - lowest) * step;
    const y = (lane) => MARGIN.top + (lane - above) * LANE;
    svg.setAttribute('width', width);
    svg.setAttribute('height', height);
    const every = step < 40 ? 5 : 2;
    axis.replaceChildren(...Array.from({ length: span + 1 }, (_, index) => lowest + index).filter((at) => at % every === 0 && at <= highest)
      .map((at) => s('text', { x: x(at), y: height - 12, 'text-anchor': 'middle' }, count(at))));
    const known = new Set(blocks.map((block) => block.hash));
    for (const [hash, mark] of drawn) {
      if (known.has(hash)) continue;
      mark.node.remove();
      mark.edge.remove();
      drawn.delete(hash);
    }
    const first = drawn.size === 0;
    const stale = blocks.filter((block) => !block.isBest).length;
    svg.setAttribute('aria-label', `Blocks ${count(lowest)} to ${count(highest)} as a tree: ${plural(blocks.length - stale, 'block')} of the best chain, ${count(stale)} beside it. The arrow keys go from block to block.`);
    for (const block of [...blocks].sort((a, b) => a.height - b.height)) {
      const to = { x: x(block.height), y: y(lanes.get(block.hash)) };
      let mark = drawn.get(block.hash);
      if (!mark) {
        const parent = drawn.get(block.previous);
        mark = make(block, choose);
        mark.at = first || !parent ? to : { ...parent.at };
        drawn.set(block.hash, mark);
        nodes.append(mark.node);
        edges.append(mark.edge);
      }
      mark.block = block;
      const kind = kindOf(block);
      if (block.hash === told.hash && kind !== told.kind) tell(block);
      mark.node.setAttribute('class', `${kind}${block.height === highest && block.isBest ? ' end' : ''}`);
      mark.node.setAttribute('aria-label', `Block ${count(block.height)}, ${block.isBest ? 'best chain' : kind}, hash ending in ${block.hash.slice(-6)}`);
      mark.edge.setAttribute('class', kind);
      mark.from = mark.at;
      mark.to = to;
    }
    // Nobody is in the tree: Tab leads to its newest block.
    if (!drawn.has(chosen) || !svg.contains(document.activeElement)) choose(blocks.find((block) => block.isBest && block.height === highest) ?? blocks[0], false);
    begun = first || still.matches ? -Infinity : performance.now();
    if (!running) glide();
    if (follows) scroller.scrollLeft = scroller.scrollWidth;
  };

  const glide = () => {
    const share = Math.min(1, (performance.now() - begun) / GLIDE);
    const eased = 1 - (1 - share) ** 3;
    for (const mark of drawn.values()) {
      mark.at = { x: mark.from.x + (mark.to.x - mark.from.x) * eased, y: mark.from.y + (mark.to.y - mark.from.y) * eased };
      mark.node.setAttribute('transform', `translate(${mark.at.x.toFixed(1)} ${mark.at.y.toFixed(1)})`);
    }
    for (const mark of drawn.values()) {
      const parent = drawn.get(mark.block.previous);
      mark.edge.setAttribute('d', parent ? curve(parent.at, mark.at) : `M${mark.at.x - 18} ${mark.at.y}H${mark.at.x}`);
    }
    running = share < 1;
    if (running) requestAnimationFrame(glide);
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

/** `best`, `stale` or `invalid`. */
export const kindOf = (block) => (block.isInvalid ? 'invalid' : block.isBest ? 'best' : 'stale');

/** The block to which an arrow key leads: along a branch, or to the nearest one of the same height. */
function next(key, from, marks) {
  const children = (mark) => marks.filter(({ block }) => block.previous === mark.block.hash);
  if (key === 'ArrowLeft') return marks.find(({ block }) => block.hash === from.block.previous);
  if (key === 'ArrowRight') return children(from).sort((a, b) => b.block.isBest - a.block.isBest)[0];
  if (key === 'Home' || key === 'End') {
    const best = marks.filter(({ block }) => block.isBest).sort((a, b) => a.block.height - b.block.height);
    return best[key === 'Home' ? 0 : best.length - 1];
  }
  const side = { ArrowUp: -1, ArrowDown: 1 }[key];
  if (!side) return undefined;
  const level = marks.filter((mark) => mark.block.height === from.block.height && Math.sign(mark.to.y - from.to.y) === side);
  return level.sort((a, b) => side * (a.to.y - b.to.y))[0];
}

function curve(from, to) {
  const middle = (from.x + to.x) / 2;
  return `M${from.x.toFixed(1)} ${from.y.toFixed(1)}C${middle.toFixed(1)} ${from.y.toFixed(1)} ${middle.toFixed(1)} ${to.y.toFixed(1)} ${to.x.toFixed(1)} ${to.y.toFixed(1)}`;
}

function make(block, choose) {
  const node = s('a', { href: `/block/${block.hash}`, tabindex: '-1', style: { '--hue': hue(block.miner) } },
    s('rect', { x: -12, y: -14, width: 24, height: 28, class: 'reach' }), s('rect', { x: -8, y: -8, width: 16, height: 16, rx: 4, class: 'square' }));
  for (const event of ['pointerenter', 'focus']) node.addEventListener(event, () => choose(mark.block));
  const mark = { node, edge: s('path'), block };
  return mark;
}

/** A lane for each block: 0 for the best chain, the nearest free one for each side branch. */
export function assign(blocks) {
  const byHash = new Map(blocks.map((block) => [block.hash, block]));
  const lanes = new Map(blocks.filter((block) => block.isBest).map((block) => [block.hash, 0]));
  const parents = new Set(blocks.map((block) => block.previous));
  const tips = blocks.filter((block) => !block.isBest && !parents.has(block.hash)).sort((a, b) => b.height - a.height);
  const taken = [];
  for (const tip of tips) {
    const branch = [];
    for (let block = tip; block && !lanes.has(block.hash); block = byHash.get(block.previous)) branch.push(block);
    const [from, to] = [branch[branch.length - 1].height - 1, tip.height];
    const lane = [1, -1, 2, -2, 3, -3, 4, -4, 5, -5, 6, -6, 7, -7, 8, -8].find((candidate) =>
      !taken.some((other) => other.lane === candidate && other.from <= to && from <= other.to)) ?? 9;
    taken.push({ lane, from, to });
    for (const block of branch) lanes.set(block.hash, lane);
  }
  return lanes;
}
