// Mining jobs of this node: what runs, how far it is, and starting and cancelling them.
import { find, order } from './api.js';
import { h, refill, toast } from './dom.js';
import { count, duration, hashrate, plural } from './format.js';
import { on, paced, params } from './live.js';
import { address, badge, blockLink, card, empty, meter, time } from './parts.js';

const KINDS = { scheduled: '', queued: '', running: 'wait', succeeded: 'good', failed: 'bad', cancelled: 'stale' };
const DONE = ['succeeded', 'failed', 'cancelled'];
/** Jobs that are shown. */
const SHOWN = 12;

/** A card with the jobs: `load` reads them. */
export function jobs(signal) {
  const list = h('ul', { class: 'jobs' });
  const known = new Map();
  let isThere = false;
  const show = () => {
    const newest = [...known.values()].sort((a, b) => b.created_at - a.created_at).slice(0, SHOWN);
    if (newest.length > 0) refill(list, ...newest.map((job) => h('li', null, line(job, took))));
    else list.replaceChildren(h('li', null, empty(isThere ? 'No jobs yet' : 'No jobs here', isThere ? 'Start one: this node then mines in the background.' : 'This node does not take mining jobs.')));
  };
  const took = (job) => {
    known.set(job.id, later(known.get(job.id), job));
    show();
  };
  const load = async () => {
    const found = await find('/mining/jobs', signal);
    isThere = found !== null;
    const before = new Map(known);
    known.clear();
    for (const job of Array.isArray(found) ? found : found?.items ?? []) known.set(job.id, later(before.get(job.id), job));
    form.hidden = !isThere;
    show();
  };
  const form = startForm(took);
  on(['job.updated'], signal, took);
  on(['return', 'reset'], signal, paced(load));
  return { element: card('Mining jobs', form, list), load };
}

/** What is over stays over, whatever an answer says that was given before. */
const later = (before, job) => (before && DONE.includes(before.state) && !DONE.includes(job.state) ? before : job);

function line(job, took) {
  const { blocks_done: done = 0, blocks_target: target, hashrate: rate, expected_seconds: expected } = job.progress ?? {};
  const bar = meter(target ? done / target : job.state === 'succeeded' ? 1 : 0, `${done} of ${target ?? 'any number of'} blocks`);
  const cancel = DONE.includes(job.state) ? null : h('button', { type: 'button', 'data-key': job.id, onclick: () => stop(job, took) }, 'Cancel');
  const last = job.result?.blocks?.at(-1);
  const words = [
    target ? `${count(done)} of ${plural(target, 'block')}` : plural(done, 'block'),
    job.every_seconds ? `every ${duration(job.every_seconds)}` : null,
    job.runs ? plural(job.runs, 'run') : null,
    job.state === 'running' && rate ? hashrate(rate) : null,
    job.state === 'running' && expected ? `about ${duration(expected)} to the next` : null,
    job.waiting ? `waits for ${job.waiting}` : null,
    job.error ? job.error.detail ?? job.error.title : null,
  ].filter(Boolean).join(' · ');
  return h('div', { class: 'job' },
    h('div', null, badge(job.state, KINDS[job.state]), h('code', { title: job.id }, String(job.id).slice(0, 8)), h('span', { class: 'quiet' }, time(job.created_at)), job.miner && address(job.miner, { copies: false }), last && blockLink(last, { copies: false })),
    bar.element, h('div', null, h('span', null, words, job.state === 'scheduled' && [' · starts ', time(job.not_before)]), cancel));
}

async function stop(job, took) {
  const answer = await tell(() => order('DELETE', `/mining/jobs/${encodeURIComponent(job.id)}`), 'The job is cancelled');
  if (answer?.id) took(answer);
}

function startForm(took) {
  const form = h('form', { class: 'inline-form' },
    field('Blocks', h('input', { name: 'blocks', type: 'number', min: 1, value: 10, placeholder: 'no end' })),
    field('Threads', h('input', { name: 'threads', type: 'number', min: 1, max: 1024, placeholder: 'as set' })),
    field('Pays', h('input', { name: 'miner', placeholder: 'the node’s own address', spellcheck: 'false', autocomplete: 'off' })),
    h('button', { type: 'submit', class: 'primary' }, 'Start mining'));
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    const { blocks, threads, miner } = Object.fromEntries(new FormData(form));
    const body = { ...(blocks && { blocks: Number(blocks) }), ...(threads && { threads: Number(threads) }), ...(miner && { miner: miner.trim() }) };
    const job = await tell(() => start(body), 'The job is started');
    if (job) took(job);
  });
  return form;
}

/** Starts a job. Where nobody is named to be paid, the first account of a network made for trying things out is, as for blocks on demand. */
async function start(body) {
  try {
    return await order('POST', '/mining/jobs', body);
  } catch (error) {
    if (error.code !== 'no-miner') throw error;
    const [first] = params.allocations;
    if (!first) throw new Error('This node has no address of its own: say whom the blocks pay.');
    return order('POST', '/mining/jobs', { ...body, miner: first.address });
  }
}

/** A labelled field of a form. */
export function field(name, input) {
  return h('label', { class: 'field' }, h('span', null, name), input);
}

/** Does what a person asked for, and says what came of it: the answer, or null. */
export async function tell(act, done) {
  try {
    const answer = await act();
    if (answer !== null && done) toast(done);
    return answer;
  } catch (error) {
    toast(error.message);
    return null;
  }
}
