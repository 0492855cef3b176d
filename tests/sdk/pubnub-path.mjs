// What an unmodified PubNub JavaScript SDK (7.4.1) gets: driven through the calls, over any number of nodes.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import PubNubModule from 'pubnub';
import { Cluster, appOf } from './lib/cluster.mjs';
import { rawPusher } from './lib/raw.mjs';
import { until, within } from './lib/wait.mjs';

const PubNub = PubNubModule.default ?? PubNubModule;

/** The keyset of an app, as `gatecast app show` prints it. */
export async function keyset(cluster, spec = {}) {
  const made = await cluster.admin(1).createApp({ name: 'pubnub', protocols: ['pubnub', 'pusher'], keys: [{ name: 'server' }], ...spec });
  return appOf(made);
}

const open = new Set();

/** Stops every client a test left open. */
export function closeAll() {
  for (const one of open) one.stop?.();
  open.clear();
}

/** A client on a node; `server: true` holds the secret. */
export function client(url, keys, { uuid = 'someone', server = false, ...more } = {}) {
  const made = new PubNub({
    publishKey: keys.publishKey,
    subscribeKey: keys.subscribeKey,
    ...(server ? { secretKey: keys.secretKey } : {}),
    userId: uuid,
    origin: new URL(url).host,
    ssl: false,
    keepAlive: false,
    ...more,
  });
  open.add(made);
  return made;
}

/** Subscribes, collects what comes, and waits until connected. */
export async function listen(pubnub, channels, { groups = [], withPresence = false, timetoken } = {}) {
  const heard = { messages: [], presence: [], statuses: [], signals: [] };
  pubnub.addListener({
    message: (event) => heard.messages.push(event),
    signal: (event) => heard.signals.push(event),
    presence: (event) => heard.presence.push(event),
    status: (event) => heard.statuses.push(event),
  });
  pubnub.subscribe({ channels, channelGroups: groups, withPresence, timetoken });
  heard.is = (category) => until(() => heard.statuses.find((one) => one.category === category), `status ${category}`);
  heard.message = (match, what) => until(() => heard.messages.find(match), what ?? 'a message');
  return heard;
}

/** What a refused call says. */
export async function refused(call) {
  try {
    const answer = await call;
    return { status: 200, answer };
  } catch (error) {
    return { status: error.status?.statusCode, category: error.status?.category, data: error.status?.errorData ?? error.status };
  }
}

