// What happens at the node, as it happens: one stream of events, and the chain's head kept current by it.
import { get } from './api.js';

const TOPICS = [
  'block.connected', 'block.disconnected', 'reorg', 'transaction.accepted', 'transaction.dropped',
  'transaction.confirmed', 'job.updated', 'peer.connected', 'peer.disconnected', 'sync.progress', 'mining.hashrate', 'reset',
];
/** Milliseconds until the next attempt, after the browser has given one up. */
const RETRY = 1000;
/** Least milliseconds between two readings of `/v1/chain`. */
const PACE = 500;

const bus = new EventTarget();

/** The node's head as `GET /v1/chain` has it, moved on by events. */
export let chain = null;
/** The network's parameters. */
export let params = null;
/** `connecting`, `live` or `away`. */
export let state = 'connecting';
/** How much was heard so far: who reads while it changes may have read what is over. */
export let heard = 0;

/** Calls back for each event of the topics until the signal aborts; also `status`, `chain` and `return`. */
export function on(topics, signal, call) {
  for (const topic of topics) bus.addEventListener(topic, (event) => call(event.detail, topic), { signal });
}

function tell(topic, detail) {
  bus.dispatchEvent(new CustomEvent(topic, { detail }));
}

/** Has the page read everything again: events may have been missed. */
export const again = () => tell('return', null);

/** Calls at once, then at most once in so many milliseconds while there is need, and never while the last call goes on. */
export function paced(call, pace = PACE) {
  let isBusy = false;
  let isWanted = false;
  const run = async () => {
    isBusy = true;
    while (isWanted) {
      isWanted = false;
      const rest = new Promise((resolve) => { setTimeout(resolve, pace); });
      try {
        await call();
      } catch {
        // The node is away or the page was left: the next event or the node's return asks again.
      }
      await rest;
    }
    isBusy = false;
  };
  return () => {
    isWanted = true;
    if (!isBusy) run();
  };
}

/** Calls again and again while somebody looks at the page and the node is there: for what is no event. */
export function every(milliseconds, signal, call) {
  const timer = setInterval(() => {
    if (!document.hidden && state === 'live') call();
  }, milliseconds);
  signal.addEventListener('abort', () => clearInterval(timer));
}

/** Calls once in the next frame, however often it is asked. */
export function framed(call) {
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      call();
    });
  };
}

async function read() {
  const now = await get('/chain');
  if (chain && chain.genesis !== now.genesis) {
    location.reload();
    return;
  }
  chain = now;
  tell('chain', chain);
}

/** Reads `/v1/chain` soon. */
export const refresh = paced(read);

/** Blocks may come by the thousand: pages hear of the head once a frame. */
const moved = framed(() => tell('chain', chain));

/** Listens from now on. */
export function listen() {
  on(['block.connected'], undefined, (block) => {
    refresh();
    // Blocks that are told again lead nowhere back: of a reorganisation the reading tells.
    if (!chain || block.height <= chain.height) return;
    Object.assign(chain, { height: block.height, tip: block.hash, tip_time: block.block_time });
    moved();
  });
  on(['block.disconnected', 'transaction.accepted', 'transaction.dropped', 'peer.connected', 'peer.disconnected', 'sync.progress', 'reset'], undefined, refresh);
  const hear = (topic, event) => {
    if (topic !== 'mining.hashrate') heard += 1;
    tell(topic, event);
  };
  const opened = () => {
    become('live');
    // Whatever was read before may have changed while nobody listened.
    heard += 1;
    if (chain) refresh();
    if (params) again();
  };
  stream({ url: () => '/v1/events', topics: TOPICS, hear, opened, away: () => become('away') });
}

/** Reads the head and the parameters. */
export async function begin() {
  [params] = await Promise.all([get('/chain/params'), read()]);
}

function become(next) {
  if (next === state) return;
  state = next;
  tell('status', state);
}

/** Listens to a stream of events until the signal aborts; gives what opens it anew. */
function stream({ url, topics, hear, opened, away, signal }) {
  let source = null;
  let retry = 0;
  const close = () => {
    clearTimeout(retry);
    source?.close();
    source = null;
  };
  const open = () => {
    if (source || document.hidden || signal?.aborted) return;
    source = new EventSource(url());
    source.onopen = () => opened?.();
    source.onerror = () => {
      away?.();
      // The browser itself tries again, with the number of the last event, unless it has given up.
      if (source?.readyState !== EventSource.CLOSED) return;
      close();
      retry = setTimeout(open, RETRY);
    };
    for (const topic of topics) source.addEventListener(topic, (event) => hear(topic, JSON.parse(event.data), event.lastEventId));
  };
  // A browser opens few connections to one node: tabs that nobody sees leave them to the others.
  document.addEventListener('visibilitychange', () => (document.hidden ? close() : open()), { signal });
  signal?.addEventListener('abort', close);
  open();
  return () => {
    close();
    open();
  };
}

/**
 * Calls back for each event of some topics that the node still has, the oldest first, until the signal aborts. `restart`
 * is called when the node counts from the beginning again: its log of events began anew, and what was told is not in it.
 */
export function since(topics, signal, call, restart) {
  let from = 0;
  const hear = (topic, event, number) => {
    if (topic !== 'reset') {
      from = Number(number);
      call(event);
      return;
    }
    // The first events are gone: what is left begins later.
    if (event.newest < from) restart();
    from = Math.max(0, event.oldest - 1);
    reopen();
  };
  const reopen = stream({ url: () => `/v1/events?since=${from}&topics=${topics.join(',')}`, topics: [...topics, 'reset'], hear, signal });
}
