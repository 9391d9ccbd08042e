// A card with the node's mining jobs: shows their progress, starts and cancels them.
import { authorized, find } from './api.js';
import { address, badge, blockLink, card, empty, meter, time } from './components.js';
import { h, replaceContent, toast } from './dom.js';
import { count, duration, hashrate, plural } from './format.js';
import { on, params, throttled } from './live.js';

const BADGES = { scheduled: '', queued: '', running: 'wait', succeeded: 'good', failed: 'bad', cancelled: 'stale' };
const FINAL = ['succeeded', 'failed', 'cancelled'];
/** Jobs shown at first, and with each press of the button more. */
const LIMIT = 12;
/** Most jobs of a request. */
const MAX_LIMIT = 100;
/** The order of states in the list, that of the API. */
const ORDER = ['running', 'queued', 'scheduled'];

/** The card; its `load` reads the jobs. */
export function jobs(signal) {
  const list = h('ul', { class: 'jobs' });
  const more = h('button', { type: 'button', class: 'more', hidden: true }, 'Show more');
  const known = new Map();
  let isAvailable = false;
  let limit = LIMIT;
  const show = () => {
    const shown = [...known.values()].sort((a, b) => rank(a) - rank(b) || b.created_at - a.created_at).slice(0, limit);
    if (shown.length > 0) replaceContent(list, ...shown.map((job) => h('li', null, renderJob(job, update))));
    else list.replaceChildren(h('li', null, isAvailable ? empty('No mining jobs', 'Start one to mine in the background.') : empty('Mining jobs unavailable', 'This node does not support mining jobs.')));
  };
  const update = (job) => {
    // The recurring job shows its runs.
    if (job.series) return;
    known.set(job.id, newer(known.get(job.id), job));
    show();
  };
  const load = async () => {
    const page = await find(`/mining/jobs?limit=${limit}`, signal);
    isAvailable = page !== null;
    const before = new Map(known);
    known.clear();
    for (const job of page?.items ?? []) known.set(job.id, newer(before.get(job.id), job));
    form.hidden = !isAvailable;
    more.hidden = !page?.next || limit >= MAX_LIMIT;
    show();
  };
  more.addEventListener('click', () => attempt(async () => {
    limit = Math.min(limit + LIMIT, MAX_LIMIT);
    await load();
  }));
  const form = startForm(update);
  on(['job.updated'], signal, update);
  on(['resync', 'reset'], signal, throttled(load));
  return { element: card('Mining jobs', form, list, more), load };
}

/** The position of a job's state in the list; recurring jobs that run come first. */
function rank(job) {
  if (job.state === 'running' && job.every_seconds) return -1;
  const at = ORDER.indexOf(job.state);
  return at < 0 ? ORDER.length : at;
}

/** The newer of two versions of a job: a final state is never left, so a later response may still be outdated. */
const newer = (before, job) => (before && FINAL.includes(before.state) && !FINAL.includes(job.state) ? before : job);

function renderJob(job, update) {
  const { blocks_done: done = 0, blocks_target: target, hashrate: rate, expected_seconds: expected, luck } = job.progress ?? {};
  const bar = meter(target ? done / target : job.state === 'succeeded' ? 1 : 0, `${done} of ${target ?? 'unlimited'} blocks`);
  const cancelButton = FINAL.includes(job.state) ? null : h('button', { type: 'button', 'data-key': job.id, onclick: () => cancel(job, update) }, job.every_seconds ? 'Cancel all runs' : 'Cancel');
  const last = job.result?.blocks?.at(-1);
  const start = job.next_run ? [' · next run ', time(job.next_run)] : job.state === 'scheduled' && [' · starts ', time(job.not_before)];
  const details = [
    target ? `${count(done)} of ${plural(target, 'block')}` : plural(done, 'block'),
    job.every_seconds ? `every ${duration(job.every_seconds)}` : null,
    job.runs ? plural(job.runs, 'run') + results(job.ended_runs) : null,
    luck ? `luck ${Math.round(luck * 100)} %` : null,
    job.state === 'running' && rate ? hashrate(rate) : null,
    job.state === 'running' && expected ? `next block in about ${duration(expected)}` : null,
    job.waiting ? `waiting for ${job.waiting}` : null,
    job.error ? job.error.detail ?? job.error.title : null,
  ].filter(Boolean).join(' · ');
  return h('div', { class: 'job' },
    h('div', null, badge(job.state, BADGES[job.state]), h('code', { title: job.id }, String(job.id).slice(0, 8)), h('span', { class: 'quiet' }, time(job.created_at)), job.miner && address(job.miner, { copyable: false }), last && blockLink(last, { copyable: false })),
    bar.element, h('div', null, h('span', null, details, start), cancelButton),
    job.recent_runs?.length > 0 && h('div', { class: 'runs' }, job.recent_runs.map((run) =>
      h('span', { title: `Run ${run.id}: ${plural(run.blocks_done, 'block')}` }, badge(run.state, BADGES[run.state]), run.finished_at && h('span', { class: 'quiet' }, time(run.finished_at))))));
}

/** How many runs of a recurring job failed or were cancelled. */
function results({ failed, cancelled } = {}) {
  const bad = [failed && `${count(failed)} failed`, cancelled && `${count(cancelled)} cancelled`].filter(Boolean);
  return bad.length > 0 ? ` (${bad.join(', ')})` : '';
}

async function cancel(job, update) {
  const cancelled = await attempt(() => authorized('DELETE', `/mining/jobs/${encodeURIComponent(job.id)}`), 'Job cancelled');
  if (cancelled?.id) update(cancelled);
}

function startForm(update) {
  const form = h('form', { class: 'inline-form' },
    field('Blocks', h('input', { name: 'blocks', type: 'number', min: 1, value: 10, placeholder: 'unlimited' })),
    field('Threads', h('input', { name: 'threads', type: 'number', min: 1, max: 1024, placeholder: 'default' })),
    field('Payout address', h('input', { name: 'miner', placeholder: 'the node’s address', spellcheck: 'false', autocomplete: 'off' })),
    h('button', { type: 'submit', class: 'primary' }, 'Start mining'));
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    const { blocks, threads, miner } = Object.fromEntries(new FormData(form));
    const body = { ...(blocks && { blocks: Number(blocks) }), ...(threads && { threads: Number(threads) }), ...(miner && { miner: miner.trim() }) };
    const job = await attempt(() => start(body), 'Job started');
    if (job) update(job);
  });
  return form;
}

/** Starts a job. If neither it nor the node has a payout address, it pays the first account that genesis funds, as `/v1/dev/generate` does. */
async function start(body) {
  try {
    return await authorized('POST', '/mining/jobs', body);
  } catch (error) {
    if (error.code !== 'no-miner') throw error;
    const [first] = params.allocations;
    if (!first) throw new Error('This node has no payout address: enter one.');
    return authorized('POST', '/mining/jobs', { ...body, miner: first.address });
  }
}

/** A labelled field of a form. */
export function field(name, input) {
  return h('label', { class: 'field' }, h('span', null, name), input);
}

/** Runs an action of the user and shows its outcome as a message. Returns its result; null if it failed or was cancelled. */
export async function attempt(action, message) {
  try {
    const result = await action();
    if (result !== null && message) toast(message);
    return result;
  } catch (error) {
    toast(error.message);
    return null;
  }
}
