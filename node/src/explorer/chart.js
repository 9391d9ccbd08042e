// Charts: a line or bars over equal steps, drawn as SVG. The values can be read with the pointer and the arrow keys.
import { h, refill, s, setText } from './dom.js';
import { digits, plural } from './format.js';

const PAD = { right: 10, top: 12, bottom: 24 };
/** Pixels of a digit, about, in the axis' font. */
const DIGIT = 7;

/**
 * A chart. Points are `{ name, value, detail? }`; a value may be null. `show` draws them, and what they are in a sentence
 * goes to those who cannot see them.
 */
export function chart({ title, kind = 'line', format = digits, height = 200, reference = null, whole = false }) {
  const svg = s('svg', { class: `chart ${kind}`, height, tabindex: '0', role: 'img', 'aria-label': title });
  const tip = h('div', { class: 'tooltip', role: 'status', hidden: true });
  const figure = h('figure', { class: 'plot' }, svg, tip);
  let points = [];
  let at = -1;
  let frame = null;
  let named = title;

  const draw = () => {
    const width = figure.clientWidth;
    if (width === 0) return;
    svg.setAttribute('viewBox', `0 0 ${width} ${height}`);
    const values = points.map((point) => point.value).filter((value) => value !== null);
    if (values.length === 0) {
      frame = null;
      svg.replaceChildren(s('text', { x: width / 2, y: height / 2, class: 'nothing', 'text-anchor': 'middle' }, 'Nothing to show yet'));
      return;
    }
    frame = scale({ points, values, width, height, kind, reference, whole, format });
    const { x, y, ticks, step, left } = frame;
    const grid = ticks.map((tick) => [
      s('line', { x1: left, x2: width - PAD.right, y1: y(tick), y2: y(tick), class: 'grid' }),
      s('text', { x: left - 8, y: y(tick) + 4, 'text-anchor': 'end' }, format(tick)),
    ]);
    const marks = kind === 'bars' ? bars(points, x, y, step) : line(points, x, y, y(ticks[0]));
    const every = Math.max(1, Math.ceil(points.length / Math.max(2, Math.floor(width / 110))));
    const names = points.map((point, index) => index % every === 0 && point.name
      && s('text', { x: x(index), y: height - 6, 'text-anchor': index === 0 && kind === 'line' ? 'start' : 'middle' }, point.name));
    const aim = reference && [
      s('line', { x1: left, x2: width - PAD.right, y1: y(reference.value), y2: y(reference.value), class: 'aim' }),
      s('text', { x: width - PAD.right, y: y(reference.value) - 5, 'text-anchor': 'end', class: 'aim' }, reference.name),
    ];
    svg.replaceChildren(...[grid, marks, aim, names, cursor()].flat(3).filter(Boolean));
  };

  const cursor = () => {
    const point = points[at];
    if (!frame || !point || point.value === null) return null;
    const cx = frame.x(at);
    return [s('line', { x1: cx, x2: cx, y1: PAD.top, y2: height - PAD.bottom, class: 'cursor' }), s('circle', { cx, cy: frame.y(point.value), r: 4, class: 'cursor' })];
  };

  const point = (index) => {
    at = index;
    draw();
    const chosen = points[at];
    tip.hidden = !frame || !chosen || chosen.value === null;
    if (tip.hidden) return;
    tip.replaceChildren(h('strong', null, format(chosen.value)), h('span', null, chosen.detail ?? chosen.name));
    const width = figure.clientWidth;
    tip.style.setProperty('--x', `${Math.min(Math.max(frame.x(at), 70), width - 70)}px`);
  };

  figure.addEventListener('pointermove', (event) => {
    if (!frame) return;
    const left = event.clientX - figure.getBoundingClientRect().left;
    const index = Math.round((left - frame.x(0)) / (frame.step || 1));
    if (index >= 0 && index < points.length && index !== at) point(index);
  });
  figure.addEventListener('pointerleave', () => point(-1));
  svg.addEventListener('blur', () => point(-1));
  svg.addEventListener('keydown', (event) => {
    const moves = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: points.length - 1 };
    if (!(event.key in moves)) return;
    event.preventDefault();
    point(Math.min(points.length - 1, Math.max(0, at < 0 ? points.length - 1 : moves[event.key])));
  });
  new ResizeObserver(draw).observe(figure);
  return {
    element: figure,
    show(next, summary) {
      points = next;
      named = `${title}. ${summary || described(points, format)}. Read it with the arrow keys.`;
      svg.setAttribute('aria-label', named);
      if (at >= 0) point(Math.min(at, points.length - 1));
      else draw();
    },
  };
}

