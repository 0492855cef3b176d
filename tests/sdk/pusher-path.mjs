// Pusher's main path under the unmodified npm SDKs, as one suite that runs over any number of nodes: whatever a
// client does through one node is seen through the others, so over one node and over three it reads the same.

import assert from 'node:assert/strict';
import { after, afterEach, before, describe, test } from 'node:test';
import { Cluster } from './lib/cluster.mjs';
import { Tab, closeTabs, is, serverSdk } from './lib/client.mjs';
import { rawPusher, RawSocket, sign } from './lib/raw.mjs';
import { until } from './lib/wait.mjs';

let unique = 0;
const fresh = (prefix) => `${prefix}-${(unique += 1)}`;

/** Defines the suite over a cluster of this many nodes. */
export function pusherPath(nodes) {
  describe(`Pusher over ${nodes === 1 ? 'one node' : `${nodes} nodes`}`, () => {
    let cluster;
    // Each call picks the next node, so that publishers, subscribers and queries meet at different ones.
    let turn = 0;
    const url = () => cluster.urls[(turn += 1) % nodes];
    const tab = (options) => new Tab(url(), cluster.app, options);
    const sdk = () => serverSdk(url(), cluster.app);
    const raw = (query) => rawPusher(url(), cluster.app.key, query);
    const json = async (response) => (await response).json();

    before(async () => {
      cluster = await Cluster.start({ nodes });
    });
    afterEach(closeTabs);
    after(() => cluster?.stop());

    subscribing({ tab, sdk, raw, app: () => cluster.app });
    presence({ tab, sdk, json });
    users({ tab, sdk, cluster: () => cluster, nodes });
    httpCalls({ tab, sdk, json, url, app: () => cluster.app });
    refusals({ raw, url, cluster: () => cluster });
  });
}

