// User groups: under each dialect, with its unmodified SDK and three nodes, a member of a group may what the group may; whoever
// is taken out of it, or what is taken from it, through another node hears nothing that is published once the call was answered;
// put in again, she may again. Who publishes and who watches uses a key of the app.

import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';
import { Client as Ably, closeClients as closeAbly, jwt, keyOf } from './lib/ably.mjs';
import { Tab, closeTabs } from './lib/client.mjs';
import { Cluster, appOf } from './lib/cluster.mjs';
import { Provider } from './lib/provider.mjs';
import { Client as PubNub, closeClients as closePubNub } from './lib/pubnub.mjs';
import { Client as Ortc, closeClients as closeRealtime } from './lib/realtime.mjs';
import { until } from './lib/wait.mjs';

const CHAT = ['subscribe', 'publish', 'presence', 'presence-read', 'history', 'metadata'];
let cluster;
let app;
let provider;
let root;
let unique = 0;
const fresh = (prefix) => `${prefix}-${(unique += 1)}`;
const url = (n) => cluster.urls[n % 3];
const server = (n) => cluster.server(1 + (n % 3), app);

before(async () => {
  cluster = await Cluster.start({ nodes: 3 });
  const made = await cluster.admin(1).createApp({
    name: 'groups',
    protocols: ['pusher', 'ably', 'pubnub', 'realtime'],
    settings: { client_events: true, user_sign_in: true, grants_open_channels: true, realtime_authentication: true, pubnub_access_manager: true },
    keys: [{ name: 'server' }],
  });
  app = appOf(made);
  root = `/v1/apps/${app.id}`;
  const capability = [{ pattern: 'private-*', operations: CHAT }];
  const ceiling = await server(0).call('POST', `${root}/keys`, { name: 'ceiling', capability });
  provider = new Provider('idp');
  const claims = { rights: 'grants', groups: 'realm_access.roles' };
  await server(1).call('POST', `${root}/providers`, provider.record(ceiling.key.id, { claims }));
});
afterEach(() => {
  closeAbly();
  closeTabs();
  closePubNub();
  closeRealtime();
});
after(() => cluster?.stop());

const members = (n, group, change) => server(n).call('POST', `${root}/groups/${group}/members`, change);

/** A client of each SDK with a token: in(channel) hears it, out(channel) is refused it. */
const SDKS = {
  pusher: {
    async in(n, token, channel) {
      const tab = new Tab(url(n), app, { sign: () => ({ auth: token }) });
      await tab.connected();
      const inbox = await tab.subscribed(channel);
      return (text) => inbox.all(({ data }) => data === text);
    },
    async out(n, token, channel) {
      const tab = new Tab(url(n), app, { sign: () => ({ auth: token }) });
      await tab.connected();
      await tab.refused(channel);
    },
  },
  ably: {
    async in(n, token, channel) {
      const client = await new Ably(url(n), { token }).connected();
      const inbox = await client.subscribed(channel);
      return (text) => inbox.all(({ data }) => data === text);
    },
    async out(n, token, channel) {
      const client = await new Ably(url(n), { token }).connected();
      await assert.rejects(client.subscribed(channel), { code: 40160 });
    },
  },
  pubnub: {
    async in(n, token, channel, user) {
      const client = new PubNub(url(n), app, { uuid: user });
      client.sdk.setToken(token);
      const inbox = await client.hear(channel);
      return (text) => inbox.all((one) => one === text);
    },
    async out(n, token, channel, user) {
      const client = new PubNub(url(n), app, { uuid: user });
      client.sdk.setToken(token);
      await client.mayNotHear(channel);
    },
  },
  realtime: {
    async in(n, token, channel) {
      const client = await new Ortc('node', url(n)).connected(app, token);
      await client.subscribed(channel);
      return (text) => client.messages.all(({ message }) => message === text);
    },
    async out(n, token, channel) {
      const client = await new Ortc('node', url(n)).connected(app, token);
      client.ortc.subscribe(channel, true, () => {});
      await client.error(/No permission/);
    },
  },
};

/** Publishes with the app's key; returns once watchers with keys have it on all three nodes. */
async function said(watchers, channel, text) {
  await server(unique).call('POST', `${root}/publish`, { channel, name: 'said', data: text });
  await Promise.all(watchers.map((inbox) => inbox.next(({ data }) => data === text, `${text} is heard by a watcher`)));
}

async function watch(channel) {
  const watchers = [0, 1, 2].map((n) => new Ably(url(n), { key: keyOf(app) }));
  return Promise.all(watchers.map((one) => one.subscribed(channel)));
}

