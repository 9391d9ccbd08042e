// The search box: one text, which may be a height, a hash, a transaction or an address.
import { find } from './api.js';
import { chain, params } from './live.js';
import { count } from './format.js';
import missing from './pages/missing.js';

/** Where a text leads, or why nowhere: `{ url }` or `{ detail }`. */
export async function resolve(text, signal) {
  const plain = text.trim();
  const bare = plain.replace(/^#/, '').replace(/[, _']/g, '');
  if (plain === 'tip') return { url: `/block/${chain.tip}` };
  if (/^\d{1,10}$/.test(bare)) {
    if (Number(bare) <= chain.height) return { url: `/block/${Number(bare)}` };
    return { detail: `No block is at height ${count(Number(bare))} yet: this chain has reached ${count(chain.height)}.` };
  }
  const hex = plain.toLowerCase().replace(/^0x/, '');
  if (/^[0-9a-f]{64}$/.test(hex)) {
    // The hashes of blocks begin with zeros wherever they take work.
    const kinds = [['/transactions', '/tx'], ['/blocks', '/block']];
    for (const [resource, page] of hex.startsWith('000') ? kinds.reverse() : kinds) {
      if (await find(`${resource}/${hex}`, signal)) return { url: `${page}/${hex}` };
    }
    return { detail: 'No block and no transaction that this node knows has this hash. A transfer that never reached it, or left its pool long ago, is unknown here.' };
  }
  const address = plain.toLowerCase();
  if (address.startsWith(`${params.hrp}1`)) {
    if (await find(`/accounts/${encodeURIComponent(address)}`, signal)) return { url: `/account/${address}` };
    return { detail: 'This looks like an address of this network, but its checksum is wrong: a character is missing or mistyped.' };
  }
  if (/^[a-z]{1,20}1[02-9ac-hj-np-z]{20,}$/.test(address)) {
    return { detail: `This looks like an address of another network: here they begin with ${params.hrp}1.` };
  }
  if (/^[0-9a-f]+$/.test(hex)) return { detail: `Hashes have 64 hexadecimal digits; this has ${hex.length}.` };
  return { detail: 'It is neither a height, nor a hash, nor an address.' };
}

/** The page `/search?q=…`: goes where the text leads, or says why it leads nowhere. */
export async function search({ query, signal, go }) {
  const text = query.get('q') ?? '';
  const found = await resolve(text, signal);
  if (found.url) {
    go(found.url, { replace: true });
    return null;
  }
  return missing({ name: text, detail: found.detail });
}