function subscribing({ tab, sdk, raw, app }) {
  test('a public channel: subscribe, trigger, receive once and in order', async () => {
    const channel = fresh('public-news');
    const inboxes = await Promise.all([tab(), tab(), tab()].map((each) => each.subscribed(channel)));
    const server = sdk();
    for (let n = 0; n < 20; n += 1) await server.trigger(channel, 'n', { n });
    for (const inbox of inboxes) {
      const got = await inbox.count((item) => item.event === 'n', 20, 'twenty events');
      assert.deepEqual(got.map((item) => item.data.n), Array.from({ length: 20 }, (_, n) => n));
    }
  });

  test('data arrives as it was sent: text, numbers, unicode, nested JSON', async () => {
    const channel = fresh('public-data');
    const inbox = await tab().subscribed(channel);
    const values = ['plain', { deep: [1, { ü: '🚪' }] }, [], 'line\nbreak "quoted" \\', { n: 1.5, none: null }];
    for (const [n, value] of values.entries()) await sdk().trigger(channel, `v${n}`, value);
    for (const [n, value] of values.entries()) {
      const got = await inbox.next((item) => item.event === `v${n}`, `value ${n}`);
      assert.deepEqual(got.data, value);
    }
  });

  test('unsubscribe: nothing more arrives', async () => {
    const [left, stayed] = [fresh('public-left'), fresh('public-stayed')];
    const subscriber = tab();
    const [gone, still] = [await subscriber.subscribed(left), await subscriber.subscribed(stayed)];
    subscriber.pusher.unsubscribe(left);
    await until(async () => !(await (await sdk().get({ path: '/channels' })).json()).channels[left], 'the channel is vacated');
    await sdk().trigger([left, stayed], 'e', {});
    await still.next(is('e'), 'the event on the other channel');
    assert.equal(gone.all(is('e')).length, 0);
  });

  test('a private channel takes a signature and refuses a wrong one', async () => {
    const channel = fresh('private-room');
    const inbox = await tab().subscribed(channel);
    await sdk().trigger(channel, 'e', { n: 1 });
    await inbox.next(is('e', { n: 1 }), 'the event');
    const wrong = await tab({ sign: () => ({ auth: `${app().key}:${'0'.repeat(64)}` }) }).refused(channel);
    assert.equal(wrong.type, 'AuthError');
    const foreign = await tab({ sign: (_, name) => ({ auth: sign(app(), '1.1', name) }) }).refused(channel);
    assert.equal(foreign.type, 'AuthError', "another socket's signature is no proof");
  });

  test('a private signature covers channel_data when the client sends it', async () => {
    const channel = fresh('private-data');
    const channel_data = JSON.stringify({ user_id: 'u' });
    const right = tab({ sign: (id, name) => ({ auth: sign(app(), id, name, channel_data), channel_data }) });
    await right.subscribed(channel);
    const left_out = tab({ sign: (id, name) => ({ auth: sign(app(), id, name), channel_data }) });
    await left_out.refused(channel);
  });

  test('client events reach the others, not the sender; only after subscribing', async () => {
    const channel = fresh('private-talk');
    const [one, two] = [tab(), tab()];
    const [mine, theirs] = [await one.subscribed(channel), await two.subscribed(channel)];
    assert.ok(mine.channel.trigger('client-hi', { from: 'one' }));
    await theirs.next(is('client-hi', { from: 'one' }), 'the client event');
    await sdk().trigger(channel, 'fence', {});
    await mine.next(is('fence'), 'the fence');
    assert.equal(mine.all(is('client-hi')).length, 0, 'it came back to its sender');
    const stranger = await raw();
    stranger.send({ event: 'client-hi', channel, data: {} });
    const error = await stranger.event('pusher:error');
    assert.equal(error.data.code, null);
    stranger.close();
  });

  test('client events above 10 a second are refused with 4301 and the socket stays', async () => {
    const channel = fresh('private-flood');
    const flooder = tab();
    const inbox = await flooder.subscribed(channel);
    for (let n = 0; n < 40; n += 1) inbox.channel.trigger('client-n', { n });
    await flooder.error(4301);
    assert.equal(flooder.state, 'connected');
  });

  test('socket_id leaves its connection out', async () => {
    const channel = fresh('public-except');
    const [one, two] = [tab(), tab()];
    const [mine, theirs] = [await one.subscribed(channel), await two.subscribed(channel)];
    await sdk().trigger(channel, 'e', {}, { socket_id: one.socketId });
    await sdk().trigger(channel, 'fence', {});
    await Promise.all([mine.next(is('fence'), 'the fence'), theirs.next(is('fence'), 'the fence')]);
    assert.equal(theirs.all(is('e')).length, 1);
    assert.equal(mine.all(is('e')).length, 0, 'the excluded connection got it');
  });

  test('ping is answered; the handshake names a socket id and an activity timeout', async () => {
    const socket = await raw();
    assert.match(socket.socketId, /^\d+\.\d+$/);
    assert.ok(socket.established.activity_timeout > 0);
    socket.send({ event: 'pusher:ping', data: {} });
    await socket.event('pusher:pong');
    socket.close();
  });
}

function presence({ tab, sdk, json }) {
  const member = (id, name) => ({ user_id: id, user_info: { name } });

  test('members are users: two tabs are one member, added and removed once', async () => {
    const channel = fresh('presence-room');
    const [ana, bea, room] = [fresh('ana'), fresh('bea'), sdk()];
    const watcher = await tab({ member: member(ana, 'Ana') }).subscribed(channel);
    assert.equal(watcher.channel.members.me.id, ana);
    assert.deepEqual(watcher.channel.members.me.info, { name: 'Ana' });
    const first = tab({ member: member(bea, 'Bea') });
    const here = await first.subscribed(channel);
    await watcher.next((item) => item.event === 'pusher:member_added' && item.data.id === bea, 'Bea joins');
    assert.equal(here.channel.members.count, 2);
    const second = tab({ member: member(bea, 'Bea again') });
    const again = await second.subscribed(channel);
    assert.equal(again.channel.members.count, 2, 'a second tab is no second member');
    const users = await json(room.get({ path: `/channels/${channel}/users` }));
    assert.deepEqual(users.users.map((user) => user.id).sort(), [ana, bea].sort());
    first.close();
    await until(async () => {
      const state = await json(room.get({ path: `/channels/${channel}`, params: { info: 'subscription_count' } }));
      return state.subscription_count === 2;
    }, 'the first tab has left');
    assert.equal(watcher.channel.members.count, 2, 'she is still there in her second tab');
    assert.equal(watcher.all((item) => item.event === 'pusher:member_removed').length, 0);
    second.close();
    await watcher.next((item) => item.event === 'pusher:member_removed' && item.data.id === bea, 'Bea leaves');
    assert.equal(watcher.all((item) => item.event === 'pusher:member_added').length, 1);
    assert.equal(watcher.channel.members.count, 1);
  });

  test('client events on a presence channel carry the sender', async () => {
    const channel = fresh('presence-talk');
    const [ana, bea] = [tab({ member: member('ana', 'A') }), tab({ member: member('bea', 'B') })];
    await ana.subscribed(channel);
    const heard = await bea.subscribed(channel);
    ana.pusher.channel(channel).trigger('client-wave', { n: 1 });
    await heard.next(is('client-wave', { n: 1 }), 'the wave');
    const message = await bea.messages.next((each) => each.event === 'client-wave', 'the frame');
    assert.equal(message.user_id, 'ana');
  });

  test('without channel_data the signed-in user is the member', async () => {
    const channel = fresh('presence-signed');
    const user = fresh('cleo');
    const cleo = tab({ user, info: { name: 'Cleo' }, sign: (id, name) => sdk().authorizeChannel(id, name, undefined) });
    await cleo.signedIn();
    const inbox = await cleo.subscribed(channel);
    assert.equal(inbox.channel.members.me.id, user);
  });
}

