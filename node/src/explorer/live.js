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
let source = null;
let last = null;
let retry = 0;

/** The node's head as `GET /v1/chain` has it, moved on by events. */
export let chain = null;
/** The network's parameters. */
export let params = null;
/** `connecting`, `live` or `away`. */
export let state = 'connecting';

/** Calls back for each event of the topics until the signal aborts; also `status`, `chain` and `return`. */
export function on(topics, signal, call) {
  for (const topic of topics) bus.addEventListener(topic, (event) => call(event.detail, topic), { signal });
}

function tell(topic, detail) {
  bus.dispatchEvent(new CustomEvent(topic, { detail }));
}

/** Calls at once, then at most once in so many milliseconds while there is need. */
export function paced(call, pace = PACE) {
  let timer = 0;
  let again = false;
  const run = async () => {
    again = false;
    timer = setTimeout(() => {
      timer = 0;
      if (again) run();
    }, pace);
    try {
      await call();
    } catch {
      // The node is away or the page was left: the next event or the node's return asks again.
    }
  };
  return () => {
    if (timer) again = true;
    else run();
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
  if (chain && chain.genesis !== now.genesis) location.reload();
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
    if (!chain) return;
    Object.assign(chain, { height: block.height, tip: block.hash, tip_time: block.block_time });
    moved();
  });
  on(['block.disconnected', 'transaction.accepted', 'transaction.dropped', 'peer.connected', 'peer.disconnected', 'sync.progress', 'reset'], undefined, refresh);
  document.addEventListener('visibilitychange', () => {
    // A browser opens few connections to one node: tabs that nobody sees leave them to the others.
    if (document.hidden) close();
    else open();
  });
  open();
}

/** Reads the head and the parameters. */
export async function begin() {
  [params] = await Promise.all([get('/chain/params'), read()]);
}

function become(next) {
  if (next === state) return;
  const wasAway = state === 'away';
  state = next;
  tell('status', state);
  if (wasAway && state === 'live') {
    refresh();
    tell('return', null);
  }
}

function close() {
  clearTimeout(retry);
  source?.close();
  source = null;
}

function open() {
  if (source || document.hidden) return;
  source = new EventSource(`/v1/events${last === null ? '' : `?since=${last}`}`);
  source.onopen = () => become('live');
  source.onerror = () => {
    become('away');
    // The browser itself tries again, with the number of the last event, unless it has given up.
    if (source?.readyState !== EventSource.CLOSED) return;
    close();
    retry = setTimeout(open, RETRY);
  };
  for (const topic of TOPICS) {
    source.addEventListener(topic, (event) => {
      if (event.lastEventId) last = event.lastEventId;
      tell(topic, JSON.parse(event.data));
    });
  }
}

/** Calls back for each event of some topics that the node still has, the oldest first, until the signal aborts. */
export function since(topics, signal, call) {
  let stream = null;
  let from = 0;
  const close = () => {
    stream?.close();
    stream = null;
  };
  const open = () => {
    if (stream || document.hidden) return;
    stream = new EventSource(`/v1/events?since=${from}&topics=${topics.join(',')}`);
    for (const topic of topics) {
      stream.addEventListener(topic, (event) => {
        from = event.lastEventId;
        call(JSON.parse(event.data));
      });
    }
    // The first events are gone: what is left begins later.
    stream.addEventListener('reset', (event) => {
      from = Math.max(0, JSON.parse(event.data).oldest - 1);
      close();
      open();
    });
  };
  document.addEventListener('visibilitychange', () => (document.hidden ? close() : open()), { signal });
  signal.addEventListener('abort', close);
  open();
}
