// The overview: the head of the chain, the newest blocks, the latest transfers and the miners.
import { get } from '../api.js';
import { breakdown, chart } from '../chart.js';
import { address, amount, badge, card, dot, empty, minerBar, tile, time, txLink } from '../components.js';
import { h } from '../dom.js';
import { bytes, coins, count, difficulty, duration, hashrate, plural } from '../format.js';
import { blocksByMiner, intervals } from '../history.js';
import { chain, on, oncePerFrame, params, throttled } from '../live.js';
import { stack } from '../stack.js';

export const menu = { label: 'Overview', order: 1 };

/** Blocks shown. */
const STRIP_SIZE = 16;
/** Transfers shown. */
const LIST_SIZE = 8;
/** Miners shown. */
const MINERS = 4;
/** Blocks read: their miners are counted and their transfers listed. */
const RECENT = 100;
/** Blocks whose intervals are shown. */
const INTERVALS = 40;

export default async function overviewPage({ signal }) {
  let blocks = [];
  /** The known transfers by id, the latest last. */
  const transfers = new Map();
  /** Transfers of events that arrive during a read: the latest version by id, null for a dropped one. */
  let pendingEvents = null;
  const put = (key, item) => {
    pendingEvents?.set(key, item);
    if (item) transfers.set(key, item);
    else transfers.delete(key);
  };
  const read = async () => {
    const events = new Map();
    pendingEvents = events;
    const [page, mempool] = await Promise.all([
      get(`/blocks?limit=${RECENT}`, signal),
      get(`/mempool/transactions?limit=${LIST_SIZE}`, signal),
    ]);
    blocks = page.items.map(toBlockItem);
    const found = [...await confirmedTransfers(page.items, signal), ...mempool.items.reverse().map((item) => toTransferItem(item, null))];
    transfers.clear();
    for (const item of found) transfers.set(item.key, item);
    pendingEvents = null;
    for (const [key, item] of events) put(key, item);
  };
  await read();

  const tiles = {
    height: tile('Height', 'Height of the best chain'),
    hashrate: tile('Hash rate', 'Of the whole network, estimated from recent blocks'),
    difficulty: tile('Difficulty', 'Relative to the target 1d00ffff, Bitcoin’s easiest'),
    interval: tile('Block time', 'Median of recent blocks'),
    mempool: tile('Mempool', 'Unconfirmed transfers'),
    supply: tile('Supply', 'Coins issued so far'),
  };
  const strip = stack({ kind: 'strip', size: STRIP_SIZE, label: 'Newest blocks', render: renderBlock });
  const list = stack({ kind: 'list', size: LIST_SIZE, label: 'Latest transfers', render: renderTransfer });
  const miners = breakdown('Blocks by miner');
  const intervalChart = chart({ title: 'Time between blocks', kind: 'bars', format: duration, integer: true, height: 150, reference: { value: params.spacing_seconds, name: 'target' } });
  const none = h('div', { class: 'overlay' }, empty(chain.height < RECENT ? 'No transfers yet' : `No transfers in the last ${RECENT} blocks`, 'New transfers appear here as soon as the node receives them.'));

  const showTiles = () => {
    tiles.height.show(count(chain.height), h('span', null, 'tip ', time(chain.tip_time)));
    tiles.hashrate.show(hashrate(chain.hashrate_estimate), plural(chain.peers, 'peer'));
    tiles.difficulty.show(difficulty(chain.difficulty), `bits ${chain.bits}`, `${chain.difficulty} · target ${chain.target}`);
    tiles.interval.show(chain.median_block_seconds === null ? '–' : duration(chain.median_block_seconds), `target ${duration(params.spacing_seconds)}`);
    tiles.mempool.show(count(chain.mempool.count), bytes(chain.mempool.bytes));
    tiles.supply.show(count(Math.floor(chain.issued / 1e8)), `of ${count(Math.floor(params.max_issuance / 1e8))}`, `${coins(chain.issued)} coins · ${count(chain.issued)} base units`);
  };
  const showBlocks = oncePerFrame(() => {
    strip.show(blocks.slice(0, STRIP_SIZE + 1));
    miners.show(blocksByMiner(blocks).slice(0, MINERS).map(minerBar));
    intervalChart.show(intervals(blocks.filter((block) => block.height > 0).slice(0, INTERVALS).reverse()));
  });
  const showTransfers = oncePerFrame(() => {
    const newest = [...transfers.values()].reverse();
    for (const old of newest.splice(LIST_SIZE * 4)) transfers.delete(old.key);
    list.show(newest);
    none.hidden = newest.length > 0;
  });
  const reload = throttled(async () => {
    const page = await get(`/blocks?limit=${RECENT}`, signal);
    blocks = page.items.map(toBlockItem);
    showBlocks();
  }, 1000);

  on(['chain'], signal, showTiles);
  on(['block.connected'], signal, (block) => {
    if (pendingEvents || (blocks[0] && block.previous !== blocks[0].key)) reload();
    // A replayed block is already shown.
    if (blocks[0] && block.height <= blocks[0].height) return;
    blocks = [toBlockItem({ ...block, time: block.block_time }), ...blocks].slice(0, RECENT);
    showBlocks();
  });
  on(['block.disconnected'], signal, ({ hash }) => {
    blocks = blocks.filter((block) => block.key !== hash);
    showBlocks();
  });
  on(['resync', 'reset'], signal, throttled(async () => {
    await read().finally(() => { pendingEvents = null; });
    showBlocks();
    showTransfers();
  }, 1000));
  on(['transaction.accepted'], signal, (event) => {
    put(event.id, { key: event.id, version: '', sender: event.sender, recipient: event.recipient, amount: event.amount, height: null });
    showTransfers();
  });
  on(['transaction.confirmed'], signal, (event) => {
    const known = transfers.get(event.id);
    if (!known && event.amount === undefined) return;
    put(event.id, { key: event.id, sender: event.sender, recipient: event.recipient, amount: event.amount ?? known.amount, version: event.block, height: event.height });
    showTransfers();
  });
  on(['transaction.dropped'], signal, ({ id }) => {
    put(id, null);
    showTransfers();
  });
  showTiles();
  showBlocks();
  showTransfers();

  return {
    content: [
      h('h1', { class: 'hidden', tabindex: '-1' }, 'Overview'),
      h('div', { class: 'tiles' }, Object.values(tiles).map(({ element }) => element)),
      h('section', { class: 'newest', 'aria-label': 'Newest blocks' }, strip.element),
      h('div', { class: 'columns' },
        card([h('span', null, 'Latest transfers'), h('a', { href: '/mempool' }, 'Mempool')], h('div', { class: 'overlaid' }, list.element, none)),
        card([h('span', null, 'Miners'), h('small', null, `last ${RECENT} blocks`)], h('div', { class: 'miners' }, miners.element), h('h2', null, h('span', null, 'Time between blocks'), h('small', null, `last ${INTERVALS}`)), intervalChart.element)),
    ],
  };
}

