// The same cases for every dialect, in one app with four protocols over three nodes, under the unmodified SDKs: who may hear,
// who may speak, what arrives, and what ends. All of it twice: in an app where any token connects to Realtime.co, and in one
// whose connections keep a copy of what their token could do.

import assert from 'node:assert/strict';
import { after, afterEach, before, describe, test } from 'node:test';
import { closeClients as closeAbly, jwt } from './lib/ably.mjs';
import { Tab, closeTabs, serverSdk } from './lib/client.mjs';
import { Cluster, appOf } from './lib/cluster.mjs';
import { DIALECTS } from './lib/parity.mjs';
import { Client as PubNub, closeClients as closePubNub } from './lib/pubnub.mjs';
import { AppServer, closeClients as closeRealtime } from './lib/realtime.mjs';
import { until } from './lib/wait.mjs';

const EVERYTHING = ['subscribe', 'publish', 'presence', 'presence-read', 'history'];
let cluster;
let app;
let unique = 0;
const fresh = (prefix) => `${prefix}-${(unique += 1)}`;
const url = (n) => cluster.urls[n % 3];

/** One person with every kind of name: by her id in Pusher and Ably, by her token in PubNub and Realtime.co. */
const person = () => ({ user: fresh('ana'), token: fresh('tok') });

/** Grants her a channel through one node, whatever she is called. */
async function grant(node, who, channel, operations = EVERYTHING) {
  const server = cluster.server(node, app);
  for (const subject of [{ user: who.user }, { token: who.token }]) {
    await server.grant(app.id, subject, [{ pattern: channel, operations }]);
  }
}

/** Her client of each dialect, at different nodes. */
const clientsOf = (who, at = 0) => Promise.all(DIALECTS.map((dialect, n) => dialect.open(url(at + n), app, who)));
const name = (client) => client.constructor.dialect;

async function makeApp({ settings, ...spec }) {
  const made = await cluster.admin(1).createApp({
    name: 'parity',
    protocols: ['pusher', 'ably', 'pubnub', 'realtime'],
    settings: { client_events: true, user_sign_in: true, grants_open_channels: true, client_events_per_second: 1000, ...settings },
    keys: [{ name: 'server', revocable_tokens: true }],
    ...spec,
  });
  const app = appOf(made);
  if (settings.realtime_authentication) {
    app.register = ({ token }) => cluster.server(1, app).grant(app.id, { token }, [{ pattern: 'its-own', operations: ['subscribe'] }]);
  }
  return app;
}

before(async () => {
  cluster = await Cluster.start({ nodes: 3 });
});
afterEach(() => {
  closeAbly();
  closeTabs();
  closePubNub();
  closeRealtime();
});
after(() => cluster?.stop());

/** One receiver per dialect and node. */
async function receivers(who, channel) {
  const all = [];
  for (let node = 0; node < 3; node += 1) {
    for (const dialect of DIALECTS) {
      const client = await dialect.open(url(node), app, who);
      all.push({ label: `${dialect.dialect} at node ${node + 1}`, inbox: await client.hear(channel) });
    }
  }
  return all;
}

/** Her with a PubNub token in her own name: then all of her is one user, save Realtime.co, which knows tokens only. */
async function asUser(who) {
  const admin = new PubNub(url(1), app, { uuid: 'admin', server: true });
  const pubnubToken = await admin.sdk.grantToken({ ttl: 15, authorized_uuid: who.user, resources: { channels: { own: { read: true } } } });
  admin.close();
  return { ...who, pubnubToken };
}

for (const realtime_authentication of [false, true]) {
  const settings = { realtime_authentication };
  describe(`with realtime_authentication ${realtime_authentication ? 'on' : 'off'}`, () => cases(settings));
}

