// What a mining machine needs to connect: the URLs of the Stratum server, user and password.
import { card, copyButton, empty, facts, foreign } from './components.js';
import { h } from './dom.js';
import { qrCode } from './qr.js';

/** The card for the URLs; `user` is the user name of a worker, if one is known. */
export function connectionCard(urls, user = null) {
  if (urls.length === 0) return card('Connect a miner', empty('Stratum is off', 'Start the node with --stratum 0.0.0.0:3333 to let mining machines connect.'));
  const copied = (text, name) => h('span', { class: 'inline' }, foreign(text), copyButton(text, name));
  return card('Connect a miner',
    h('div', { class: 'connection' },
      qrCode(urls[0]),
      facts(
        ...urls.map((url, index) => [index === 0 ? 'URL' : 'or', copied(url, 'URL')]),
        ['User', user ? copied(user, 'user name') : h('span', null, 'your address, or address', h('code', null, '.name'), ' for several machines')],
        ['Password', h('span', null, h('code', null, 'x'), ', or ', h('code', null, 'd=1000'), ' for an initial difficulty')])));
}
