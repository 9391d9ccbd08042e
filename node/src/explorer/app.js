// The frame around the pages: which URL shows which page, the search box, the theme, the state of the connection.
import { Away, Problem } from './api.js';
import { h, setText } from './dom.js';
import { duration } from './format.js';
import * as live from './live.js';
import { empty, heading } from './parts.js';
import { search } from './search.js';
import account from './pages/account.js';
import block from './pages/block.js';
import blocks from './pages/blocks.js';
import charts from './pages/charts.js';
import dev from './pages/dev.js';
import forks from './pages/forks.js';
import home from './pages/home.js';
import mempool from './pages/mempool.js';
import mining from './pages/mining.js';
import missing from './pages/missing.js';
import peers from './pages/peers.js';
import tx from './pages/tx.js';

/** Milliseconds between attempts to reach a node that does not answer. */
const RETRY = 1000;

const ROUTES = [
  ['/', home], ['/blocks', blocks], ['/block/:', block], ['/tx/:', tx], ['/account/:', account], ['/mempool', mempool],
  ['/mining', mining], ['/peers', peers], ['/forks', forks], ['/charts', charts], ['/dev', dev], ['/search', search],
];

const main = document.getElementById('main');
let leaving = new AbortController();
const here = () => location.pathname + location.search;
/** The page that is shown, or about to be. */
let place = here();

function route(path) {
  const trimmed = path.length > 1 ? path.replace(/\/$/, '') : path;
  for (const [pattern, page] of ROUTES) {
    if (pattern === trimmed) return [page, ''];
    const prefix = pattern.slice(0, -1);
    const rest = trimmed.slice(prefix.length);
    if (pattern.endsWith(':') && trimmed.startsWith(prefix) && rest && !rest.includes('/')) return [page, decode(rest)];
  }
  return [missing, trimmed];
}

function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** Goes to a page of the explorer. */
export function go(url, { replace = false } = {}) {
  if (url !== here()) history[replace ? 'replaceState' : 'pushState'](null, '', url);
  return show({ top: true, focus: true });
}

async function show({ top = false, focus = false } = {}) {
  leaving.abort();
  leaving = new AbortController();
  const { signal } = leaving;
  place = here();
  let before = live.heard;
  const [page, name] = route(location.pathname);
  main.setAttribute('aria-busy', 'true');
  let view;
  try {
    view = await page({ name, query: new URLSearchParams(location.search), signal, go });
  } catch (error) {
    if (signal.aborted) return;
    view = failed(error, name, signal);
    before = null;
  }
  if (signal.aborted || !view) return;
  document.title = view.title ? `${view.title} · ${live.chain?.network ?? 'chain'}` : `${live.chain?.network ?? 'chain'} explorer`;
  main.replaceChildren(...view.content);
  main.removeAttribute('aria-busy');
  place = here();
  for (const link of document.querySelectorAll('nav a')) {
    if (link.getAttribute('href') === location.pathname) {
      link.setAttribute('aria-current', 'page');
      link.parentElement.scrollLeft = link.offsetLeft - link.parentElement.clientWidth / 2;
    } else {
      link.removeAttribute('aria-current');
    }
  }
  if (top) scrollTo(0, 0);
  if (focus) main.querySelector('h1')?.focus({ preventScroll: true });
  // What happened between its first reading and now, the page did not hear.
  if (before !== null && before !== live.heard) live.again();
}

function failed(error, name, signal) {
  if (error instanceof Problem && [400, 404].includes(error.status)) return missing({ name, detail: error.message });
  if (!(error instanceof Away)) console.error(error);
  live.on(['return'], signal, () => show());
  const title = error instanceof Away ? 'The node does not answer' : 'This did not work';
  const text = error instanceof Away ? 'This page comes back by itself as soon as the node does.' : error.message;
  return { title, content: [heading(title), empty(title, text)] };
}

document.addEventListener('click', (event) => {
  const link = event.target.closest?.('a[href]');
  if (!link || event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  // Links in pictures have attributes alone.
  const to = new URL(link.getAttribute('href'), location.href);
  if (to.origin !== location.origin || link.getAttribute('target') || link.hasAttribute('download') || route(to.pathname)[0] === missing) return;
  if (to.hash && to.pathname === location.pathname) return;
  event.preventDefault();
  go(to.pathname + to.search);
});
// Going to another part of the same page is told as well.
addEventListener('popstate', () => here() !== place && show({ focus: true }));

const field = document.getElementById('q');
field.form.addEventListener('submit', (event) => {
  event.preventDefault();
  const text = field.value.trim();
  if (!text) return;
  field.blur();
  go(`/search?q=${encodeURIComponent(text)}`);
});
document.addEventListener('keydown', (event) => {
  const typing = event.target.closest?.('input, textarea, select, dialog');
  if (event.key === '/' && !typing && !event.ctrlKey && !event.metaKey) {
    event.preventDefault();
    field.select();
  } else if (event.key === 'Escape' && event.target === field) {
    field.blur();
  }
});

const theme = document.getElementById('theme');
const dark = matchMedia('(prefers-color-scheme: dark)');
const isDark = () => (document.documentElement.dataset.theme ?? (dark.matches ? 'dark' : 'light')) === 'dark';
const nameTheme = () => {
  theme.setAttribute('aria-label', `Switch to the ${isDark() ? 'light' : 'dark'} theme`);
  theme.title = theme.getAttribute('aria-label');
};
theme.addEventListener('click', () => {
  const chosen = isDark() ? 'light' : 'dark';
  document.documentElement.dataset.theme = chosen;
  localStorage.setItem('theme', chosen);
  nameTheme();
});
dark.addEventListener('change', nameTheme);
nameTheme();

const light = document.getElementById('live');
const WORDS = { connecting: 'connecting', live: 'live', away: 'node away, trying again' };
function status() {
  const syncing = live.state === 'live' && live.chain && live.chain.sync.state !== 'synced';
  light.dataset.state = syncing ? 'sync' : live.state;
  setText(light.lastElementChild, syncing ? `catching up, ${Math.floor(live.chain.sync.progress * 100)} %` : WORDS[live.state]);
  document.body.classList.toggle('away', live.state === 'away');
}
live.on(['status', 'chain'], undefined, status);
live.on(['chain'], undefined, (chain) => {
  setText(document.getElementById('network'), chain.network);
  document.getElementById('dev').hidden = (chain.apis.dev ?? 'disabled') === 'disabled';
  const facts = [`chain ${chain.version}`, `up ${duration(chain.uptime_seconds)}`, `genesis ${chain.genesis.slice(0, 8)}…${chain.genesis.slice(-8)}`];
  document.getElementById('foot').replaceChildren(...facts.map((fact) => h('span', null, fact)));
});

async function begin() {
  live.listen();
  for (;;) {
    try {
      await live.begin();
      break;
    } catch (error) {
      const { content } = failed(error instanceof Away ? error : new Away(), '', leaving.signal);
      main.replaceChildren(h('div', null, content));
      await new Promise((resolve) => { setTimeout(resolve, RETRY); });
    }
  }
  await show();
}
begin();
