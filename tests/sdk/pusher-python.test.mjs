// Every call of the official Python server SDK, with pusher-js clients on other nodes receiving.

import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';
import { Cluster } from './lib/cluster.mjs';
import { Tab, closeTabs, is } from './lib/client.mjs';
import { PythonSdk } from './lib/python.mjs';
import { until } from './lib/wait.mjs';

let cluster;
let python;
const url = (node) => cluster.urls[node - 1];

before(async () => {
  cluster = await Cluster.start();
  python = new PythonSdk(cluster.app);
});
afterEach(closeTabs);
after(async () => {
  python?.stop();
  await cluster?.stop();
});

test('trigger and trigger_batch reach clients of other nodes', async () => {
  const inbox = await new Tab(url(2), cluster.app).subscribed('public-py');
  assert.deepEqual(await python.call(url(1), 'trigger', ['public-py', 'e', { n: 'ü' }]), {});
  await inbox.next(is('e', { n: 'ü' }), 'the event');
  const batch = [0, 1].map((n) => ({ channel: 'public-py', name: 'b', data: { n } }));
  assert.deepEqual(await python.call(url(3), 'trigger_batch', [batch]), {});
  const got = await inbox.count(is('b'), 2, 'the batch');
  assert.deepEqual(got.map((item) => item.data.n), [0, 1]);
});

test('socket_id leaves its connection out', async () => {
  const [one, two] = [new Tab(url(1), cluster.app), new Tab(url(2), cluster.app)];
  const [mine, theirs] = [await one.subscribed('public-py-x'), await two.subscribed('public-py-x')];
  await python.call(url(3), 'trigger', ['public-py-x', 'e', {}, one.socketId]);
  await python.call(url(3), 'trigger', ['public-py-x', 'fence', {}]);
  await Promise.all([mine, theirs].map((inbox) => inbox.next(is('fence'), 'the fence')));
  assert.deepEqual([mine.all(is('e')).length, theirs.all(is('e')).length], [0, 1]);
});

test('its signatures open private and presence channels and sign a user in', async () => {
  const sign = (id, channel) =>
    python.call(url(1), 'authenticate', [channel, id, ...(channel.startsWith('presence-') ? [{ user_id: 'ana', user_info: { n: 1 } }] : [])]);
  const tab = new Tab(url(2), cluster.app, { sign });
  await tab.subscribed('private-py');
  const room = await tab.subscribed('presence-py');
  assert.deepEqual(room.channel.members.me, { id: 'ana', info: { n: 1 } });
  const users = await python.call(url(3), 'users_info', ['presence-py']);
  assert.deepEqual(users, { users: [{ id: 'ana' }] });
  const channels = await python.call(url(3), 'channels_info', ['presence-py', ['user_count']]);
  assert.deepEqual(channels, { channels: { 'presence-py': { user_count: 1 } } });
  const channel = await python.call(url(1), 'channel_info', ['presence-py', ['user_count']]);
  assert.equal(channel.occupied, true);
  assert.equal(channel.user_count, 1);
});

test('authenticate_user, send_to_user and terminate_user_connections', async () => {
  const tab = new Tab(url(2), cluster.app, {
    options: {
      userAuthentication: {
        customHandler: ({ socketId }, done) =>
          python.call(url(1), 'authenticate_user', [socketId, { id: 'py-ana' }]).then((auth) => done(null, auth), done),
      },
    },
  });
  await tab.signedIn();
  await tab.messages.next((message) => message.event === 'pusher_internal:subscription_succeeded', 'her own channel');
  await python.call(url(3), 'send_to_user', ['py-ana', 'letter', { n: 1 }]);
  await tab.messages.next((message) => message.event === 'letter', 'the letter');
  await python.call(url(1), 'terminate_user_connections', ['py-ana']);
  await tab.error(4009);
  await until(() => tab.state === 'disconnected', 'she is disconnected');
});

test('its errors are the right ones: bad secret, bad request', async () => {
  const wrong = { ...cluster.app, secret: 'wrong' };
  await assert.rejects(python.call(url(1), 'trigger', ['public-py', 'e', {}], { app: wrong }), { type: 'PusherBadAuth' });
  await assert.rejects(python.call(url(1), 'channel_info', ['public-py', ['user_count']]), { type: 'PusherBadRequest' });
});
