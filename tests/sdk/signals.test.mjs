// Security events of an identity provider (Shared Signals, CAEP): the four SDKs, unmodified, sign in with its tokens on three
// nodes; when an event is accepted, whom it ends receives nothing that is published from then on, on any node. What must not be
// taken for an event changes nothing. Who publishes and who watches uses keys of the app.

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, afterEach, before, test } from 'node:test';
import { Client as Ably, keyOf } from './lib/ably.mjs';
import { Cluster, appOf } from './lib/cluster.mjs';
import { Native } from './lib/native.mjs';
import { Provider } from './lib/provider.mjs';
import { closeAll, signedIn } from './lib/signed-in.mjs';
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
const SDKS = signedIn(() => ({ app, url }));

before(async () => {
  cluster = await Cluster.start({ nodes: 3 });
  const made = await cluster.admin(1).createApp({
    name: 'signals',
    protocols: ['pusher', 'ably', 'pubnub', 'realtime'],
    settings: { client_events: true, user_sign_in: true, realtime_authentication: true, pubnub_access_manager: true },
    keys: [{ name: 'server' }],
  });
  app = appOf(made);
  root = `/v1/apps/${app.id}`;
  const capability = [{ pattern: 'private-chat-*', operations: CHAT }];
  const ceiling = await server(0).call('POST', `${root}/keys`, { name: 'ceiling', capability });
  provider = new Provider('idp');
  await server(1).call('POST', `${root}/providers`, provider.record(ceiling.key.id, { claims: { rights: 'ceiling' } }));
});
afterEach(closeAll);
after(() => cluster?.stop());

/** Publishes with the app's key; returns once watchers with keys have it on all three nodes. */
async function said(watchers, channel, text) {
  await server(unique).call('POST', `${root}/publish`, { channel, name: 'said', data: text });
  await Promise.all(watchers.map((inbox) => inbox.next(({ data }) => data === text, `${text} is heard by a watcher`)));
}

async function watch(channel) {
  const watchers = [0, 1, 2].map((n) => new Ably(url(n), { key: keyOf(app) }));
  return Promise.all(watchers.map((one) => one.subscribed(channel)));
}

const told = async (n, event, headers) => provider.tell(url(n), app.id, event, headers);

async function accepted(n, event) {
  const answer = await told(n, event);
  assert.equal(answer.status, 202, JSON.stringify(answer.body));
  return answer;
}

/** Long enough ago that what is issued now is of a later second. */
const secondAfter = async (at) => until(() => Math.floor(Date.now() / 1000) > at, 'the second is over');
const now = () => Math.floor(Date.now() / 1000);

for (const [name, sdk] of Object.entries(SDKS)) {
  test(`${name}: whom an accepted event ends receives nothing that is published afterwards, and the other session everything`, async () => {
    const channel = `private-chat-${fresh('room')}`;
    const watchers = await watch(channel);
    const user = fresh('user');
    const [gone, stays] = [fresh('session'), fresh('session')];
    const token = provider.token(user, gone);
    const victim = await sdk(1, token, channel, user);
    const other = await SDKS.pusher(2, provider.token(user, stays), channel, user);
    const hello = fresh('before');
    await said(watchers, channel, hello);
    await until(() => [victim, other].every((one) => one.heard(hello).length === 1), 'both are there');

    const subject = { format: 'complex', user: provider.subject(user), session: { format: 'opaque', id: gone } };
    const revoked = provider.event('session-revoked', subject);
    const { revision } = await accepted(0, revoked);
    const later = fresh('after');
    await said(watchers, channel, later);
    await until(() => other.heard(later).length === 1, 'the other session goes on');
    assert.equal(victim.heard(later).length, 0, 'the session that is over hears nothing');
    await victim.over();
    await assert.rejects(new Native(url(2), token).call('GET', `${root}/channels/${channel}`), { status: 401 });

    // Once in the cluster: through the other nodes it is accepted, and is the same change.
    for (const n of [1, 2]) assert.equal((await accepted(n, revoked)).revision, revision);

    // The user as a whole. Of the same second counts as issued before.
    const second = now();
    await accepted(2, provider.event('session-revoked', { ...subject, session: { format: 'opaque', id: 'ALL' } }));
    const last = fresh('last');
    await said(watchers, channel, last);
    assert.equal(other.heard(last).length, 0, 'none of her sessions hears anything');
    await secondAfter(second + 1);
    const back = await sdk(0, provider.token(user, fresh('session')), channel, user);
    const welcome = fresh('welcome');
    await said(watchers, channel, welcome);
    await until(() => back.heard(welcome).length === 1, 'she signs in again');
  });
}

test('an event that comes late spares what was issued since', async () => {
  const channel = `private-chat-${fresh('room')}`;
  const watchers = await watch(channel);
  const user = fresh('user');
  const hourAgo = now() - 3600;
  const old = await SDKS.ably(0, provider.token(user, fresh('s'), { iat: hourAgo - 60, exp: now() + 300 }), channel, user);
  const since = await SDKS.pusher(1, provider.token(user, fresh('s'), { iat: hourAgo + 60, exp: now() + 300 }), channel, user);
  const fields = { change_type: 'update', credential_type: 'password', event_timestamp: hourAgo };
  await accepted(2, provider.event('credential-change', provider.subject(user), { fields }));
  const text = fresh('after');
  await said(watchers, channel, text);
  await until(() => since.heard(text).length === 1, 'what was issued since counts');
  assert.equal(old.heard(text).length, 0);
});

