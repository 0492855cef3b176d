// What the README shows, run as it stands there: every snippet of an SDK connects, and every command of "Grant, change,
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

/** The README's blocks in this language, below this heading. */
function blocks(language, heading) {
  const [, below] = readFileSync(join(ROOT, 'README.md'), 'utf8').split(`\n## ${heading}\n`);
  const section = below.split('\n## ')[0];
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
  const failing = 'set -eu\ncurl() { command curl --noproxy "*" -fsS "$@"; echo; }\n';
  const { stdout } = await run('bash', ['-c', failing + commands], { env: { ...process.env, ...env } });
  const answers = stdout.trim().split('\n').map((line) => JSON.parse(line));
  assert.equal(answers.length, commands.match(/^curl/gm).length);
  const [, narrowed, explained] = answers;
  assert.deepEqual({ enforced: narrowed.enforced, pending: narrowed.pending }, { enforced: [1], pending: [] });
  assert.equal(explained.allowed, false);
  const ana = await cluster.admin().explain(env.GATECAST_APP_ID, { user: 'ana', channel: 'private-orders', operations: ['subscribe'] });
  assert.doesNotMatch(JSON.stringify(ana), /block/, 'she is let in again');
});
