// Back-channel logouts by the thousand, on three real nodes: how long each of the provider's calls takes, and whether anything
// that was published afterwards reached whom it had ended. The provider stands here, so that the load is Gatecast's. One line of
// JSON comes out; `scripts/figures --only logouts` runs it.
//
// Who is watched has a channel with others in which numbered messages are published all the time. Every message is known by when
// its publishing began and every logout by when it was answered, on this process's one clock, and the judge looks at all that
// each connection has ever received.

import { randomInt } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { Cluster, appOf } from '../sdk/lib/cluster.mjs';
import { Provider } from '../sdk/lib/provider.mjs';
import { rawPusher } from '../sdk/lib/raw.mjs';
import { until } from '../sdk/lib/wait.mjs';

const { values } = parseArgs({
  options: { users: { type: 'string', default: '10000' }, watched: { type: 'string', default: '1000' }, 'at-once': { type: 'string', default: '16' }, kill: { type: 'boolean' } },
});
const [USERS, WATCHED, AT_ONCE] = [values.users, values.watched, values['at-once']].map(Number);
const PER_CHANNEL = 50;
const STAY = 20;
const OPENED_AT_ONCE = 64;
const PUBLISH_EVERY_MS = 10;
const GIVE_UP_MS = 60_000;
const now = () => performance.now();
const percentile = (all, p) => Math.round(all[Math.min(all.length - 1, Math.floor(all.length * p))] * 10) / 10;

/** Does something with each, so many at a time. */
async function each(all, atOnce, work) {
  let next = 0;
  const one = async () => {
    while (next < all.length) {
      const at = next;
      next += 1;
      await work(all[at], at);
    }
  };
  await Promise.all(Array.from({ length: atOnce }, one));
}

/** A connection that stands on a token of its user: what it received, and whether it has ended. */
async function connected(url, app, person, provider) {
  const raw = await rawPusher(url, app.key);
  raw.send({ event: 'pusher:subscribe', data: { channel: person.channel, auth: provider.token(person.user, person.sid, { algorithm: 'EdDSA', ttl: 3600 }) } });
  const [ok] = [await raw.events.next(({ event }) => event === 'pusher_internal:subscription_succeeded' || event === 'pusher:subscription_error', 'the subscription')];
  if (ok.event !== 'pusher_internal:subscription_succeeded') throw new Error(JSON.stringify(ok));
  person.received = [];
  raw.socket.on('close', () => {
    person.over = true;
  });
  raw.events.push = ({ event, data }) => {
    if (event === 'said') person.received.push({ number: Number(data), at: now() });
    if (event === 'pusher:ping') raw.send({ event: 'pusher:pong' });
  };
  person.raw = raw;
}