test('a device that no longer complies means what the provider is set to', async () => {
  const channel = `private-chat-${fresh('room')}`;
  const watchers = await watch(channel);
  const user = fresh('user');
  const client = await SDKS.realtime(0, provider.token(user, fresh('s')), channel, user);
  const fields = { previous_status: 'compliant', current_status: 'not-compliant' };
  const event = () => provider.event('device-compliance-change', provider.subject(user), { fields });
  await accepted(1, event());
  const text = fresh('ignored');
  await said(watchers, channel, text);
  await until(() => client.heard(text).length === 1, 'it is ignored by itself');
  await server(2).call('PUT', `${root}/providers/idp/signals`, { device_compliance: 'block-until-newer-token' });
  await accepted(1, event());
  const later = fresh('blocked');
  await said(watchers, channel, later);
  assert.equal(client.heard(later).length, 0);
  await server(2).call('DELETE', `${root}/providers/idp/signals`);
});

test('what is agreed on has to be shown, through every node', async () => {
  const bearer = randomUUID();
  const set = await server(0).call('PUT', `${root}/providers/idp/signals`, { bearer });
  assert.ok(!JSON.stringify(set).includes(bearer));
  for (const n of [0, 1, 2]) {
    const event = provider.event('session-revoked', provider.subject(fresh('user')));
    const refused = await told(n, event);
    assert.deepEqual([refused.status, refused.body.err], [400, 'authentication_failed']);
    assert.equal((await told(n, event, { authorization: `Bearer ${bearer}` })).status, 202);
  }
  await server(1).call('DELETE', `${root}/providers/idp/signals`);
});

test('what is no event of the provider is refused in the words of RFC 8935, on every node', async () => {
  const stranger = new Provider('idp');
  const subject = provider.subject('ana');
  const event = (more) => provider.event('session-revoked', subject, more);
  const two = { 'urn:a': {}, 'urn:b': {} };
  for (const [what, token, err] of [
    ['another signature', stranger.event('session-revoked', subject), 'invalid_key'],
    ['a token that signs in', provider.token('ana', 's', { jti: 'j' }), 'invalid_request'],
    ['a logout token', provider.logoutToken({ sub: 'ana' }), 'invalid_request'],
    ['another kind', event({ header: { typ: 'JWT' } }), 'invalid_request'],
    ['exp', event({ exp: now() + 600 }), 'invalid_request'],
    ['no subject', event({ sub_id: undefined }), 'invalid_request'],
    ['several events', event({ events: two }), 'invalid_request'],
    ['another issuer', event({ iss: 'https://evil.test' }), 'invalid_issuer'],
    ['another audience', event({ aud: 'shop' }), 'invalid_audience'],
    ['no id', event({ jti: undefined }), 'invalid_request'],
    ['cut off', event({}).slice(0, -6), 'invalid_key'],
    ['long', event({ x: 'x'.repeat(9000) }), 'invalid_request'],
  ]) {
    for (const n of [0, 1, 2]) {
      const answer = await told(n, token);
      assert.deepEqual([answer.status, answer.body.err], [400, err], `${what}: ${JSON.stringify(answer.body)}`);
      assert.ok(answer.body.description.length > 10);
    }
  }
  assert.equal((await told(0, event({ x: 'x'.repeat(1 << 20) }))).status, 413);
  await assert.rejects(new Native(url(0), event({})).call('GET', `${root}/channels/private-chat-x`), { status: 401 });
  assert.equal((await provider.logout(url(1), app.id, event({}))).status, 400);
});

test('caep interop: all subjects are in a stream without having been added, and events are signed with RS256', async () => {
  // Nobody has said anything of this user before; `Provider.event` signs with RS256, and a key of 2048 bits.
  await accepted(0, provider.event('session-revoked', provider.subject(fresh('stranger'))));
});

test('an event is accepted though a node is frozen, and what is published then reaches nobody there when it goes on', async () => {
  const channel = `private-chat-${fresh('room')}`;
  const watchers = await watch(channel);
  const user = fresh('user');
  // Which nodes are left: the one that leads is not frozen, so that somebody proposes at once.
  const frozen = (await cluster.leader(1)) === 3 ? 2 : 3;
  const [one, other] = [0, 1, 2].filter((n) => n + 1 !== frozen);
  const victim = await SDKS.pusher(frozen - 1, provider.token(user, fresh('s')), channel, user);
  const bystander = await SDKS.pusher(frozen - 1, provider.token('bystander', fresh('s')), channel, 'bystander');
  const text = fresh('before');
  await said(watchers, channel, text);
  await until(() => [victim, bystander].every((client) => client.heard(text).length === 1), 'both are there');
  process.kill(cluster.pid(frozen), 'SIGSTOP');
  const later = fresh('after');
  try {
    await accepted(one, provider.event('session-revoked', provider.subject(user)));
    await server(other).call('POST', `${root}/publish`, { channel, name: 'said', data: later });
  } finally {
    process.kill(cluster.pid(frozen), 'SIGCONT');
  }
  await victim.over();
  assert.equal(victim.heard(later).length, 0);
  // The node is back: who was not meant is served there again.
  const back = await SDKS.pusher(frozen - 1, provider.token('back', fresh('s')), channel, 'back');
  await until(async () => {
    const again = fresh('again');
    await server(other).call('POST', `${root}/publish`, { channel, name: 'said', data: again });
    return until(() => back.heard(again).length === 1, 'it is heard', 2_000);
  }, 'the node that was frozen serves again');
});
