// The peers of this node: a diagram of the connections and a table.
import { get } from '../api.js';
import { badge, card, empty, foreign, hash, heading } from '../components.js';
import { h, replaceContent, s } from '../dom.js';
import { bytes, count, duration, plural } from '../format.js';
import { chain, on, poll, throttled } from '../live.js';
import { simpleTable } from '../table.js';

export const menu = { label: 'Peers', order: 6 };

/** Sizes of the diagram, chosen so that its text has the same size on every screen. */
const SIZES = { wide: { width: 640, height: 320 }, narrow: { width: 340, height: 300 } };
/** Blocks that a peer may be behind without being shown as such: the newest ones are still being announced. */
const ANNOUNCED = 2;
/** Most peers whose names are shown in the diagram: more of them would overlap. */
const MAX_LABELS = 24;
/** Milliseconds between two polls of the peers. */
const POLL_INTERVAL = 5000;

export default async function peersPage({ signal }) {
  const diagram = h('div', { class: 'graph' });
  const list = h('div');
  const total = h('small');
  const isNarrow = matchMedia('(max-width: 640px)');
  let peers = [];
  const redraw = () => diagram.replaceChildren(draw(peers, isNarrow.matches ? SIZES.narrow : SIZES.wide));
  isNarrow.addEventListener('change', redraw, { signal });
  const show = async () => {
    ({ items: peers } = await get('/peers', signal));
    peers.sort((a, b) => a.id.localeCompare(b.id));
    total.textContent = plural(peers.length, 'peer');
    redraw();
    replaceContent(list, peers.length ? peerTable(peers) : empty('No peers', ['To connect a node, start it with ', h('code', null, '--peer'), ' and the listen address in the log of this one.']));
  };
  await show();
  const refresh = throttled(show, 1000);
  on(['peer.connected', 'peer.disconnected', 'block.connected', 'resync', 'reset'], signal, refresh);
  // Traffic has no events.
  poll(POLL_INTERVAL, signal, refresh);
  return {
    title: 'Peers',
    content: [
      heading('Peers'),
      card([h('span', null, 'Connections'), total], diagram,
        h('p', { class: 'legend' }, h('span', { class: 'key outbound' }, 'outbound'), h('span', { class: 'key inbound' }, 'inbound'), h('span', { class: 'key synced' }, 'same height'), h('span', { class: 'key behind' }, 'behind'))),
      card('Connected peers', list),
    ],
  };
}

function draw(peers, { width, height }) {
  const [cx, cy] = [width / 2, height / 2];
  const nodes = peers.map((peer, index) => {
    const angle = (index / peers.length) * 2 * Math.PI - Math.PI;
    return { peer, x: cx + Math.cos(angle) * (width / 2 - 64), y: cy + Math.sin(angle) * (height / 2 - 44) };
  });
  const hasLabels = peers.length <= MAX_LABELS;
  return s('svg', { viewBox: `0 0 ${width} ${height}`, role: 'img', 'aria-label': `This node and ${plural(peers.length, 'peer')}` },
    nodes.map(({ peer, x, y }) => s('line', { x1: cx, y1: cy, x2: x, y2: y, class: `link ${peer.direction}` })),
    nodes.map(({ peer, x, y }) => s('g', { class: `node ${peer.height < chain.height - ANNOUNCED ? 'behind' : 'synced'}` },
      s('title', null, `${peer.address} at height ${count(peer.height)}`),
      s('circle', { cx: x, cy: y, r: hasLabels ? 11 : 6 }),
      hasLabels && [s('text', { x, y: y + (y < cy - 1 ? -20 : 28), 'text-anchor': 'middle' }, endpoint(peer.address)),
        peer.latency_ms !== null && s('text', { x: (x + cx) / 2, y: (y + cy) / 2 - 5, 'text-anchor': 'middle', class: 'latency' }, `${peer.latency_ms} ms`)])),
    s('g', { class: 'node own' }, s('circle', { cx, cy, r: 18 }), s('text', { x: cx, y: cy + 36, 'text-anchor': 'middle' }, 'this node')));
}

/** The address and port of a multiaddress: `127.0.0.1:9001` for `/ip4/127.0.0.1/tcp/9001`. */
function endpoint(multiaddr) {
  const [, , host, , port] = multiaddr.split('/');
  return port ? `${host}:${port}` : multiaddr;
}

const peerTable = (peers) => simpleTable('Connected peers', [
  { head: 'Node', width: '22%', narrow: '40%', cell: (peer) => hash(peer.id, null, { tail: 6, name: 'node id' }) },
  { head: 'Agent', width: '16%', narrow: '38%', cell: (peer) => foreign(peer.agent) },
  { head: 'Address', wide: true, width: '15%', cell: (peer) => h('span', { title: peer.address }, endpoint(peer.address)) },
  { head: 'Direction', wide: true, cell: (peer) => badge(peer.direction) },
  { head: 'Height', number: true, cell: (peer) => h('a', { href: `/block/${peer.tip}` }, count(peer.height)) },
  { head: 'Latency', wide: true, number: true, cell: (peer) => (peer.latency_ms === null ? '–' : `${peer.latency_ms} ms`) },
  { head: 'Received', wider: true, number: true, cell: (peer) => bytes(peer.bytes_received) },
  { head: 'Sent', wider: true, number: true, cell: (peer) => bytes(peer.bytes_sent) },
  { head: 'Score', wide: true, number: true, cell: (peer) => String(peer.score) },
  { head: 'Uptime', wide: true, number: true, cell: (peer) => duration(peer.connected_seconds) },
], peers);
