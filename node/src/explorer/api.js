// A client of the node's REST API. An error response becomes a `Problem` with the node's own message.
import { h } from './dom.js';

/** The key in `sessionStorage` under which the tab stores the API token. */
const TOKEN = 'chain-token';

/** An error response of the node. */
export class Problem extends Error {
  constructor(status, body) {
    super(body.detail ?? body.title ?? `The node responded with status ${status}.`);
    this.status = status;
    this.code = body.code ?? '';
  }
}

/** Milliseconds after which a read is aborted. */
const READ_TIMEOUT = 30_000;

/** The node does not respond. */
export class Unreachable extends Error {}

async function request(path, options) {
  let response;
  let text;
  try {
    // Confirmations change with every block, so the cache must revalidate.
    response = await fetch(`/v1${path}`, { cache: 'no-cache', ...options });
    text = await response.text();
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new Unreachable('The node does not respond.');
  }
  const isJson = (response.headers.get('content-type') ?? '').includes('json');
  const body = isJson && text ? JSON.parse(text) : text;
  if (!response.ok) throw new Problem(response.status, isJson ? body : {});
  return body;
}

/** Reads a resource. */
export const get = (path, signal) => request(path, { signal: AbortSignal.any([signal, AbortSignal.timeout(READ_TIMEOUT)].filter(Boolean)) });

/** Reads a resource; null if the node does not have it. */
export async function find(path, signal) {
  try {
    return await get(path, signal);
  } catch (error) {
    if (error instanceof Problem && [400, 404].includes(error.status)) return null;
    throw error;
  }
}

/** Sends a request that needs no token. */
export const post = (path, body) => request(path, {
  method: 'POST',
  headers: { 'Content-Type': 'application/json' },
  body: JSON.stringify(body),
});

/** Sends a request that needs the API token, which is asked for once and stored in this tab only. Null if the user cancels. */
export async function authorized(method, path, body) {
  let isWrong = false;
  for (;;) {
    const token = sessionStorage.getItem(TOKEN) ?? (await promptForToken(isWrong));
    if (!token) return null;
    // Other characters cannot be sent in a header, and no token contains them.
    isWrong = !/^[\x21-\x7e]+$/.test(token);
    if (isWrong) continue;
    try {
      const response = await request(path, {
        method,
        headers: { Authorization: `Bearer ${token}`, 'Content-Type': 'application/json' },
        body: body === undefined ? undefined : JSON.stringify(body),
      });
      sessionStorage.setItem(TOKEN, token);
      return response === '' ? {} : response;
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      if (error.status !== 401) {
        // Any other error means that the node accepted the token.
        sessionStorage.setItem(TOKEN, token);
        throw error;
      }
      sessionStorage.removeItem(TOKEN);
      isWrong = true;
    }
  }
}

function promptForToken(isWrong) {
  return new Promise((resolve) => {
    const input = h('input', { type: 'password', name: 'token', id: 'token', required: true, autocomplete: 'off', spellcheck: 'false', 'aria-describedby': 'token-hint' });
    const dialog = h('dialog', { class: 'dialog', 'aria-labelledby': 'token-title', onclose: () => {
      resolve(dialog.returnValue === 'ok' ? input.value.trim() : null);
      dialog.remove();
    } },
    h('form', { method: 'dialog' },
      h('h2', { id: 'token-title' }, 'API token'),
      h('p', { id: 'token-hint' }, 'The token authorizes requests that control this node. Copy it from the file ', h('code', null, 'api-token'), ' in the node’s data directory. It is stored in this tab only.'),
      isWrong && h('p', { class: 'error', role: 'alert' }, 'The node rejected this token.'),
      h('label', { for: 'token' }, 'Token'),
      input,
      h('div', { class: 'actions' },
        h('button', { type: 'submit', value: 'ok', class: 'primary' }, 'Continue'),
        h('button', { type: 'button', onclick: () => dialog.close('') }, 'Cancel'))));
    document.body.append(dialog);
    dialog.showModal();
  });
}
