// The node's REST API. What fails becomes a `Problem` with the node's own words.
import { h } from './dom.js';

const TOKEN = 'chain-token';

export class Problem extends Error {
  constructor(status, body) {
    super(body.detail ?? body.title ?? `the node answered ${status}`);
    this.status = status;
    this.code = body.code ?? '';
  }
}

/** Milliseconds after which nobody waits for a reading any more. */
const PATIENCE = 30_000;

/** The node does not answer at all. */
export class Away extends Error {}

async function ask(path, options) {
  let response;
  let text;
  try {
    // Answers that a browser may keep for ever still name confirmations of the time they were made.
    response = await fetch(`/v1${path}`, { cache: 'no-cache', ...options });
    text = await response.text();
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new Away('The node does not answer.');
  }
  const isJson = (response.headers.get('content-type') ?? '').includes('json');
  const body = isJson && text ? JSON.parse(text) : text;
  if (!response.ok) throw new Problem(response.status, isJson ? body : {});
  return body;
}

/** Reads a resource. */
export const get = (path, signal) => ask(path, { signal: AbortSignal.any([signal, AbortSignal.timeout(PATIENCE)].filter(Boolean)) });

/** Reads a resource that this node may not have: null then. */
export async function find(path, signal) {
  try {
    return await get(path, signal);
  } catch (error) {
    if (error instanceof Problem && [400, 404].includes(error.status)) return null;
    throw error;
  }
}

/** Sends what everybody may send. */
export const post = (path, body) => ask(path, {
  method: 'POST',
  headers: { 'Content-Type': 'application/json' },
  body: JSON.stringify(body),
});

/** Sends what only those with the token may: it is asked for once and kept in this tab. Null if the person gave none. */
export async function order(method, path, body) {
  let wrong = false;
  for (;;) {
    const token = sessionStorage.getItem(TOKEN) ?? (await askToken(wrong));
    if (!token) return null;
    // Others cannot be sent: no token has them.
    wrong = !/^[\x21-\x7e]+$/.test(token);
    if (wrong) continue;
    try {
      const answer = await ask(path, {
        method,
        headers: { Authorization: `Bearer ${token}`, 'Content-Type': 'application/json' },
        body: body === undefined ? undefined : JSON.stringify(body),
      });
      sessionStorage.setItem(TOKEN, token);
      return answer === '' ? {} : answer;
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      if (error.status !== 401) {
        // Whatever else is wrong, the token is not.
        sessionStorage.setItem(TOKEN, token);
        throw error;
      }
      sessionStorage.removeItem(TOKEN);
      wrong = true;
    }
  }
}

function askToken(wrong) {
  return new Promise((resolve) => {
    const input = h('input', { type: 'password', name: 'token', id: 'token', required: true, autocomplete: 'off', spellcheck: 'false', 'aria-describedby': 'token-hint' });
    const dialog = h('dialog', { class: 'dialog', 'aria-labelledby': 'token-title', onclose: () => {
      resolve(dialog.returnValue === 'ok' ? input.value.trim() : null);
      dialog.remove();
    } },
    h('form', { method: 'dialog' },
      h('h2', { id: 'token-title' }, 'The node’s token'),
      h('p', { id: 'token-hint' }, 'Whoever has it may steer the node. It stands in the file ', h('code', null, 'api-token'), ' in the node’s data folder, and stays in this tab only.'),
      wrong && h('p', { class: 'error', role: 'alert' }, 'The node does not take this token.'),
      h('label', { for: 'token' }, 'Token'),
      input,
      h('div', { class: 'actions' },
        h('button', { type: 'submit', value: 'ok', class: 'primary' }, 'Use it'),
        h('button', { type: 'button', onclick: () => dialog.close('') }, 'Cancel'))));
    document.body.append(dialog);
    dialog.showModal();
  });
}