const toBlockItem = (block) => ({
  key: block.hash, version: '', height: block.height, time: block.time, miner: block.miner,
  transfers: block.transaction_count - 1, size: block.size,
});

const toTransferItem = (item, block) => ({
  key: item.id, version: block?.hash ?? '', sender: item.sender_address, recipient: item.recipient, amount: item.amount,
  height: block?.height ?? null,
});

/** The latest confirmed transfers, oldest first. */
async function confirmedTransfers(blocks, signal) {
  const found = [];
  for (const block of blocks.filter((candidate) => candidate.transaction_count > 1).slice(0, LIST_SIZE)) {
    if (found.length >= LIST_SIZE) break;
    const { items } = await get(`/blocks/${block.hash}/transactions?limit=${LIST_SIZE + 1}`, signal);
    found.push(...items.filter((item) => item.type === 'transfer').map((item) => toTransferItem(item, block)).reverse());
  }
  return found.reverse();
}

function renderBlock(block) {
  return h('a', { href: `/block/${block.key}`, class: 'cube', title: block.key },
    h('strong', null, h('span', { class: 'hidden' }, 'Block '), count(block.height)),
    h('span', null, block.height === 0 ? 'genesis' : plural(block.transfers, 'transfer')),
    h('span', { class: 'line' }, h('span', null, bytes(block.size)), time(block.time, { plain: true })),
    h('span', { class: 'gauge', 'aria-hidden': 'true' }, h('i', { style: { '--fraction': Math.min(1, block.size / params.max_block_bytes) } })),
    h('span', { class: 'by' }, dot(block.miner), h('span', null, block.miner.slice(-6))));
}

function renderTransfer(item) {
  return h('div', { class: 'transfer' },
    h('span', { class: 'id' }, txLink(item.key, { copyable: false, tail: 6 })),
    h('span', { class: 'parties' }, address(item.sender, { copyable: false }), h('span', { class: 'arrow', role: 'img', 'aria-label': 'to' }, '→'), address(item.recipient, { copyable: false })),
    amount(item.amount),
    h('span', { class: 'state' }, item.height === null ? badge('pending', 'wait') : badge(`block ${count(item.height)}`, 'good')));
}
