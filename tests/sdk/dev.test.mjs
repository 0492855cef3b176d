// `gatecast dev` as somebody uses it who has nothing yet: one command, and what it prints is pasted into the official SDKs
// as it stands. Each must get the message that it sends.

import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import Ably from 'ably';
import PubNub from 'pubnub';
import PusherServer from 'pusher';
import PusherClient from 'pusher-js';
import { BINARY, TARGET, freePorts } from './lib/cluster.mjs';
import { until, within } from './lib/wait.mjs';

const { IbtRealTimeSJNode } = createRequire(import.meta.url)('ibtrealtimesjnode');
const run = promisify(execFile);

let folder;
let ports;
let node;

/** Starts `gatecast dev` in a folder of its own and waits for what it prints. */
async function dev() {
  const [port, internal, peer] = ports;
  const args = ['dev', '--port', port, '--internal-port', internal, '--peer-port', peer].map(String);
  // A variable of another cluster must not reach it.
  const env = { ...process.env, GATECAST_CLUSTER: '1=127.0.0.1:1', GATECAST_ADMIN_TOKEN: 'x'.repeat(20) };
  const child = spawn(BINARY, args, { cwd: folder, env, stdio: ['ignore', 'pipe', 'pipe'] });
  node = { child, said: '', ended: once(child, 'exit') };
  child.stdout.on('data', (bytes) => (node.said += bytes));
  child.stderr.on('data', (bytes) => (node.said += bytes));
  const died = node.ended.then(([code]) => assert.fail(`it ended with ${code}: ${node.said}`));
  died.catch(() => {});
  const printed = until(() => node.said.includes('─── realtime ───') && node.said.endsWith(');\n'), 'it says what to paste');
  await within(Promise.race([printed, died]), 'gatecast dev is up', 60_000);
}

async function stop() {
  node.child.kill('SIGTERM');
  await within(node.ended, 'it stops', 60_000);
}

before(async () => {
  mkdirSync(join(TARGET, 'sdk'), { recursive: true });
  folder = mkdtempSync(join(TARGET, 'sdk', 'dev-'));
  ports = await freePorts(3);
  await dev();
});
after(async () => {
  await stop();
  rmSync(folder, { recursive: true, force: true });
});

/** The printed block of a dialect. */
function block(name) {
  const [, text] = node.said.split(`─── ${name} ───\n`);
  assert.ok(text, `${name} is printed`);
  return text.split('\n─── ')[0];
}

/** Runs a block; what it constructed, and what it logged. */
function paste(text, names) {
  const made = [];
  const logged = [];
  const kept = (constructor) =>
    new Proxy(constructor, {
      construct(target, given) {
        made.push(Reflect.construct(target, given));
        return made.at(-1);
      },
    });
  const all = { console: { log: (said) => logged.push(said) } };
  for (const [name, constructor] of Object.entries(names)) all[name] = kept(constructor);
  new Function(...Object.keys(all), text)(...Object.values(all));
  return { made, logged };
}

test('what is printed for Pusher works as it stands', async () => {
  const text = block('pusher');
  const [page, app] = text.split('// On the server');
  const { made, logged } = paste(page, { Pusher: PusherClient });
  try {
    await until(() => made[0].channel('my-channel').subscribed, 'it is subscribed');
    paste(`// On the server${app}`, { PusherServer });
    await until(() => logged.length > 0, 'the message is here');
    assert.deepEqual(logged, [{ message: 'hello' }]);
    const refused = made[0].subscribe('private-of-somebody');
    let error;
    refused.bind('pusher:subscription_error', (given) => (error = given));
    await until(() => error, 'what needs a signature is refused without one');
  } finally {
    made[0].disconnect();
  }
});

test('what is printed for Ably works as it stands', async () => {
  const { made, logged } = paste(block('ably').replaceAll('Ably.Realtime', 'Realtime'), { Realtime: Ably.Realtime });
  try {
    await until(() => logged.length > 0, 'the message is here');
    assert.deepEqual(logged, ['hello']);
  } finally {
    made[0].close();
  }
});

test('what is printed for PubNub works as it stands', async () => {
  const { made, logged } = paste(block('pubnub'), { PubNub: PubNub.default ?? PubNub });
  try {
    // Published beside the subscribe, as the block has it, a message may be there first: then the next one arrives.
    await until(async () => {
      if (logged.length === 0) await made[0].publish({ channel: 'my-channel', message: { text: 'hello' } });
      return logged.length > 0;
    }, 'the message is here');
    assert.deepEqual(logged[0], { text: 'hello' });
  } finally {
    made[0].stop?.();
  }
});

test('what is printed for Realtime.co works as it stands', async () => {
  const { made, logged } = paste(block('realtime'), { IbtRealTimeSJNode });
  try {
    await until(() => logged.length > 0, 'the message is here');
    assert.deepEqual(logged, ['hello']);
  } finally {
    made[0].disconnect();
  }
});

test('its credentials are in a file, stay from one run to the next, and are its owner\'s alone', async () => {
  const file = join(folder, '.gatecast', 'env');
  const before = readFileSync(file, 'utf8');
  assert.equal(statSync(file).mode & 0o077, 0);
  await stop();
  await dev();
  assert.equal(readFileSync(file, 'utf8'), before);
  const env = Object.fromEntries(before.trim().split('\n').map((line) => line.split(/=(.*)/s)));
  const { stdout } = await run(BINARY, ['app', 'show', '1', '-o', 'json'], { env: { ...process.env, ...env } });
  assert.equal(JSON.parse(stdout).app.name, 'dev');
});
