// Who is a user, in which dialect: the rows of the table in docs/users.md, each with the official SDK under which the id is
// entered, over three nodes. What a block, a disconnect or a revoke of that id reaches is ended when the call returns,
// whichever node took it; what it cannot reach is said.

import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';
import { Client as Ably, closeClients as closeAbly, jwt, keyOf } from './lib/ably.mjs';
import { Tab, closeTabs, serverSdk } from './lib/client.mjs';
import { Cluster, appOf } from './lib/cluster.mjs';
import { Client as PubNub, closeClients as closePubNub } from './lib/pubnub.mjs';
import { AppServer, Client as Ortc, closeClients as closeRealtime } from './lib/realtime.mjs';
import { RawSocket } from './lib/raw.mjs';
import { until, within } from './lib/wait.mjs';

const EVERYTHING = ['subscribe', 'publish', 'presence', 'presence-read', 'history'];
const NODES = [0, 1, 2];
let cluster;
let app;
let unique = 0;
const fresh = (prefix) => `${prefix}-${(unique += 1)}`;
const url = (n) => cluster.urls[n % 3];
const server = (n) => cluster.server(1 + (n % 3), app);

before(async () => {
  cluster = await Cluster.start({ nodes: 3 });
  const made = await cluster.admin(1).createApp({
    name: 'users',
    protocols: ['pusher', 'ably', 'pubnub', 'realtime'],
    settings: { client_events: true, user_sign_in: true, grants_open_channels: true },
    keys: [{ name: 'server', revocable_tokens: true }],
  });
  app = appOf(made);
});
afterEach(() => {
  closeAbly();
  closeTabs();
  closePubNub();
  closeRealtime();
});
after(() => cluster?.stop());

const block = (n, user) => server(n).block(app.id, user);
const unblock = (n, user) => server(n).unblock(app.id, user);
const disconnect = (n, user) => server(n).disconnect(app.id, user);
const revoke = (n, target) => server(n).call('POST', `/v1/apps/${app.id}/revoke`, { target });
const grant = (n, subject, channel) => server(n).grant(app.id, subject, [{ pattern: channel, operations: EVERYTHING }]);

/** Every way to end a user through `/v1`, by name. */
const WAYS = {
  block,
  disconnect,
  revoke: (n, user) => revoke(n, { user }),
};

/** Who is in a presence set, as the operator sees it. */
async function members(channel) {
  const { members: all } = await cluster.admin(1).call('GET', `/v1/apps/${app.id}/channels/${encodeURIComponent(channel)}/members`);
  return all.map((one) => one.client).sort();
}
const become = (channel, wanted) => until(async () => JSON.stringify(await members(channel)) === JSON.stringify(wanted), `${channel} has ${wanted}`);

/** Done on every node, so many connections closed, and nothing that would have to be said but that there was nobody. */
function closed(answer, count) {
  assert.deepEqual(answer.enforced.sort(), [1, 2, 3], JSON.stringify(answer));
  assert.equal(answer.closed, count, JSON.stringify(answer));
  if (count > 0) assert.equal(answer.hint, undefined);
  else assert.match(answer.hint, /nobody is connected as/);
}

/** A tab per node that is in the room as this user, by the app server's signature alone. */
const present = (channel, user) =>
  Promise.all(
    NODES.map(async (n) => {
      const tab = new Tab(url(n), app, { member: { user_id: user, user_info: {} }, name: user });
      return { tab, inbox: await tab.subscribed(channel) };
    }),
  );

test('Pusher, who signed in: her connections on every node', async () => {
  for (const [way, end] of Object.entries(WAYS)) {
    const user = fresh('ana');
    const tabs = await Promise.all(NODES.map((n) => new Tab(url(n), app, { user }).signedIn()));
    closed(await end(unique, user), 3);
    await Promise.all(tabs.map((tab) => tab.error(4009)));
    const again = new Tab(url(unique), app, { user });
    if (way === 'block') {
      await again.connected();
      again.pusher.signin();
      await again.error(4009);
    } else {
      await again.signedIn();
    }
  }
});

