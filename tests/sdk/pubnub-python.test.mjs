// The official Python SDK (7.3.0) against three nodes: its own query and signature forms.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Cluster } from './lib/cluster.mjs';
import { PythonSdk } from './lib/python.mjs';
import { keyset } from './pubnub-path.mjs';

let cluster;
let keys;
let python;
before(async () => {
  cluster = await Cluster.start();
  keys = await keyset(cluster);
  python = new PythonSdk(cluster.app, 'pubnub_sdk.py');
});
after(async () => {
  python?.stop();
  await cluster?.stop();
});

const call = (node, name, steps, config = {}) => python.ask({ url: cluster.urls[node - 1], keys, config, call: name, with: Object.entries(steps) });
const refused = (promise) => promise.then(() => 200, (error) => error.status);

test('grants at one node are obeyed at the next: GET, POST and packed publishes, history, revoke', async () => {
  const server = { server: true, uuid: 'admin' };
  const channel = "py room ~*'()&";
  const clean = 'py-room~.!@';
  const auth = 'key +/=~';
  assert.equal(await refused(call(2, 'publish', { channel: clean, message: 'x' }, { auth })), 403);
  await call(1, 'grant', { channels: [clean], auth_keys: [auth], read: true, write: true, ttl: 5 }, server);
  await call(2, 'publish', { channel: clean, message: { n: 1, text: 'é' } }, { auth });
  await call(3, 'publish', { channel: clean, message: { n: 2 }, use_post: true }, { auth });
  const past = await call(3, 'history', { channel: clean, count: 10 }, { auth });
  assert.deepEqual(past.messages.map((one) => one.entry.n), [1, 2]);
  await call(1, 'publish', { channel: clean, message: { n: 3 }, use_post: true }, server);
  assert.equal(await refused(call(1, 'publish', { channel, message: 1 }, server)), 400);
  await call(2, 'grant', { channels: [clean], auth_keys: [auth], read: false, write: false }, server);
  assert.equal(await refused(call(3, 'publish', { channel: clean, message: 'x' }, { auth })), 403);
});

