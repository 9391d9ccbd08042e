// Requests to the dashboard's server. The token comes in the fragment of the link, and is stored in this tab only.

/** The key in `sessionStorage` of the token. */
const TOKEN = 'testnet-token';
/** Milliseconds after which a read is aborted. */
const READ_TIMEOUT = 15_000;

/** Stores the token of the fragment, which does not remain in the address bar and the history. */
function adoptToken() {
  const found = /^#token=([0-9a-f]+)$/.exec(location.hash);
  if (!found) return;
  sessionStorage.setItem(TOKEN, found[1]);
  history.replaceState(null, '', '/');
}
adoptToken();
// The link may be opened in a tab that shows the page.
addEventListener('hashchange', adoptToken);

/** Whether the link had a token, without which the buttons do nothing. */
export const hasToken = () => sessionStorage.getItem(TOKEN) !== null;

async function request(path, options) {
  const response = await fetch(`/v1/${path}`, { cache: 'no-store', referrerPolicy: 'no-referrer', ...options });
  const body = await response.json();
  if (response.status === 401) sessionStorage.removeItem(TOKEN);
  if (!response.ok) throw new Error(body.detail ?? body.title ?? `status ${response.status}`);
  return body;
}

/** Reads what the dashboard shows. */
export const read = (path) => request(path, { signal: AbortSignal.timeout(READ_TIMEOUT) });

/** Executes a command: `{ command, is_success, output }`. */
export const act = (action) => request('actions', {
  method: 'POST',
  headers: { Authorization: `Bearer ${sessionStorage.getItem(TOKEN)}`, 'Content-Type': 'application/json' },
  body: JSON.stringify(action),
});
