// The search: redirects to the block, transaction or account that the text identifies, or explains why there is none.
import { find } from '../api.js';
import { count } from '../format.js';
import { chain, params } from '../live.js';
import notFound from '../not_found.js';

export default async function search({ query, signal, navigate }) {
  const text = query.get('q') ?? '';
  const found = await resolve(text, signal);
  if (found.url) {
    navigate(found.url, { replace: true });
    return null;
  }
  return notFound({ param: text, detail: found.detail });
}

/** The result of a search: `{ url }` or `{ detail }`. */
async function resolve(text, signal) {
  const trimmed = text.trim();
  const number = trimmed.replace(/^#/, '').replace(/[, _']/g, '');
  if (trimmed === 'tip') return { url: `/block/${chain.tip}` };
  if (/^\d{1,10}$/.test(number)) {
    if (Number(number) <= chain.height) return { url: `/block/${Number(number)}` };
    return { detail: `There is no block at height ${count(Number(number))} yet: the best chain is at height ${count(chain.height)}.` };
  }
  const hex = trimmed.toLowerCase().replace(/^0x/, '');
  if (/^[0-9a-f]{64}$/.test(hex)) {
    // The hash of a block begins with zeros on networks that need work.
    const kinds = [['/transactions', '/tx'], ['/blocks', '/block']];
    for (const [resource, page] of hex.startsWith('000') ? kinds.reverse() : kinds) {
      if (await find(`${resource}/${hex}`, signal)) return { url: `${page}/${hex}` };
    }
    return { detail: 'This node knows no block and no transaction with this hash. It does not know transfers that it never received or that left its mempool long ago.' };
  }
  const address = trimmed.toLowerCase();
  if (address.startsWith(`${params.hrp}1`)) {
    if (await find(`/accounts/${encodeURIComponent(address)}`, signal)) return { url: `/account/${address}` };
    return { detail: 'This begins like an address of this network, but its checksum is wrong: a character is missing or mistyped.' };
  }
  if (/^[a-z]{1,20}1[02-9ac-hj-np-z]{20,}$/.test(address)) {
    return { detail: `This is an address of another network: addresses of this one begin with ${params.hrp}1.` };
  }
  if (/^[0-9a-f]+$/.test(hex)) return { detail: `A hash has 64 hexadecimal digits; this has ${hex.length}.` };
  return { detail: 'This is not a height, a hash or an address.' };
}
