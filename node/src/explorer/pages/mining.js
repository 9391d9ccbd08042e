// Who mines: the network's hash rate, blocks by miner, this node's threads, its jobs and Stratum workers.
import { get } from '../api.js';
import { chart, shares } from '../chart.js';
import { h, refill } from '../dom.js';
import { count, difficulty, duration, hashrate, hue, plural } from '../format.js';
import { jobs } from '../jobs.js';
import { chain, every, on, paced } from '../live.js';
import { address, card, empty, foreign, heading, tile, time } from '../parts.js';
import { widths } from '../table.js';
import { newest, series } from './charts.js';

/** Blocks that are looked at. */
const RECENT = 200;
/** Measurements of this node that are kept while the page is open. */
const KEPT = 120;

export default async function mining({ signal }) {
  const tiles = {
    network: tile('Network', 'Estimated from recent blocks'),
    own: tile('This node', 'Hashes a second of its own threads'),
    found: tile('Found here', 'Blocks found since this node started'),
    template: tile('Candidate', 'The block that is searched now'),
  };
  const network = chart({ title: 'Hash rate of the network', format: hashrate, height: 240 });
  const own = chart({ title: 'Hash rate of this node', format: hashrate, height: 160 });
  const miners = shares('Blocks by miner');
  const workers = h('div');
  const about = h('p', { class: 'quiet' });
  const measured = [];
  let blocks = [];

  const showNode = async () => {
    const now = await get('/mining', signal);
    tiles.network.show(hashrate(chain.hashrate_estimate), `difficulty ${difficulty(chain.difficulty)}`);
    const mines = now.jobs.length > 0;
    tiles.own.show(mines ? hashrate(now.hashrate) : 'idle', mines ? `${count(now.threads)} of ${plural(now.max_threads, 'thread')}` : 'no threads at work', `${count(now.hashes)} hashes`);
    tiles.found.show(count(now.blocks_found), `${count(now.hashes)} hashes`);
    tiles.template.show(now.template ? count(now.template.height) : '–', now.template ? `${duration(now.template.age_seconds)} old` : 'none');
    refill(about, ...(mines && now.miner ? ['Pays ', address(now.miner), now.kernel ? ` and hashes with ${now.kernel}.` : '.'] : ['No job runs: this node mines nothing.']));
    refill(workers, showWorkers(now));
  };
  const showChain = async () => {
    blocks = await newest(RECENT, signal, blocks);
    network.show(series([...blocks].reverse()).rate);
    const mined = new Map();
    const counted = blocks.filter((block) => block.height > 0);
    for (const block of counted) mined.set(block.miner, (mined.get(block.miner) ?? 0) + 1);
    miners.show([...mined].sort((a, b) => b[1] - a[1]).slice(0, 10).map(([miner, blocksMined]) => ({
      label: address(miner, { copies: false }), value: blocksMined, hue: hue(miner),
      text: `${count(blocksMined)} · ${Math.round((blocksMined / counted.length) * 100)} %`,
    })));
  };
  const measure = (rate, at) => {
    measured.push({ name: '', value: rate, detail: new Date(at * 1000).toLocaleTimeString('en') });
    measured.splice(0, measured.length - KEPT);
    own.show(measured);
  };
  const job = jobs(signal);
  await Promise.all([showNode(), showChain(), job.load()]);
  own.show(measured);
  const pacedNode = paced(showNode, 1000);
  on(['block.connected', 'job.updated', 'return', 'reset'], signal, pacedNode);
  // Shares are no events.
  every(5000, signal, pacedNode);
  on(['block.connected', 'block.disconnected', 'return', 'reset'], signal, paced(showChain, 2000));
  on(['mining.hashrate'], signal, (event) => {
    tiles.own.show(hashrate(event.hashrate), plural(event.threads, 'thread'), `${count(event.hashes)} hashes`);
    measure(event.hashrate, event.time);
  });

  return {
    title: 'Mining',
    content: [
      heading('Mining'),
      h('div', { class: 'tiles four' }, Object.values(tiles).map(({ element }) => element)),
      h('div', { class: 'columns' },
        card([h('span', null, 'Hash rate of the network'), h('small', null, `last ${RECENT} blocks`)], network.element),
        card([h('span', null, 'Blocks by miner'), h('small', null, `last ${RECENT}`)], miners.element)),
      job.element,
      card([h('span', null, 'This node'), h('small', null, 'since this page was opened')], own.element, about),
      card('Stratum workers', workers),
    ],
  };
}

/** Workers name themselves, so anything may stand there. */
function showWorkers({ stratum, stratum_workers: workers }) {
  if (workers.length === 0) {
    return empty('No workers', stratum ? `Mining machines connect by Stratum at ${stratum}; whoever does appears here.` : 'Mining machines connect by Stratum; whoever does appears here.');
  }
  const rows = workers.map((worker) => {
    const refused = worker.stale + worker.duplicate + worker.low + worker.invalid;
    const why = `${count(worker.stale)} of an old tip, ${count(worker.duplicate)} came before, ${count(worker.low)} too easy, ${count(worker.invalid)} malformed`;
    return h('tr', null, h('td', null, worker.name ? foreign(worker.name) : h('span', { class: 'quiet' }, 'no name')), h('td', { class: 'wide' }, address(worker.address, { copies: false })),
      h('td', { class: 'number' }, hashrate(worker.hashrate)), h('td', { class: 'number' }, count(worker.accepted)), h('td', { class: 'number' }, h('span', { title: why }, count(refused))),
      h('td', { class: 'wide number' }, count(worker.blocks)), h('td', { class: 'wide number' }, worker.last_share ? time(worker.last_share, { plain: true }) : '–'));
  });
  return h('div', { class: 'rows' }, h('table', null, h('caption', { class: 'hidden' }, 'Stratum workers'),
    h('thead', null, h('tr', null, [['Name', null, '28%'], ['Pays', 'wide'], ['Hash rate', 'number', '30%'], ['Shares', 'number', '21%'], ['Refused', 'number', '21%'], ['Blocks', 'wide number'], ['Last', 'wide number']].map(([head, kind, narrow]) => h('th', { scope: 'col', class: kind, style: widths(null, narrow) }, head)))), h('tbody', null, rows)));
}
