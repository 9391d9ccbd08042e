// Where a text or a URL leads nowhere: what could have been meant.
import { h } from '../dom.js';
import { chain, params } from '../live.js';
import { empty, facts, heading } from '../parts.js';
import { count } from '../format.js';

export default function missing({ name, detail }) {
  const rows = chain && params && facts(
    ['A height', h('span', null, 'from 0 to ', h('a', { href: `/block/${chain.tip}` }, count(chain.height)))],
    ['A hash or id', '64 hexadecimal digits'],
    ['An address', `begins with ${params.hrp}1`],
  );
  return {
    title: 'Not found',
    content: [
      heading('Nothing here'),
      h('section', { class: 'card' },
        empty(name ? shortened(name) : 'There is no such page', detail ?? 'No page of the explorer has this address.'),
        h('h2', null, 'What can be looked up'), rows,
        h('p', { class: 'quiet' }, 'Press ', h('kbd', null, '/'), ' to search again, or go to the ', h('a', { href: '/' }, 'overview'), '.')),
    ],
  };
}

const shortened = (text) => (text.length > 90 ? `${text.slice(0, 60)}…${text.slice(-20)}` : text);
