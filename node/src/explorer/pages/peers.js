// Other nodes: a picture of who is connected with this one, and a table of them.
import { get } from '../api.js';
import { h, refill, s } from '../dom.js';
import { bytes, count, duration, plural } from '../format.js';
import { chain, every, on, paced } from '../live.js';
import { badge, card, empty, foreign, hash, heading } from '../parts.js';
import { widths } from '../table.js';

/** The picture's size by the screen's, so that its text is as large everywhere. */
const SIZES = { wide: { width: 640, height: 320 }, narrow: { width: 340, height: 300 } };
/** Of columns, on a wide screen and on a narrow one. */
const WIDTHS = { Node: ['22%', '40%'], Agent: ['16%', '38%'], Address: ['15%'] };
/** Blocks that a peer may lack because news of them is under way. */
const BEHIND = 2;
/** With more peers than this, names would cover each other. */
const NAMED = 24;

export default async function peers({ signal }) {
  const picture = h('div', { class: 'graph' });
  const list = h('div');
  const total = h('small');
  const isNarrow = matchMedia('(max-width: 640px)');
  let items = [];
  const redraw = () => picture.replaceChildren(draw(items, isNarrow.matches ? SIZES.narrow : SIZES.wide));
  isNarrow.addEventListener('change', redraw, { signal });
  const show = async () => {
    ({ items } = await get('/peers', signal));
    items.sort((a, b) => a.id.localeCompare(b.id));
    total.textContent = plural(items.length, 'peer');
    redraw();
    refill(list, items.length ? rows(items) : empty('No peers', ['This node is alone: start another with ', h('code', null, '--peer'), ' and the address that this node logs.']));
  };
  await show();
  const refresh = paced(show, 1000);
  on(['peer.connected', 'peer.disconnected', 'block.connected', 'return', 'reset'], signal, refresh);
  // What is sent and received is no event.
  every(5000, signal, refresh);
  return {
    title: 'Peers',
    content: [
      heading('Peers'),
      card([h('span', null, 'Connections of this node'), total], picture,
        h('p', { class: 'legend' }, h('span', { class: 'key out' }, 'called by this node'), h('span', { class: 'key in' }, 'called this node'), h('span', { class: 'key same' }, 'same height'), h('span', { class: 'key behind' }, 'behind'))),
      card('Connected nodes', list),
    ],
  };
}

function draw(items, { width, height }) {
  const [cx, cy] = [width / 2, height / 2];
  const places = items.map((peer, index) => {
    const angle = (index / items.length) * 2 * Math.PI - Math.PI;
    return { peer, x: cx + Math.cos(angle) * (width / 2 - 64), y: cy + Math.sin(angle) * (height / 2 - 44) };
  });
  return s('svg', { viewBox: `0 0 ${width} ${height}`, role: 'img', 'aria-label': `This node and ${plural(items.length, 'peer')}` },
    places.map(({ peer, x, y }) => s('line', { x1: cx, y1: cy, x2: x, y2: y, class: `link ${peer.direction}` })),
    places.map(({ peer, x, y }) => s('g', { class: `node ${peer.height < chain.height - BEHIND ? 'behind' : 'same'}` },
      s('title', null, `${peer.address} at height ${count(peer.height)}`),
      s('circle', { cx: x, cy: y, r: items.length > NAMED ? 6 : 11 }),
      items.length <= NAMED && [s('text', { x, y: y + (y < cy - 1 ? -20 : 28), 'text-anchor': 'middle' }, endpoint(peer.address)),
        peer.latency_ms !== null && s('text', { x: (x + cx) / 2, y: (y + cy) / 2 - 5, 'text-anchor': 'middle', class: 'latency' }, `${peer.latency_ms} ms`)])),
    s('g', { class: 'node own' }, s('circle', { cx, cy, r: 18 }), s('text', { x: cx, y: cy + 36, 'text-anchor': 'middle' }, 'this node')));
}

/** `/ip4/127.0.0.1/tcp/9001` as `127.0.0.1:9001`. */
function endpoint(multiaddr) {
  const [, , host, , port] = multiaddr.split('/');
  return port ? `${host}:${port}` : multiaddr;
}

function rows(items) {
  const heads = [['Node'], ['Agent'], ['Address', 'wide'], ['Direction', 'wide'], ['Height', 'number'], ['Latency', 'wide number'], ['Received', 'wider number'], ['Sent', 'wider number'], ['Score', 'wide number'], ['For', 'wide number']];
  return h('div', { class: 'rows' }, h('table', null, h('caption', { class: 'hidden' }, 'Connected nodes'),
    h('thead', null, h('tr', null, heads.map(([name, kind]) => h('th', { scope: 'col', class: kind, style: widths(...(WIDTHS[name] ?? [])) }, name)))),
    h('tbody', null, items.map((peer) => h('tr', null, cells(peer).map((content, index) => h('td', { class: heads[index][1] }, content)))))));
}

function cells(peer) {
  return [
    hash(peer.id, null, { tail: 6, name: 'node’s id' }),
    foreign(peer.agent),
    h('span', { title: peer.address }, endpoint(peer.address)),
    badge(peer.direction === 'outbound' ? 'out' : 'in'),
    h('a', { href: `/block/${peer.tip}` }, count(peer.height)),
    peer.latency_ms === null ? '–' : `${peer.latency_ms} ms`,
    bytes(peer.bytes_received),
    bytes(peer.bytes_sent),
    String(peer.score),
    duration(peer.connected_seconds),
  ];
}