/** What a curve is like, for those who cannot see it. */
function described(points, format) {
  const values = points.map((point) => point.value).filter((value) => value !== null);
  if (values.length === 0) return 'Nothing to show yet';
  return `${plural(values.length, 'value')} from ${format(Math.min(...values))} to ${format(Math.max(...values))}, the last is ${format(values[values.length - 1])}`;
}

function scale({ points, values, width, height, kind, reference, whole, format }) {
  const shown = reference ? [...values, reference.value] : values;
  const high = Math.max(...shown);
  const low = Math.min(...shown);
  const fromZero = kind === 'bars' || low < high * 0.6;
  const ticks = round(fromZero ? Math.min(0, low) : low, high === low ? high + (Math.abs(high) || 1) * 0.1 : high, whole ? 1 : 0);
  const [bottom, top] = [ticks[0], ticks[ticks.length - 1]];
  const left = Math.max(44, 14 + DIGIT * Math.max(...ticks.map((tick) => format(tick).length)));
  const inner = width - left - PAD.right;
  const step = kind === 'bars' ? inner / points.length : inner / Math.max(1, points.length - 1);
  const x = (index) => left + (kind === 'bars' ? (index + 0.5) * step : index * step);
  const y = (value) => PAD.top + (1 - (value - bottom) / (top - bottom)) * (height - PAD.top - PAD.bottom);
  return { x, y, ticks, step, left };
}

/** Round numbers that enclose a range, at least so far apart. */
function round(low, high, least) {
  const rough = (high - low) / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = Math.max(least, [1, 2, 5, 10].map((factor) => factor * power).find((candidate) => candidate >= rough));
  const first = Math.floor(low / step + 1e-9);
  const last = Math.max(first + 1, Math.ceil(high / step - 1e-9));
  return Array.from({ length: last - first + 1 }, (_, index) => (first + index) * step);
}

function line(points, x, y, base) {
  const parts = [];
  let run = [];
  points.forEach(({ value }, index) => {
    if (value !== null) run.push([x(index), y(value)]);
    if ((value === null || index === points.length - 1) && run.length > 0) {
      const path = run.map(([left, top], i) => `${i ? 'L' : 'M'}${left.toFixed(1)} ${top.toFixed(1)}`).join('');
      parts.push(s('path', { d: `${path}V${base}H${run[0][0]}Z`, class: 'area' }), s('path', { d: path, class: 'line' }));
      run = [];
    }
  });
  return parts;
}

function bars(points, x, y, step) {
  const width = Math.max(1, Math.min(28, step * 0.72));
  const base = y(0);
  return points.map(({ value }, index) => value !== null && value > 0
    && s('rect', { x: x(index) - width / 2, y: Math.min(y(value), base - 1), width, height: Math.max(1, base - y(value)), rx: Math.min(3, width / 3), class: 'column' }));
}

/** Shares of a whole as labelled bars: `{ label, value, text }`. */
export function shares(title) {
  const list = h('ul', { class: 'shares', 'aria-label': title });
  return {
    element: list,
    show(items) {
      if (items.length === 0) {
        list.replaceChildren(h('li', { class: 'quiet' }, 'None so far'));
        return;
      }
      const most = Math.max(1, ...items.map((item) => item.value));
      refill(list, ...items.map(({ label, value, text, hue }) => {
        const words = h('span', { class: 'text' });
        setText(words, text);
        return h('li', null, h('span', { class: 'label' }, label), words, h('i', { class: 'fill', style: { '--share': value / most, ...(hue === undefined ? {} : { '--hue': hue }) } }));
      }));
    },
  };
}
