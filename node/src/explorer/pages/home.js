// The overview: where the chain stands, its newest blocks, the latest transfers, who mines.
import { get } from '../api.js';
import { chart, shares } from '../chart.js';
import { h } from '../dom.js';
import { bytes, coins, count, difficulty, duration, hashrate, hue, plural } from '../format.js';
import { chain, framed, on, paced, params } from '../live.js';
import { address, amount, badge, card, dot, empty, tile, time, txLink } from '../parts.js';
import { stack } from '../stack.js';
import { intervals } from './charts.js';

const STRIP = 16;
const TRANSFERS = 8;
/** Blocks whose miners are counted. */
const RECENT = 100;
/** Blocks whose intervals are drawn. */
const PACED = 40;

export default async function home({ signal }) {
  let blocks = [];
  /** The latest last. */
  const transfers = new Map();
  /** Those that were told while the others are read: their latest states, null for one that was dropped. */
  let told = null;
  const put = (key, item) => {
    told?.set(key, item);
    if (item) transfers.set(key, item);
    else transfers.delete(key);
  };
  const read = async () => {
    const later = new Map();
    told = later;
    const [page, waiting] = await Promise.all([
      get(`/blocks?limit=${RECENT}`, signal),
      get(`/mempool/transactions?limit=${TRANSFERS}`, signal),
    ]);
    blocks = page.items.map(summary);
    const found = [...await confirmed(page.items, signal), ...waiting.items.reverse().map((item) => transfer(item, null))];
    transfers.clear();
    for (const item of found) transfers.set(item.key, item);
    told = null;
    for (const [key, item] of later) put(key, item);
  };
  await read();

  const tiles = {
    height: tile('Height', 'Blocks on top of the first one'),
    rate: tile('Hash rate', 'Of the whole network, estimated from recent blocks'),
    difficulty: tile('Difficulty', 'How many times as hard as the easiest target of Bitcoin'),
    pace: tile('Block time', 'Median of recent blocks'),
    mempool: tile('Mempool', 'Transfers that wait for a block'),
    issued: tile('Issued', 'Coins that exist'),
  };
  const strip = stack({ kind: 'strip', size: STRIP, label: 'Newest blocks', render: renderBlock });
  const list = stack({ kind: 'list', size: TRANSFERS, label: 'Latest transfers', render: renderTransfer });
  const miners = shares('Blocks by miner');
  const pace = chart({ title: 'Time between blocks', kind: 'bars', format: duration, whole: true, height: 150, reference: { value: params.spacing_seconds, name: 'aim' } });
  const none = h('div', { class: 'over' }, empty(chain.height < RECENT ? 'No transfers yet' : `No transfers in the last ${RECENT} blocks`, 'The next one appears here the moment the node hears of it.'));

  const showTiles = () => {
    tiles.height.show(count(chain.height), h('span', null, 'tip ', time(chain.tip_time)));
    tiles.rate.show(hashrate(chain.hashrate_estimate), plural(chain.peers, 'peer'));
    tiles.difficulty.show(difficulty(chain.difficulty), `bits ${chain.bits}`, `${chain.difficulty} · target ${chain.target}`);
    tiles.pace.show(chain.median_block_seconds === null ? '–' : duration(chain.median_block_seconds), `aims at ${duration(params.spacing_seconds)}`);
    tiles.mempool.show(count(chain.mempool.count), bytes(chain.mempool.bytes));
    tiles.issued.show(count(Math.floor(chain.issued / 1e8)), `of ${count(Math.floor(params.max_issuance / 1e8))}`, `${coins(chain.issued)} coins · ${count(chain.issued)} base units`);
  };
  const showBlocks = framed(() => {
    strip.show(blocks.slice(0, STRIP + 1));
    const most = new Map();
    const counted = blocks.filter((block) => block.height > 0);
    for (const block of counted) most.set(block.miner, (most.get(block.miner) ?? 0) + 1);
    const sorted = [...most].sort((a, b) => b[1] - a[1]).slice(0, 4);
    miners.show(sorted.map(([miner, mined]) => ({
      label: address(miner, { copies: false }), value: mined, hue: hue(miner),
      text: `${count(mined)} · ${Math.round((mined / counted.length) * 100)} %`,
    })));
    pace.show(intervals(counted.slice(0, PACED).reverse()));
  });
  const showTransfers = framed(() => {
    const newest = [...transfers.values()].reverse();
    for (const old of newest.splice(TRANSFERS * 4)) transfers.delete(old.key);
    list.show(newest);
    none.hidden = newest.length > 0;
  });
  const reload = paced(async () => {
    const fresh = await get(`/blocks?limit=${RECENT}`, signal);
    blocks = fresh.items.map(summary);
    showBlocks();
  }, 1000);

  on(['chain'], signal, showTiles);
  on(['block.connected'], signal, (block) => {
    if (told || (blocks[0] && block.previous !== blocks[0].key)) reload();
    // Blocks that are told again lead nowhere back.
    if (blocks[0] && block.height <= blocks[0].height) return;
    blocks = [summary({ ...block, time: block.block_time }), ...blocks].slice(0, RECENT);
    showBlocks();
  });
  on(['block.disconnected'], signal, ({ hash }) => {
    blocks = blocks.filter((block) => block.key !== hash);
    showBlocks();
  });
  on(['return', 'reset'], signal, paced(async () => {
    await read().finally(() => { told = null; });
    showBlocks();
    showTransfers();
  }, 1000));
  on(['transaction.accepted'], signal, (event) => {
    put(event.id, { key: event.id, version: '', sender: event.sender, recipient: event.recipient, amount: event.amount, height: null, time: event.time });
    showTransfers();
  });
  on(['transaction.confirmed'], signal, (event) => {
    const known = transfers.get(event.id);
    if (!known && event.amount === undefined) return;
    const block = blocks.find((candidate) => candidate.key === event.block);
    put(event.id, { key: event.id, sender: event.sender, recipient: event.recipient, amount: event.amount ?? known.amount, version: event.block, height: event.height, time: block?.time ?? event.time });
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
        card([h('span', null, 'Latest transfers'), h('a', { href: '/mempool' }, 'Mempool')], h('div', { class: 'holder' }, list.element, none)),
        card([h('span', null, 'Miners'), h('small', null, `of the last ${RECENT} blocks`)], h('div', { class: 'miners' }, miners.element), h('h2', null, h('span', null, 'Time between blocks'), h('small', null, `last ${PACED}`)), pace.element)),
    ],
  };
}