const cluster = await Cluster.start({ nodes: 3 });
let dead = 0;
const living = () => [1, 2, 3].filter((id) => id !== dead);
try {
  const app = appOf(await cluster.admin(1).createApp({ name: 'logouts', protocols: ['pusher'], settings: { user_sign_in: true }, keys: [{ name: 'server' }] }));
  const root = `/v1/apps/${app.id}`;
  const capability = [{ pattern: 'private-*', operations: ['subscribe'] }];
  const { key } = await cluster.server(1, app).call('POST', `${root}/keys`, { name: 'ceiling', capability });
  const provider = new Provider('idp');
  await cluster.server(1, app).call('POST', `${root}/providers`, provider.record(key.id, { claims: { rights: 'ceiling' } }));

  const people = Array.from({ length: USERS }, (_, at) => ({
    user: `user-${at}`,
    sid: `session-${at}`,
    channel: at < WATCHED ? `private-watched-${Math.floor(at / PER_CHANNEL)}` : `private-quiet-${at}`,
    watched: at < WATCHED,
    node: 1 + (at % 3),
    // The first of each channel, as far as they go: they hear everything, or nothing was asked of the others.
    stays: at < WATCHED && at % PER_CHANNEL === 0 && at / PER_CHANNEL < STAY,
  }));
  const began = now();
  await each(people, OPENED_AT_ONCE, (person) => connected(cluster.urls[person.node - 1], app, person, provider));
  const opened_s = Math.round((now() - began) / 100) / 10;

  const channels = Math.ceil(WATCHED / PER_CHANNEL);
  const messages = [];
  let publishing = true;
  const publisher = (async () => {
    for (let number = 0; publishing; number += 1) {
      messages[number] = { began: now(), channel: number % channels };
      const nodes = living();
      const told = cluster.server(nodes[number % nodes.length], app).call('POST', `${root}/publish`, { channel: `private-watched-${number % channels}`, name: 'said', data: String(number) });
      messages[number].done = told.then(() => true, () => false);
      await Promise.race([messages[number].done, sleep(1_000)]);
      await sleep(PUBLISH_EVERY_MS);
    }
  })();

  const leaving = people.filter(({ stays }) => !stays);
  for (let at = leaving.length - 1; at > 0; at -= 1) {
    const other = randomInt(at + 1);
    [leaving[at], leaving[other]] = [leaving[other], leaving[at]];
  }
  const killed = values.kill ? { at: Math.floor(leaving.length * (0.3 + Math.random() * 0.4)), node: 1 + randomInt(3) } : undefined;
  let answered = 0;
  let repeated = 0;
  const first = now();
  await each(leaving, AT_ONCE, async (person, at) => {
    if (killed && answered >= killed.at && dead === 0) {
      dead = killed.node;
      killed.after_ms = Math.round(now() - first);
      killed.leads = (await cluster.leader(living()[0]).catch(() => 0)) === dead;
      await cluster.kill(dead);
      killed.when = now();
    }
    const token = provider.logoutToken({ sub: person.user, sid: person.sid });
    person.asked = now();
    for (let turn = 0; ; turn += 1) {
      // Through whichever node: a balancer takes a while to see that one is gone, and a provider tries again.
      const node = 1 + ((at + turn) % 3);
      const told = await provider.logout(cluster.urls[node - 1], app.id, token).catch(() => ({ status: 0 }));
      person.answered = now();
      if (told.status === 200) break;
      if (told.status >= 400 && told.status < 500) throw new Error(`${told.status} ${JSON.stringify(told.body)}`);
      repeated += 1;
      if (person.answered - person.asked > GIVE_UP_MS) throw new Error(`not answered within ${GIVE_UP_MS} ms: ${told.status}`);
    }
    answered += 1;
  });
  const seconds = (now() - first) / 1000;
  // What was published last has to be able to arrive.
  await sleep(2_000);
  publishing = false;
  await publisher;
  await Promise.all(messages.map(({ done }) => done));
  await sleep(2_000);
  await until(() => leaving.every(({ over }) => over), 'every connection that was logged out has ended');

  const took = (some) => some.map((one) => one.answered - one.asked).toSorted((a, b) => a - b);
  const figures = (some) => {
    const all = took(some);
    return all.length && { calls: all.length, p50_ms: percentile(all, 0.5), p99_ms: percentile(all, 0.99), max_ms: percentile(all, 1) };
  };
  let late = 0;
  let judged = 0;
  for (const person of leaving.filter(({ watched }) => watched)) {
    for (const { number } of person.received) {
      judged += 1;
      if (messages[number].began > person.answered) late += 1;
    }
  }
  const last = Math.max(...leaving.map((person) => person.answered));
  const stayed = people.filter(({ stays, node }) => stays && node !== dead);
  const heardAfter = stayed.reduce((sum, { received }) => sum + received.filter(({ number }) => messages[number].began > first).length, 0);
  const meeting = killed ? leaving.filter((one) => one.answered > killed.when && one.asked < killed.when + 4_000) : [];
  const rest = killed ? leaving.filter((one) => !meeting.includes(one)) : leaving;
  const out = {
    connections: USERS,
    opened_s,
    logouts: answered,
    at_once: AT_ONCE,
    per_second: Math.round(answered / seconds),
    repeated,
    ...figures(rest),
    ...(killed && { killed: { node: dead, leads: killed.leads, after_ms: killed.after_ms, ...figures(meeting) } }),
    messages: messages.length,
    published_meanwhile: messages.filter((one) => one.began > first && one.began < last).length,
    received_by_the_watched: judged,
    received_after_the_answer: late,
    received_by_who_stayed: heardAfter,
  };
  console.log(JSON.stringify(out));
  if (late > 0 || heardAfter === 0 || judged === 0) process.exitCode = 1;
} finally {
  await cluster.stop({ check: dead === 0 });
  process.exit();
}