export function suite(nodes) {
  let cluster;
  let keys;
  const url = (at) => cluster.urls[at % cluster.urls.length];
  before(async () => {
    cluster = await Cluster.start({ nodes });
    keys = await keyset(cluster);
  });
  after(async () => {
    closeAll();
    await cluster?.stop();
  });

  const grant = (at, auth, channels, flags = {}) =>
    client(url(at), keys, { uuid: 'admin', server: true }).grant({ channels, authKeys: auth ? [auth] : [], ttl: 5, read: true, write: true, ...flags });

  test('the time is always up', async () => {
    const { timetoken } = await client(url(0), keys).time();
    assert.equal(String(timetoken).length, 17);
  });

  test('nothing is open: publish and subscribe are refused with their names', async () => {
    const pubnub = client(url(0), keys, { authKey: 'nobody' });
    const answer = await refused(pubnub.publish({ channel: 'secure', message: 'x' }));
    assert.equal(answer.status, 403);
    assert.equal(answer.category, 'PNAccessDeniedCategory');
    const heard = await listen(pubnub, ['secure']);
    await heard.is('PNAccessDeniedCategory');
  });

  test('a grant at one node works at the next at once, and so does its revoke', async () => {
    const rounds = Number(process.env.GATECAST_TEST_ROUNDS ?? 30);
    for (let round = 0; round < Math.min(rounds, 30); round += 1) {
      const [auth, channel] = [`key-${round}`, `room-${round}`];
      await grant(round, auth, [channel]);
      const there = client(url(round + 1), keys, { authKey: auth });
      const { timetoken } = await there.publish({ channel, message: { round } });
      assert.equal(String(timetoken).length, 17);
      await grant(round, auth, [channel], { read: false, write: false });
      assert.equal((await refused(there.publish({ channel, message: 1 }))).status, 403, `round ${round}`);
      there.stop();
    }
  });

  test('an app that sets a rate is held to it on each node, and told in the form that SDKs know', async () => {
    const settings = { pubnub_access_manager: false, pubnub_publishes_per_second: 4 };
    const slow = await keyset(cluster, { protocols: ['pubnub'], settings });
    const one = client(url(0), slow);
    const answers = await Promise.all(Array.from({ length: 20 }, (_, n) => refused(one.publish({ channel: 'pace', message: n + 1 }))));
    const sent = answers.filter(({ status }) => status === 200);
    assert.ok(sent.length >= 4 && sent.length < 20, `${sent.length} were taken`);
    for (const { status } of answers.filter((answer) => !sent.includes(answer))) assert.equal(status, 429);
    const raw = `${url(0)}/publish/${slow.publishKey}/${slow.subscribeKey}/0/pace/0/1`;
    const answer = await until(async () => {
      const response = await fetch(raw);
      const body = await response.text();
      return response.status === 429 && { body: JSON.parse(body), after: response.headers.get('retry-after') };
    }, 'a 429');
    assert.deepEqual(answer, { body: { status: 429, error: true, message: 'Too many requests.' }, after: '1' });
  });

  test('messages arrive in order, with meta, publisher and timetoken; GET, POST and signals', async () => {
    await grant(0, 'k-talk', ['talk']);
    const alice = client(url(0), keys, { uuid: 'alice', authKey: 'k-talk' });
    const bob = client(url(1), keys, { uuid: 'bob', authKey: 'k-talk' });
    const heard = await listen(bob, ['talk']);
    await heard.is('PNConnectedCategory');
    for (let n = 0; n < 20; n += 1) {
      await alice.publish({ channel: 'talk', message: { n, text: `é~!*'()&,+${n}` }, meta: { lang: 'en' }, sendByPost: n % 2 === 1 });
    }
    await heard.message((event) => event.message.n === 19);
    assert.deepEqual(heard.messages.map((event) => event.message.n), Array.from({ length: 20 }, (_, n) => n));
    const first = heard.messages[0];
    assert.equal(first.publisher, 'alice');
    assert.deepEqual(first.userMetadata, { lang: 'en' });
    assert.equal(first.message.text, "é~!*'()&,+0");
    await alice.publish({ channel: 'talk', message: 'just text' });
    await heard.message((event) => event.message === 'just text');
    await alice.signal({ channel: 'talk', message: 'sig' });
    await until(() => heard.signals.some((event) => event.message === 'sig'), 'the signal');
    alice.stop();
    bob.stop();
  });

  test('an open subscribe ends with 403 when its grant is revoked, and hears nothing after it', async () => {
    await grant(0, 'k-live', ['live']);
    await grant(0, 'k-other', ['live']);
    const heard = await listen(client(url(1), keys, { authKey: 'k-live' }), ['live']);
    await heard.is('PNConnectedCategory');
    await grant(2, 'k-live', ['live'], { read: false, write: false });
    await client(url(2), keys, { authKey: 'k-other' }).publish({ channel: 'live', message: 'secret' });
    await heard.is('PNAccessDeniedCategory');
    assert.deepEqual(heard.messages, []);
  });

  test('an open subscribe ends when its grant runs out by itself', async () => {
    await cluster.admin(1).grant(keys.id, { token: 'k-short' }, [{ pattern: 'short', operations: ['subscribe', 'publish'], ttl_ms: 2000 }]);
    const heard = await listen(client(url(0), keys, { authKey: 'k-short' }), ['short']);
    await heard.is('PNConnectedCategory');
    await within(heard.is('PNAccessDeniedCategory'), 'the 403 at the end of the grant', 10_000);
  });

  test('what was missed between two polls is caught up, at another node too', async () => {
    await grant(0, 'k-gap', ['gap']);
    const speaker = client(url(0), keys, { authKey: 'k-gap' });
    const { timetoken } = await speaker.publish({ channel: 'gap', message: 0 + 1 });
    for (let n = 2; n <= 6; n += 1) await speaker.publish({ channel: 'gap', message: n });
    const heard = await listen(client(url(1), keys, { authKey: 'k-gap' }), ['gap'], { timetoken });
    await heard.message((event) => event.message === 6);
    assert.deepEqual(heard.messages.map((event) => event.message), [2, 3, 4, 5, 6]);
  });

  test('tokens: granted, parsed by the SDK, obeyed, revoked', async () => {
    const admin = client(url(0), keys, { uuid: 'admin', server: true });
    const token = await admin.grantToken({
      ttl: 15,
      authorized_uuid: 'tom',
      resources: { channels: { vault: { read: true, write: true } } },
      patterns: { channels: { '^room-[0-9]+$': { read: true } } },
      meta: { role: 'guard' },
    });
    const tom = client(url(1), keys, { uuid: 'tom' });
    const parsed = tom.parseToken(token);
    assert.equal(parsed.authorized_uuid, 'tom');
    assert.equal(parsed.resources.channels.vault.write, true);
    assert.equal(parsed.patterns.channels['^room-[0-9]+$'].read, true);
    assert.deepEqual(parsed.meta, { role: 'guard' });
    tom.setToken(token);
    await tom.publish({ channel: 'vault', message: 'in' });
    assert.equal((await refused(tom.publish({ channel: 'room-7', message: 'no' }))).status, 403);
    const stranger = client(url(1), keys, { uuid: 'eve' });
    stranger.setToken(token);
    assert.equal((await refused(stranger.publish({ channel: 'vault', message: 'no' }))).status, 403);
    const heard = await listen(tom, ['vault', 'room-7']);
    await heard.is('PNConnectedCategory');
    await client(url(2), keys, { uuid: 'admin', server: true }).revokeToken(token);
    await heard.is('PNAccessDeniedCategory');
    const late = await refused(tom.publish({ channel: 'vault', message: 'late' }));
    assert.equal(late.status, 403);
  });

  test('a token granted at once after the revoke of its user stands, and one from before does not', async () => {
    const admin = client(url(0), keys, { uuid: 'admin', server: true });
    const grant = () => admin.grantToken({ ttl: 15, authorized_uuid: 'uma', resources: { channels: { vault: { write: true } } } });
    const uma = (n, token) => {
      const one = client(url(n), keys, { uuid: 'uma' });
      one.setToken(token);
      return one.publish({ channel: 'vault', message: 'x' });
    };
    // Early in a second, so that all of it is in one.
    await new Promise((done) => setTimeout(done, 1_050 - (Date.now() % 1_000)));
    const old = await grant();
    await uma(1, old);
    await cluster.server(1, keys).call('POST', `/v1/apps/${keys.id}/revoke`, { target: { user: 'uma' } });
    const young = await grant();
    for (let n = 0; n < 3; n += 1) {
      await uma(n, young);
      assert.equal((await refused(uma(n, old))).status, 403);
    }
  });

  test('audit shows what was granted', async () => {
    await grant(0, 'k-audit', ['audited']);
    const admin = client(url(1), keys, { uuid: 'admin', server: true });
    const shown = await until(async () => {
      const answer = await admin.audit({ channel: 'audited', authKeys: ['k-audit'] });
      return answer.auths?.['k-audit'] && answer;
    }, 'the grant in the audit');
    assert.equal(shown.auths['k-audit'].r, 1);
    assert.equal(shown.auths['k-audit'].ttl, 5);
  });

  test('presence: join, state, here now, where now, leave', async () => {
    await grant(0, 'k-hall', ['hall', 'hall-pnpres']);
    const ann = client(url(0), keys, { uuid: 'ann', authKey: 'k-hall', presenceTimeout: 20 });
    const ben = client(url(1), keys, { uuid: 'ben', authKey: 'k-hall', presenceTimeout: 20 });
    const heard = await listen(ann, ['hall'], { withPresence: true });
    await until(() => heard.presence.some((event) => event.action === 'join' && event.uuid === 'ann'), 'her own join');
    const other = await listen(ben, ['hall']);
    await other.is('PNConnectedCategory');
    await until(() => heard.presence.some((event) => event.action === 'join' && event.uuid === 'ben'), "ben's join");
    const here = await ann.hereNow({ channels: ['hall'] });
    assert.deepEqual(here.channels.hall.occupants.map((one) => one.uuid).sort(), ['ann', 'ben']);
    assert.deepEqual((await ben.whereNow({ uuid: 'ann' })).channels, ['hall']);
    await ben.setState({ channels: ['hall'], state: { mood: 'ok' } });
    await until(() => heard.presence.some((event) => event.action === 'state-change' && event.state?.mood === 'ok'), 'the state change');
    assert.deepEqual((await ann.getState({ uuid: 'ben', channels: ['hall'] })).channels.hall, { mood: 'ok' });
    ben.unsubscribe({ channels: ['hall'] });
    await until(() => heard.presence.some((event) => event.action === 'leave' && event.uuid === 'ben'), "ben's leave");
    ann.unsubscribeAll();
  });

  test('history: fetch, counts, delete', async () => {
    await grant(0, 'k-past', ['past'], { delete: true });
    const pubnub = client(url(0), keys, { authKey: 'k-past' });
    const first = await pubnub.publish({ channel: 'past', message: { n: 1 } });
    for (const n of [2, 3]) await pubnub.publish({ channel: 'past', message: { n } });
    await pubnub.publish({ channel: 'past', message: { n: 4 }, storeInHistory: false });
    const there = client(url(1), keys, { authKey: 'k-past' });
    const page = await there.fetchMessages({ channels: ['past'], count: 25 });
    assert.deepEqual(page.channels.past.map((one) => one.message.n), [1, 2, 3]);
    const old = await there.history({ channel: 'past', count: 2 });
    assert.deepEqual(old.messages.map((one) => one.entry.n), [2, 3]);
    const counts = await there.messageCounts({ channels: ['past'], channelTimetokens: [first.timetoken] });
    assert.deepEqual(counts.channels, { past: 2 });
    await there.deleteMessages({ channel: 'past' });
    assert.deepEqual((await there.fetchMessages({ channels: ['past'], count: 25 })).channels, {});
  });

  test('channel groups: filled, heard through, changed under an open subscribe', async () => {
    const admin = client(url(0), keys, { uuid: 'admin', server: true });
    await admin.grant({ channelGroups: ['family'], authKeys: ['k-group'], read: true, manage: true, ttl: 5 });
    await grant(0, 'k-group-talk', ['mum', 'dad'], { read: false });
    const bob = client(url(1), keys, { authKey: 'k-group' });
    await bob.channelGroups.addChannels({ channelGroup: 'family', channels: ['mum'] });
    assert.deepEqual((await bob.channelGroups.listChannels({ channelGroup: 'family' })).channels, ['mum']);
    const heard = await listen(bob, [], { groups: ['family'] });
    await heard.is('PNConnectedCategory');
    const alice = client(url(0), keys, { authKey: 'k-group-talk' });
    await alice.publish({ channel: 'mum', message: 'one' });
    const first = await heard.message((event) => event.message === 'one');
    assert.equal(first.channel, 'mum');
    assert.equal(first.subscription, 'family');
    await bob.channelGroups.addChannels({ channelGroup: 'family', channels: ['dad'] });
    await until(async () => {
      await alice.publish({ channel: 'dad', message: 'two' });
      return heard.messages.some((event) => event.message === 'two');
    }, 'a message of the new channel', 20_000, 200);
    await bob.channelGroups.removeChannels({ channelGroup: 'family', channels: ['mum'] });
    assert.deepEqual((await bob.channelGroups.listChannels({ channelGroup: 'family' })).channels, ['dad']);
    await bob.channelGroups.deleteGroup({ channelGroup: 'family' });
    assert.deepEqual((await bob.channelGroups.listGroups()).groups, []);
  });

  test('a filter keeps out what it does not want', async () => {
    await grant(0, 'k-filter', ['news']);
    const bob = client(url(1), keys, { authKey: 'k-filter' });
    bob.setFilterExpression("lang == 'en'");
    const heard = await listen(bob, ['news']);
    await heard.is('PNConnectedCategory');
    const alice = client(url(0), keys, { authKey: 'k-filter' });
    for (const lang of ['de', 'en']) await alice.publish({ channel: 'news', message: lang, meta: { lang } });
    await heard.message((event) => event.message === 'en');
    assert.equal(heard.messages.length, 1);
  });

  test('a PubNub message reaches pusher-js, and the other way round', async () => {
    await cluster.admin(1).patchApp(keys.id, { open: [{ pattern: 'public-*', operations: ['subscribe', 'publish'] }] });
    const pusher = await rawPusher(url(0), keys.key);
    pusher.send({ event: 'pusher:subscribe', data: { channel: 'public-x' } });
    await pusher.events.next((event) => event.event === 'pusher_internal:subscription_succeeded', 'subscribed');
    const pubnub = client(url(1), keys, { uuid: 'pn' });
    const heard = await listen(pubnub, ['public-x']);
    await heard.is('PNConnectedCategory');
    await pubnub.publish({ channel: 'public-x', message: { from: 'pubnub' } });
    const event = await pusher.events.next((one) => one.channel === 'public-x' && /from/.test(one.data ?? ''), 'it at pusher');
    assert.deepEqual(JSON.parse(event.data), { from: 'pubnub' });
    await cluster.server(1, keys).call('POST', `/v1/apps/${keys.id}/publish`, { channel: 'public-x', name: 'greet', data: { from: 'v1' } });
    await heard.message((one) => one.message.from === 'v1');
    pusher.close();
  });

  test('a subscriber that is further behind than fits into one poll gets all of it', async () => {
    await grant(0, 'k-behind', ['behind']);
    const alice = client(url(0), keys, { uuid: 'alice', authKey: 'k-behind' });
    const { timetoken } = await alice.publish({ channel: 'behind', message: 'first' });
    const wanted = Array.from({ length: 1_300 }, (_, n) => n + 1);
    for (let at = 0; at < wanted.length; at += 50) {
      await Promise.all(wanted.slice(at, at + 50).map((message) => alice.publish({ channel: 'behind', message })));
    }
    const heard = await listen(client(url(1), keys, { authKey: 'k-behind' }), ['behind'], { timetoken });
    await until(() => heard.messages.length >= wanted.length, 'all of them');
    const got = heard.messages.map((event) => event.message);
    assert.deepEqual(got.toSorted((one, other) => one - other), wanted);
  });

  test('over the limit of connections a subscribe is refused in words, and at once', async () => {
    const settings = { pubnub_access_manager: false, connections_per_node: 1 };
    const small = await keyset(cluster, { protocols: ['pubnub'], settings });
    const ask = (uuid, tt) => fetch(`${url(0)}/v2/subscribe/${small.subscribeKey}/room/0?tt=${tt}&uuid=${uuid}`);
    const { t } = await (await ask('one', 0)).json();
    const waits = ask('one', t.t);
    waits.catch(() => {});
    const answer = await ask('two', 0);
    const message = 'Too many connections: connections_per_node';
    assert.deepEqual([answer.status, await answer.json()], [429, { status: 429, error: true, message }]);
    assert.equal(answer.headers.get('retry-after'), '1');
  });

  if (nodes < 3) return;

  test('a subscriber whose node loses its majority for a while comes back by itself, and has missed nothing', async () => {
    await grant(0, 'k-alone', ['alone']);
    const bob = client(url(2), keys, { authKey: 'k-alone' });
    const heard = await listen(bob, ['alone']);
    await heard.is('PNConnectedCategory');
    const alice = client(url(0), keys, { authKey: 'k-alone' });
    await alice.publish({ channel: 'alone', message: 'before' });
    await heard.message((event) => event.message === 'before');
    const others = [1, 2].map((node) => cluster.pid(node));
    others.forEach((pid) => process.kill(pid, 'SIGSTOP'));
    try {
      // A status of an answer would be the end of it for this SDK; a broken connection is what it comes back from.
      await until(() => heard.statuses.some((one) => one.error), 'the end of its subscribe', 30_000);
    } finally {
      others.forEach((pid) => process.kill(pid, 'SIGCONT'));
    }
    assert.deepEqual(heard.statuses.filter((one) => one.error).map((one) => one.category)[0], 'PNNetworkIssuesCategory');
    await until(() => alice.publish({ channel: 'alone', message: 'meanwhile' }), 'published again', 30_000);
    await heard.is('PNReconnectedCategory');
    await until(() => alice.publish({ channel: 'alone', message: 'after' }), 'published again', 30_000);
    await heard.message((event) => event.message === 'after');
    // What was repeated because nobody knew what became of it may have come twice.
    assert.deepEqual([...new Set(heard.messages.map((event) => event.message))], ['before', 'meanwhile', 'after']);
  });

  for (const how of ['drained', 'stopped']) {
    test(`subscribers of a busy channel, whose node is ${how} in order, all come back and have missed nothing`, async () => {
      await grant(0, `k-${how}`, [how]);
      const heard = await Promise.all(
        Array.from({ length: 20 }, async (_, n) => {
          const one = client(url(2), keys, { uuid: `sub-${n}`, authKey: `k-${how}`, keepAlive: true });
          const its = await listen(one, [how]);
          await its.is('PNConnectedCategory');
          return its;
        }),
      );
      const alice = client(url(0), keys, { uuid: 'alice', authKey: `k-${how}` });
      const acknowledged = [];
      let busy = true;
      const talk = (async () => {
        for (let n = 1; busy; n += 1) {
          // Where the channel's home is the node that goes, a publish may fail for a moment.
          const sent = await alice.publish({ channel: how, message: n }).catch(() => undefined);
          if (sent) acknowledged.push(n);
        }
      })();
      const all = (category, what) => Promise.all(heard.map((its) => until(() => its.statuses.some((one) => one.category === category), what, 60_000)));
      await Promise.all(heard.map((its) => its.message(() => true)));
      if (how === 'drained') {
        await cluster.admin(1).call('POST', '/v1/cluster/nodes/3/drain');
        await all('PNNetworkIssuesCategory', 'the end of every subscribe');
        // Who asks a node that is empty already is hung up on as well; not at once, since it may ask again at once.
        const began = Date.now();
        await assert.rejects(fetch(`${url(2)}/v2/subscribe/${keys.subscribeKey}/${how}/0?tt=0&uuid=late&auth=k-${how}`));
        assert.ok(Date.now() - began >= 900, 'a loop would run hot');
      }
      cluster.node(3).child.kill('SIGTERM');
      await cluster.node(3).ended;
      await cluster.startNode(3);
      await all('PNReconnectedCategory', 'every subscriber back');
      busy = false;
      await talk;
      const { timetoken } = await until(() => alice.publish({ channel: how, message: 'last' }), 'the last one published', 30_000);
      assert.ok(timetoken);
      for (const its of heard) {
        await until(() => its.messages.some((event) => event.message === 'last'), 'the last one', 60_000);
        const got = new Set(its.messages.map((event) => event.message));
        assert.deepEqual(acknowledged.filter((n) => !got.has(n)), []);
        const others = its.statuses.map((one) => one.category).filter((one) => !/^PN(Connected|NetworkIssues|Reconnected)Category$/.test(one));
        assert.deepEqual(others, []);
      }
    });
  }
}
