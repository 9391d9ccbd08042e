// Charts: a line or bars over equal steps, drawn as SVG. The pointer and the arrow keys select a point.
import { h, replaceContent, s } from './dom.js';
import { digits, plural } from './format.js';

const PAD = { right: 10, top: 12, bottom: 24 };
/** Approximate width in pixels of a digit in the font of the axis. */
const DIGIT_WIDTH = 7;

/**
 * A chart. `show` draws points `{ name, value, detail? }`, whose value may be null, and describes them to screen readers with the
 * summary or, without one, with the range of values.
 */
export function chart({ title, kind = 'line', format = digits, height = 200, reference = null, integer = false }) {
  const svg = s('svg', { class: `chart ${kind}`, height, tabindex: '0', role: 'img', 'aria-label': title });
  const tooltip = h('div', { class: 'tooltip', role: 'status', hidden: true });
  const figure = h('figure', { class: 'plot' }, svg, tooltip);
  let points = [];
  let selected = -1;
  let layout = null;

  const draw = () => {
    const width = figure.clientWidth;
    if (width === 0) return;
    svg.setAttribute('viewBox', `0 0 ${width} ${height}`);
    const values = points.map((point) => point.value).filter((value) => value !== null);
    if (values.length === 0) {
      layout = null;
      svg.replaceChildren(s('text', { x: width / 2, y: height / 2, class: 'placeholder', 'text-anchor': 'middle' }, 'No data yet'));
      return;
    }
    layout = scale({ points, values, width, height, kind, reference, integer, format });
    const { x, y, ticks, step, left } = layout;
    const grid = ticks.map((tick) => [
      s('line', { x1: left, x2: width - PAD.right, y1: y(tick), y2: y(tick), class: 'grid' }),
      s('text', { x: left - 8, y: y(tick) + 4, 'text-anchor': 'end' }, format(tick)),
    ]);
    const marks = kind === 'bars' ? bars(points, x, y, step) : line(points, x, y, y(ticks[0]));
    const labelInterval = Math.max(1, Math.ceil(points.length / Math.max(2, Math.floor(width / 110))));
    const labels = points.map((point, index) => index % labelInterval === 0 && point.name
      && s('text', { x: x(index), y: height - 6, 'text-anchor': index === 0 && kind === 'line' ? 'start' : 'middle' }, point.name));
    const target = reference && [
      s('line', { x1: left, x2: width - PAD.right, y1: y(reference.value), y2: y(reference.value), class: 'target' }),
      s('text', { x: width - PAD.right, y: y(reference.value) - 5, 'text-anchor': 'end', class: 'target' }, reference.name),
    ];
    svg.replaceChildren(...[grid, marks, target, labels, cursor()].flat(3).filter(Boolean));
  };

  const cursor = () => {
    const point = points[selected];
    if (!layout || !point || point.value === null) return null;
    const cx = layout.x(selected);
    return [s('line', { x1: cx, x2: cx, y1: PAD.top, y2: height - PAD.bottom, class: 'cursor' }), s('circle', { cx, cy: layout.y(point.value), r: 4, class: 'cursor' })];
  };

  const select = (index) => {
    selected = index;
    draw();
    const point = points[selected];
    tooltip.hidden = !layout || !point || point.value === null;
    if (tooltip.hidden) return;
    tooltip.replaceChildren(h('strong', null, format(point.value)), h('span', null, point.detail ?? point.name));
    const width = figure.clientWidth;
    tooltip.style.setProperty('--x', `${Math.min(Math.max(layout.x(selected), 70), width - 70)}px`);
  };

  figure.addEventListener('pointermove', (event) => {
    if (!layout) return;
    const left = event.clientX - figure.getBoundingClientRect().left;
    const index = Math.round((left - layout.x(0)) / (layout.step || 1));
    if (index >= 0 && index < points.length && index !== selected) select(index);
  });
  figure.addEventListener('pointerleave', () => select(-1));
  svg.addEventListener('blur', () => select(-1));
  svg.addEventListener('keydown', (event) => {
    const moves = { ArrowLeft: selected - 1, ArrowRight: selected + 1, Home: 0, End: points.length - 1 };
    if (!(event.key in moves)) return;
    event.preventDefault();
    select(Math.min(points.length - 1, Math.max(0, selected < 0 ? points.length - 1 : moves[event.key])));
  });
  new ResizeObserver(draw).observe(figure);
  return {
    element: figure,
    show(next, summary) {
      points = next;
      svg.setAttribute('aria-label', `${title}. ${summary || describe(points, format)}. Use the arrow keys to read values.`);
      if (selected >= 0) select(Math.min(selected, points.length - 1));
      else draw();
    },
  };
}

/** The number and the range of values, for screen readers. */
function describe(points, format) {
  const values = points.map((point) => point.value).filter((value) => value !== null);
  if (values.length === 0) return 'No data yet';
  return `${plural(values.length, 'value')} from ${format(Math.min(...values))} to ${format(Math.max(...values))}, last ${format(values[values.length - 1])}`;
}

function scale({ points, values, width, height, kind, reference, integer, format }) {
  const shown = reference ? [...values, reference.value] : values;
  const high = Math.max(...shown);
  const low = Math.min(...shown);
  const fromZero = kind === 'bars' || low < high * 0.6;
  const ticks = roundTicks(fromZero ? Math.min(0, low) : low, high === low ? high + (Math.abs(high) || 1) * 0.1 : high, integer ? 1 : 0);
  const [bottom, top] = [ticks[0], ticks[ticks.length - 1]];
  const left = Math.max(44, 14 + DIGIT_WIDTH * Math.max(...ticks.map((tick) => format(tick).length)));
  const inner = width - left - PAD.right;
  const step = kind === 'bars' ? inner / points.length : inner / Math.max(1, points.length - 1);
  const x = (index) => left + (kind === 'bars' ? (index + 0.5) * step : index * step);
  const y = (value) => PAD.top + (1 - (value - bottom) / (top - bottom)) * (height - PAD.top - PAD.bottom);
  return { x, y, ticks, step, left };
}

/** Round numbers that enclose a range, at least `minStep` apart. */
function roundTicks(low, high, minStep) {
  const rough = (high - low) / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = Math.max(minStep, [1, 2, 5, 10].map((factor) => factor * power).find((candidate) => candidate >= rough));
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

/** A breakdown into labelled bars: `show` draws items `{ label, value, text, hue? }`. */
export function breakdown(title) {
  const list = h('ul', { class: 'breakdown', 'aria-label': title });
  return {
    element: list,
    show(items) {
      if (items.length === 0) {
        list.replaceChildren(h('li', { class: 'quiet' }, 'None yet'));
        return;
      }
      const largest = Math.max(1, ...items.map((item) => item.value));
      replaceContent(list, ...items.map(({ label, value, text, hue }) => {
        return h('li', null, h('span', { class: 'label' }, label), h('span', { class: 'text' }, text), h('i', { class: 'fill', style: { '--fraction': value / largest, ...(hue === undefined ? {} : { '--hue': hue }) } }));
      }));
    },
  };
}
