// The client's shell: routes URLs to pages and runs the menu, the search box, the theme switch and the connection indicator.
import { Problem, Unreachable } from './api.js';
import * as config from './config.js';
import { empty, heading } from './components.js';
import { h, setText } from './dom.js';
import { duration } from './format.js';
import * as live from './live.js';
import notFound from './not_found.js';

/** Milliseconds between attempts to reach a node that does not respond. */
const RETRY_DELAY = 1000;

const main = document.getElementById('main');
/** The pages: `path` matches their URLs and captures their parameter, `default` renders, `menu` is the link to it, if any. */
let pages = [];
let navigation = new AbortController();
const currentUrl = () => location.pathname + location.search;
/** The URL of the page that is shown or about to be. */
let shownUrl = currentUrl();

async function loadPages() {
  pages = await Promise.all(Object.entries(config.pages).map(async ([pattern, file]) => ({
    url: pattern,
    path: new RegExp(`^${pattern.replace(/\{\w+\}/, '([^/]+)')}$`),
    ...await import(`./pages/${file}`),
  })));
  const linked = pages.filter((page) => page.menu).sort((a, b) => a.menu.order - b.menu.order);
  for (const page of linked) page.link = h('a', { href: page.url, hidden: Boolean(page.menu.isAvailable) }, page.menu.label);
  document.getElementById('menu').replaceChildren(...linked.map((page) => page.link));
}

/** The page of a path and its parameter; null if there is no such page. */
function match(path) {
  const trimmed = path.length > 1 ? path.replace(/\/$/, '') : path;
  for (const page of pages) {
    const found = page.path.exec(trimmed);
    if (found) return { render: page.default, param: decode(found[1] ?? '') };
  }
  return null;
}

function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** Navigates to a page of the explorer. */
function navigate(url, { replace = false } = {}) {
  if (url !== currentUrl()) history[replace ? 'replaceState' : 'pushState'](null, '', url);
  return show({ top: true, focus: true });
}

async function show({ top = false, focus = false } = {}) {
  navigation.abort();
  navigation = new AbortController();
  const { signal } = navigation;
  shownUrl = currentUrl();
  let receivedBefore = live.received;
  const { render, param } = match(location.pathname) ?? { render: notFound, param: location.pathname };
  main.setAttribute('aria-busy', 'true');
  let view;
  try {
    view = await render({ param, query: new URLSearchParams(location.search), signal, navigate });
  } catch (error) {
    if (signal.aborted) return;
    view = errorView(error, param, signal);
    receivedBefore = null;
  }
  if (signal.aborted || !view) return;
  document.title = view.title ? `${view.title} · ${live.chain?.network ?? 'chain'}` : `${live.chain?.network ?? 'chain'} explorer`;
  main.replaceChildren(...view.content);
  main.removeAttribute('aria-busy');
  shownUrl = currentUrl();
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
  // The page may have missed events between its first read and its subscriptions.
  if (receivedBefore !== null && receivedBefore !== live.received) live.resync();
}

function errorView(error, param, signal) {
  if (error instanceof Problem && [400, 404].includes(error.status)) return notFound({ param, detail: error.message });
  const isUnreachable = error instanceof Unreachable;
  if (!isUnreachable) console.error(error);
  live.on(['resync'], signal, () => show());
  const title = isUnreachable ? 'Node unreachable' : 'Something went wrong';
  const text = isUnreachable ? 'This page reloads when the node responds again.' : error.message;
  return { title, content: [heading(title), empty(title, text)] };
}

document.addEventListener('click', (event) => {
  const link = event.target.closest?.('a[href]');
  if (!link || event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  // SVG links have the attribute only, no `href` string property.
  const to = new URL(link.getAttribute('href'), location.href);
  if (to.origin !== location.origin || link.getAttribute('target') || link.hasAttribute('download') || !match(to.pathname)) return;
  if (to.hash && to.pathname === location.pathname) return;
  event.preventDefault();
  navigate(to.pathname + to.search);
});
// A jump within the page fires the event, too.
addEventListener('popstate', () => currentUrl() !== shownUrl && show({ focus: true }));

const searchBox = document.getElementById('q');
searchBox.form.addEventListener('submit', (event) => {
  event.preventDefault();
  const text = searchBox.value.trim();
  if (!text) return;
  searchBox.blur();
  navigate(`/search?q=${encodeURIComponent(text)}`);
});
document.addEventListener('keydown', (event) => {
  const isTyping = event.target.closest?.('input, textarea, select, dialog');
  if (event.key === '/' && !isTyping && !event.ctrlKey && !event.metaKey) {
    event.preventDefault();
    searchBox.select();
  } else if (event.key === 'Escape' && event.target === searchBox) {
    searchBox.blur();
  }
});

const themeButton = document.getElementById('theme');
const prefersDark = matchMedia('(prefers-color-scheme: dark)');
const isDark = () => (document.documentElement.dataset.theme ?? (prefersDark.matches ? 'dark' : 'light')) === 'dark';
const labelTheme = () => {
  themeButton.setAttribute('aria-label', `Switch to the ${isDark() ? 'light' : 'dark'} theme`);
  themeButton.title = themeButton.getAttribute('aria-label');
};
themeButton.addEventListener('click', () => {
  const theme = isDark() ? 'light' : 'dark';
  document.documentElement.dataset.theme = theme;
  localStorage.setItem('theme', theme);
  labelTheme();
});
prefersDark.addEventListener('change', labelTheme);
labelTheme();

const indicator = document.getElementById('live');
const STATES = { connecting: 'connecting', live: 'live', offline: 'node unreachable, retrying' };
function showStatus() {
  const isSyncing = live.state === 'live' && live.chain && live.chain.sync.state !== 'synced';
  indicator.dataset.state = isSyncing ? 'sync' : live.state;
  setText(indicator.lastElementChild, isSyncing ? `syncing, ${Math.floor(live.chain.sync.progress * 100)} %` : STATES[live.state]);
  document.body.classList.toggle('offline', live.state === 'offline');
}
live.on(['status', 'chain'], undefined, showStatus);
live.on(['chain'], undefined, (chain) => {
  setText(document.getElementById('network'), chain.network);
  for (const { link, menu } of pages) if (menu?.isAvailable) link.hidden = !menu.isAvailable(chain);
  const facts = [`chain ${chain.version}`, `up ${duration(chain.uptime_seconds)}`, `genesis ${chain.genesis.slice(0, 8)}…${chain.genesis.slice(-8)}`];
  document.getElementById('node').replaceChildren(...facts.map((fact) => h('span', null, fact)));
});

async function start() {
  live.connect();
  await loadPages();
  for (;;) {
    try {
      await live.load();
      break;
    } catch (error) {
      const { content } = errorView(error instanceof Unreachable ? error : new Unreachable(), '', navigation.signal);
      main.replaceChildren(h('div', null, content));
      await new Promise((resolve) => { setTimeout(resolve, RETRY_DELAY); });
    }
  }
  await show();
}
start();
