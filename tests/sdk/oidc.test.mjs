// Identity providers: the four SDKs, unmodified, sign in with one's tokens on three nodes, each within the ceiling; whoever is
// logged out there receives nothing that is published after the provider's call was answered, and nothing is left of a key
// that leaves its set. Who publishes and who watches uses keys of the app.

import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';
import { Client as Ably, keyOf } from './lib/ably.mjs';
import { Tab } from './lib/client.mjs';
import { Cluster, appOf } from './lib/cluster.mjs';
import { Native } from './lib/native.mjs';
import { Provider } from './lib/provider.mjs';
import { Client as PubNub } from './lib/pubnub.mjs';
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
    name: 'oidc',
    protocols: ['pusher', 'ably', 'pubnub', 'realtime'],
    settings: { client_events: true, user_sign_in: true, realtime_authentication: true, pubnub_access_manager: true },
    keys: [{ name: 'server' }],
  });
  app = appOf(made);
  root = `/v1/apps/${app.id}`;
  const capability = [
    { pattern: 'private-chat-*', operations: CHAT },
    { pattern: 'presence-chat-*', operations: CHAT },
  ];
  const ceiling = await server(0).call('POST', `${root}/keys`, { name: 'ceiling', capability });
  provider = new Provider('idp');
  const record = provider.record(ceiling.key.id, { claims: { rights: 'ceiling' } });
  await server(1).call('POST', `${root}/providers`, record);
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

test('each SDK signs in with a token of its own algorithm, within the ceiling', async () => {
  const channel = `private-chat-${fresh('room')}`;
  const watchers = await watch(channel);
  const algorithms = ['RS256', 'PS256', 'ES256', 'ES384', 'EdDSA'];
  const clients = await Promise.all(
    Object.entries(SDKS).map(([, sdk], at) => sdk(at, provider.token(`user-${at}`, fresh('s'), { algorithm: algorithms[at] }), channel, `user-${at}`)),
  );
  const text = fresh('hello');
  await said(watchers, channel, text);
  for (const one of clients) await until(() => one.heard(text).length === 1, 'every client hears it once');

  const bearer = (n, user) => new Native(url(n), provider.token(user, fresh('s'), { algorithm: 'EdDSA' }));
  await bearer(2, 'eve').call('POST', `${root}/publish`, { channel, name: 'said', data: 'by eve' });
  for (const one of clients) await until(() => one.heard('by eve').length === 1, 'what a bearer publishes is heard');
  const beyond = { channel: 'private-board', name: 'said', data: 'x' };
  await assert.rejects(bearer(0, 'eve').call('POST', `${root}/publish`, beyond), { status: 403, code: 'denied' });
  await assert.rejects(bearer(0, 'eve').call('POST', `${root}/publish`, { ...beyond, channel, user: 'ana' }), { status: 403 });
  await assert.rejects(bearer(0, 'eve').call('GET', `${root}/keys`), { status: 403, code: 'not_allowed' });

  const token = provider.token('ana', fresh('s'));
  const ably = new Ably(url(0), { token });
  await ably.connected();
  await assert.rejects(ably.subscribed('private-board'), { code: 40160 });
  const tab = new Tab(url(1), app, { sign: () => ({ auth: token }) });
  await tab.connected();
  await tab.refused('private-board');
  const pubnub = new PubNub(url(2), app, { uuid: 'ana' });
  pubnub.sdk.setToken(token);
  await pubnub.mayNotHear('private-board');
});

test('a tab enters a presence channel as the user of its token, and as nobody else', async () => {
  const channel = `presence-chat-${fresh('room')}`;
  const token = provider.token('ana', fresh('s'));
  const auth = (id) => () => ({ auth: token, channel_data: JSON.stringify({ user_id: id }) });
  const ana = new Tab(url(0), app, { sign: auth('ana') });
  await ana.connected();
  const inbox = await ana.subscribed(channel);
  assert.deepEqual(Object.keys(inbox.channel.members.members), ['ana']);
  const eve = new Tab(url(1), app, { sign: auth('eve') });
  await eve.connected();
  await eve.refused(channel);
});

