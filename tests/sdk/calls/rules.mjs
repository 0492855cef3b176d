// What has to come of a call under a credential, by what the page says of the row and by nothing else; and the runs of one
// row: all that must be refused together, before and after which the state is the same, then each that is let in.

import assert from 'node:assert/strict';
import { until } from '../lib/wait.mjs';

/**
 * The verdict of the page: `yes`, `no` (with why: `unknown` credential, `forbidden` here, `wrong app`), `shown` or `hidden`
 * for what leaves out, `elsewhere` for a credential that speaks for its own app.
 */
export function verdict(call, credential) {
  if (call.who.startsWith('anybody')) return { is: 'yes' };
  if (call.who === 'nobody') return no('unknown');
  if (credential.kind === 'operator') return credential.proven ? { is: call.shows || call.detail ? 'shown' : 'yes' } : no('unknown');
  // A listing may as well be empty to a credential that is over.
  if (!credential.proven && call.shows && call.who.startsWith('auth')) return { is: 'unseen' };
  if (!credential.proven) return no('unknown');
  if (call.who === 'operator') return no('forbidden');
  if (!accepts(call.who, credential.kind)) return no('unknown');
  if (!credential.own) return namesApp(call) ? no('wrong app') : { is: 'elsewhere' };
  if (call.detail) return { is: credential.looks || !credential.bare ? 'shown' : 'hidden' };
  if (call.somewhere && !credential.holds && !credential.elsewhere) return no('forbidden');
  if (call.shows) return { is: credential.holds ? 'shown' : 'hidden' };
  return credential.holds ? { is: 'yes' } : no('forbidden');
}

const no = (why) => ({ is: 'no', why });

/** Whether a call's path, or the connection, says which app is meant; else the credential says it. */
function namesApp({ section, method, path }) {
  if (method === 'FRAME') return section !== 'Ably' || path === 'AUTH';
  return /\{app\}|\{key\}|\{tail/.test(path) || /^\/(authenticate|send)/.test(path);
}

function accepts(who, kind) {
  if (who.startsWith('auth')) return true;
  return who.split(', ')[0] === kind || who.split(', ')[1] === kind;
}

/** Eight at a time. */
async function each(items, work) {
  const left = [...items];
  const workers = Array.from({ length: 8 }, async () => {
    for (let one = left.shift(); one; one = left.shift()) await work(one);
  });
  await Promise.all(workers);
}

/**
 * Puts one row to every credential: all that must be refused at once, before and after which the state is the same; then
 * each that is let in, after which it is another. `dialect` has `credentials(world, call, instance)`, `send(world, instance, credential)`
 * → `{status, body, text}`, `refused(answer, why)` and `allowed(answer, instance)`, which throw with what is wrong.
 */
export async function put(world, call, recipe, dialect, tally) {
  const shared = await made(world, call, recipe, dialect);
  tried(call, shared.credentials.map((one) => one.verdict));
  const quiet = shared.credentials.filter((one) => one.verdict.is !== 'yes' || shared.reads);
  const before = shared.reads || (await shared.world.state(shared));
  await each(quiet, (credential) => cell(call, shared, credential, dialect, tally));
  if (shared.reads) return;
  assert.equal(await shared.world.state(shared), before, `${call.name}: a call without its right changed something`);
  const allowed = shared.credentials.filter((one) => one.verdict.is === 'yes');
  for (const { name } of allowed) {
    const instance = await made(world, call, recipe, dialect);
    const again = instance.credentials.find((one) => one.name.replace(/-\d+/g, '') === name.replace(/-\d+/g, ''));
    const earlier = instance.harmless ? '' : await instance.world.state(instance);
    await cell(call, instance, again, dialect, tally);
    const changed = async () => (await instance.world.state(instance)) !== earlier;
    if (!instance.harmless) await until(changed, `${call.name} with ${name} changes something that the suite sees`);
  }
}

/** A row that nobody may call, or that refuses nobody, shows nothing: both are to be tried, and so is a lack of the right alone. */
function tried(call, verdicts) {
  const is = (...kinds) => verdicts.some((one) => kinds.includes(one.is) || kinds.includes(one.why));
  if (call.who !== 'nobody') assert.ok(is('yes', 'shown'), `${call.name}: nobody may call it`);
  if (!call.who.startsWith('anybody')) assert.ok(is('no', 'unseen'), `${call.name}: everybody may call it`);
  if (call.needs.any[0].length > 0) assert.ok(is('forbidden', 'hidden'), `${call.name}: nobody lacks the right`);
}

/** What a recipe makes, with its credentials and the verdict on each. */
async function made(world, call, recipe, dialect) {
  const instance = await recipe(world, call);
  instance.world ??= world;
  const credentials = await dialect.credentials(instance.world, call, instance);
  instance.credentials = credentials.map((one) => ({ ...one, verdict: verdict(call, one) }));
  return instance;
}

async function cell(call, instance, credential, dialect, tally) {
  const answer = await dialect.send(instance.world, instance, credential);
  judge(call, instance, credential, answer, dialect);
  tally.cells += 1;
}

function judge(call, instance, credential, answer, dialect) {
  const said = `${call.name} with ${credential.name}: ${answer.status} ${answer.text?.slice(0, 300)}`;
  const { is, why } = credential.verdict;
  try {
    if (is === 'no') {
      dialect.refused(answer, why, instance);
      assert.ok(!instance.marker || !answer.text.includes(instance.marker), 'a refusal shows it');
      return;
    }
    if (is !== 'unseen') dialect.allowed(answer, instance);
    if (is === 'shown' || (is === 'yes' && instance.marker)) assert.ok(answer.text.includes(instance.marker), `does not show ${instance.marker}`);
    if (['hidden', 'elsewhere', 'unseen'].includes(is)) {
      assert.ok(!instance.marker || !answer.text.includes(instance.marker), `shows ${instance.marker}`);
    }
  } catch (error) {
    throw new Error(`expected ${is}${why ? ` (${why})` : ''}, but ${said}: ${error.message}`);
  }
}
