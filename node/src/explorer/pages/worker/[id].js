// A worker: its shares, hash rate, luck and earnings, its history, and the coinbase that pays it.
import { find, get } from '../../api.js';
import { chart } from '../../chart.js';
import { addressBytes, decodeCoinbase } from '../../coinbase.js';
import { address, amount, badge, card, empty, facts, foreign, heading, tile, time } from '../../components.js';
import { connectionCard } from '../../connection.js';
import { h, replaceContent } from '../../dom.js';
import { coins, count, difficulty, digits, duration, hashrate } from '../../format.js';
import { on, poll, throttled } from '../../live.js';

/** Milliseconds between two polls of the worker. */
const POLL_INTERVAL = 5000;
const HOUR = 3600;
/** Most hours shown. */
const HOURS = 48;
const INTERFACES = { stratum: 'Stratum', 'json-rpc': 'getblocktemplate', rest: 'REST' };

export default async function workerPage({ param, signal }) {
  const path = `/mining/workers/${encodeURIComponent(param)}`;
  const tiles = {
    rate: tile('Hash rate', 'Exponential averages, estimated from shares'),
    best: tile('Best share', 'The highest difficulty that a hash of this worker met'),
    luck: tile('Luck', 'Found blocks relative to those that the work was expected to contain'),
    earnings: tile('Earnings', 'Subsidy and fees of its blocks in the best chain'),
  };
  const rates = chart({ title: 'Hash rate by hour', format: hashrate, height: 200, kind: 'bars' });
  const [state, shares, activity, coinbase] = [h('span'), h('div'), h('div'), h('div')];
  const show = async () => {
    const worker = await get(path, signal);
    const percent = worker.luck === null ? '–' : `${digits(worker.luck * 100)} %`;
    tiles.rate.show(hashrate(worker.hashrate), `1 min ${hashrate(worker.hashrate_1m)} · 1 h ${hashrate(worker.hashrate_1h)} · 1 d ${hashrate(worker.hashrate_1d)}`);
    tiles.best.show(worker.best_share === null ? '–' : difficulty(worker.best_share), worker.difficulty === null ? 'no difficulty yet' : `shares at difficulty ${difficulty(worker.difficulty)}`);
    tiles.luck.show(percent, `${count(worker.blocks)} found, ${digits(worker.expected_blocks)} expected`);
    tiles.earnings.show(coins(worker.earnings), 'coins', `${count(worker.earnings)} base units`);
    replaceContent(state, worker.silent ? badge('silent', 'bad') : worker.connections > 0 ? badge('connected', 'good') : badge(INTERFACES[worker.interface]));
    replaceContent(shares, facts(
      ['Accepted', `${count(worker.accepted)}, of total difficulty ${difficulty(worker.accepted_difficulty)}`],
      ['Stale', count(worker.stale), 'Shares of an old job'],
      ['Duplicate', count(worker.duplicate), 'Shares that were submitted before'],
      ['Low difficulty', count(worker.low), 'Shares that did not meet their difficulty'],
      ['Malformed', count(worker.invalid)],
      ['Next block', worker.expected_seconds === null ? 'unknown' : `in ${duration(worker.expected_seconds)} on average`, 'At the hash rate of the last hour; past hashes bring no block nearer']));
    replaceContent(activity, facts(
      ['Pays', address(worker.address)],
      ['Interface', INTERFACES[worker.interface]],
      ['Connected', worker.connected_since === null ? 'no connection' : time(worker.connected_since)],
      ['Last share', worker.last_share === null ? 'none' : time(worker.last_share)],
      ['Last seen', time(worker.last_seen)],
      ['Usual interval', worker.interval_seconds === null ? 'unknown' : duration(worker.interval_seconds), 'Between two shares, or two requests for a template'],
      ['First seen', time(worker.first_seen)]));
    replaceContent(coinbase, ...renderCoinbase(worker));
    rates.show(hours(worker.history));
    return worker;
  };
  const [worker, mining] = await Promise.all([show(), find('/mining', signal)]);
  const refresh = throttled(show, 1000);
  on(['block.connected', 'block.disconnected', 'worker.silent', 'worker.active', 'resync', 'reset'], signal, refresh);
  // Shares have no events.
  poll(POLL_INTERVAL, signal, refresh);
  return {
    title: worker.name || 'Worker',
    content: [
      heading('Worker', worker.name ? foreign(worker.name) : h('span', { class: 'quiet' }, 'unnamed'), state),
      h('div', { class: 'tiles four money' }, Object.values(tiles).map(({ element }) => element)),
      card([h('span', null, 'History'), h('small', null, 'hash rate by hour')], rates.element),
      h('div', { class: 'columns' }, card('Shares', shares), card('Activity', activity)),
      card([h('span', null, 'Coinbase'), h('small', null, 'of a block that can be mined now')], coinbase),
      connectionCard(mining?.stratum_urls ?? [], worker.id),
    ],
  };
}

/** The hours from the first one of the history to the present one; those without shares are zero. */
function hours(history) {
  if (history.length === 0) return [];
  const byTime = new Map(history.map((hour) => [hour.time, hour]));
  const last = Math.max(Math.floor(Date.now() / 1000 / HOUR) * HOUR, history[history.length - 1].time);
  const first = Math.max(history[0].time, last - (HOURS - 1) * HOUR);
  const points = [];
  for (let at = first; at <= last; at += HOUR) {
    const hour = byTime.get(at);
    const clock = new Date(at * 1000).toLocaleTimeString('en', { hour: '2-digit', minute: '2-digit', hour12: false });
    const detail = hour ? `${clock} · ${count(hour.accepted)} accepted, ${count(hour.rejected)} rejected` : `${clock} · no shares`;
    points.push({ name: clock, value: hour?.hashrate ?? 0, detail });
  }
  return points;
}

function renderCoinbase(worker) {
  if (worker.coinbase === null) return [empty('No coinbase', 'No block can be mined at present.')];
  const decoded = decodeCoinbase(worker.coinbase);
  const isOwn = decoded !== null && decoded.recipient === addressBytes(worker.address);
  return [
    facts(
      ['Pays', isOwn ? h('span', { class: 'inline' }, badge('this worker', 'good'), amount(decoded.reward)) : badge('another address', 'bad')],
      ['Recipient', h('code', { class: 'long' }, decoded?.recipient ?? 'unknown'), 'The 20 bytes of the address, decoded in this browser'],
      ['Bytes', h('code', { class: 'long' }, worker.coinbase)]),
    h('p', { class: 'quiet' }, 'A miner checks what it received with ', h('code', null, 'chain util coinbase'), '.'),
  ];
}