/** Each way to take from a member what she has by her groups, through that node, and the way back. */
const TAKES = {
  'is taken out': [
    (n, { inner, user }) => members(n, inner, { remove: [{ user }] }),
    (n, { inner, user }) => members(n, inner, { add: [{ user }] }),
  ],
  "'s group is taken out of the outer one": [
    (n, { inner, outer }) => members(n, outer, { remove: [{ group: inner }] }),
    (n, { inner, outer }) => members(n, outer, { add: [{ group: inner }] }),
  ],
  "'s group loses its grant": [
    (n, { outer, channel }) => server(n).deleteGrants(app.id, { group: outer }, [channel]),
    (n, { outer, channel }) => server(n).grant(app.id, { group: outer }, [{ pattern: channel, operations: CHAT }]),
  ],
  "'s group is deleted": [
    (n, { outer }) => server(n).call('DELETE', `${root}/groups/${outer}`),
    async (n, { inner, outer, channel }) => {
      await server(n).grant(app.id, { group: outer }, [{ pattern: channel, operations: CHAT }]);
      await members(n, outer, { add: [{ group: inner }] });
    },
  ],
  "'s group is blocked": [
    (n, { outer }) => server(n).call('POST', `${root}/groups/${outer}/block`, { reason: 'tried' }),
    (n, { outer }) => server(n).call('DELETE', `${root}/groups/${outer}/block`),
  ],
  ' comes into a blocked group': [
    async (n, { user, barred }) => {
      await server(n).call('POST', `${root}/groups/${barred}/block`, {});
      return members(n, barred, { add: [{ user }] });
    },
    (n, { user, barred }) => members(n, barred, { remove: [{ user }] }),
  ],
};

for (const [name, sdk] of Object.entries(SDKS)) {
  test(`${name}: a member may; whoever loses it through another node is silent when the call returned; and may again`, async () => {
    let round = 0;
    for (const [what, [take, giveBack]] of Object.entries(TAKES)) {
      round += 1;
      const of = { user: fresh('ana'), inner: fresh('eng'), outer: fresh('staff'), barred: fresh('barred'), channel: `private-${fresh('room')}` };
      const { user, inner, outer, channel } = of;
      const token = () => provider.token(user, fresh('s'));
      if (round === 1) await sdk.out(round, token(), channel, user);
      await server(round).grant(app.id, { group: outer }, [{ pattern: channel, operations: CHAT }]);
      await members(round, outer, { add: [{ group: inner }] });
      await members(round + 1, inner, { add: [{ user }] });
      const watchers = await watch(channel);
      const heard = await sdk.in(round + 2, token(), channel, user);
      const before = fresh('before');
      await said(watchers, channel, before);
      await until(() => heard(before).length === 1, `${name}: she who${what} heard it before`);

      const answer = await take(round, of);
      assert.deepEqual([...answer.enforced].sort(), [1, 2, 3], JSON.stringify(answer));
      const later = fresh('after');
      await said(watchers, channel, later);
      assert.equal(heard(later).length, 0, `${name}: she who${what} hears nothing`);

      await giveBack(round + 1, of);
      const again = await sdk.in(round + 2, token(), channel, user);
      const last = fresh('last');
      await said(watchers, channel, last);
      await until(() => again(last).length === 1, `${name}: she who${what} is back`);
      assert.equal(heard(later).length, 0);
      closeAbly();
      closeTabs();
      closePubNub();
      closeRealtime();
    }
  });
}

for (const [name, sdk] of Object.entries(SDKS)) {
  test(`${name}: a group that a token claims counts as long as the token does, and is taken from as any other`, async () => {
    const [user, claimed, outer, channel] = [fresh('eve'), fresh('role'), fresh('staff'), `private-${fresh('room')}`];
    const token = () => provider.token(user, fresh('s'), { realm_access: { roles: [claimed] } });
    await server(0).grant(app.id, { group: outer }, [{ pattern: channel, operations: CHAT }]);
    await members(1, outer, { add: [{ group: claimed }] });
    const watchers = await watch(channel);
    const heard = await sdk.in(2, token(), channel, user);
    await sdk.out(1, provider.token(user, fresh('s')), channel, user);
    const before = fresh('before');
    await said(watchers, channel, before);
    await until(() => heard(before).length === 1, 'she heard it before');
    await members(0, outer, { remove: [{ group: claimed }] });
    const later = fresh('after');
    await said(watchers, channel, later);
    assert.equal(heard(later).length, 0);
  });
}

