// Doors beside the guarantee, tried with raw requests over three nodes: a token that passes for its key, a key with one
// right that speaks as any user, a key's public id that passes for the key, a key that opens what it may not give.

import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { after, before, test } from 'node:test';
import { jwt, keyOf } from './lib/ably.mjs';
import { Cluster } from './lib/cluster.mjs';
import { rawPusher, sign } from './lib/raw.mjs';

let cluster;
let app;
let narrow;
const url = (n) => cluster.urls[n % 3];
const base64 = (text) => Buffer.from(text).toString('base64');
const basic = (key) => `Basic ${base64(keyOf(key))}`;
const bearer = (token) => `Bearer ${base64(token)}`;

before(async () => {
  cluster = await Cluster.start();
  app = cluster.app;
  // It may publish to one channel, and vouch for no more than that.
  const capability = [{ pattern: 'private-x', operations: ['publish'] }];
  const made = await cluster.admin(1).call('POST', `/v1/apps/${app.id}/keys`, { name: 'narrow', capability });
  narrow = { ...app, key: made.key.id, secret: made.key.secret };
  const grants = [{ pattern: 'private-board', operations: ['subscribe', 'history'] }];
  await cluster.server(1).grant(app.id, { user: 'ana' }, grants);
});
after(() => cluster?.stop());

/** Status and body of one request to Ably's REST API. */
async function ably(n, method, path, authorization, { body, headers = {} } = {}) {
  const answer = await fetch(url(n) + path, {
    method,
    headers: { authorization, 'content-type': 'application/json', ...headers },
    body: body && JSON.stringify(body),
  });
  return [answer.status, await answer.json().catch(() => null)];
}

const history = (n, authorization, client) =>
  ably(n, 'GET', '/channels/private-board/messages', authorization, {
    headers: client ? { 'x-ably-clientid': base64(client) } : {},
  });

test('no token of a key is issued what the key may do', async () => {
  const limited = jwt(app, { 'x-ably-clientId': 'eve', 'x-ably-capability': '{"x":["subscribe"]}' });
  const [made, details] = await ably(0, 'POST', `/keys/${app.id}.${app.key}/requestToken`, basic(app), {
    body: { clientId: 'eve', capability: '{"x":["subscribe"]}' },
  });
  assert.equal(made, 201);
  for (const token of [limited, details.token]) {
    for (const body of [{}, { clientId: '*' }, { mac: null, capability: '{"*":["*"]}' }]) {
      for (const n of [0, 1, 2]) {
        const [status, answer] = await ably(n, 'POST', `/keys/${app.id}.${app.key}/requestToken`, bearer(token), { body });
        assert.equal(status, 401, JSON.stringify(answer));
      }
    }
    const targets = { targets: ['clientId:bob'] };
    assert.equal((await ably(1, 'POST', `/keys/${app.id}.${app.key}/revokeTokens`, bearer(token), { body: targets }))[0], 401);
  }
  // A key is not issued another's tokens either.
  assert.equal((await ably(2, 'POST', `/keys/${app.id}.${app.key}/requestToken`, basic(narrow), { body: {} }))[0], 401);
});

test('Ably: a client id is worth no more than the key or token that names it', async () => {
  assert.equal((await history(0, basic(app), 'ana'))[0], 200);
  assert.equal((await history(1, bearer(jwt(app, { 'x-ably-clientId': 'ana', 'x-ably-capability': '{"x":["subscribe"]}' }))))[0], 200);
  for (const n of [0, 1, 2]) {
    assert.equal((await history(n, basic(narrow), 'ana'))[0], 401);
    assert.equal((await history(n, bearer(jwt(narrow, { 'x-ably-clientId': 'ana' }))))[0], 401);
  }
});

/** Signs in and asks for a channel without a signature: only a stored grant opens it. */
async function pusher(n, { named, signer }, channel) {
  const socket = await rawPusher(url(n), named.key);
  if (signer) {
    const user_data = JSON.stringify({ id: 'ana' });
    socket.send({ event: 'pusher:signin', data: { user_data, auth: sign(signer, `${socket.socketId}::user::${user_data}`) } });
    await socket.events.next(({ event }) => event === 'pusher:signin_success', 'the sign-in');
  }
  socket.send({ event: 'pusher:subscribe', data: { channel, auth: '' } });
  const answer = await socket.events.next(({ event }) => /succeeded|subscription_error/.test(event), 'an answer');
  socket.close();
  return answer.event.endsWith('succeeded');
}

test('Pusher: whoever signs her in vouches for her, and the key in the address does not', async () => {
  for (const n of [0, 1, 2]) {
    assert.equal(await pusher(n, { named: app, signer: narrow }, 'private-board'), false);
    assert.equal(await pusher(n, { named: narrow, signer: app }, 'private-board'), true);
  }
});

