// The official Python SDK (7.3.0) against three nodes: its own query and signature forms.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Cluster } from './lib/cluster.mjs';
import { PythonSdk } from './lib/python.mjs';
import { keyset } from './pubnub-path.mjs';
import { until } from './lib/wait.mjs';

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

/** A subscription of the Python SDK: what its listener hears, asked for one by one. */
async function open(name, node, { channels = [], groups = [], presence = false, token, ...config }) {
  const more = token ? { token } : {};
  await python.ask({ url: cluster.urls[node - 1], keys, config, call: 'open', name, channels, groups, presence, ...more });
  return {
    next: async (matches, what) => {
      const seen = [];
      for (;;) {
        const event = await python.ask({ call: 'next', name }).catch((error) => {
          throw new Error(`${what}: ${error.type ?? error.message}; seen: ${JSON.stringify(seen)}`);
        });
        if (matches(event)) return event;
        seen.push(event);
      }
    },
    subscribed: () => python.ask({ call: 'subscribed', name }),
    close: () => python.ask({ call: 'close', name }),
  };
}
const grant = (auth, channels, flags = { read: true, write: true }) => call(1, 'grant', { channels, auth_keys: [auth], ttl: 5, ...flags }, { server: true, uuid: 'admin' });

test('subscribe: messages of another node, a wildcard, presence; a revoke ends it as access denied', async () => {
  await grant('py-sub', ['news', 'news-pnpres', 'world.*']);
  const heard = await open('one', 2, { channels: ['news', 'world.*'], auth: 'py-sub', uuid: 'py' });
  await heard.next((event) => event.category === 'PNConnectedCategory', 'connected');
  const watch = await open('two', 3, { channels: ['news'], presence: true, auth: 'py-sub', uuid: 'watch' });
  const join = await watch.next((event) => event.kind === 'presence' && event.event === 'join' && event.uuid === 'watch', 'its own join');
  assert.equal(join.channel, 'news');
  await call(3, 'publish', { channel: 'news', message: { n: 1 } }, { auth: 'py-sub', uuid: 'speaker' });
  const first = await heard.next((event) => event.kind === 'message', 'the message');
  assert.deepEqual([first.channel, first.message, first.publisher], ['news', { n: 1 }, 'speaker']);
  await call(1, 'publish', { channel: 'world.asia', message: 'hi' }, { auth: 'py-sub' });
  const wild = await heard.next((event) => event.kind === 'message', 'the message below the wildcard');
  assert.deepEqual([wild.channel, wild.subscription, wild.message], ['world.asia', 'world.*', 'hi']);
  const here = await call(1, 'here_now', { channels: ['news'] }, { auth: 'py-sub' });
  assert.deepEqual(here.channels[0].occupants.map((one) => one.uuid).sort(), ['py', 'watch']);
  await grant('py-sub', ['news', 'world.*'], { read: false, write: false });
  const denied = await heard.next((event) => event.kind === 'status', 'the refusal');
  assert.deepEqual([denied.category, denied.error, denied.status], ['PNAccessDeniedCategory', true, 403]);
  // It has stopped by itself, and does not come back.
  await until(async () => (await heard.subscribed()).length === 0, 'the SDK has left everything');
  await watch.close();
});

test('a subscribe that was never granted is access denied', async () => {
  const heard = await open('never', 1, { channels: ['closed'], auth: 'py-nobody' });
  const denied = await heard.next((event) => event.kind === 'status', 'the refusal');
  assert.deepEqual([denied.category, denied.status], ['PNAccessDeniedCategory', 403]);
});

test('state and groups', async () => {
  const server = { server: true, uuid: 'admin' };
  await call(1, 'grant', { channel_groups: ['py-group'], auth_keys: ['py-g'], read: true, manage: true, ttl: 5 }, server);
  await grant('py-g', ['member']);
  const mine = { auth: 'py-g', uuid: 'py-g' };
  await call(2, 'add_channel_to_channel_group', { channel_group: 'py-group', channels: ['member'] }, mine);
  assert.deepEqual((await call(3, 'list_channels_in_channel_group', { channel_group: 'py-group' }, mine)).channels, ['member']);
  const heard = await open('group', 2, { groups: ['py-group'], ...mine });
  await heard.next((event) => event.category === 'PNConnectedCategory', 'connected');
  await call(1, 'publish', { channel: 'member', message: 'to the group' }, mine);
  const event = await heard.next((one) => one.kind === 'message', 'the message');
  assert.deepEqual([event.channel, event.subscription], ['member', 'py-group']);
  await call(2, 'set_state', { channels: ['member'], state: { mood: 'ok' } }, mine);
  const state = await call(2, 'get_state', { channels: ['member'], uuid: 'py-g' }, mine);
  assert.deepEqual(state.channels.member, { mood: 'ok' });
  await heard.close();
  await call(1, 'remove_channel_group', { channel_group: 'py-group' }, mine);
  assert.deepEqual((await call(3, 'list_channels_in_channel_group', { channel_group: 'py-group' }, mine)).channels, []);
});

test('tokens: granted and parsed by the SDK, used at other nodes, revoked', async () => {
  const server = { server: true, uuid: 'admin' };
  const { token } = await call(1, 'grant_token', { ttl: 15, authorized_uuid: 'py-tom', channels: ['vault'] }, server);
  const parsed = await python.ask({ url: cluster.urls[0], keys, config: {}, call: 'parse_token', token });
  assert.equal(parsed.authorized_uuid, 'py-tom');
  assert.equal(parsed.resources.channels.vault.write, true);
  const tom = (node, steps, uuid = 'py-tom') => python.ask({ url: cluster.urls[node - 1], keys, config: { uuid }, token, call: 'publish', with: Object.entries(steps) });
  await tom(2, { channel: 'vault', message: 1 });
  assert.equal(await refused(tom(3, { channel: 'elsewhere', message: 1 })), 403);
  assert.equal(await refused(tom(3, { channel: 'vault', message: 1 }, 'py-eve')), 403);
  const heard = await open('tom', 3, { channels: ['vault'], token, uuid: 'py-tom' });
  await heard.next((event) => event.category === 'PNConnectedCategory', 'connected');
  await call(1, 'revoke_token', {}, { ...server, revoke: token });
  const denied = await heard.next((event) => event.kind === 'status', 'the refusal');
  assert.deepEqual([denied.category, denied.status], ['PNAccessDeniedCategory', 403]);
  assert.equal(await refused(tom(2, { channel: 'vault', message: 2 })), 403);
});