function users({ tab, sdk, cluster, nodes }) {
  test('a message to a user reaches every connection of hers, at every node, and nobody else', async () => {
    const user = fresh('ana');
    const tabs = Array.from({ length: nodes }, () => tab({ user }));
    const other = await tab({ user: fresh('bea') }).signedIn();
    const got = [];
    for (const each of tabs) {
      await each.signedIn();
      await each.messages.next((message) => message.event === 'pusher_internal:subscription_succeeded', 'her own channel');
      got.push(each.messages);
    }
    await sdk().sendToUser(user, 'letter', { n: 1 });
    for (const messages of got) await messages.next((message) => message.event === 'letter', 'the letter');
    await sdk().sendToUser(user, 'last', {});
    for (const messages of got) {
      await messages.next((message) => message.event === 'last', 'the last letter');
      assert.equal(messages.all((message) => message.event === 'letter').length, 1);
    }
    assert.equal(other.messages.all((message) => message.event === 'letter').length, 0);
  });

  test("nobody can read another user's letters", async () => {
    const [ana, bea] = [fresh('ana'), fresh('bea')];
    const spy = await tab({ user: bea }).signedIn();
    spy.pusher.send_event('pusher:subscribe', { channel: `#server-to-user-${ana}`, auth: '' });
    await spy.errors.next(() => true, 'the refusal').catch(() => {
      throw new Error('another user was let into her channel');
    });
  });

  test('terminate closes all connections of the user with 4009, and only hers', async () => {
    const user = fresh('ana');
    const tabs = Array.from({ length: nodes + 1 }, () => tab({ user }));
    for (const each of tabs) await each.signedIn();
    const other = await tab({ user: fresh('bea') }).signedIn();
    await sdk().terminateUserConnections(user);
    for (const each of tabs) {
      await each.error(4009);
      await until(() => each.state === 'disconnected', 'she is disconnected');
    }
    assert.equal(other.state, 'connected');
    const left = await cluster().server().connections(cluster().app.id, user);
    assert.equal(left.connections.length, 0, 'no connection of hers is listed anywhere');
  });

  test('a wrong sign-in ends the connection with 4009', async () => {
    const { app } = cluster();
    const socket = await rawPusher(cluster().urls[0], app.key);
    const user_data = JSON.stringify({ id: 'ana' });
    socket.send({ event: 'pusher:signin', data: { auth: `${app.key}:${'0'.repeat(64)}`, user_data } });
    const error = await socket.event('pusher:error');
    assert.equal(error.data.code, 4009);
    assert.equal((await socket.end()).code, 4009);
  });
}

