// The link graph: nodes in the colours of their tips, and links by their conditions.
import { h, s } from '../dom.js';
import { count, hue, plural } from '../format.js';

/** Sizes of the diagram, chosen so that its text has the same size on every screen. */
const SIZES = { wide: { width: 620, height: 360 }, narrow: { width: 330, height: 300 } };
/** Most letters of the label of a link: the rest is in its name. */
const MAX_LABEL = { wide: 28, narrow: 8 };
/** Most nodes whose names are shown: more of them would overlap. */
const MAX_LABELS = 24;

/** The condition of one direction of a link in words; empty if it is perfect. */
export function conditions(link) {
  if (link.is_partitioned) return 'partitioned';
  const parts = [];
  if (link.is_cut) parts.push('cut');
  if (link.latency_ms || link.jitter_ms) parts.push(`${count(link.latency_ms)} ms${link.jitter_ms ? ` ± ${count(link.jitter_ms)}` : ''}`);
  if (link.loss) parts.push(`${Number((link.loss * 100).toFixed(4))} % lost`);
  if (link.bandwidth) parts.push(link.bandwidth >= 1e6 ? `${link.bandwidth / 1e6} Mbit/s` : `${link.bandwidth / 1e3} kbit/s`);
  return parts.join(', ');
}

/** The pairs of neighbours with the state of both directions. */
export function pairs(links) {
  const found = new Map();
  for (const link of links) {
    const key = [Math.min(link.from, link.to), Math.max(link.from, link.to)].join('-');
    found.set(key, [...(found.get(key) ?? []), link]);
  }
  return [...found.values()].map((directions) => {
    const texts = directions.map(conditions);
    const [first, second] = texts;
    const both = first === second ? first : directions.map((link, index) => texts[index] && `${link.from} → ${link.to}: ${texts[index]}`).filter(Boolean).join('; ');
    const kind = directions.some((link) => link.is_partitioned) ? 'partitioned' : directions.some((link) => link.is_cut) ? 'cut' : both ? 'bad' : directions[0].connections ? 'perfect' : 'closed';
    return { directions, text: both, kind, from: Math.min(directions[0].from, directions[0].to), to: Math.max(directions[0].from, directions[0].to) };
  });
}

/** The colour of a tip. */
export const tipHue = (tip) => hue(tip.slice(-12));

/** Draws the graph; `onSelect` is called for a link that is selected. */
export function graph(state, isNarrow, onSelect) {
  const { width, height } = isNarrow ? SIZES.narrow : SIZES.wide;
  const maxLabel = isNarrow ? MAX_LABEL.narrow : MAX_LABEL.wide;
  const { nodes } = state;
  const places = nodes.map((_, index) => {
    const angle = (index / nodes.length) * 2 * Math.PI - Math.PI / 2;
    return { x: width / 2 + Math.cos(angle) * (width / 2 - 70), y: height / 2 + Math.sin(angle) * (height / 2 - 50), above: Math.sin(angle) < -0.2 };
  });
  const all = pairs(state.links);
  const hasLabels = nodes.length <= MAX_LABELS;
  const lines = all.map((pair) => {
    const [a, b] = [places[pair.from - 1], places[pair.to - 1]];
    const name = `Link of node ${pair.from} and node ${pair.to}: ${pair.text || (pair.kind === 'closed' ? 'not connected' : 'perfect')}`;
    const select = () => onSelect(pair);
    return s('g', { class: `link ${pair.kind}`, tabindex: '0', role: 'button', 'aria-label': name, 'data-key': `${pair.from}-${pair.to}`, onclick: select,
      onkeydown: (event) => { if (['Enter', ' '].includes(event.key)) { event.preventDefault(); select(); } } },
    s('title', null, name),
    s('line', { x1: a.x, y1: a.y, x2: b.x, y2: b.y, class: 'hit-area' }),
    s('line', { x1: a.x, y1: a.y, x2: b.x, y2: b.y }),
    hasLabels && pair.text && pair.kind !== 'partitioned' && s('text', { x: (a.x + b.x) / 2, y: (a.y + b.y) / 2 - 4, 'text-anchor': 'middle', class: 'latency' }, pair.text.length > maxLabel ? `${pair.text.slice(0, maxLabel - 1)}…` : pair.text));
  });
  const circles = nodes.map((node, index) => {
    const { x, y, above } = places[index];
    return s('g', { class: `node ${node.state}`, style: node.tip ? { '--hue': tipHue(node.tip) } : {} },
      s('title', null, `${node.node}: ${node.state}${node.height === undefined ? '' : ` at height ${count(node.height)}`}`),
      s('circle', { cx: x, cy: y, r: hasLabels ? 17 : 8 }),
      hasLabels && s('text', { x, y: y + 4, 'text-anchor': 'middle', class: 'number' }, String(index + 1)),
      hasLabels && s('text', { x, y: y + (above ? -24 : 34), 'text-anchor': 'middle' }, node.state === 'running' ? count(node.height) : node.state));
  });
  const label = `${plural(nodes.length, 'node')}, ${plural(all.length, 'link')}`;
  return h('div', { class: 'graph links' }, s('svg', { viewBox: `0 0 ${width} ${height}`, role: 'group', 'aria-label': label }, lines, circles));
}