for (const [name, sdk] of Object.entries(SDKS)) {
  test(`${name}: who is logged out receives nothing that is published afterwards, and her other session everything`, async () => {
    const channel = `private-chat-${fresh('room')}`;
    const watchers = await watch(channel);
    const user = fresh('user');
    const [gone, stays] = [fresh('session'), fresh('session')];
    const token = provider.token(user, gone);
    const victim = await sdk(1, token, channel, user);
    const other = await SDKS.pusher(2, provider.token(user, stays), channel, user);
    const nameless = await sdk(0, provider.token(user, undefined), channel, user);
    const before = fresh('before');
    await said(watchers, channel, before);
    await until(() => [victim, other, nameless].every((one) => one.heard(before).length === 1), 'all are there');

    const logout = provider.logoutToken({ sub: user, sid: gone });
    const answer = await provider.logout(url(0), app.id, logout);
    assert.deepEqual([answer.status, answer.cache], [200, 'no-store'], JSON.stringify(answer.body));
    const later = fresh('after');
    await said(watchers, channel, later);
    await until(() => other.heard(later).length === 1, 'the other session goes on');
    assert.equal(victim.heard(later).length, 0, 'the session that is over hears nothing');
    assert.equal(nameless.heard(later).length, 0, 'nor does what may be of it');
    await victim.over();

    // Once in the cluster: through another node it is the same answer.
    const again = await provider.logout(url(2), app.id, logout);
    assert.deepEqual([again.status, again.body.revision], [200, answer.body.revision]);
    await assert.rejects(new Native(url(2), token).call('GET', `${root}/channels/${channel}`), { status: 401, code: 'bad_credential' });

    // The user as a whole. A token of the same second counts as issued before.
    const second = Math.floor(Date.now() / 1000);
    assert.equal((await provider.logout(url(1), app.id, provider.logoutToken({ sub: user }))).status, 200);
    const last = fresh('last');
    await said(watchers, channel, last);
    assert.equal(other.heard(last).length, 0, 'none of her sessions hears anything');
    await until(() => Math.floor(Date.now() / 1000) > second + 1, 'the second is over');
    const back = await sdk(0, provider.token(user, fresh('session')), channel, user);
    const welcome = fresh('welcome');
    await said(watchers, channel, welcome);
    await until(() => back.heard(welcome).length === 1, 'she signs in again');
  });
}

test('two logout tokens with one id are two, and two in one form are none', async () => {
  const [first, second] = [fresh('session'), fresh('session')];
  const tokens = [first, second].map((sid) => provider.token(fresh('user'), sid));
  const seen = (token) => new Native(url(2), token).call('GET', `${root}/channels/private-chat-any`);
  for (const token of tokens) await seen(token);
  const jti = fresh('jti');
  for (const [at, sid] of [first, second].entries()) {
    assert.equal((await provider.logout(url(at), app.id, provider.logoutToken({ sid }, { jti }))).status, 200);
    await assert.rejects(seen(tokens[at]), { status: 401 }, 'it was answered, so it is over');
  }
  const body = new URLSearchParams([1, 2].map(() => ['logout_token', provider.logoutToken({ sid: fresh('session') })]));
  assert.equal((await fetch(`${url(0)}${root}/providers/idp/logout`, { method: 'POST', body })).status, 400);
});

test('an issuer that one app has is shared out by an operator alone: nobody else is let in or locked out by it', async () => {
  const other = appOf(await cluster.admin(1).createApp({ name: 'other', protocols: ['ably'], keys: [{ name: 'server' }] }));
  const key = await cluster.server(2, other).call('POST', `/v1/apps/${other.id}/keys`, { name: 'ceiling' });
  const record = provider.record(key.key.id, { audiences: ['account'] });
  const both = () => provider.token(fresh('user'), fresh('s'), { aud: [provider.audience, 'account'] });
  await assert.rejects(cluster.server(2, other).call('POST', `/v1/apps/${other.id}/providers`, record), { status: 403, code: 'not_allowed' });
  await new Ably(url(0), { token: both() }).connected();
  await cluster.admin(3).call('POST', `/v1/apps/${other.id}/providers`, record);
  await new Native(url(1), both()).call('GET', `${root}/channels/private-chat-any`);
  const taken = cluster.admin(1).call('POST', `/v1/apps/${other.id}/providers`, { ...record, id: 'more', audiences: [provider.audience] });
  await assert.rejects(taken, ({ status, body }) => status === 409 && body.error.message.includes(`provider idp of app ${app.id}`));
  await cluster.admin(2).call('DELETE', `/v1/apps/${other.id}/providers/idp`);
});