function httpCalls({ tab, sdk, json, url, app }) {
  test('trigger answers {} or the info that was asked for', async () => {
    const channel = fresh('presence-info');
    await tab({ member: { user_id: 'ana' } }).subscribed(channel);
    assert.deepEqual(await json(sdk().trigger(channel, 'e', {})), {});
    const info = await json(sdk().trigger([channel, 'public-empty'], 'e', {}, { info: 'user_count,subscription_count' }));
    assert.equal(info.channels[channel].user_count, 1);
    assert.equal(info.channels['public-empty'].user_count, undefined);
  });

  test('a batch is delivered in order, channel by channel', async () => {
    const [one, two] = [fresh('public-batch'), fresh('public-batch')];
    const subscriber = tab();
    const [first, second] = [await subscriber.subscribed(one), await subscriber.subscribed(two)];
    const batch = [0, 1, 2].map((n) => ({ channel: one, name: 'b', data: { n } }));
    batch.push({ channel: two, name: 'b', data: { n: 9 } });
    assert.deepEqual(await json(sdk().triggerBatch(batch)), {});
    const got = await first.count(is('b'), 3, 'the batch');
    assert.deepEqual(got.map((item) => item.data.n), [0, 1, 2]);
    await second.next(is('b', { n: 9 }), 'the other channel');
  });

  test('channels, one channel and its users', async () => {
    const [room, news] = [fresh('presence-list'), fresh('public-list')];
    await tab({ member: { user_id: 'ana' } }).subscribed(room);
    await tab().subscribed(news);
    const all = await json(sdk().get({ path: '/channels' }));
    assert.ok(all.channels[room] && all.channels[news]);
    const filter = { filter_by_prefix: 'presence-list', info: 'user_count' };
    const some = await json(sdk().get({ path: '/channels', params: filter }));
    assert.deepEqual(some.channels[room], { user_count: 1 });
    assert.equal(some.channels[news], undefined);
    const one = await json(sdk().get({ path: `/channels/${room}`, params: { info: 'user_count' } }));
    assert.equal(one.occupied, true);
    assert.equal(one.user_count, 1);
    const users = await json(sdk().get({ path: `/channels/${room}/users` }));
    assert.deepEqual(users.users, [{ id: 'ana' }]);
    const none = await json(sdk().get({ path: '/channels/public-nobody' }));
    assert.equal(none.occupied, false);
  });

  const status = (promise) => promise.then((response) => response.status, (error) => error.status);

  test('HTTP refusals: 400, 401, 404, 413', async () => {
    const server = sdk();
    assert.equal(await status(server.get({ path: '/channels', params: { info: 'user_count' } })), 400);
    assert.equal(await status(server.get({ path: '/channels/public-x', params: { info: 'user_count' } })), 400);
    assert.equal(await status(server.get({ path: '/channels/public-x/users' })), 400);
    const eleven = Array.from({ length: 11 }, () => ({ channel: 'public-x', name: 'e', data: '' }));
    assert.equal(await status(server.triggerBatch(eleven)), 400);
    assert.equal(await status(server.post({ path: '/events', body: { name: 'e', data: '', channels: ['bad name'] } })), 400);
    assert.equal(await status(server.post({ path: '/events', body: { name: 'e', data: '', channels: ['public-\u0007'] } })), 400);
    assert.equal(await status(server.trigger('public-x', 'e', 'x'.repeat(10_241))), 413);
    assert.equal(await status(serverSdk(url(), { ...app(), secret: 'wrong' }).trigger('public-x', 'e', {})), 401);
    assert.equal(await status(serverSdk(url(), { ...app(), key: 'nobody' }).trigger('public-x', 'e', {})), 401);
    assert.equal(await status(serverSdk(url(), { ...app(), id: '999999999' }).trigger('public-x', 'e', {})), 404);
    assert.equal(await status(server.get({ path: '/nothing' })), 404);
  });

  test('10,240 bytes pass', async () => {
    const channel = fresh('public-large');
    const inbox = await tab().subscribed(channel);
    const data = 'x'.repeat(10_240);
    assert.equal(await status(sdk().trigger(channel, 'large', data)), 200);
    assert.equal((await inbox.next(is('large'), 'the large event')).data, data);
  });
}