test('Pusher, the id of a signed presence subscription: her connections on every node, and no way back in while she is blocked', async () => {
  for (const [way, end] of Object.entries({ ...WAYS, terminate: (n, user) => serverSdk(url(n), app).terminateUserConnections(user) })) {
    const user = fresh('carl');
    const channel = fresh('presence-room');
    const tabs = await present(channel, user);
    const [other] = await present(channel, 'dora');
    await become(channel, [user, user, user, 'dora', 'dora', 'dora'].sort());
    const answer = await end(unique, user);
    if (way !== 'terminate') closed(answer, 3);
    // What is published from here on reaches none of them, through whichever node.
    for (const n of NODES) await serverSdk(url(n), app).trigger(channel, 'after', n);
    await Promise.all(tabs.map(({ tab }) => tab.error(4009)));
    await other.inbox.count(({ event }) => event === 'after', 3, 'what the others hear');
    for (const { inbox } of tabs) assert.deepEqual(inbox.all(({ event }) => event === 'after'), [], way);
    assert.equal(other.tab.state, 'connected');
    await become(channel, ['dora', 'dora', 'dora']);

    const back = (n) => new Tab(url(n), app, { member: { user_id: user, user_info: {} }, name: user });
    if (way !== 'block') {
      await back(unique).subscribed(channel);
      continue;
    }
    for (const n of NODES) {
      const tab = back(n);
      const error = await tab.refused(channel);
      assert.deepEqual([error.type, error.status], ['AuthError', 403]);
      assert.match(error.error, /you have been blocked by the app/);
      assert.equal(tab.state, 'connected', 'the tab itself is nobody');
      tab.close();
    }
    await unblock(unique + 1, user);
    for (const n of NODES) await back(n).subscribed(channel);
  }
});

test('Pusher, a presence id beside the user who signed in: either of them ends it', async () => {
  const channel = fresh('presence-room');
  const [user, alias] = [fresh('ana'), fresh('carl')];
  const come = async (n) => {
    const tab = await new Tab(url(n), app, { user, member: { user_id: alias, user_info: {} } }).signedIn();
    await tab.subscribed(channel);
    return tab;
  };
  for (const [n, name] of [user, alias].entries()) {
    const tab = await come(n);
    closed(await disconnect(n + 1, name), 1);
    await tab.error(4009);
  }
  // Who has left the room is carl no longer.
  const tab = await come(2);
  tab.pusher.unsubscribe(channel);
  await become(channel, []);
  closed(await disconnect(0, alias), 0);
  assert.equal(tab.state, 'connected');
  // Nothing that is stored for carl opens anything by a presence id.
  await grant(0, { user: alias }, 'private-desk');
  const nobody = new Tab(url(1), app, { sign: (id, name) => (name === channel ? serverSdk(url(1), app).authorizeChannel(id, name, { user_id: alias }) : { auth: '' }) });
  await nobody.subscribed(channel);
  assert.equal((await nobody.refused('private-desk')).status, 401);
});

test('Pusher, with presence_is_user off: only who signed in, and the answer says what is left', async () => {
  const channel = fresh('presence-room');
  const user = fresh('carl');
  const set = (on) => cluster.admin(2).patchApp(app.id, { settings: { presence_is_user: on } });
  await set(false);
  const tabs = await present(channel, user);
  for (const [at, end] of Object.values(WAYS).entries()) {
    const answer = await end(at, user);
    assert.deepEqual([answer.closed, answer.enforced.sort()], [0, [1, 2, 3]]);
    assert.ok(answer.hint.includes(`\`${user}\` is a member of the channel \`${channel}\``), answer.hint);
    assert.match(answer.hint, /`presence_is_user` is off.*switch it on/);
  }
  for (const { tab } of tabs) assert.equal(tab.state, 'connected');
  // She is blocked by now: switched on, it takes the subscriptions that she has, and repeating the call ends the rest.
  await set(true);
  await Promise.all(tabs.map(({ inbox }) => inbox.next(({ event }) => event === 'pusher:subscription_error', 'the end of the subscription')));
  await become(channel, []);
  await unblock(0, user);
});

test('Ably, a clientId: her connections on every node', async () => {
  const told = { block: ['failed', 40300], disconnect: ['disconnected', 80003], revoke: ['disconnected', 40141] };
  for (const [way, end] of Object.entries(WAYS)) {
    const clientId = fresh('ana');
    const token = () => jwt(app, { 'x-ably-clientId': clientId, 'x-ably-capability': '{"*":["*"]}' });
    const clients = await Promise.all(NODES.map((n) => new Ably(url(n), { token: token() }).connected()));
    closed(await end(unique, clientId), 3);
    for (const client of clients) await client.state(...told[way]);
  }
});

test('Ably, whom a client that may name anybody has entered: her entries, and nobody else', async () => {
  for (const [way, end] of Object.entries(WAYS)) {
    const channel = fresh('board');
    const user = fresh('carl');
    const gates = await Promise.all(NODES.map((n) => new Ably(url(n), { key: keyOf(app) }).connected()));
    for (const gate of gates) {
      const { presence } = gate.sdk.channels.get(channel);
      await within(presence.enterClient(user, 'here'), 'carl is entered');
      await within(presence.enterClient('dora', 'here'), 'dora is entered');
    }
    assert.equal((await members(channel)).length, 6);
    const answer = await end(unique, user);
    assert.deepEqual([answer.closed, answer.enforced.sort()], [0, [1, 2, 3]], way);
    await become(channel, ['dora', 'dora', 'dora']);
    for (const gate of gates) assert.equal(gate.sdk.connection.state, 'connected');
    const enter = (n) => within(gates[n].sdk.channels.get(channel).presence.enterClient(user, 'again'), 'an answer');
    if (way !== 'block') {
      await enter(unique % 3);
      continue;
    }
    for (const n of NODES) await assert.rejects(enter(n), (error) => error.code === 40300, `entered through node ${n + 1}`);
    await unblock(unique + 1, user);
    for (const n of NODES) await enter(n);
  }
});

