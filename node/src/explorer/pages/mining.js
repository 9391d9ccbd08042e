// Mining: the network's hash rate, blocks by miner, this node's threads, its jobs and its workers.
import { get } from '../api.js';
import { breakdown, chart } from '../chart.js';
import { address, badge, card, empty, foreign, heading, minerBar, tile, time } from '../components.js';
import { connectionCard } from '../connection.js';
import { h, replaceContent } from '../dom.js';
import { count, difficulty, duration, hashrate, plural } from '../format.js';
import { blocksByMiner, recentBlocks, series } from '../history.js';
import { jobs } from '../jobs.js';
import { chain, on, poll, throttled } from '../live.js';
import { simpleTable } from '../table.js';

export const menu = { label: 'Mining', order: 5 };

/** Blocks evaluated. */
const RECENT = 200;
/** Miners shown. */
const MINERS = 10;
/** Most samples of the node's hash rate since the page was opened. */
const MAX_SAMPLES = 120;
/** Workers shown: those with the highest hash rates. */
const WORKERS = 100;
/** Milliseconds between two polls of the node's threads and workers. */
const POLL_INTERVAL = 5000;

export default async function miningPage({ signal }) {
  const tiles = {
    network: tile('Network', 'Estimated from recent blocks'),
    node: tile('This node', 'Hash rate of the node’s own threads'),
    found: tile('Blocks found', 'By this node since it started'),
    template: tile('Block template', 'Height of the block that the node is mining'),
  };
  const networkChart = chart({ title: 'Network hash rate', format: hashrate, height: 240 });
  const nodeChart = chart({ title: 'Hash rate of this node', format: hashrate, height: 160 });
  const miners = breakdown('Blocks by miner');
  const workers = h('div');
  const connection = h('div');
  let shownUrls = null;
  const details = h('p', { class: 'quiet' });
  const notice = h('div', { class: 'notice', role: 'status', hidden: true });
  const samples = [];
  let blocks = [];

  const showNode = async () => {
    const [mining, all] = await Promise.all([get('/mining', signal), get(`/mining/workers?top=${WORKERS + 1}`, signal)]);
    const isMining = mining.jobs.length > 0;
    tiles.network.show(hashrate(chain.hashrate_estimate), `difficulty ${difficulty(chain.difficulty)}`);
    tiles.node.show(isMining ? hashrate(mining.hashrate) : 'idle', isMining ? `${count(mining.threads)} of ${plural(mining.max_threads, 'thread')}` : 'no active threads', `${count(mining.hashes)} hashes`);
    tiles.found.show(count(mining.blocks_found), `${count(mining.hashes)} hashes`);
    tiles.template.show(mining.template ? count(mining.template.height) : '–', mining.template ? `${duration(mining.template.age_seconds)} old` : 'none');
    notice.hidden = mining.waiting === null;
    const reason = mining.waiting ? `No block can be mined at present: ${mining.waiting}.` : '';
    // Screen readers announce every change of the notice.
    if (notice.textContent !== reason) replaceContent(notice, reason);
    replaceContent(details, ...(isMining && mining.miner ? ['Pays ', address(mining.miner), mining.kernel ? ` and hashes with ${mining.kernel}.` : '.'] : ['No mining job is running.']));
    replaceContent(workers, ...renderWorkers(all));
    if (shownUrls !== String(mining.stratum_urls)) {
      shownUrls = String(mining.stratum_urls);
      replaceContent(connection, connectionCard(mining.stratum_urls));
    }
  };
  const showNetwork = async () => {
    blocks = await recentBlocks(RECENT, signal, blocks);
    networkChart.show(series([...blocks].reverse()).hashrate);
    miners.show(blocksByMiner(blocks).slice(0, MINERS).map(minerBar));
  };
  const addSample = (rate, at) => {
    samples.push({ name: '', value: rate, detail: new Date(at * 1000).toLocaleTimeString('en') });
    samples.splice(0, samples.length - MAX_SAMPLES);
    nodeChart.show(samples);
  };
  const jobCard = jobs(signal);
  await Promise.all([showNode(), showNetwork(), jobCard.load()]);
  nodeChart.show(samples);
  const refreshNode = throttled(showNode, 1000);
  on(['block.connected', 'job.updated', 'worker.silent', 'worker.active', 'resync', 'reset'], signal, refreshNode);
  // Shares have no events.
  poll(POLL_INTERVAL, signal, refreshNode);
  on(['block.connected', 'block.disconnected', 'resync', 'reset'], signal, throttled(showNetwork, 2000));
  on(['mining.hashrate'], signal, (event) => {
    tiles.node.show(hashrate(event.hashrate), plural(event.threads, 'thread'), `${count(event.hashes)} hashes`);
    addSample(event.hashrate, event.time);
  });

  return {
    title: 'Mining',
    content: [
      heading('Mining'),
      notice,
      h('div', { class: 'tiles four' }, Object.values(tiles).map(({ element }) => element)),
      h('div', { class: 'columns' },
        card([h('span', null, 'Network hash rate'), h('small', null, `last ${RECENT} blocks`)], networkChart.element),
        card([h('span', null, 'Blocks by miner'), h('small', null, `last ${RECENT}`)], miners.element)),
      jobCard.element,
      card([h('span', null, 'This node'), h('small', null, 'since this page was opened')], nodeChart.element, details),
      card('Workers', workers),
      connection,
    ],
  };
}

function renderWorkers(all) {
  if (all.length === 0) return [empty('No workers', 'Miners that connect by Stratum, getblocktemplate or REST appear here.')];
  const table = simpleTable('Workers', [
    // Workers choose their own names.
    { head: 'Name', narrow: '32%', cell: workerLink },
    { head: 'Payout address', wide: true, cell: (worker) => address(worker.address, { copyable: false }) },
    { head: 'Hash rate', narrow: '28%', number: true, cell: (worker) => hashrate(worker.hashrate) },
    { head: 'Accepted', narrow: '20%', number: true, cell: (worker) => count(worker.accepted) },
    { head: 'Rejected', narrow: '20%', number: true, cell: rejectedShares },
    { head: 'Best share', wide: true, number: true, cell: (worker) => (worker.best_share === null ? '–' : difficulty(worker.best_share)) },
    { head: 'Blocks', wide: true, number: true, cell: (worker) => count(worker.blocks) },
    { head: 'Last seen', wide: true, number: true, cell: (worker) => (worker.silent ? badge('silent', 'bad') : time(worker.last_seen, { plain: true })) },
  ], all.slice(0, WORKERS));
  return all.length > WORKERS ? [table, h('p', { class: 'quiet' }, `The ${WORKERS} workers with the highest hash rates.`)] : [table];
}

const workerLink = (worker) => h('a', { href: `/worker/${encodeURIComponent(worker.id)}` }, worker.name ? foreign(worker.name) : 'unnamed');

function rejectedShares({ stale, duplicate, low, invalid }) {
  const reasons = `${count(stale)} stale, ${count(duplicate)} duplicate, ${count(low)} low difficulty, ${count(invalid)} malformed`;
  return h('span', { title: reasons }, count(stale + duplicate + low + invalid));
}
