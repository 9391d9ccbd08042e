// The recent best chain: reads its blocks and computes block times, difficulty, hash rates and transfers from them.
import { get } from './api.js';
import { count, work } from './format.js';

const PAGE_SIZE = 100;
/** Size of the first page if older blocks are known: it usually contains all new ones. */
const SMALL_PAGE_SIZE = 10;
/** Blocks over which a hash rate is averaged: the time of a single block is too noisy. */
const HASHRATE_WINDOW = 10;

/** Reads the newest blocks, newest first. `known` are blocks of an earlier call, of which only the newer ones are read. */
export async function recentBlocks(limit, signal, known = []) {
  const indexes = new Map(known.map((block, index) => [block.hash, index]));
  const found = [];
  let cursor = null;
  do {
    const pageSize = Math.min(known.length > 0 && !cursor ? SMALL_PAGE_SIZE : PAGE_SIZE, limit - found.length);
    let page;
    try {
      page = await get(`/blocks?limit=${pageSize}${cursor ? `&cursor=${cursor}` : ''}`, signal);
    } catch (error) {
      if (error.code !== 'cursor-gone') throw error;
      return recentBlocks(limit, signal);
    }
    for (const block of page.items) {
      // All ancestors of a known block are known.
      if (indexes.has(block.hash)) return [...found, ...known.slice(indexes.get(block.hash))].slice(0, limit);
      found.push(block);
    }
    cursor = page.next;
  } while (cursor && found.length < limit);
  return found;
}

/** The points of all charts of blocks, which come oldest first. Genesis is left out: it was not mined. */
export function series(blocks) {
  const mined = blocks.filter((block) => block.height > 0);
  return {
    intervals: intervals(mined),
    difficulty: mined.map((block) => point(block.difficulty, block)),
    hashrate: mined.map((block, index) => point(index < 2 ? null : hashrateBetween(mined[Math.max(0, index - HASHRATE_WINDOW)], block), block)),
    transfers: mined.map((block) => point(block.transaction_count - 1, block)),
  };
}

const point = (value, block) => ({ name: count(block.height), value, detail: `block ${count(block.height)}` });

/** The seconds from each block's parent to the block. The blocks come oldest first, without genesis. */
export function intervals(mined) {
  return mined.map((block, index) => point(index === 0 ? null : Math.max(0, block.time - mined[index - 1].time), block));
}

/** The network's hashes per second between two blocks. */
function hashrateBetween(first, last) {
  return Number(work(last.chain_work) - work(first.chain_work)) / Math.max(1, last.time - first.time);
}

/** The miners of blocks and how many blocks each of them mined, the most first, without genesis. */
export function blocksByMiner(blocks) {
  const mined = blocks.filter((block) => block.height > 0);
  const counts = new Map();
  for (const { miner } of mined) counts.set(miner, (counts.get(miner) ?? 0) + 1);
  return [...counts].sort((a, b) => b[1] - a[1]).map(([miner, blockCount]) => ({ miner, blockCount, fraction: blockCount / mined.length }));
}