function refusals({ raw, url, cluster }) {
  /** Opens, expects the error frame and the close, both with the code. */
  const closes = async (path, code) => {
    const socket = await RawSocket.open(url(), path);
    assert.equal(socket.status, 101, 'refused after the handshake, so that the SDK understands');
    assert.equal((await socket.event('pusher:error')).data.code, code);
    assert.equal((await socket.end()).code, code);
    socket.close();
  };

  test('close codes before the handshake is done: 4001, 4003, 4006, 4007, 4008', async () => {
    const { key } = cluster().app;
    await closes('/app/nobody?protocol=7&client=js&version=8.6.0', 4001);
    await closes(`/app/${key}?client=js&version=8.6.0`, 4008);
    await closes(`/app/${key}?protocol=99&client=js&version=8.6.0`, 4007);
    await closes(`/app/${key}?protocol=7&client=js&version=not%20one!`, 4006);
    const off = await cluster().createApp({ name: 'off' });
    await cluster().admin().patchApp(off.id, { enabled: false });
    await closes(`/app/${off.key}?protocol=7&client=js&version=8.6.0`, 4003);
  });

  test('protocols 5 and 6 are served', async () => {
    for (const protocol of [5, 6]) {
      const socket = await raw(`protocol=${protocol}&client=java-client&version=2.4.0`);
      socket.close();
    }
  });

  test('an unknown key ends pusher-js in `disconnected`, for good', async () => {
    const lost = new Tab(url(), { ...cluster().app, key: 'nobody' });
    await lost.error(4001);
    await until(() => lost.state === 'disconnected', 'it gives up');
  });

  test('errors that keep the socket: bad auth, twice, not subscribed, unknown event, reserved names', async () => {
    const { app } = cluster();
    const channel = fresh('private-err');
    const socket = await raw();
    const said = async (message, pattern, name = 'pusher:error') => {
      const before = socket.events.all((item) => item.event === name).length;
      socket.send(message);
      const all = await socket.events.count((item) => item.event === name, before + 1, `a refusal of ${message.event}`);
      const found = all[before];
      const data = typeof found.data === 'string' ? JSON.parse(found.data) : found.data;
      assert.ok([null, undefined].includes(data.code), JSON.stringify(data));
      assert.match(data.message ?? data.error, pattern);
    };
    const refusal = 'pusher:subscription_error';
    const subscribe = (data) => ({ event: 'pusher:subscribe', data });
    await said(subscribe({ channel, auth: `${app.key}:${'ab'.repeat(32)}` }), /signature/i, refusal);
    await said(subscribe({ channel, auth: 'no-colon' }), /auth/i, refusal);
    await said(subscribe({ channel: 'bad name!', auth: '' }), /channel/i, refusal);
    await said(subscribe({ channel: `public-${'x'.repeat(200)}`, auth: '' }), /channel name/i, refusal);
    socket.send(subscribe({ channel, auth: sign(app, socket.socketId, channel) }));
    await socket.event('pusher_internal:subscription_succeeded');
    // A refused subscription is told twice: as the service does, and as pusher-js hands it to the channel.
    await socket.events.count((item) => item.event === 'pusher:error', 4, 'the four refusals in the other form');
    await said(subscribe({ channel, auth: sign(app, socket.socketId, channel) }), /existing subscription/i);
    await said({ event: 'pusher:unsubscribe', data: { channel: 'public-never' } }, /no current subscription/i);
    await said({ event: 'pusher:nonsense', data: {} }, /unsupported event/i);
    await said({ event: 'pusher_internal:member_added', channel, data: {} }, /unsupported event/i);
    socket.send({ event: 'pusher:ping', data: {} });
    await socket.event('pusher:pong');
    socket.close();
  });

  test('client events are refused in an app that has them off', async () => {
    const app = await cluster().createApp({ name: 'quiet', settings: { client_events: false } });
    const socket = await rawPusher(url(), app.key);
    const channel = 'private-quiet';
    socket.send({ event: 'pusher:subscribe', data: { channel, auth: sign(app, socket.socketId, channel) } });
    await socket.event('pusher_internal:subscription_succeeded');
    socket.send({ event: 'client-x', channel, data: {} });
    const error = await socket.event('pusher:error');
    assert.match(error.data.message, /client events/i);
    socket.close();
  });

  test('a channel the app has not opened stays closed without a signature', async () => {
    const socket = await raw();
    socket.send({ event: 'pusher:subscribe', data: { channel: 'news', auth: '' } });
    const error = await socket.events.next((item) => /error$/.test(item.event), 'the refusal');
    assert.ok(error);
    socket.close();
  });
}