function cases(settings) {
  before(async () => {
    app = await makeApp({ settings });
  });

  test('each dialect speaks, all of them hear it at every node: once, whole and in order', async () => {
    const who = person();
    const channel = fresh('private-talk');
    await grant(1, who, channel);
    const all = await receivers(who, channel);
    const said = [];
    for (const [at, dialect] of DIALECTS.entries()) {
      const client = await dialect.open(url(at), app, who);
      const own = await client.hear(channel);
      const mine = ['plain text é 😀', '{"n":1,"deep":{"list":[1,2,3]}}', ...Array.from({ length: 5 }, (_, n) => `${dialect.dialect} ${n}`)];
      for (const text of mine) await client.publish(channel, text);
      said.push(...mine);
      for (const { label, inbox } of all) {
        await inbox.count(() => true, said.length, `${dialect.dialect} heard by ${label}`);
        assert.deepEqual(inbox.items, said, `${dialect.dialect} heard by ${label}`);
      }
      if (dialect.echoes) await own.count(() => true, mine.length, `${dialect.dialect} hears itself`);
      assert.deepEqual(own.items, dialect.echoes ? mine : [], `${dialect.dialect} and its own messages`);
      client.close();
    }
  });

  test('all speak at once: every receiver of every dialect at every node has the same order', async () => {
    const who = person();
    const channel = fresh('private-chorus');
    await grant(2, who, channel);
    const all = await receivers(who, channel);
    const speakers = await clientsOf(who, 1);
    await Promise.all(
      speakers.map(async (client) => {
        for (let n = 0; n < 20; n += 1) await client.publish(channel, `${name(client)} ${n}`);
      }),
    );
    for (const { label, inbox } of all) {
      await inbox.count(() => true, 80, `everything at ${label}`);
      assert.equal(new Set(inbox.items).size, 80, `once each at ${label}`);
      assert.deepEqual(inbox.items, all[0].inbox.items, `the order at ${label}`);
    }
    for (const client of speakers) {
      const mine = all[0].inbox.items.filter((text) => text.startsWith(`${name(client)} `));
      assert.deepEqual(mine, Array.from({ length: 20 }, (_, n) => `${name(client)} ${n}`), `the order of ${name(client)}`);
    }
  });

  test('nothing is open: each dialect is refused in its own words, and what the app opens is open to all', async () => {
    const clients = await clientsOf(person());
    for (const channel of ['room', 'private-room', 'public-room']) {
      for (const client of clients) await client.mayNotHear(channel);
    }
    for (const client of clients.filter((one) => name(one) !== 'pusher')) await client.mayNotPublish('room');
    await cluster.admin(2).patchApp(app.id, { open: [{ pattern: 'public-*', operations: ['subscribe'] }] });
    const inboxes = [];
    // New ones: pusher-js does not ask again for a channel that was refused.
    // And with authentication on, Realtime.co's SDK asks for nothing that its token's own entries do not name.
    const asks = (client) => !app.register || name(client) !== 'realtime';
    const newcomers = await clientsOf(person(), 1);
    for (const client of newcomers.filter(asks)) inboxes.push(await client.hear('public-room'));
    await serverSdk(url(0), app).trigger('public-room', 'news', 'open');
    for (const inbox of inboxes) await inbox.next((text) => text === 'open', 'the news');
    for (const client of newcomers) await client.mayNotHear('private-room');
    for (const client of clients.filter((one) => name(one) !== 'pusher')) await client.mayNotPublish('public-room');
  });

  test('who may only hear is refused when speaking, and nobody hears it', async () => {
    const who = person();
    const channel = fresh('private-read');
    await grant(1, who, channel, ['subscribe', 'presence', 'presence-read']);
    const clients = await clientsOf(who);
    const inboxes = [];
    for (const client of clients) inboxes.push(await client.hear(channel));
    for (const client of clients) await client.mayNotPublish(channel);
    await serverSdk(url(2), app).trigger(channel, 'fence', 'fence');
    for (const [at, inbox] of inboxes.entries()) {
      await inbox.next((text) => text === 'fence', 'the fence');
      assert.deepEqual(inbox.items, ['fence'], name(clients[at]));
    }
  });

  test('a grant through one node counts at once in every dialect at the others', async () => {
    for (let round = 0; round < 12; round += 1) {
      const who = person();
      const channel = fresh('private-grant');
      const clients = await clientsOf(who, round + 1);
      await grant((round % 3) + 1, who, channel);
      // Nobody waits and nobody asks twice.
      const inboxes = await Promise.all(clients.map((client) => client.hear(channel)));
      for (const client of clients) await client.publish(channel, `from ${name(client)}`);
      for (const [at, inbox] of inboxes.entries()) {
        const others = clients.filter((client, n) => n !== at || client.constructor.echoes);
        for (const client of others) await inbox.next((text) => text === `from ${name(client)}`, `${name(client)} at ${name(clients[at])}`);
      }
      for (const client of clients) client.close();
    }
  });

  test('a grant made in one dialect is good in the others', async () => {
    const who = person();
    const channel = fresh('private-cross');
    const [, , pubnub, realtime] = await clientsOf(who);
    const admin = new PubNub(url(1), app, { uuid: 'admin', server: true });
    await admin.sdk.grant({ channels: [channel], authKeys: [who.token], ttl: 5, read: true, write: true });
    const heard = await realtime.hear(channel);
    await pubnub.publish(channel, 'granted by pubnub');
    await heard.next((text) => text === 'granted by pubnub', 'it');
    const other = fresh('private-cross');
    const [error, success] = await new AppServer(url(2), app).authenticate(who.token, { [other]: 'w' });
    assert.deepEqual([error, success], [null, true]);
    const again = await pubnub.hear(other);
    await pubnub.publish(other, 'granted by realtime');
    await again.next((text) => text === 'granted by realtime', 'it');
  });

  test('taking a grant away ends the subscriptions of every dialect, and nothing said afterwards is heard', async () => {
    const who = person();
    const witness = person();
    const channel = fresh('private-taken');
    await grant(1, who, channel);
    await grant(1, witness, channel);
    const clients = await clientsOf(who);
    const inboxes = [];
    for (const client of clients) inboxes.push(await client.hear(channel));
    const seen = await receivers(witness, channel);
    for (const subject of [{ user: who.user }, { token: who.token }]) {
      const answer = await cluster.server(3, app).deleteGrants(app.id, subject);
      assert.deepEqual(answer.pending, []);
    }
    await serverSdk(url(1), app).trigger(channel, 'secret', 'secret');
    for (const { inbox } of seen) await inbox.next((text) => text === 'secret', 'the secret');
    for (const client of clients) await client.lost(channel);
    for (const [at, inbox] of inboxes.entries()) assert.deepEqual(inbox.items, [], name(clients[at]));
  });

  test('one revocation of a channel ends it in all four dialects', async () => {
    const who = person();
    const channel = fresh('private-gone');
    await grant(2, who, channel);
    const clients = await clientsOf(who, 2);
    for (const client of clients) await client.hear(channel);
    const answer = await cluster.server(1, app).call('POST', `/v1/apps/${app.id}/revoke`, { target: { channel } });
    assert.deepEqual(answer.pending, []);
    for (const client of clients) await client.lost(channel);
  });

  for (const [what, act, word] of [
    ['revocation of a user', (who) => ['POST', 'revoke', { target: { user: who.user } }], 'revoked'],
    ['termination of a user', (who) => ['POST', `users/${who.user}/disconnect`, {}], 'terminated'],
    ['block of a user', (who) => ['POST', `users/${who.user}/disconnect`, { block: { for_ms: 60_000 } }], 'blocked'],
  ]) {
    test(`one ${what} cuts her connections of Pusher, Ably and PubNub at all nodes, and spares others`, async () => {
      const who = await asUser(person());
      const other = await asUser(person());
      const channel = fresh('private-user');
      for (const one of [who, other]) await grant(1, one, channel);
      const hers = [...(await clientsOf(who, 0)), ...(await clientsOf(who, 1)), ...(await clientsOf(who, 2))];
      const others = await clientsOf(other);
      for (const client of [...hers, ...others]) client.inbox = await client.hear(channel);
      const [method, path, body] = act(who);
      const answer = await cluster.server(2, app).call(method, `/v1/apps/${app.id}/${path}`, body);
      assert.deepEqual(answer.pending, []);
      await serverSdk(url(0), app).trigger(channel, 'later', 'later');
      for (const client of others) await client.inbox.next((text) => text === 'later', `the rest at ${name(client)}`);
      for (const client of hers.filter((one) => name(one) !== 'realtime')) {
        await client[word]();
        // Who was merely sent away still has her rights, and an SDK that comes back by itself gets what it missed.
        if (word !== 'terminated') assert.deepEqual(client.inbox.items, [], name(client));
      }
    });
  }

  test('one revocation of a token cuts its connections of PubNub and Realtime.co at all nodes', async () => {
    const who = person();
    const channel = fresh('private-token');
    await grant(1, who, channel);
    const all = [...(await clientsOf(who, 0)), ...(await clientsOf(who, 1)), ...(await clientsOf(who, 2))];
    for (const client of all) client.inbox = await client.hear(channel);
    await cluster.server(3, app).call('POST', `/v1/apps/${app.id}/revoke`, { target: { token: who.token } });
    const byToken = all.filter((one) => ['pubnub', 'realtime'].includes(name(one)));
    assert.equal(byToken.length, 6);
    for (const client of byToken) await client.revoked();
  });

  test('disabling the key ends the connections of all four dialects', async () => {
    // With it off, a connection of Realtime.co's hangs on no key.
    const own = await makeApp({ settings: { realtime_authentication: true }, keys: [{ name: 'one', revocable_tokens: true }, { name: 'two' }] });
    const who = person();
    for (const subject of [{ user: who.user }, { token: who.token }]) {
      await cluster.server(1, own).grant(own.id, subject, [{ pattern: 'private-key', operations: EVERYTHING }]);
    }
    const clients = [];
    for (const [at, dialect] of DIALECTS.entries()) {
      for (const node of [at, at + 1]) clients.push(await dialect.open(url(node), own, who));
    }
    for (const client of clients) await client.hear('private-key');
    const answer = await cluster.admin(3).call('PATCH', `/v1/apps/${own.id}/keys/${own.key}`, { enabled: false });
    assert.deepEqual(answer.pending, []);
    for (const client of clients) await client.disabled('private-key');
  });

  test('presence: who is there in one dialect is there in the others', async () => {
    const channel = fresh('presence-hall');
    const people = { pusher: person(), ably: person(), pubnub: person() };
    for (const who of Object.values(people)) await grant(1, who, channel);
    const [Pusher, Ably, PubNubDriver] = DIALECTS;
    const ably = await Ably.open(url(0), app, people.ably);
    await ably.hear(channel);
    const set = ably.client.sdk.channels.get(channel).presence;
    await set.enter({ from: 'ably' });
    const pusher = await Pusher.open(url(1), app, people.pusher);
    await pusher.hear(channel);
    const { members } = pusher.tab.pusher.channel(channel);
    assert.deepEqual([...Object.keys(members.members)].sort(), [people.ably.user, people.pusher.user].sort());
    const pubnub = await PubNubDriver.open(url(2), app, people.pubnub);
    await pubnub.hear(channel);
    const everyone = [people.ably.user, people.pubnub.user, people.pusher.user].sort();
    await until(async () => (await set.get()).length === 3, 'all at Ably');
    assert.deepEqual((await set.get()).map((member) => member.clientId).sort(), everyone);
    await until(() => members.count === 3, 'all at Pusher');
    const here = await pubnub.client.sdk.hereNow({ channels: [channel] });
    assert.deepEqual(here.channels[channel].occupants.map((one) => one.uuid).sort(), everyone);
    // Realtime.co counts subscribers, of whatever dialect; its own are no members.
    const watcher = person();
    await grant(3, watcher, channel);
    const realtime = await DIALECTS[3].open(url(0), app, watcher);
    await realtime.hear(channel);
    assert.equal((await new AppServer(url(1), app).presence('enable', channel))[0], null);
    await until(async () => (await realtime.client.presence(channel))?.subscriptions === 4, 'four subscribers at Realtime.co');
    assert.equal(members.count, 3);
    await set.leave();
    await until(() => members.count === 2, 'the leave at Pusher');
    pusher.close();
    await until(async () => (await set.get()).map((member) => member.clientId).join() === people.pubnub.user, 'one is left at Ably');
  });
}
