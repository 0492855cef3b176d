// The README's way: `scripts/cluster up`, then `scripts/demo`. On ports and in a folder of its own.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { after, before, test } from 'node:test';
import { BINARY, ROOT, TARGET } from './lib/cluster.mjs';

const KEYS = `GATECAST_URLS GATECAST_ADMIN_URLS GATECAST_ADMIN_TOKEN GATECAST_PIDS GATECAST_APP_ID GATECAST_KEY PUSHER_APP_ID PUSHER_APP_KEY
  PUSHER_APP_SECRET ABLY_KEY PUBNUB_PUBLISH_KEY PUBNUB_SUBSCRIBE_KEY PUBNUB_SECRET_KEY REALTIME_APPLICATION_KEY
  REALTIME_PRIVATE_KEY`.split(/\s+/);

const run = promisify(execFile);
let folder;
let env;
const script = (name, ...args) => run(join(ROOT, 'scripts', name), args, { env, timeout: 120_000 });
const written = () =>
  Object.fromEntries(
    readFileSync(join(folder, 'env'), 'utf8')
      .trim()
      .split('\n')
      .map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]),
  );

const bindable = (port) =>
  new Promise((resolve) => {
    const server = createServer().once('error', () => resolve(false));
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
  });

/** Whether the process runs; one that has ended and only waits to be reaped does not. */
function runs(pid) {
  try {
    return !/^\d+ \(.*\) [ZX]/.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    return false;
  }
}

/** A shift of all ports at which none of the nine is taken. */
async function freeShift() {
  for (let tries = 0; tries < 50; tries += 1) {
    const shift = 10_000 + Math.floor(Math.random() * 12_000);
    const ports = [6000, 9600, 7600].flatMap((base) => [1, 2, 3].map((node) => shift + base + node));
    if ((await Promise.all(ports.map(bindable))).every(Boolean)) return shift;
  }
  throw new Error('no nine free ports in fifty tries');
}

before(async () => {
  folder = mkdtempSync(join(TARGET, 'sdk-script-'));
  env = { ...process.env, GATECAST_CLUSTER_DIR: folder, GATECAST_PORT_BASE: String(await freeShift()), GATECAST_BIN: BINARY };
});
after(async () => {
  await script('cluster', 'down', '--purge').catch(() => {});
  rmSync(folder, { recursive: true, force: true });
});

test('up starts three nodes, waits until they are ready and writes the env file, readable by its owner only', async () => {
  await script('cluster', 'up');
  const env_file = written();
  for (const key of KEYS) assert.ok(env_file[key], `${key} is missing`);
  assert.equal(env_file.GATECAST_URLS.split(',').length, 3);
  assert.equal(env_file.GATECAST_PIDS.split(',').length, 3);
  for (const url of env_file.GATECAST_ADMIN_URLS.split(',')) {
    assert.equal((await fetch(`${url}/ready`)).status, 200);
  }
  for (const path of ['env', 'cluster_secret', 'admin_token', 'plan.json', 'node1.log', '.']) {
    assert.equal(statSync(join(folder, path)).mode & 0o077, 0, path);
  }
  assert.equal(env_file.ABLY_KEY, `${env_file.GATECAST_APP_ID}.${env_file.PUSHER_APP_KEY}:${env_file.PUSHER_APP_SECRET}`);
});

test('the env file names the dialects that the app speaks now, and no others', async () => {
  const { GATECAST_APP_ID: app, GATECAST_SERVER: server, GATECAST_ADMIN_TOKEN: token, ...all } = written();
  const protocols = async (...names) => {
    const asked = ['--server', server, '--token', token, 'app', 'update', app, ...names.flatMap((name) => ['--protocol', name])];
    await run(BINARY, asked);
    await script('cluster', 'up');
    return written();
  };
  const only = await protocols('pubnub', 'ably');
  const dialects = new Set(Object.keys(only).map((name) => name.split('_')[0]));
  assert.deepEqual(dialects, new Set(['GATECAST', 'PUBNUB', 'ABLY']));
  const back = await protocols('pusher', 'ably', 'pubnub', 'realtime');
  for (const [name, value] of Object.entries(all)) assert.equal(back[name], value, name);
});

test('the demo tells the whole story, kill -9 of the leader included', async () => {
  const { stdout } = await script('demo').catch((error) => error);
  assert.match(stdout, /All of it holds\.\n$/, stdout);
});

test('a second cluster on taken ports leaves nothing behind that stands in the way of another try', async () => {
  const second = mkdtempSync(join(TARGET, 'sdk-script-'));
  const before = env;
  try {
    // Its public ports would be the first one's peer ports.
    env = { ...env, GATECAST_CLUSTER_DIR: second, GATECAST_PORT_BASE: String(Number(env.GATECAST_PORT_BASE) + 1600) };
    await assert.rejects(script('cluster', 'up'), /cannot be had.*differ by 1600, 2000 or 3600/);
    env = { ...env, GATECAST_PORT_BASE: String(await freeShift()) };
    await script('cluster', 'up');
    env = { ...env, GATECAST_PORT_BASE: String(await freeShift()) };
    await assert.rejects(script('cluster', 'up'), /down --purge/);
  } finally {
    await script('cluster', 'down', '--purge').catch(() => {});
    env = before;
    rmSync(second, { recursive: true, force: true });
  }
});

test('kill, status, start, down', async () => {
  await script('cluster', 'kill', '2');
  const killed = await script('cluster', 'status').catch((error) => error);
  assert.match(killed.stdout, /node 2.*(not running|down|dead|stopped)/i, killed.stdout);
  await script('cluster', 'start', '2');
  const { GATECAST_PIDS } = written();
  await script('cluster', 'down');
  for (const pid of GATECAST_PIDS.split(',')) {
    assert.equal(runs(pid), false, `process ${pid} is still there`);
  }
});
