// Ably's main path, the same over one node and three: `node(n)` names the node that a client uses.

import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { once } from 'node:events';
import { after, afterEach, before, test } from 'node:test';
import Ably from 'ably';
import { Cluster } from './lib/cluster.mjs';
import { Tab, closeTabs, is, serverSdk } from './lib/client.mjs';
import { Client, closeClients, jwt, keyOf, rest } from './lib/ably.mjs';
import { RawSocket } from './lib/raw.mjs';
import { until, within } from './lib/wait.mjs';

export function ablyPath(nodes) {
  let cluster;
  let app;
  const url = (n) => cluster.urls[(n - 1) % nodes];
  const client = (n, options = {}) => new Client(url(n), { key: keyOf(app), ...options });
  const byToken = (n, options) => new Client(url(n), options);

  before(async () => {
    cluster = await Cluster.start({ nodes });
    const made = await cluster.admin(1).createApp({
      name: 'ably',
      protocols: ['pusher', 'ably', 'pubnub', 'realtime'],
      open: [{ pattern: 'public-*', operations: ['subscribe'] }],
      settings: { client_events: true },
      namespaces: { brief: { history_ms: 300 }, few: { history_messages: 3 }, long: { history_ms: 3_600_000 } },
      keys: [
        { name: 'server', revocable_tokens: true },
        { name: 'plain', revocable_tokens: false },
        { name: 'narrow', capability: [{ pattern: 'ns:*', operations: ['subscribe', 'publish', 'presence', 'presence-read'] }] },
        { name: 'spare', revocable_tokens: true },
      ],
    });
    const of = (key) => ({ id: String(made.app.id), key: key.id, secret: key.secret });
    app = of(made.keys[0]);
    app.plain = of(made.keys[1]);
    app.narrow = of(made.keys[2]);
    app.spare = of(made.keys[3]);
    app.made = made;
    assert.equal(made.keys[0].ably_key, keyOf(app));
  });
  afterEach(() => {
    closeClients();
    closeTabs();
  });
  after(() => cluster?.stop());

  for (const useBinaryProtocol of [false, true]) {
    const form = useBinaryProtocol ? 'msgpack' : 'json';

    test(`${form}: messages of every kind reach every node, in order, and come back to their publisher`, async () => {
      const one = await client(1, { useBinaryProtocol }).connected();
      const two = await client(2, { useBinaryProtocol: !useBinaryProtocol }).connected();
      const mine = await one.subscribed(`kinds-${form}`);
      const theirs = await two.subscribed(`kinds-${form}`);
      const data = ['text', { a: [1, 'ü'] }, Buffer.from([0, 1, 255]), undefined, ''];
      for (const [at, value] of data.entries()) await mine.channel.publish(`n${at}`, value);
      for (const inbox of [mine, theirs]) {
        const got = await inbox.count(() => true, data.length, 'all kinds');
        assert.deepEqual(got.map((message) => message.name), ['n0', 'n1', 'n2', 'n3', 'n4']);
        for (const [at, value] of data.entries()) {
          const seen = got[at].data;
          if (Buffer.isBuffer(value)) assert.deepEqual([...new Uint8Array(seen)], [...value]);
          else assert.deepEqual(seen, value);
          assert.equal(got[at].connectionId, one.id);
          assert.ok(got[at].timestamp > 0 && got[at].id && got[at].serial);
        }
      }
      await mine.channel.publish(Array.from({ length: 20 }, (_, n) => ({ name: 'many', data: `${n}` })));
      const many = await theirs.count((message) => message.name === 'many', 20, 'the batch');
      assert.deepEqual(many.map((message) => Number(message.data)), Array.from({ length: 20 }, (_, n) => n));
    });

    test(`${form}: presence is one set over all nodes`, async () => {
      const one = await client(1, { useBinaryProtocol, clientId: 'ana' }).connected();
      const two = await client(2, { useBinaryProtocol, clientId: 'bob' }).connected();
      const name = `room-${form}`;
      const [first, second] = [one.sdk.channels.get(name), two.sdk.channels.get(name)];
      await first.presence.enter({ n: 1 });
      await second.attach();
      const seen = await within(second.presence.get(), 'the set');
      assert.deepEqual(seen.map((member) => [member.clientId, member.data]), [['ana', { n: 1 }]]);
      const news = [];
      await second.presence.subscribe((change) => news.push([change.action, change.clientId, change.data]));
      await first.presence.update('two');
      await second.presence.enter();
      await first.presence.leave('bye');
      await until(() => news.some(([action]) => action === 'leave'), 'ana leaves');
      assert.deepEqual(news.filter(([, who]) => who === 'ana').slice(-2), [['update', 'ana', 'two'], ['leave', 'ana', 'bye']]);
      const page = await rest(url(3), { key: keyOf(app), useBinaryProtocol }).channels.get(name).presence.get();
      assert.deepEqual(page.items.map((member) => member.clientId), ['bob']);
    });
  }

  test('echo off, modes and rewind', async () => {
    const quiet = await client(1, { echoMessages: false }).connected();
    const other = await client(2).connected();
    const [mine, theirs] = [await quiet.subscribed('echo'), await other.subscribed('echo')];
    await mine.channel.publish('a', '1');
    await theirs.channel.publish('b', '2');
    await mine.next((message) => message.name === 'b', 'the other one');
    await theirs.next((message) => message.name === 'a', 'the first');
    assert.equal(mine.all((message) => message.name === 'a').length, 0);
    const late = await client(3).connected();
    const rewound = await late.subscribed('echo', { params: { rewind: '2' } });
    await rewound.count(() => true, 2, 'the rewind');
    const writer = late.sdk.channels.get('modes', { modes: ['PUBLISH'] });
    await writer.attach();
    assert.deepEqual([...writer.modes].sort(), ['publish']);
    const reader = other.sdk.channels.get('modes', { modes: ['SUBSCRIBE'] });
    const got = [];
    await reader.subscribe((message) => got.push(message.data));
    await writer.publish('x', 'y');
    await until(() => got.length === 1, 'the reader hears the writer');
    await assert.rejects(reader.publish('x', 'y'), (error) => error.code === 40165);
  });

  test('names, sizes and unknown channels are refused with the documented codes', async () => {
    const one = await client(1).connected();
    for (const name of [':hell', '[x]']) {
      await assert.rejects(one.sdk.channels.get(name).attach(), (error) => error.code === 40010, name);
    }
    await assert.rejects(one.sdk.channels.get('big').publish('x', 'y'.repeat(70_000)), (error) => error.code === 40009);
    await within(one.sdk.connection.ping(), 'a ping');
  });

  test('bad credentials fail on the open socket with their codes', async () => {
    const failed = (options, code) => byToken(1, options).state('failed', code);
    await failed({ key: `${app.id}.${app.key}:wrong` }, 40101);
    await failed({ key: 'this.is:wrong' }, 40101);
    await failed({ token: jwt({ ...app, key: 'nobody' }, {}) }, 40400);
    await failed({ key: `${app.id}.nobody:wrong` }, 40101);
    await failed({ token: 'nonsense' }, 40101);
    await failed({ token: `${app.id}.non.sense` }, 40101);
  });

  test('over REST an unknown key of a known app is told apart from a wrong secret', async () => {
    const refused = async (n, options) => {
      const error = await rest(url(n), options).channels.get('x').history().then(() => null, (why) => why);
      return [error?.code, error?.statusCode];
    };
    for (let n = 1; n <= nodes; n += 1) {
      assert.deepEqual(await refused(n, { key: `${app.id}.nobody:wrong` }), [40400, 401]);
      assert.deepEqual(await refused(n, { key: `${app.id}.${app.key}:wrong` }), [40101, 401]);
      assert.deepEqual(await refused(n, { key: `${Number(app.id) + 1}.${app.key}:wrong` }), [40101, 401]);
      assert.deepEqual(await refused(n, { token: 'nonsense' }), [40005, 400]);
    }
  });

  for (const [kind, options] of Object.entries({
    'a TokenRequest by authCallback': () => ({
      authCallback: (params, done) => {
        rest(url(2), { key: keyOf(app) }).auth.createTokenRequest({ ...params, clientId: 'carl' }).then((request) => done(null, request), done);
      },
    }),
    'a JWT by authCallback': () => ({ authCallback: (_, done) => done(null, jwt(app, { 'x-ably-clientId': 'carl' })) }),
    'TokenDetails by authCallback': () => ({
      authCallback: (_, done) => {
        rest(url(3), { key: keyOf(app) }).auth.requestToken({ clientId: 'carl' }).then((token) => done(null, token), done);
      },
    }),
  })) {
    test(`${kind} connects as its client`, async () => {
      const one = await byToken(1, options()).connected();
      assert.equal(one.sdk.auth.clientId, 'carl');
      const inbox = await one.subscribed('tokens');
      await inbox.channel.publish('x', '1');
      assert.equal((await inbox.next(() => true, 'the message')).clientId, 'carl');
    });
  }

  test('authUrl: an app server hands out TokenRequests and JWTs', async () => {
    const signer = new Ably.Rest({ key: keyOf(app) });
    const server = createServer((request, response) => {
      if (request.url.startsWith('/jwt')) {
        response.setHeader('content-type', 'application/jwt');
        return response.end(jwt(app, { 'x-ably-clientId': 'dora' }));
      }
      signer.auth.createTokenRequest({ clientId: 'dora' }).then((made) => {
        response.setHeader('content-type', 'application/json');
        response.end(JSON.stringify(made));
      });
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    try {
      for (const path of ['request', 'jwt']) {
        const one = await byToken(1, { authUrl: `http://127.0.0.1:${server.address().port}/${path}` }).connected();
        assert.equal(one.sdk.auth.clientId, 'dora');
      }
    } finally {
      server.closeAllConnections();
      server.close();
    }
  });

  test('a TokenRequest is good once, whichever node is asked again', async () => {
    const signer = new Ably.Rest({ key: keyOf(app) });
    const request = await signer.auth.createTokenRequest({ clientId: 'once' });
    const ask = (n) =>
      fetch(`${url(n)}/keys/${request.keyName}/requestToken`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(request),
      });
    const first = await ask(1);
    assert.equal(first.status, 201);
    for (let n = 1; n <= nodes; n += 1) {
      const again = await ask(n);
      assert.equal(again.status, 401);
      assert.equal(again.headers.get('content-type'), 'application/json');
      assert.equal(again.headers.get('x-ably-errorcode'), '40105');
      assert.equal((await again.json()).error.code, 40105);
    }
  });

  test('a TokenRequest is good once, however it is spelled the second time', async () => {
    const signer = new Ably.Rest({ key: keyOf(app) });
    const request = await signer.auth.createTokenRequest({ clientId: 'spelled', ttl: 60_000 });
    const plain = JSON.stringify(request);
    const at = String(request.timestamp);
    const exponent = `${at[0]}.${at.slice(1)}e${at.length - 1}`;
    const escape = (text) => `\\u00${text.charCodeAt(0).toString(16)}${text.slice(1)}`;
    const spellings = [
      plain.replace(`:${at}`, `:${exponent}`),
      plain.replace(`:${at}`, `:${at}.0`),
      plain.replace(`:${at}`, `:"${at}"`),
      plain.replace(`:${at}`, ` :\n ${at} `),
      plain.replace(`"timestamp":${at}`, `"timestamp":1,"timestamp":${at}.0`),
      plain.replace(':60000', ':6e4'),
      plain.replace(request.nonce, escape(request.nonce)),
      plain.replace('"nonce"', '"\\u006eonce"'),
      plain.replace('{', '{"unknown":null,'),
    ];
    for (const spelling of spellings) assert.notEqual(spelling, plain);
    const ask = (n, body) =>
      fetch(`${url(n)}/keys/${request.keyName}/requestToken`, { method: 'POST', headers: { 'content-type': 'application/json' }, body });
    // All at once through all nodes: one of them is the first, whichever that is.
    const answers = await Promise.all([plain, ...spellings].flatMap((body) => Array.from({ length: nodes }, (_, at) => ask(at + 1, body))));
    assert.equal(answers.filter((answer) => answer.status === 201).length, 1);
    assert.ok(answers.every((answer) => answer.status === 201 || answer.headers.get('x-ably-errorcode') === '40105'));
  });

  test('a token gets no more than its key, in canonical words', async () => {
    const narrow = rest(url(1), { key: keyOf(app.narrow) });
    const token = await narrow.auth.requestToken({ capability: { 'ns:u1': ['subscribe'], other: ['*'] } });
    assert.equal(token.capability, '{"ns:u1":["subscribe"]}');
    await assert.rejects(narrow.auth.requestToken({ capability: { other: ['*'] } }), (error) => error.code === 40160);
    const one = await byToken(2, { token: token.token }).connected();
    await one.subscribed('ns:u1');
    await assert.rejects(one.sdk.channels.get('ns:u1').publish('x', '1'), (error) => error.code === 40160);
    await assert.rejects(one.sdk.channels.get('ns:u2').attach(), (error) => error.code === 40160);
    assert.equal(one.sdk.connection.state, 'connected');
    await assert.rejects(rest(url(1), { key: keyOf(app) }).auth.requestToken({ ttl: 7_200_000 }), (error) => error.code === 40003);
  });

  test('a token that ends is renewed and the connection, its channels and members go on', async () => {
    const issue = () => rest(url(2), { key: keyOf(app) }).auth.requestToken({ clientId: 'ed', ttl: 3_000 });
    const one = await byToken(1, { authCallback: (_, done) => issue().then((token) => done(null, token), done) }).connected();
    const other = await client(2).connected();
    const [inbox, theirs] = [await one.subscribed('renew'), await other.subscribed('renew')];
    const leaves = [];
    await theirs.channel.presence.subscribe('leave', (change) => leaves.push(change.clientId));
    await inbox.channel.presence.enter('here');
    const id = one.id;
    const sent = [];
    const timer = setInterval(() => sent.push(theirs.channel.publish('tick', `${sent.length + 1}`)), 50);
    await one.state('disconnected', 40142);
    await one.states.count((change) => change.state === 'connected', 2, 'connects again');
    clearInterval(timer);
    await Promise.all(sent);
    const last = sent.length;
    await inbox.next((message) => message.data === `${last}`, 'the last tick');
    assert.deepEqual(inbox.items.map((message) => Number(message.data)), Array.from({ length: last }, (_, n) => n + 1));
    assert.equal(one.id, id);
    assert.deepEqual(leaves, []);
    assert.deepEqual((await theirs.channel.presence.get()).map((member) => member.clientId), ['ed']);
  });

  test('the server asks for a new token 30 s before the end, and nothing is interrupted', async () => {
    let issued = 0;
    const authCallback = (_, done) => {
      issued += 1;
      done(null, jwt(app, {}, { ttl: issued === 1 ? 32 : 60 }));
    };
    const one = await byToken(1, { authCallback }).connected();
    const inbox = await one.subscribed('renew-early');
    const api = rest(url(2), { key: keyOf(app) }).channels.get('renew-early');
    let running = true;
    let sent = 0;
    const publishing = (async () => {
      for (; running; sent += 1) await api.publish('tick', `${sent}`);
    })();
    await until(() => issued === 2, 'a second token');
    await one.states.next((change) => change.update, 'the update');
    running = false;
    await publishing;
    await inbox.count(() => true, sent, 'every message');
    assert.deepEqual(inbox.items.map((message) => Number(message.data)), Array.from({ length: sent }, (_, n) => n));
    assert.equal(one.states.all((change) => change.state === 'disconnected').length, 0);
    await inbox.channel.publish('x', '1');
    await inbox.next((message) => message.name === 'x', 'still there');
  });

  test('authorize in place widens, narrows and refuses another client', async () => {
    const cap = (capability) => jwt(app, { 'x-ably-capability': JSON.stringify(capability), 'x-ably-clientId': 'fay' });
    let next = cap({ wide: ['subscribe'] });
    const one = await byToken(1, { authCallback: (_, done) => done(null, next) }).connected();
    const inbox = await one.subscribed('wide');
    await assert.rejects(inbox.channel.publish('x', '1'), (error) => error.code === 40160);
    next = cap({ wide: ['subscribe', 'publish'], more: ['*'] });
    await one.sdk.auth.authorize();
    await inbox.channel.publish('x', '2');
    await inbox.next((message) => message.data === '2', 'the message');
    next = cap({ more: ['*'] });
    await one.sdk.auth.authorize();
    await inbox.states.next((change) => change.state === 'failed' && change.code === 40160, 'the channel fails');
    assert.equal(one.sdk.connection.state, 'connected');
    next = jwt(app, { 'x-ably-clientId': 'eve' });
    await assert.rejects(one.sdk.auth.authorize(), (error) => [40102, 40101].includes(error.code));
    await one.state('failed');
  });

  test('revocation of each kind of target cuts its connections on every node and spares the rest', async () => {
    const targets = {
      'clientId:gus': { 'x-ably-clientId': 'gus' },
      'revocationKey:group': { 'x-ably-revocation-key': 'group' },
      'channel:rooms:*': { 'x-ably-capability': '{"rooms:*":["subscribe"]}' },
      'channel:secret': { 'x-ably-capability': '{"secret":["subscribe"]}' },
    };
    for (const [target, claims] of Object.entries(targets)) {
      const token = () => jwt(app, claims);
      const hit = [];
      for (let n = 1; n <= 3; n += 1) hit.push(await byToken(n, { token: token() }).connected());
      const spared = await byToken(2, { token: jwt(app, { 'x-ably-clientId': 'hal' }) }).connected();
      const old = token();
      await new Promise((done) => setTimeout(done, 5));
      const answer = await fetch(`${url(3)}/keys/${app.id}.${app.key}/revokeTokens`, {
        method: 'POST',
        headers: {
          authorization: `Basic ${Buffer.from(keyOf(app)).toString('base64')}`,
          'content-type': 'application/json',
          'x-ably-version': '6',
        },
        body: JSON.stringify({ targets: [target, 'invalidType:abc'] }),
      });
      assert.equal(answer.status, 201);
      const body = await answer.json();
      assert.deepEqual([body.successCount, body.failureCount], [1, 1]);
      assert.equal(body.results[0].target, target);
      for (const one of hit) await one.state('disconnected', 40141);
      assert.equal(spared.sdk.connection.state, 'connected');
      for (let n = 1; n <= nodes; n += 1) {
        await assert.rejects(rest(url(n), { token: old }).channels.get('secret').history(), (error) => [40141, 40171].includes(error.code));
      }
      await new Promise((done) => setTimeout(done, 5));
      await byToken(1, { token: token() }).connected();
    }
  });

  test('a revocation with a margin asks for a new token at once', async () => {
    let issued = 0;
    const authCallback = (_, done) => {
      issued += 1;
      done(null, jwt(app, { 'x-ably-clientId': 'ida' }));
    };
    const one = await byToken(2, { authCallback }).connected();
    await new Promise((done) => setTimeout(done, 5));
    const made = await rest(url(1), { key: keyOf(app) }).auth.revokeTokens([{ type: 'clientId', value: 'ida' }], { allowReauthMargin: true });
    assert.ok(made.results[0].appliesAt > Date.now() + 25_000);
    await until(() => issued === 2, 'a second token');
    await one.states.next((change) => change.update, 'the update');
    assert.equal(one.states.all((change) => change.state === 'disconnected').length, 0);
    if (nodes === 1) return;
    // Who does not renew is cut when the margin is over, and not before.
    const stubborn = await raw(3, { access_token: jwt(app, { 'x-ably-clientId': 'ian' }) });
    const late = await rest(url(1), { key: keyOf(app) }).auth.revokeTokens([{ type: 'clientId', value: 'ian' }], { allowReauthMargin: true });
    await stubborn.next(17, 'a request to renew');
    const cut = await stubborn.socket.events.next((frame) => frame.action === 6, 'the cut', 45_000);
    assert.equal(cut.error.code, 40141);
    const over = Date.now() - late.results[0].appliesAt;
    assert.ok(over > -50 && over < 5_000, `${over} ms after the margin`);
  });

  test('a connection that publishes too fast is told so, message by message, and stays', async () => {
    const settings = { inbound_messages_per_second: 5 };
    const made = await cluster.admin(1).createApp({ name: 'slow', protocols: ['ably'], keys: [{ name: 'server' }], settings });
    const one = await byToken(1, { key: made.keys[0].ably_key, clientId: 'ana' }).connected();
    assert.equal(one.sdk.connection.connectionManager.connectionDetails.maxInboundRate, 5);
    const inbox = await one.subscribed('pace');
    const told = await Promise.allSettled(Array.from({ length: 12 }, (_, n) => inbox.channel.publish('x', `${n}`)));
    const refused = told.filter(({ status }) => status === 'rejected');
    assert.ok(refused.length >= 1 && refused.length <= 7, `${refused.length} were refused`);
    for (const { reason } of refused) assert.deepEqual([reason.code, reason.statusCode], [42911, 429]);
    await inbox.count(() => true, 12 - refused.length, 'those that went through');
    // More than ever fit at once pass when nothing is used up; what follows has to wait.
    const many = Array.from({ length: 20 }, () => ({ name: 'many' }));
    await until(async () => inbox.channel.publish(many).then(() => true, () => false), 'a large publish');
    await assert.rejects(inbox.channel.presence.enter(), (error) => error.code === 42911);
    assert.equal(one.sdk.connection.state, 'connected');
  });

  test('one call makes an app with several keys, their capabilities and its namespaces, and names every key', async () => {
    const { keys, app: shown } = app.made;
    assert.deepEqual(keys.map((key) => key.ably_key), [app, app.plain, app.narrow, app.spare].map(keyOf));
    assert.deepEqual(shown.namespaces, { brief: { history_ms: 300 }, few: { history_messages: 3 }, long: { history_ms: 3_600_000 } });
    for (const key of keys) assert.ok(Math.abs((await rest(url(2), { key: key.ably_key }).auth.requestToken()).expires - Date.now()) < 4_000_000);
    await assert.rejects(rest(url(1), { key: keyOf(app.narrow) }).channels.get('other').publish('x', '1'), (error) => error.code === 40160);
    const history = async (name) => (await rest(url(3), { key: keyOf(app) }).channels.get(name).history({ limit: 1000 })).items.length;
    for (const name of ['brief:x', 'few:x', 'long:x', 'other:x', 'brief']) {
      const channel = rest(url(1), { key: keyOf(app) }).channels.get(name);
      for (let n = 0; n < 8; n += 1) await channel.publish(Array.from({ length: 20 }, (_, at) => ({ name: 'x', data: `${n}.${at}` })));
    }
    assert.equal(await history('few:x'), 3);
    // By time and bytes, not by number.
    for (const name of ['long:x', 'other:x']) assert.equal(await history(name), 160, name);
    for (const name of ['brief:x', 'brief']) await until(async () => (await history(name)) === 0, `${name} is brief`);
    await cluster.admin(1).patchApp(app.id, { namespaces: { few: null } });
    const after = await cluster.admin(1).call('GET', `/v1/apps/${app.id}`);
    assert.deepEqual(Object.keys(after.app.namespaces), ['brief', 'long']);
    await assert.rejects(cluster.admin(1).patchApp(app.id, { namespaces: { x: { client_events: true } } }), /unknown_setting/);
  });

  test('presence history: who came, changed and went, in pages, from any node', async () => {
    const one = await client(1, { clientId: 'kim' }).connected();
    const channel = one.sdk.channels.get('past');
    await channel.presence.enter('in');
    await channel.presence.update('on');
    await channel.presence.leave('out');
    const past = (n, options) => rest(url(n), { key: keyOf(app) }).channels.get('past').presence.history(options);
    const all = (await past(2)).items.map((item) => [item.action, item.clientId, item.data, item.connectionId]);
    assert.deepEqual(all, [['leave', 'kim', 'out', one.id], ['update', 'kim', 'on', one.id], ['enter', 'kim', 'in', one.id]]);
    let page = await past(3, { direction: 'forwards', limit: 2 });
    assert.deepEqual(page.items.map((item) => item.action), ['enter', 'update']);
    while (page.hasNext()) page = await page.next();
    assert.deepEqual(page.items.map((item) => item.action), ['leave']);
    const narrow = rest(url(1), { key: keyOf(app.narrow) }).channels.get('ns:past').presence;
    await assert.rejects(narrow.history(), (error) => error.code === 40160);
  });

  test('presence extras come through enter, update and leave: live, in a SYNC, over REST and in history', async () => {
    const one = await raw(1, { clientId: 'eve' });
    const live = await raw(2);
    for (const each of [one, live]) each.socket.send({ action: 10, channel: 'extras' });
    await Promise.all([one.next(11), live.next(11)]);
    const extras = (n) => ({ headers: { n } });
    const told = (action) => live.socket.events.next((frame) => frame.action === 14 && frame.presence[0].action === action, `presence ${action}`);
    const heard = [];
    for (const [n, action] of [[0, 2], [1, 4]]) {
      one.socket.send({ action: 14, channel: 'extras', msgSerial: n, presence: [{ action, extras: extras(n) }] });
      const frame = await told(action);
      heard.push(...frame.presence.map((item) => [item.action, item.extras]));
    }
    const late = await raw(3);
    late.socket.send({ action: 10, channel: 'extras' });
    assert.deepEqual((await late.next(16)).presence.map((item) => item.extras), [extras(1)]);
    const auth = { authorization: `Basic ${Buffer.from(keyOf(app)).toString('base64')}` };
    const get = async (path) => (await fetch(`${url(3)}/channels/extras/${path}`, { headers: auth })).json();
    assert.deepEqual((await get('presence')).map((item) => item.extras), [extras(1)]);
    one.socket.send({ action: 14, channel: 'extras', msgSerial: 2, presence: [{ action: 3, extras: extras(2) }] });
    heard.push(...(await told(3)).presence.map((item) => [item.action, item.extras]));
    assert.deepEqual(heard, [[2, extras(0)], [4, extras(1)], [3, extras(2)]]);
    assert.deepEqual((await get('presence/history')).map((item) => [item.action, item.extras]), heard.toReversed());
    one.socket.send({ action: 14, channel: 'extras', msgSerial: 3, presence: [{ action: 2, extras: 'x' }] });
    assert.equal((await one.socket.events.next((frame) => frame.action === 2, 'a NACK')).error.code, 40032);
    for (const each of [one, live, late]) each.socket.close();
  });

  test('pages of presence history are full, also behind leaves with data', async () => {
    const one = await client(1, { clientId: 'pat' }).connected();
    const channel = one.sdk.channels.get('paged');
    for (let n = 0; n < 7; n += 1) {
      await channel.presence.enter(`in-${n}`);
      await channel.presence.leave(`out-${n}`);
    }
    const expected = Array.from({ length: 7 }, (_, n) => [`out-${6 - n}`, `in-${6 - n}`]).flat();
    for (const limit of [1, 3, 14]) {
      const pages = [];
      let page = await rest(url(2), { key: keyOf(app) }).channels.get('paged').presence.history({ limit });
      for (;;) {
        pages.push(page.items.map((item) => item.data));
        if (!page.hasNext()) break;
        page = await page.next();
      }
      assert.deepEqual(pages.flat(), expected);
      assert.deepEqual(pages.map((items) => items.length), Array.from({ length: Math.ceil(14 / limit) }, (_, at) => Math.min(limit, 14 - at * limit)));
    }
  });

  test('remainPresentFor: members leave that long after the socket went', async () => {
    const watcher = await raw(2);
    watcher.socket.send({ action: 10, channel: 'remain' });
    await watcher.next(11);
    const told = (clientId, action) => (frame) => frame.action === 14 && frame.presence[0].clientId === clientId && frame.presence[0].action === action;
    const entered = async (clientId, query) => {
      const one = await raw(1, { clientId, ...query });
      one.socket.send({ action: 10, channel: 'remain' });
      await one.next(11);
      one.socket.send({ action: 14, channel: 'remain', msgSerial: 0, presence: [{ action: 2 }] });
      await watcher.socket.events.next(told(clientId, 2), `${clientId} is there`);
      return one.socket;
    };
    // Who stays longest goes first, so that an order that nobody asked for would be seen.
    const stay = { ray: {}, rae: { remainPresentFor: '1500' }, rex: { remainPresentFor: '0' } };
    const sockets = [];
    for (const [clientId, query] of Object.entries(stay)) sockets.push(await entered(clientId, query));
    for (const socket of sockets) socket.close();
    await watcher.socket.events.next(told('rae', 3), 'rae has left');
    const left = watcher.socket.events.items.filter((frame) => frame.action === 14 && frame.presence[0].action === 3);
    assert.deepEqual(left.map((frame) => frame.presence[0].clientId), ['rex', 'rae'], 'ray stays for 15 s');
    watcher.socket.close();
  });

  test('what /v1 says of a key is what Ably says of it: every word, and `*` as what it means', async () => {
    const admin = cluster.admin(1);
    const make = async (capability) => (await admin.call('POST', `/v1/apps/${app.id}/keys`, { name: 'words', capability })).key;
    const all = await make([{ pattern: '*', kind: 'segments', operations: ['*'] }]);
    assert.deepEqual(all.capability, [{ resource: 'channel', pattern: '*', kind: 'segments', operations: ['*'] }]);
    const of = (key) => rest(url(2), { key: `${app.id}.${key.id}:${key.secret}` }).auth.requestToken();
    assert.equal((await of(all)).capability, '{"*":["*"]}');
    const words = ['annotation-publish', 'message-update-own', 'object-subscribe', 'push-admin', 'push-subscribe', 'subscribe'];
    const some = await make([{ pattern: 'a', operations: words }]);
    assert.equal((await of(some)).capability, JSON.stringify({ a: words }));
    await assert.rejects(make([{ pattern: 'a', operations: ['push-fly'] }]), (error) => error.code === 'unknown_operation' && /push-admin/.test(error.message));
    for (const path of ['requestToken', 'revokeTokens']) {
      const answers = [];
      for (const key of [`${app.id}.nobody`, `${app.id}.${app.key}`]) {
        const answer = await fetch(`${url(1)}/keys/${key}/${path}`);
        answers.push([answer.status, (await answer.json()).error.code]);
      }
      assert.deepEqual(answers, [[404, 40400], [405, 40500]]);
    }
    const auth = { authorization: `Basic ${Buffer.from(keyOf(app)).toString('base64')}` };
    const asked = await (await fetch(`${url(1)}/channels/never-used`, { headers: auth })).json();
    assert.equal(asked.status.isActive, true);
  });

  test('a disabled key ends its connections and tokens on every node, and no others', async () => {
    const hit = [];
    for (let n = 1; n <= 3; n += 1) {
      hit.push(await byToken(n, { key: keyOf(app.spare) }).connected());
      hit.push(await byToken(n, { token: jwt(app.spare, { 'x-ably-clientId': 'lou' }) }).connected());
    }
    const spared = await client(2).connected();
    const inboxes = await Promise.all(hit.map((one) => one.subscribed('disabled')));
    const answer = await cluster.admin(1).call('PATCH', `/v1/apps/${app.id}/keys/${app.spare.key}`, { enabled: false });
    assert.deepEqual(answer.pending, []);
    await spared.sdk.channels.get('disabled').publish('x', 'late');
    for (const one of hit) await one.state('failed', 40131);
    for (const inbox of inboxes) assert.deepEqual(inbox.items, []);
    assert.equal(spared.sdk.connection.state, 'connected');
    for (let n = 1; n <= nodes; n += 1) {
      await assert.rejects(rest(url(n), { key: keyOf(app.spare) }).channels.get('x').history(), (error) => error.code === 40131);
      await assert.rejects(rest(url(n), { token: jwt(app.spare, {}) }).channels.get('x').history(), (error) => error.code === 40131);
    }
    await cluster.admin(1).call('PATCH', `/v1/apps/${app.id}/keys/${app.spare.key}`, { enabled: true });
    await byToken(3, { key: keyOf(app.spare) }).connected();
  });

  /** A connection by hand. */
  async function raw(n, query = {}) {
    const params = new URLSearchParams({ key: keyOf(app), format: 'json', v: '6', ...query });
    const socket = await RawSocket.open(url(n), `/?${params}`);
    const first = await socket.events.next(() => true, 'the first frame');
    return { socket, first, next: (action, what) => socket.events.next((frame) => frame.action === action, what ?? `action ${action}`) };
  }

  test('whoever carries a connection on cuts its old socket, on whatever node that is', async () => {
    const old = await raw(1, { clientId: 'mia' });
    old.socket.send({ action: 10, channel: 'moved' });
    await old.next(11);
    old.socket.send({ action: 14, channel: 'moved', presence: [{ action: 2, data: 'x' }], msgSerial: 0 });
    await old.next(1);
    const watcher = await client(3).connected();
    const channel = watcher.sdk.channels.get('moved');
    const leaves = [];
    await channel.presence.subscribe('leave', (change) => leaves.push(change.clientId));
    await until(async () => (await channel.presence.get()).length === 1, 'mia is there');
    const now = await raw(2, { clientId: 'mia', resume: old.first.connectionDetails.connectionKey });
    assert.equal(now.first.connectionId, old.first.connectionId);
    assert.equal(now.first.error, undefined);
    await old.socket.end();
    now.socket.send({ action: 10, channel: 'moved' });
    await now.next(11);
    now.socket.send({ action: 14, channel: 'moved', presence: [{ action: 2, data: 'x', id: `${now.first.connectionId}:0:0` }], msgSerial: 1 });
    await now.next(1);
    assert.deepEqual((await channel.presence.get({ waitForSync: true })).map((member) => member.clientId), ['mia']);
    // Long after the old node has let go of its own entry.
    if (nodes > 1) await new Promise((done) => setTimeout(done, 16_000));
    assert.deepEqual((await rest(url(1), { key: keyOf(app) }).channels.get('moved').presence.get()).items.length, 1);
    assert.deepEqual(leaves, []);
    now.socket.close();
  });

  test('what is out of scope is refused and nothing else with it', async () => {
    const one = await raw(1);
    for (const [action, msgSerial] of [[19, 0], [21, 1]]) {
      one.socket.send({ action, channel: 'x', msgSerial });
      const nack = await one.socket.events.next((frame) => frame.action === 2 && frame.msgSerial === msgSerial, 'a NACK');
      assert.deepEqual([nack.count, nack.error.code, nack.error.statusCode], [1, 40000, 400]);
    }
    one.socket.send({ action: 15, channel: 'x', msgSerial: 2, messages: [{ action: 1, serial: 's', data: 'changed' }] });
    assert.equal((await one.socket.events.next((frame) => frame.msgSerial === 2, 'an answer')).error.code, 40000);
    one.socket.send({ action: 10, channel: '[meta]log', flags: 0 });
    assert.equal((await one.next(9)).error.code, 40010);
    one.socket.send({ action: 10, channel: 'whole', params: { delta: 'vcdiff', occupancy: 'metrics' } });
    assert.equal((await one.next(11)).params, undefined, 'neither is served, so neither is echoed');
    one.socket.send({ action: 15, channel: 'whole', msgSerial: 3, messages: [{ name: 'a', data: 'b' }] });
    assert.equal((await one.next(15)).messages[0].data, 'b');
    one.socket.close();
    const auth = { authorization: `Basic ${Buffer.from(keyOf(app)).toString('base64')}` };
    for (const path of ['push/deviceRegistrations', 'channels/x/messages/serial', 'channels/x/messages/serial/annotations', 'channels/x/objects']) {
      const answer = await fetch(`${url(1)}/${path}`, { headers: auth });
      assert.deepEqual([answer.status, (await answer.json()).error.code], [400, 40000], path);
    }
  });

  test('a TokenRequest counts for two minutes either way, wherever it is shown', async () => {
    for (const [away, code] of [[-121_000, 40104], [121_000, 40104], [-115_000, undefined], [115_000, undefined]]) {
      const signer = new Ably.Rest({ key: keyOf(app) });
      const request = await signer.auth.createTokenRequest({ timestamp: Date.now() + away });
      const answer = await fetch(`${url(2)}/keys/${request.keyName}/requestToken`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(request),
      });
      assert.equal((await answer.json()).error?.code, code, `${away}`);
    }
  });

  test('issuedBefore spares what is younger; a revocation has bounds', async () => {
    const old = await byToken(1, { token: jwt(app, { 'x-ably-clientId': 'ned', iat: Date.now() / 1000 - 60 }) }).connected();
    const young = await byToken(2, { token: jwt(app, { 'x-ably-clientId': 'ned' }) }).connected();
    const api = rest(url(3), { key: keyOf(app) });
    const revoke = (specifiers, options) => api.auth.revokeTokens(specifiers, options);
    const ned = [{ type: 'clientId', value: 'ned' }];
    const made = await revoke(ned, { issuedBefore: Date.now() - 30_000 });
    assert.equal(made.successCount, 1);
    await old.state('disconnected', 40141);
    await young.sdk.channels.get('x').attach();
    assert.equal(young.sdk.connection.state, 'connected');
    for (const issuedBefore of [Date.now() + 60_000, Date.now() - 3_700_000]) {
      await assert.rejects(revoke(ned, { issuedBefore }), (error) => error.code === 40003);
    }
    const many = (n) => Array.from({ length: n }, (_, at) => ({ type: 'clientId', value: `nobody-${at}` }));
    assert.equal((await revoke(many(100))).successCount, 100);
    await assert.rejects(revoke(many(101)), (error) => error.code === 40000);
    await assert.rejects(
      rest(url(1), { key: keyOf(app.spare) }).request('post', `/keys/${app.id}.${app.key}/revokeTokens`, 3, null, { targets: ['clientId:x'] }, {}).then((answer) => {
        throw Object.assign(new Error('answered'), { code: answer.errorCode });
      }),
      (error) => error.code === 40133,
    );
  });

  // What a REST call by this token is answered with.
  const shown = async (n, token) => {
    const answer = await fetch(`${url(n)}/channels/x/messages`, { headers: { authorization: `Bearer ${Buffer.from(token).toString('base64')}` } });
    return answer.headers.get('x-ably-errorcode') ?? answer.status;
  };
  const revokeClient = (n, value) => rest(url(n), { key: keyOf(app) }).auth.revokeTokens([{ type: 'clientId', value }]);

  test('a JWT of a clock that is ahead waits for its time, and stays revoked', async () => {
    const [ahead, early] = [jwt(app, { 'x-ably-clientId': 'fast', iat: Date.now() / 1000 + 1.5 }), Date.now()];
    assert.equal(await shown(1, ahead), 200);
    assert.ok(Date.now() - early >= 1_400, 'it was not taken before its time');
    assert.equal((await revokeClient(1, 'fast')).successCount, 1);
    for (const after of [0, 2_500]) {
      await new Promise((done) => setTimeout(done, after));
      for (let n = 1; n <= nodes; n += 1) assert.equal(await shown(n, ahead), '40141', `${after} ms later through node ${n}`);
    }
    assert.equal(await shown(1, jwt(app, { iat: Date.now() / 1000 + 30 })), '40144');
    assert.equal(await shown(1, jwt(app, { nbf: Date.now() / 1000 + 30 })), '40144');
  });

  test('what is made after a revocation stands, and what was made before in the same second does not', async () => {
    // Early in a second, so that all of it is in one.
    await new Promise((done) => setTimeout(done, 1_050 - (Date.now() % 1_000)));
    const second = Math.floor(Date.now() / 1_000);
    const before = jwt(app, { 'x-ably-clientId': 'ira' });
    const whole = jwt(app, { 'x-ably-clientId': 'ira', iat: second });
    const revoked = (await revokeClient(2, 'ira')).results[0];
    const exact = jwt(app, { 'x-ably-clientId': 'ira' });
    const minted = await rest(url(3), { key: keyOf(app) }).auth.requestToken({ clientId: 'ira' });
    for (let n = 1; n <= nodes; n += 1) {
      assert.equal(await shown(n, before), '40141');
      assert.equal(await shown(n, exact), 200);
      assert.equal(await shown(n, minted.token), 200);
    }
    // Whole seconds cannot tell. It is refused when its second is over, so that the next one a client fetches is good.
    assert.equal(await shown(1, whole), '40141');
    assert.ok(Date.now() >= (second + 1) * 1_000);
    assert.equal(await shown(1, jwt(app, { 'x-ably-clientId': 'ira', iat: Math.floor(Date.now() / 1_000) })), 200);
    const next = jwt(app, { 'x-ably-clientId': 'ira', iat: Math.ceil(revoked.issuedBefore / 1_000) });
    assert.equal(await shown(1, next), 200);
  });

  test('a revocation reaches what was issued before the millisecond that it says, and nothing else', async () => {
    for (let n = 1; n <= nodes; n += 1) {
      const who = `ike${n}`;
      const [told] = (await revokeClient(n, who)).results;
      assert.ok(told.appliesAt < told.issuedBefore && told.appliesAt > told.issuedBefore - 1_000, JSON.stringify(told));
      for (let away = -3; away <= 3; away += 1) {
        // A whole second says nothing closer, see below.
        if ((told.issuedBefore + away) % 1_000 === 0) continue;
        const token = jwt(app, { 'x-ably-clientId': who, iat: (told.issuedBefore + away) / 1_000 });
        assert.equal(await shown(1 + (n % nodes), token), away < 0 ? '40141' : 200, `${away} ms after the one it says`);
      }
    }
  });

  test('revoking needs the key itself and a revocable one', async () => {
    const specifier = [{ type: 'clientId', value: 'x' }];
    await assert.rejects(rest(url(1), { key: keyOf(app.plain) }).auth.revokeTokens(specifier), (error) => error.code === 40163);
    await assert.rejects(rest(url(1), { token: jwt(app, {}) }).auth.revokeTokens(specifier), (error) => error.code === 40162);
  });

  test('a killed socket is resumed: same connection, nothing lost, nobody seen leaving', async () => {
    const one = await client(1, { clientId: 'jo' }).connected();
    const other = await client(2).connected();
    const [inbox, theirs] = [await one.subscribed('resume'), await other.subscribed('resume')];
    await inbox.channel.presence.enter();
    const news = [];
    await theirs.channel.presence.subscribe((change) => news.push(change.action));
    await until(async () => (await theirs.channel.presence.get()).length === 1, 'jo is there');
    const id = one.id;
    one.cut();
    for (let n = 0; n < 20; n += 1) await theirs.channel.publish('m', `${n}`);
    await one.states.count((change) => change.state === 'connected', 2, 'connects again');
    await inbox.count(() => true, 20, 'what was missed');
    await theirs.channel.publish('m', '20');
    await inbox.next((message) => message.data === '20', 'the next');
    assert.deepEqual(inbox.items.map((message) => Number(message.data)), Array.from({ length: 21 }, (_, n) => n));
    assert.equal(one.id, id);
    assert.ok(!news.includes('leave'));
  });

  test('REST: publish, idempotency, history in pages, status, batches, time', async () => {
    for (const useBinaryProtocol of [false, true]) {
      const api = rest(url(1), { key: keyOf(app), useBinaryProtocol });
      const name = `rest-${useBinaryProtocol}`;
      const channel = api.channels.get(name);
      assert.ok(Math.abs((await api.time()) - Date.now()) < 60_000);
      for (let n = 0; n < 5; n += 1) await channel.publish('n', { n });
      await channel.publish({ id: 'same:0', name: 'n', data: { n: 5 } });
      await rest(url(2), { key: keyOf(app) }).channels.get(name).publish({ id: 'same:0', name: 'n', data: { n: 5 } });
      let page = await rest(url(3), { key: keyOf(app), useBinaryProtocol }).channels.get(name).history({ limit: 4 });
      assert.deepEqual(page.items.map((message) => message.data.n), [5, 4, 3, 2]);
      page = await page.next();
      assert.deepEqual(page.items.map((message) => message.data.n), [1, 0]);
      assert.equal(page.hasNext(), false);
      const forwards = await channel.history({ limit: 2, direction: 'forwards' });
      assert.deepEqual((await forwards.next()).items.map((message) => message.data.n), [2, 3]);
      const batch = await api.batchPublish({ channels: [`${name}-a`, ':bad'], messages: [{ name: 'x', data: '1' }] });
      assert.deepEqual([batch.successCount, batch.failureCount], [1, 1]);
      const presence = await api.batchPresence([name, `${name}-a`]);
      assert.equal(presence.successCount, 2);
      const status = await channel.status();
      assert.equal(status.status.isActive, true, 'it was published to, and asked about');
      assert.deepEqual((await api.stats()).items, []);
    }
    const comet = await fetch(`${url(1)}/comet/connect`);
    assert.equal(comet.status, 404);
    assert.match(comet.headers.get('content-type'), /^text\/plain/);
  });

  test('several messages in one publish are one: whole, unmixed, and sent again without effect', async () => {
    const name = 'together';
    const reader = await (await client(3).connected()).subscribed(name);
    const [one, two] = [await client(1).connected(), await client(2).connected()];
    const api = rest(url(3), { key: keyOf(app) });
    const of = (by, n) => Array.from({ length: 8 }, (_, at) => ({ name: `${by}${n}`, data: `${at}` }));
    const all = [];
    for (let n = 0; n < 12; n += 1) {
      for (const [by, sdk] of [['a', one.sdk], ['b', two.sdk], ['r', api]]) all.push(sdk.channels.get(name).publish(of(by, n)));
    }
    await Promise.all(all);
    const got = await reader.count(() => true, 12 * 3 * 8, 'all of them');
    for (let at = 0; at < got.length; at += 8) {
      const some = got.slice(at, at + 8);
      assert.deepEqual(some.map((message) => [message.name, message.data]), of('', some[0].name).map((message) => [message.name, message.data]));
    }
    // One that is wrong spoils the rest, over both ways in.
    const spoilt = [{ name: 'spoilt', data: 'x' }, { name: 'spoilt', data: 'y', clientId: '*' }];
    const headers = { authorization: `Basic ${Buffer.from(keyOf(app)).toString('base64')}`, 'content-type': 'application/json' };
    const answered = await fetch(`${url(1)}/channels/${name}/messages`, { method: 'POST', headers, body: JSON.stringify(spoilt) });
    assert.equal((await answered.json()).error.code, 40012);
    const { socket } = await raw(2);
    const answer = (msgSerial) => socket.events.next((frame) => frame.msgSerial === msgSerial, `an answer to ${msgSerial}`);
    socket.send({ action: 15, channel: name, msgSerial: 0, messages: spoilt });
    assert.equal((await answer(0)).error.code, 40012);
    // The same again, at another node and over REST.
    const same = ['p', 'q', 'r'].map((data, at) => ({ id: `again:${at}`, name: 'again', data }));
    for (const msgSerial of [1, 2]) socket.send({ action: 15, channel: name, msgSerial, messages: same });
    const { serials } = (await answer(1)).res[0];
    assert.equal(new Set(serials).size, 3);
    assert.deepEqual((await answer(2)).res[0].serials, serials);
    await api.channels.get(name).publish(same);
    await reader.channel.publish('last', '');
    await reader.next((message) => message.name === 'last', 'the last');
    const after = reader.items.slice(12 * 3 * 8).map((message) => [message.name, message.data]);
    assert.deepEqual(after, [...same.map((message) => ['again', message.data]), ['last', '']]);
    socket.close();
  });

  test('Pusher clients and Ably clients hear each other', async () => {
    const one = await client(1).connected();
    const inbox = await one.subscribed('public-both');
    const tab = await new Tab(url(2), app).subscribed('public-both');
    await inbox.channel.publish('from-ably', { n: 1 });
    await tab.next(is('from-ably', { n: 1 }), 'the Ably message');
    await serverSdk(url(3), app).trigger('public-both', 'from-pusher', { n: 2 });
    const got = await inbox.next((message) => message.name === 'from-pusher', 'the Pusher event');
    const data = typeof got.data === 'string' ? JSON.parse(got.data) : got.data;
    assert.deepEqual(data, { n: 2 });
  });
}
