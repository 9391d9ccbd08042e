// The node's state as it changes: its event stream, and the head of the chain, which events update.
import { get } from './api.js';
import { topics } from './config.js';
import { serve } from './event_streams.js';

/** Milliseconds until the explorer reconnects after the browser has stopped to. */
const RECONNECT_DELAY = 1000;
/** Least milliseconds between two reads of `/v1/chain`. */
const CHAIN_INTERVAL = 500;

const bus = new EventTarget();

/** The head of the chain as in `GET /v1/chain`, updated by events. */
export let chain = null;
/** The network's parameters. */
export let params = null;
/** The state of the event stream: `connecting`, `live` or `offline`. */
export let state = 'connecting';
/** The number of events received. A page that reads while it grows may have read outdated data. */
export let received = 0;

/**
 * Calls back for each event of the topics until the signal aborts. Besides the node's topics there are `status` (the stream
 * changed its state), `chain` (the head changed) and `resync` (events may have been missed: read everything again).
 */
export function on(names, signal, callback) {
  for (const topic of names) bus.addEventListener(topic, (event) => callback(event.detail, topic), { signal });
}

function emit(topic, detail) {
  bus.dispatchEvent(new CustomEvent(topic, { detail }));
}

/** Makes the page read everything again. */
export const resync = () => emit('resync', null);

/** Returns a function that calls back at once, then at most once per interval, and never while the last call is pending. */
export function throttled(callback, interval = CHAIN_INTERVAL) {
  let isRunning = false;
  let isPending = false;
  const run = async () => {
    isRunning = true;
    while (isPending) {
      isPending = false;
      const pause = new Promise((resolve) => { setTimeout(resolve, interval); });
      try {
        await callback();
      } catch {
        // The node is unreachable or the user left the page: the next event or reconnect calls again.
      }
      await pause;
    }
    isRunning = false;
  };
  return () => {
    isPending = true;
    if (!isRunning) run();
  };
}

/** Calls back periodically while the tab is visible and the node is reachable: for state that has no event. */
export function poll(interval, signal, callback) {
  const timer = setInterval(() => {
    if (!document.hidden && state === 'live') callback();
  }, interval);
  signal.addEventListener('abort', () => clearInterval(timer));
}

/** Returns a function that calls back once in the next animation frame, however often it is called. */
export function oncePerFrame(callback) {
  let isScheduled = false;
  return () => {
    if (isScheduled) return;
    isScheduled = true;
    requestAnimationFrame(() => {
      isScheduled = false;
      callback();
    });
  };
}

async function readChain() {
  const current = await get('/chain');
  if (chain && chain.genesis !== current.genesis) {
    location.reload();
    return;
  }
  chain = current;
  emit('chain', chain);
}

const refreshChain = throttled(readChain);

/** Limits updates of the head to one per frame: blocks may arrive by the thousand. */
const emitChain = oncePerFrame(() => emit('chain', chain));

/** Opens the event stream. */
export function connect() {
  on(['block.connected'], undefined, (block) => {
    refreshChain();
    // A replayed block does not move the head back; a reorganisation is read from `/v1/chain`.
    if (!chain || block.height <= chain.height) return;
    Object.assign(chain, { height: block.height, tip: block.hash, tip_time: block.block_time });
    emitChain();
  });
  on(['block.disconnected', 'transaction.accepted', 'transaction.dropped', 'peer.connected', 'peer.disconnected', 'sync.progress', 'reset'], undefined, refreshChain);
  const onEvent = (topic, event) => {
    if (topic !== 'mining.hashrate') received += 1;
    emit(topic, event);
  };
  const onOpen = () => {
    setState('live');
    // Everything read before may have changed while the stream was closed.
    received += 1;
    if (chain) refreshChain();
    if (params) resync();
  };
  openStream({ url: () => '/v1/events', names: [...topics, 'reset'], onEvent, onOpen, onError: () => setState('offline') });
}

/** Reads the head and the parameters. */
export async function load() {
  [params] = await Promise.all([get('/chain/params'), readChain()]);
}

function setState(next) {
  if (next === state) return;
  state = next;
  emit('status', state);
}

/** The URL of the worker's script; the content security policy requires a trusted one. */
const WORKER = new URL('./events_worker.js', import.meta.url);
const scripts = globalThis.trustedTypes?.createPolicy('events-worker', { createScriptURL: () => WORKER.href });

/** A port to the event streams, which all windows of this browser share where it has shared workers. */
function connectToStreams() {
  if (typeof SharedWorker === 'function') {
    const { port } = new SharedWorker(scripts?.createScriptURL('') ?? WORKER, { type: 'module', name: 'events' });
    return port;
  }
  const { port1, port2 } = new MessageChannel();
  serve(port2);
  return port1;
}

/** Reads a stream of events until the signal aborts. Returns a function that reopens it. */
function openStream({ url, names, isReplay = false, onEvent, onOpen, onError, signal }) {
  let port = null;
  let timer = 0;
  const close = () => {
    clearTimeout(timer);
    port?.postMessage(null);
    port?.close();
    port = null;
  };
  const open = () => {
    if (port || document.hidden || signal?.aborted) return;
    port = connectToStreams();
    port.onmessage = ({ data: { type, topic, data, id } }) => {
      if (type === 'event') onEvent(topic, data, id);
      else if (type === 'open') onOpen?.();
      else onError?.();
      if (type !== 'closed') return;
      close();
      timer = setTimeout(open, RECONNECT_DELAY);
    };
    port.postMessage({ url: url(), names, isReplay });
  };
  // A hidden tab needs no events, and reads everything again when it is visible.
  document.addEventListener('visibilitychange', () => (document.hidden ? close() : open()), { signal });
  // The worker does not notice that a page is gone.
  window.addEventListener('pagehide', close, { signal });
  window.addEventListener('pageshow', open, { signal });
  signal?.addEventListener('abort', close);
  open();
  return () => {
    close();
    open();
  };
}

/**
 * Calls back for each event of the topics that the node retains, oldest first, and for new ones until the signal aborts.
 * Calls `onRestart` when the node's event log has restarted, so that earlier events are no longer part of it.
 */
export function replay(names, signal, callback, onRestart) {
  let since = 0;
  const onEvent = (topic, event, id) => {
    if (topic !== 'reset') {
      since = Number(id);
      callback(event);
      return;
    }
    // The log begins after the requested event: read from its first event on.
    if (event.newest < since) onRestart();
    since = Math.max(0, event.oldest - 1);
    reopen();
  };
  const reopen = openStream({ url: () => `/v1/events?since=${since}&topics=${names.join(',')}`, names: [...names, 'reset'], isReplay: true, onEvent, signal });
}
