// The page for a URL or a search without a result: what can be searched for.
import { empty, facts, heading } from './components.js';
import { h } from './dom.js';
import { count } from './format.js';
import { chain, params } from './live.js';

export default function notFound({ param, detail }) {
  const rows = chain && params && facts(
    ['Height', h('span', null, 'from 0 to ', h('a', { href: `/block/${chain.tip}` }, count(chain.height)))],
    ['Hash or id', '64 hexadecimal digits'],
    ['Address', `begins with ${params.hrp}1`],
  );
  return {
    title: 'Not found',
    content: [
      heading('Not found'),
      h('section', { class: 'card' },
        empty(param ? shortened(param) : 'Page not found', detail ?? 'The explorer has no page at this address.'),
        h('h2', null, 'Search for'), rows,
        h('p', { class: 'quiet' }, 'Press ', h('kbd', null, '/'), ' to search again, or go to the ', h('a', { href: '/' }, 'overview'), '.')),
    ],
  };
}

const shortened = (text) => (text.length > 90 ? `${text.slice(0, 60)}…${text.slice(-20)}` : text);