test('a logout that is none is refused with a reason, on every node', async () => {
  const stranger = new Provider('idp');
  const good = provider.logoutToken({ sid: 'nobody' });
  for (const [what, token] of [
    ['another signature', stranger.logoutToken({ sid: 'x' })],
    ['a token that signs in', provider.token('ana', 's', { jti: 'j' })],
    ['a nonce', provider.logoutToken({ sid: 'x', nonce: 'n' })],
    ['nobody', provider.logoutToken({})],
    ['another audience', provider.logoutToken({ sid: 'x', aud: 'shop' })],
    ['no id', provider.logoutToken({ sid: 'x', jti: undefined })],
    ['cut off', good.slice(0, -8)],
  ]) {
    for (const n of [0, 1, 2]) {
      const answer = await provider.logout(url(n), app.id, token);
      assert.equal(answer.status, 400, `${what}: ${JSON.stringify(answer.body)}`);
      assert.ok(answer.body.error.message.length > 10);
    }
  }
});

test('a key that leaves the set takes everybody with it whom it had signed for, and nobody else', async () => {
  const channel = `private-chat-${fresh('room')}`;
  const watchers = await watch(channel);
  const clients = [];
  for (const [at, sdk] of Object.values(SDKS).entries()) {
    const user = `rotated-${at}`;
    clients.push(await sdk(at, provider.token(user, fresh('s'), { algorithm: 'ES256' }), channel, user));
  }
  const kept = await SDKS.pusher(0, provider.token('kept', fresh('s'), { algorithm: 'RS256' }), channel, 'kept');
  const keys = provider.jwks(['RS256', 'PS256', 'ES384', 'EdDSA']);
  const changed = await server(1).call('PATCH', `${root}/providers/idp`, { keys });
  assert.ok(changed.enforced.length === 3 && changed.closed >= 3, JSON.stringify(changed));
  const text = fresh('after');
  await said(watchers, channel, text);
  await until(() => kept.heard(text).length === 1, 'who stands on another key stays');
  for (const one of clients) assert.equal(one.heard(text).length, 0);
  await assert.rejects(new Native(url(2), provider.token('ana', 's', { algorithm: 'ES256' })).call('GET', `${root}/channels/${channel}`), { status: 401 });
  await server(0).call('PATCH', `${root}/providers/idp`, { keys: provider.jwks() });
  const again = await SDKS.ably(2, provider.token('ana', fresh('s'), { algorithm: 'ES256' }), channel, 'ana');
  const back = fresh('back');
  await said(watchers, channel, back);
  await until(() => again.heard(back).length === 1, 'a key that comes back is known on every node');
});

test('a provider that is switched off vouches for nobody, and one that is gone is unknown', async () => {
  const channel = `private-chat-${fresh('room')}`;
  const watchers = await watch(channel);
  const client = await SDKS.pusher(1, provider.token('ana', fresh('s')), channel, 'ana');
  await server(2).call('PATCH', `${root}/providers/idp`, { enabled: false });
  const text = fresh('after');
  await said(watchers, channel, text);
  assert.equal(client.heard(text).length, 0);
  await client.over();
  await assert.rejects(new Native(url(0), provider.token('ana', 's')).call('GET', `${root}/channels/${channel}`), { status: 401 });
  await server(0).call('PATCH', `${root}/providers/idp`, { enabled: true });
  await SDKS.pusher(2, provider.token('ana', fresh('s')), channel, 'ana');
  await server(1).call('DELETE', `${root}/providers/idp`);
  assert.equal((await provider.logout(url(2), app.id, provider.logoutToken({ sid: 's' }))).status, 400);
});