const summary = (block) => ({
  key: block.hash, version: '', height: block.height, time: block.time, miner: block.miner,
  transfers: block.transaction_count - 1, size: block.size,
});

const transfer = (item, block) => ({
  key: item.id, version: block?.hash ?? '', sender: item.sender_address, recipient: item.recipient, amount: item.amount,
  height: block?.height ?? null, time: block?.time ?? null,
});

/** The latest confirmed transfers, oldest first. */
async function confirmed(blocks, signal) {
  const found = [];
  for (const block of blocks.filter((candidate) => candidate.transaction_count > 1).slice(0, TRANSFERS)) {
    if (found.length >= TRANSFERS) break;
    const { items } = await get(`/blocks/${block.hash}/transactions?limit=${TRANSFERS + 1}`, signal);
    found.push(...items.filter((item) => item.type === 'transfer').map((item) => transfer(item, block)).reverse());
  }
  return found.reverse();
}

function renderBlock(block) {
  return h('a', { href: `/block/${block.key}`, class: 'cube', title: block.key },
    h('strong', null, h('span', { class: 'hidden' }, 'Block '), count(block.height)),
    h('span', null, block.height === 0 ? 'genesis' : plural(block.transfers, 'transfer')),
    h('span', { class: 'line' }, h('span', null, bytes(block.size)), time(block.time, { plain: true })),
    h('span', { class: 'gauge', 'aria-hidden': 'true' }, h('i', { style: { '--share': Math.min(1, block.size / params.max_block_bytes) } })),
    h('span', { class: 'by' }, dot(block.miner), h('span', null, block.miner.slice(-6))));
}

function renderTransfer(item) {
  return h('div', { class: 'move' },
    h('span', { class: 'id' }, txLink(item.key, { copies: false, tail: 6 })),
    h('span', { class: 'who' }, address(item.sender, { copies: false }), h('span', { class: 'arrow', role: 'img', 'aria-label': 'to' }, '→'), address(item.recipient, { copies: false })),
    amount(item.amount),
    h('span', { class: 'state' }, item.height === null ? badge('waiting', 'wait') : badge(`block ${count(item.height)}`, 'good')));
}
