// Lifecycle, watchlists and counts when a node dies: what is told is told once, and nobody is gone who is there.

import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Cluster } from './lib/cluster.mjs';
import { Tab, closeTabs, serverSdk } from './lib/client.mjs';
import { Receiver, stopReceivers } from './lib/receiver.mjs';
import { until } from './lib/wait.mjs';

let cluster;
before(async () => {
  cluster = await Cluster.start({ nodes: 3 });
});
afterEach(() => {
  closeTabs();
  stopReceivers();
});
after(() => cluster?.stop());

test('a killed node: no webhook twice under another id, no channel vacated while occupied, its own users gone once', { timeout: 120_000 }, async () => {
  const app = await cluster.createApp({ name: 'kill', settings: { webhook_private_targets: true, watchlist: true, subscription_count: true } });
  const receiver = await Receiver.start(serverSdk(cluster.urls[1], app));
  const webhooks = [{ url: receiver.url, event_types: ['channel_occupied', 'channel_vacated', 'member_added', 'member_removed'], batch: true }];
  const { revision } = await cluster.admin().patchApp(app.id, { settings: { webhooks } });
  await until(async () => {
    const views = await Promise.all([1, 2, 3].map((id) => cluster.admin(id).call('GET', `/v1/apps/${app.id}`)));
    return views.every((view) => view.revision >= revision);
  }, 'every node knows');
  const member = (id) => ({ user_id: id });
  // Enough channels that every node is home of some.
  const rooms = Array.from({ length: 12 }, (_, n) => `presence-kill-${n}`);
  const lonely = Array.from({ length: 6 }, (_, n) => `public-lonely-${n}`);
  const doomed = new Tab(cluster.urls[0], app, { user: 'doomed', member: member('doomed') });
  const stays = new Tab(cluster.urls[1], app, { user: 'stays', watchlist: ['doomed', 'third'], member: member('stays') });
  const third = new Tab(cluster.urls[2], app, { user: 'third', member: member('third') });
  await Promise.all([doomed.signedIn(), third.signedIn()]);
  const seen = [];
  for (const name of ['online', 'offline']) stays.pusher.user.watchlist.bind(name, (event) => seen.push([name, ...event.user_ids]));
  await stays.signedIn();
  for (const tab of [doomed, stays, third]) await Promise.all(rooms.map((room) => tab.subscribed(room)));
  await Promise.all(lonely.map((channel) => doomed.subscribed(channel)));
  for (const channel of [...rooms, ...lonely]) await receiver.next('channel_occupied', channel);
  for (const room of rooms) await receiver.events.count((each) => each.name === 'member_added' && each.channel === room, 3, `members of ${room}`);

  await cluster.kill(1);
  // It would reconnect to the dead node only; it is no part of what follows.
  doomed.close();

  for (const room of rooms) await receiver.events.next((each) => each.name === 'member_removed' && each.channel === room && each.user_id === 'doomed', `doomed leaves ${room}`, 40_000);
  for (const channel of lonely) await receiver.next('channel_vacated', channel, 40_000);
  await until(() => seen.some(([name, user]) => name === 'offline' && user === 'doomed'), 'the watcher hears that doomed is gone', 40_000);
  await sleep(8_000);
  for (const room of rooms) {
    assert.equal(receiver.once('channel_vacated', room).length, 0, `${room} is occupied`);
    assert.equal(receiver.once('channel_occupied', room).length, 1, `${room} was occupied once`);
    const [added, removed] = ['member_added', 'member_removed'].map((name) => receiver.once(name, room).map((each) => each.user_id).sort());
    assert.deepEqual([added, removed], [['doomed', 'stays', 'third'], ['doomed']], room);
    const { users } = await (await serverSdk(cluster.urls[1], app).get({ path: `/channels/${room}/users` })).json();
    assert.deepEqual(users.map((each) => each.id).sort(), ['stays', 'third']);
  }
  for (const channel of lonely) assert.equal(receiver.once('channel_vacated', channel).length, 1, channel);
  assert.deepEqual(seen, [['online', 'doomed', 'third'], ['offline', 'doomed']]);
  stays.close();
  third.close();
  for (const room of rooms) await receiver.next('channel_vacated', room, 30_000);
  assert.ok(receiver.requests.items.every((each) => each.valid));
});
