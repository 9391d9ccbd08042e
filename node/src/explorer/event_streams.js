// Event streams that all windows of the explorer share, because browsers limit the connections per host. Runs in a shared
// worker, or in the page where there are none.

/** The open streams by URL. */
const streams = new Map();

/**
 * Serves a port: it joins the stream of each `{ url, names, isReplay }` that it sends, and leaves it with `null`. It receives
 * `{ type }`: `open`, `error`, `closed` once the browser has given the stream up, and `event` with `topic`, `data` and `id`.
 */
export function serve(port) {
  let stream = null;
  port.onmessage = ({ data }) => {
    if (stream) leave(stream, port);
    stream = data && join(port, data);
  };
}

function join(port, request) {
  const stream = streams.get(request.url) ?? open(request);
  stream.ports.add(port);
  if (stream.source.readyState === EventSource.OPEN) port.postMessage({ type: 'open' });
  for (const message of stream.past) port.postMessage(message);
  return stream;
}

function leave(stream, port) {
  stream.ports.delete(port);
  if (stream.ports.size === 0) close(stream);
}

function close(stream) {
  stream.source.close();
  if (streams.get(stream.url) === stream) streams.delete(stream.url);
}

function open({ url, names, isReplay }) {
  const source = new EventSource(url);
  // The events of a replay are kept for windows that join later.
  const stream = { url, source, ports: new Set(), past: [] };
  streams.set(url, stream);
  const send = (message) => {
    for (const port of stream.ports) port.postMessage(message);
  };
  source.onopen = () => send({ type: 'open' });
  source.onerror = () => {
    // The browser reconnects with the id of the last event, unless it has closed the stream.
    const isClosed = source.readyState === EventSource.CLOSED;
    if (isClosed) close(stream);
    send({ type: isClosed ? 'closed' : 'error' });
  };
  for (const topic of names) {
    source.addEventListener(topic, ({ data, lastEventId }) => {
      const message = { type: 'event', topic, data: JSON.parse(data), id: lastEventId };
      if (isReplay) stream.past.push(message);
      send(message);
    });
  }
  return stream;
}