test('Pusher: what is granted to a key is not for whoever knows its public id', async () => {
  const other = (await cluster.admin(1).call('POST', `/v1/apps/${app.id}/keys`, { name: 'server' })).key;
  const named = { ...app, key: other.id, secret: other.secret };
  const grants = ['ops-internal', 'private-ops'].map((pattern) => ({ pattern, operations: ['subscribe', 'publish'] }));
  await cluster.server(1).grant(app.id, { key: other.id }, grants);
  for (const n of [0, 1, 2]) {
    assert.equal(await pusher(n, { named }, 'ops-internal'), false);
    assert.equal(await pusher(n, { named, signer: app }, 'private-ops'), false);
    assert.equal(await pusher(n, { named: app, signer: named }, 'private-ops'), true, 'it vouched for her');
  }
});

test('explain says which key cuts a grant, and under which it holds', async () => {
  const asked = { user: 'ana', channel: 'private-board', operations: ['subscribe'] };
  const cut = await cluster.server(2).explain(app.id, { ...asked, key: narrow.key });
  assert.deepEqual([cut.allowed, cut.reason], [false, { code: 'beyond_key', key: narrow.key }]);
  const holds = await cluster.server(3).explain(app.id, asked);
  assert.deepEqual([holds.allowed, holds.vouched_by], [true, app.key]);
});

test('a connection is narrowed with the key that vouches for it', async () => {
  const capability = [{ pattern: 'private-*', operations: ['subscribe', 'publish'] }];
  const made = await cluster.admin(1).call('POST', `/v1/apps/${app.id}/keys`, { name: 'voucher', capability });
  const voucher = { ...app, key: made.key.id, secret: made.key.secret };
  const socket = await rawPusher(url(1), app.key);
  const user_data = JSON.stringify({ id: 'ana' });
  socket.send({ event: 'pusher:signin', data: { user_data, auth: sign(voucher, `${socket.socketId}::user::${user_data}`) } });
  socket.send({ event: 'pusher:subscribe', data: { channel: 'private-board', auth: '' } });
  await socket.events.next(({ event }) => event === 'pusher_internal:subscription_succeeded', 'the subscription');
  await cluster.admin(3).call('PATCH', `/v1/apps/${app.id}/keys/${voucher.key}`, { capability: [] });
  await socket.events.next(({ event, channel }) => event === 'pusher:subscription_error' && channel === 'private-board', 'its end');
  socket.close();
});

test('a key with admin opens nothing that it may not give', async () => {
  const capability = [
    { pattern: '*', operations: ['admin'] },
    { pattern: 'lobby-*', operations: ['subscribe'] },
  ];
  const made = await cluster.admin(1).call('POST', `/v1/apps/${app.id}/keys`, { name: 'clerk', capability });
  const clerk = cluster.server(2, { ...app, key: made.key.id, secret: made.key.secret });
  const standing = (await cluster.admin(1).call('GET', `/v1/apps/${app.id}`)).app.open;
  for (const change of [
    { open: [...standing, { pattern: 'zz-*', operations: ['*'] }] },
    { open: [{ pattern: '*', operations: ['subscribe'] }] },
    { protocols: ['pusher'] },
    { settings: { webhooks: [{ url: 'https://example.com/' }] } },
  ]) {
    await assert.rejects(clerk.patchApp(app.id, change), (error) => error.status === 403 && error.code === 'not_allowed');
  }
  const own = { pattern: 'lobby-1', operations: ['subscribe'] };
  assert.equal((await clerk.patchApp(app.id, { open: [...standing, own] })).app.open.length, standing.length + 1);
});