test('Ably, entries that wait for the return of a lost socket: taken out as they would be with it', async () => {
  const channel = fresh('board');
  const enter = async (users, remainPresentFor) => {
    const socket = await RawSocket.open(url(0), `/?${new URLSearchParams({ key: keyOf(app), format: 'json', v: '6', remainPresentFor })}`);
    await socket.events.next((frame) => frame.action === 4, 'connected');
    socket.send({ action: 10, channel });
    await socket.events.next((frame) => frame.action === 11, 'attached');
    socket.send({ action: 14, channel, msgSerial: 0, presence: users.map((clientId) => ({ action: 2, clientId })) });
    await socket.events.next((frame) => frame.action === 1, 'entered');
    return socket;
  };
  const user = fresh('carl');
  const waits = await enter([user, 'dora'], '120000');
  const leaves = await enter(['rex'], '0');
  await become(channel, [user, 'dora', 'rex'].sort());
  waits.close();
  leaves.close();
  // The node has heard of the later close, and so of the first.
  await become(channel, [user, 'dora'].sort());
  await block(1, user);
  await become(channel, ['dora']);
  await unblock(1, user);
});

test('PubNub, the authorised uuid of a token: her subscribes on every node', async () => {
  const channel = fresh('room');
  const giver = new PubNub(url(0), app, { uuid: 'server', server: true });
  for (const [way, end] of Object.entries({ block, revoke: WAYS.revoke })) {
    const uuid = fresh('ana');
    const clients = [];
    for (const n of NODES) {
      const token = await giver.sdk.grantToken({ ttl: 5, authorized_uuid: uuid, resources: { channels: { [channel]: { read: true } } } });
      const client = new PubNub(url(n), app, { uuid });
      client.sdk.setToken(token);
      await client.hear(channel);
      clients.push(client);
    }
    const answer = await end(unique, uuid);
    assert.ok(answer.closed >= 1, JSON.stringify(answer));
    for (const client of clients) await client.denied();
    if (way === 'block') await unblock(0, uuid);
  }
});

test('PubNub, a uuid that no token names: nobody; its auth key is what is revoked, and the answer says so', async () => {
  const channel = fresh('room');
  const uuid = fresh('carl');
  const key = fresh('authkey');
  await grant(0, { token: key }, channel);
  const client = new PubNub(url(1), app, { uuid, authKey: key });
  const inbox = await client.hear(channel);
  await become(channel, [uuid]);
  const answer = await block(2, uuid);
  assert.equal(answer.closed, 0);
  assert.ok(answer.hint.includes(`\`${uuid}\` is a member of the channel \`${channel}\``), answer.hint);
  assert.match(answer.hint, /revoke the token or the key/);
  await new PubNub(url(0), app, { uuid: 'other', authKey: key }).sdk.publish({ channel, message: 'still' });
  await inbox.next((text) => text === 'still', 'she hears on');
  await unblock(1, uuid);
  const ended = await revoke(2, { token: key });
  assert.equal(ended.hint, undefined);
  await client.denied();
});

test('Realtime.co, a token: its connections; the connection metadata is nobody, and the answer says so', async () => {
  const channel = fresh('room');
  const [token, metadata] = [fresh('tok'), fresh('carl')];
  await grant(0, { token }, channel);
  const [error] = await new AppServer(url(0), app).presence('enable', channel);
  assert.equal(error, null);
  const clients = await Promise.all(NODES.map((n) => new Ortc('node', url(n), { metadata }).connected(app, token)));
  for (const client of clients) await client.subscribed(channel);
  await until(async () => (await members(channel)).includes(metadata), 'she is counted', 40_000);
  const answer = await block(1, metadata);
  assert.equal(answer.closed, 0);
  assert.ok(answer.hint.includes(`\`${metadata}\` is a member of the channel \`${channel}\``), answer.hint);
  for (const client of clients) assert.equal(client.events.all((event) => event === 'Disconnected').length, 0);
  await unblock(1, metadata);
  closed(await revoke(2, { token }), 3);
  await Promise.all(clients.map((client) => client.event('Disconnected')));
});

test('a token that nothing here is known by: void, and the answer says that nothing was reached', async () => {
  for (const n of NODES) {
    const answer = await revoke(n, { token: fresh('mistyped') });
    assert.deepEqual([answer.closed, answer.enforced.sort()], [0, [1, 2, 3]]);
    assert.match(answer.hint, /^Nothing that is known was reached/);
  }
  const token = fresh('tok');
  await grant(0, { token }, 'room');
  assert.equal((await revoke(1, { token })).hint, undefined, 'a grant was stored for it');
});