test('who is signed in by the app itself is in her groups as well, and a revoke of a group ends her session, not her membership', async () => {
  const [user, group, channel] = [fresh('ana'), fresh('staff'), `private-${fresh('room')}`];
  await members(0, group, { add: [{ user }] });
  await server(1).grant(app.id, { group }, [{ pattern: channel, operations: CHAT }]);
  const watchers = await watch(channel);
  const tab = await new Tab(url(1), app, { user, sign: 'grants' }).signedIn();
  const inTab = await tab.subscribed(channel);
  const token = () => jwt(app, { 'x-ably-clientId': user, 'x-ably-capability': '{"its-own":["subscribe"]}' });
  const client = await new Ably(url(2), { token: token() }).connected();
  const inClient = await client.subscribed(channel);
  const before = fresh('before');
  await said(watchers, channel, before);
  const heard = (text) => [inTab, inClient].map((inbox) => inbox.all(({ data }) => data === text).length);
  await until(() => heard(before).every((count) => count === 1), 'both heard it');

  const second = Math.floor(Date.now() / 1000);
  const answer = await server(0).call('POST', `${root}/revoke`, { target: { group } });
  assert.ok(answer.closed >= 2, JSON.stringify(answer));
  const later = fresh('after');
  await said(watchers, channel, later);
  assert.deepEqual(heard(later), [0, 0]);
  // What was granted to the group went with the revoke; who is in it did not.
  await server(1).grant(app.id, { group }, [{ pattern: channel, operations: CHAT }]);
  await until(() => Math.floor(Date.now() / 1000) > second + 1, 'the second is over');
  const back = await new Ably(url(0), { token: token() }).connected();
  await back.subscribed(channel);
});

test('explain names the way from the user over her groups to the grant, or to the block', async () => {
  const [user, inner, outer, channel] = [fresh('ana'), fresh('eng'), fresh('staff'), `private-${fresh('room')}`];
  await members(0, inner, { add: [{ user }] });
  await members(1, outer, { add: [{ group: inner }] });
  await server(2).grant(app.id, { group: outer }, [{ pattern: channel, operations: ['subscribe'] }]);
  const path = [{ user }, { group: inner }, { group: outer }];
  const ask = (n, more) => server(n).explain(app.id, { channel, operations: ['subscribe'], ...more });
  for (const n of [0, 1, 2]) {
    const told = await ask(n, { user });
    assert.deepEqual([told.allowed, told.rule.subject, told.path], [true, { group: outer }, path], JSON.stringify(told));
  }
  const token = provider.token(user, fresh('s'), { realm_access: { roles: [outer] } });
  await members(0, inner, { remove: [{ user }] });
  const claimed = await ask(1, { token });
  assert.deepEqual([claimed.allowed, claimed.path], [true, [{ claim_of: user }, { group: outer }]], JSON.stringify(claimed));
  await members(0, inner, { add: [{ user }] });
  await server(0).call('POST', `${root}/groups/${outer}/block`, {});
  const blocked = await ask(2, { user });
  assert.deepEqual([blocked.allowed, blocked.reason.code, blocked.path], [false, 'blocked', path], JSON.stringify(blocked));
  const shown = await server(1).call('GET', `${root}/users/${user}?at_least=${blocked.revision}`);
  const groups = [
    { group: inner, path: [inner] },
    { group: outer, path: [inner, outer] },
  ];
  assert.deepEqual(shown.user, { user, groups, block: null });
});

test('what cannot be is refused in words that say what to do', async () => {
  const [a, b, c, d, e] = ['a', 'b', 'c', 'd', 'e'].map(fresh);
  await members(0, b, { add: [{ group: a }] });
  await assert.rejects(members(1, a, { add: [{ group: b }] }), { status: 400, message: /cannot be in itself/ });
  await members(1, c, { add: [{ group: b }] });
  await members(2, d, { add: [{ group: c }] });
  await assert.rejects(members(0, e, { add: [{ group: d }] }), { message: /at most 4 deep: put the members/ });
  await assert.rejects(members(0, a, {}), { status: 400, code: 'bad_value' });
  const narrow = await server(0).call('POST', `${root}/keys`, { name: 'narrow', capability: [{ pattern: 'private-x', operations: ['grant', 'subscribe'] }] });
  const other = cluster.server(2, { ...app, key: narrow.key.id, secret: narrow.key.secret });
  await assert.rejects(other.call('POST', `${root}/groups/${a}/members`, { add: [{ user: 'x' }] }), { status: 403 });
  // Whoever puts somebody in hands on what the group has.
  await server(0).grant(app.id, { group: d }, [{ pattern: 'private-vault', operations: ['publish'] }]);
  const granting = await server(0).call('POST', `${root}/keys`, { name: 'grants', capability: [{ pattern: '*', operations: ['grant', 'subscribe'] }] });
  const grants = cluster.server(3, { ...app, key: granting.key.id, secret: granting.key.secret });
  await assert.rejects(grants.call('POST', `${root}/groups/${a}/members`, { add: [{ user: 'x' }] }), { status: 403 });
  await grants.call('POST', `${root}/groups/${e}/members`, { add: [{ user: 'x' }] });
});
