// What the README and the access page show, run as it stands there: every snippet of an SDK connects, and every command of "Grant, change,
// take away" is answered. Only the ports are those of this test's cluster.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import Ably from 'ably';
import PubNub from 'pubnub';
import PusherServer from 'pusher';
import PusherClient from 'pusher-js';
import { Cluster, ROOT } from './lib/cluster.mjs';
import { until } from './lib/wait.mjs';

const { IbtRealTimeSJNode } = createRequire(import.meta.url)('ibtrealtimesjnode');
const run = promisify(execFile);

let cluster;
let env;
before(async () => {
  cluster = await Cluster.start({ nodes: 1 });
  const made = await cluster.admin().createApp({ name: 'readme', settings: { grants_open_channels: true } });
  env = { ...made.env, GATECAST_ADMIN_TOKEN: cluster.adminToken };
});
after(() => cluster?.stop());

/** A page's blocks in this language, below this heading or, without one, all of them. */
function blocks(language, heading, page = 'README.md') {
  const text = readFileSync(join(ROOT, page), 'utf8');
  const section = heading === undefined ? text : text.split(`\n## ${heading}\n`)[1].split('\n## ')[0];
  const found = [...section.matchAll(/^```(\w*)\n([^]*?)^```$/gm)].filter(([, of]) => of === language);
  const { public: port, internal } = cluster.node(1);
  return found.map(([, , text]) => text.replaceAll('6001', port).replaceAll('9601', internal));
}

/** Runs a snippet; what it constructs, in order. */
function play(snippet, names) {
  const made = [];
  const kept = (constructor) =>
    new Proxy(constructor, {
      construct(target, given) {
        made.push(Reflect.construct(target, given));
        return made.at(-1);
      },
    });
  const all = { ...env, ...names(kept) };
  new Function(...Object.keys(all), snippet)(...Object.values(all));
  return made;
}

/** Runs a block of curl calls as it stands; the answers, one to each. */
async function answersTo(commands) {
  const failing = 'set -eu\ncurl() { command curl --noproxy "*" -fsS "$@"; echo; }\n';
  const { stdout } = await run('bash', ['-c', failing + commands], { env: { ...process.env, ...env } });
  const answers = stdout.trim().split('\n').map((line) => JSON.parse(line));
  assert.equal(answers.length, commands.match(/^curl/gm).length);
  return answers;
}

test('every snippet connects as it stands', async () => {
  const [client, server, others, ...more] = blocks('js', 'Point your SDK at it');
  assert.deepEqual(more, []);
  const [pusher] = play(client, (kept) => ({ Pusher: kept(PusherClient) }));
  const [app] = play(server, (kept) => ({ Pusher: kept(PusherServer) }));
  const ortc = new IbtRealTimeSJNode();
  const said = [];
  ortc.onConnected = () => said.push('connected');
  ortc.onException = (_, error) => said.push(String(error));
  const [ably, pubnub] = play(others, (kept) => ({
    Ably: { ...Ably, Realtime: kept(Ably.Realtime) },
    PubNub: kept(PubNub.default ?? PubNub),
    ortc,
    token: 'any',
  }));
  try {
    await until(() => pusher.connection.state === 'connected', 'pusher-js is connected');
    assert.equal((await app.get({ path: '/channels' })).status, 200);
    await until(() => ably.connection.state === 'connected', 'Ably is connected');
    assert.ok((await pubnub.publish({ channel: 'here', message: 'hello' })).timetoken);
    await until(() => said.length > 0, 'Realtime.co is connected');
    assert.deepEqual(said, ['connected']);
  } finally {
    pusher.disconnect();
    ably.close();
    pubnub.stop?.();
    ortc.disconnect();
  }
});

test('every command of "Grant, change, take away" is answered, and leaves nobody out', async () => {
  const [commands, ...more] = blocks('', 'Grant, change, take away');
  assert.deepEqual(more, []);
  const answers = await answersTo(commands);
  const [, narrowed, explained] = answers;
  assert.deepEqual({ enforced: narrowed.enforced, pending: narrowed.pending }, { enforced: [1], pending: [] });
  assert.equal(explained.allowed, false);
  const ana = await cluster.admin().explain(env.GATECAST_APP_ID, { user: 'ana', channel: 'private-orders', operations: ['subscribe'] });
  assert.doesNotMatch(JSON.stringify(ana), /block/, 'she is let in again');
});

test('every recipe of the access page is answered as it stands', async () => {
  const [commands] = blocks('', 'Grant, change, take away');
  const [names] = commands.split('\n\n');
  const recipes = blocks('sh', undefined, 'docs/access.md');
  assert.ok(recipes.length >= 8, 'the recipes are found');
  const answers = [];
  for (const recipe of recipes) answers.push(...(await answersTo(`${names}\n${recipe}`)));
  const narrowed = answers.filter((answer) => 'enforced' in answer);
  assert.ok(narrowed.length >= 4, 'what takes away says who has enforced it');
  for (const answer of narrowed) assert.deepEqual(answer.pending, []);
});