test('nor by a switch, nor by a key that it makes, wakes or widens', async () => {
  const admin = cluster.admin(1);
  const clerkOf = async (of, n) => {
    const capability = [
      { pattern: '*', operations: ['admin'] },
      { pattern: 'lobby-*', operations: ['subscribe'] },
    ];
    const { key } = await admin.call('POST', `/v1/apps/${of}/keys`, { name: 'clerk', capability });
    return cluster.server(n, { key: key.id, secret: key.secret });
  };
  const refused = (call) => assert.rejects(call, (error) => error.status === 403 && error.code === 'not_allowed');
  // What each of them is closed by.
  const shut = {
    pusher: [{}, { open_while_stale: true }, { presence_is_user: false }],
    pubnub: [{}, { pubnub_access_manager: false }],
    realtime: [{ realtime_authentication: true }, { realtime_authentication: false }, { realtime_authentication: null }],
  };
  for (const [protocol, [settings, ...opening]] of Object.entries(shut)) {
    const made = await admin.createApp({ name: protocol, protocols: [protocol], settings });
    const id = String(made.app.id);
    const clerk = await clerkOf(id, 2);
    for (const settings of opening) {
      await refused(clerk.patchApp(id, { settings }));
      // Beside a harmless change it is refused as a whole.
      await refused(clerk.patchApp(id, { name: 'renamed', settings }));
      assert.notEqual((await admin.call('GET', `/v1/apps/${id}`)).app.name, 'renamed');
    }
    await clerk.patchApp(id, { settings: { outbox_bytes: 500_000 } });
    const owner = cluster.server(3, { key: made.keys[0].id, secret: made.keys[0].secret });
    for (const settings of opening) await owner.patchApp(id, { settings });
    // What is open by now may stay so.
    await clerk.patchApp(id, { settings: opening[0] });
  }
  const clerk = await clerkOf(app.id, 3);
  const keys = `/v1/apps/${app.id}/keys`;
  const wide = [{ pattern: '*', operations: ['subscribe'] }];
  const mine = (await clerk.call('POST', keys, { capability: [{ pattern: 'lobby-1', operations: ['subscribe'] }] })).key;
  await refused(clerk.call('POST', keys, { capability: wide }));
  await refused(clerk.call('POST', keys, {}));
  await refused(clerk.call('PATCH', `${keys}/${mine.id}`, { capability: wide }));
  const asleep = (await admin.call('POST', keys, { capability: wide })).key;
  await clerk.call('PATCH', `${keys}/${asleep.id}`, { enabled: false });
  await refused(clerk.call('PATCH', `${keys}/${asleep.id}`, { enabled: true }));
  await refused(clerk.call('POST', `${keys}/${app.key}/rotate`, {}));
});

test('a key that is narrowed while it opens its app has opened nothing, whichever node it asked', async () => {
  for (let round = 0; round < 6; round += 1) {
    const { key } = await cluster.admin(1).call('POST', `/v1/apps/${app.id}/keys`, { name: 'racing' });
    const racing = cluster.server(1 + (round % 3), { key: key.id, secret: key.secret });
    const standing = (await cluster.admin(1).call('GET', `/v1/apps/${app.id}`)).app.open;
    const rule = { pattern: `race-${round}-*`, operations: ['subscribe'] };
    const narrowed = cluster.admin(1 + ((round + 1) % 3)).call('PATCH', `/v1/apps/${app.id}/keys/${key.id}`, {
      capability: [{ pattern: '*', operations: ['admin'] }],
    });
    const opened = racing.patchApp(app.id, { open: [...standing, rule] }).then((answer) => answer.revision, (error) => error.code);
    const [at, outcome] = await Promise.all([narrowed.then((answer) => answer.revision), opened]);
    // Before it was narrowed it might; afterwards it may not, and that is all there is.
    if (typeof outcome === 'number') assert.ok(outcome <= at, `opened at ${outcome}, narrowed at ${at}`);
    else assert.equal(outcome, 'not_allowed');
    await cluster.admin(1).patchApp(app.id, { open: standing });
  }
});

test('PubNub: a key with rights to groups only opens no channel by them', async () => {
  const capability = [{ resource: 'group', pattern: 'g', operations: ['manage', 'subscribe'] }];
  const made = await cluster.admin(1).call('POST', `/v1/apps/${app.id}/keys`, { name: 'groups', capability });
  const { aliases } = (await cluster.admin(1).call('GET', `/v1/apps/${app.id}`)).app;
  const add = async (n, secret, channel) => {
    const path = `/v1/channel-registration/sub-key/${aliases['pubnub-subscribe']}/channel-group/g`;
    const query = `add=${channel}&timestamp=${Math.floor(Date.now() / 1000)}&uuid=u${n}`;
    const text = `GET\n${aliases['pubnub-publish']}\n${path}\n${query}\n`;
    const signature = `v2.${createHmac('sha256', secret).update(text).digest('base64url')}`;
    return (await fetch(`${url(n)}${path}?${query}&signature=${signature}`)).status;
  };
  for (const n of [0, 1, 2]) assert.equal(await add(n, made.key.secret, 'private-board'), 403);
  assert.equal(await add(0, app.secret, 'private-board'), 200);
});

test('a protocol that is taken away from an app takes its open connections with it', async () => {
  const two = await cluster.createApp();
  const sockets = await Promise.all([0, 1, 2].map((n) => rawPusher(url(n), two.key)));
  await cluster.admin(2).call('PATCH', `/v1/apps/${two.id}`, { protocols: ['ably'] });
  for (const socket of sockets) {
    const told = await socket.events.next(({ event }) => event === 'pusher:error', 'the end of the connection');
    assert.equal(told.data.code, 4003, JSON.stringify(told));
    socket.close();
  }
  // Made through one node, asked for through another at once: it is there.
  for (let round = 0; round < 20; round += 1) {
    const made = await cluster.createApp();
    await cluster.admin(2 + (round % 2)).call('GET', `/v1/apps/${made.id}`);
  }
});
