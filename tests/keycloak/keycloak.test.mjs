// A real Keycloak: the four SDKs sign in with its access tokens on three nodes, and when its own "log out" has returned,
// nobody of that session receives anything that is published from then on, also while a node is dead. Then the same by its
// security events (Shared Signals), which the cluster asks it for. Started by `scripts/keycloak`, which says where it is.

import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';
import { Client as Ably, keyOf } from '../sdk/lib/ably.mjs';
import { Cluster, appOf } from '../sdk/lib/cluster.mjs';
import { closeAll, signedIn } from '../sdk/lib/signed-in.mjs';
import { until } from '../sdk/lib/wait.mjs';

const { KEYCLOAK_URL, KEYCLOAK_ADMIN, KEYCLOAK_PASSWORD } = process.env;
const LOGOUTS = Number(process.env.KEYCLOAK_LOGOUTS ?? 100);
const CONNECTIONS = Number(process.env.KEYCLOAK_CONNECTIONS ?? 300);
const LEASE_MS = 3000;
const REALM = 'gatecast';
const OPERATIONS = ['subscribe', 'publish', 'presence', 'presence-read', 'history', 'metadata'];
const PASSWORD = 'of-a-test-user';
const SECRET = 'of-the-stream-of-events';
let cluster;
let app;
let root;
let admin;
let unique = 0;
const fresh = (prefix) => `${prefix}-${(unique += 1)}`;
const url = (n) => cluster.urls[n % 3];
const server = (n) => cluster.server(1 + (n % 3), app);
const SDKS = signedIn(() => ({ app, url }));

/** One call to Keycloak; its answer, and how long that took. */
async function keycloak(method, path, { body, form, token } = {}) {
  const began = performance.now();
  const answer = await fetch(KEYCLOAK_URL + path, {
    method,
    headers: { ...(body && { 'content-type': 'application/json' }), ...(token && { authorization: `Bearer ${token}` }) },
    body: form ? new URLSearchParams(form) : body && JSON.stringify(body),
    signal: AbortSignal.timeout(60_000),
  });
  const text = await answer.text();
  assert.ok(answer.ok, `${method} ${path}: ${answer.status} ${text.slice(0, 300)}`);
  return { took: performance.now() - began, json: () => JSON.parse(text), place: answer.headers.get('location') };
}

const tokens = async (realm, form) => (await keycloak('POST', `/realms/${realm}/protocol/openid-connect/token`, { form })).json();

/** As the administrator, whose token lives for a minute. */
async function manage(method, path, body) {
  if (!admin || admin.until < Date.now()) {
    const form = { grant_type: 'password', client_id: 'admin-cli', username: KEYCLOAK_ADMIN, password: KEYCLOAK_PASSWORD };
    admin = { token: (await tokens('master', form)).access_token, until: Date.now() + 30_000 };
  }
  return keycloak(method, `/admin/realms${path}`, { body, token: admin.token });
}

/** A user who can log in; her id, which is what tokens call her. */
async function person() {
  const username = fresh('user');
  const credentials = [{ type: 'password', value: PASSWORD, temporary: false }];
  const profile = { email: `${username}@users.test`, emailVerified: true, firstName: 'A', lastName: 'User' };
  const { place } = await manage('POST', `/${REALM}/users`, { username, enabled: true, credentials, ...profile });
  return { id: place.split('/').pop(), username };
}
const signIn = ({ username }, client = 'chat') => tokens(REALM, { grant_type: 'password', client_id: client, username, password: PASSWORD, scope: 'openid' });
const signOut = ({ id }) => manage('POST', `/${REALM}/users/${id}/logout`);

before(async () => {
  cluster = await Cluster.start({ nodes: 3 });
  const made = await cluster.admin(1).createApp({
    name: 'keycloak',
    protocols: ['pusher', 'ably', 'pubnub', 'realtime'],
    settings: { client_events: true, user_sign_in: true, realtime_authentication: true, pubnub_access_manager: true, provider_private_targets: true },
    keys: [{ name: 'server' }],
  });
  app = appOf(made);
  root = `/v1/apps/${app.id}`;
  const mapper = {
    name: 'audience',
    protocol: 'openid-connect',
    protocolMapper: 'oidc-audience-mapper',
    config: { 'included.client.audience': 'chat', 'access.token.claim': 'true', 'id.token.claim': 'false' },
  };
  const attributes = { 'backchannel.logout.url': `${url(0)}${root}/providers/keycloak/logout`, 'backchannel.logout.session.required': 'true' };
  const client = { clientId: 'chat', publicClient: true, directAccessGrantsEnabled: true, redirectUris: ['http://127.0.0.1/*'], protocolMappers: [mapper], attributes };
  // Of this one Keycloak says nothing by itself when somebody logs out.
  const silent = { ...client, clientId: 'silent', attributes: {} };
  const stream = {
    clientId: 'gatecast',
    secret: SECRET,
    publicClient: false,
    serviceAccountsEnabled: true,
    standardFlowEnabled: false,
    attributes: { 'ssf.enabled': 'true', 'ssf.defaultSubjects': 'ALL' },
  };
  const realm = { realm: REALM, enabled: true, accessTokenLifespan: 900, attributes: { 'ssf.transmitterEnabled': 'true' } };
  await manage('POST', '', { ...realm, clients: [client, silent, stream] });
  const [receiver] = (await manage('GET', `/${REALM}/clients?clientId=gatecast`)).json();
  const scopes = (await manage('GET', `/${REALM}/client-scopes`)).json().filter(({ name }) => name.startsWith('ssf.'));
  for (const scope of scopes) await manage('PUT', `/${REALM}/clients/${receiver.id}/optional-client-scopes/${scope.id}`);
  const capability = [{ pattern: 'private-chat-*', operations: OPERATIONS }];
  const ceiling = await server(0).call('POST', `${root}/keys`, { name: 'ceiling', capability });
  const issuer = `${KEYCLOAK_URL}/realms/${REALM}`;
  const record = { id: 'keycloak', issuer, audiences: ['chat'], algorithms: ['RS256'], discovery: issuer, ceiling: ceiling.key.id, claims: { rights: 'ceiling' } };
  await server(1).call('POST', `${root}/providers`, record);
  await until(async () => (await server(2).call('GET', `${root}/providers/keycloak`)).provider.keys.length > 0, "Keycloak's keys are in the log");
});
afterEach(closeAll);
after(async () => {
  await cluster?.stop();
  await manage('DELETE', `/${REALM}`).catch(() => {});
});

/** Publishes with the app's key, and returns once a watcher at each living node has it. */
async function said(watchers, channel, text, through = 0) {
  await server(through).call('POST', `${root}/publish`, { channel, name: 'said', data: text });
  await Promise.all(watchers.map((inbox) => inbox.next(({ data }) => data === text, `${text} is heard by a watcher`)));
}
const watch = (channel, nodes = [0, 1, 2]) => Promise.all(nodes.map((n) => new Ably(url(n), { key: keyOf(app) }).subscribed(channel)));

for (const [name, sdk] of Object.entries(SDKS)) {
  test(`${name}: signs in with an access token, and its administrator's logout is finished when it returns`, async () => {
    const channel = `private-chat-${fresh('room')}`;
    const watchers = await watch(channel);
    const user = await person();
    const client = await sdk(1, (await signIn(user)).access_token, channel, user.id);
    const text = fresh('before');
    await said(watchers, channel, text);
    await until(() => client.heard(text).length === 1, 'she hears it');
    await signOut(user);
    const later = fresh('after');
    await said(watchers, channel, later);
    assert.equal(client.heard(later).length, 0, 'nothing that is published after the logout');
    await client.over();
  });
}

test('a session that its user ends is over, and her other one goes on', async () => {
  const channel = `private-chat-${fresh('room')}`;
  const watchers = await watch(channel);
  const user = await person();
  const [one, two] = [await signIn(user), await signIn(user)];
  const gone = await SDKS.ably(0, one.access_token, channel, user.id);
  const stays = await SDKS.pusher(2, two.access_token, channel, user.id);
  const text = fresh('before');
  await said(watchers, channel, text);
  await until(() => [gone, stays].every((client) => client.heard(text).length === 1), 'both are there');
  await keycloak('POST', `/realms/${REALM}/protocol/openid-connect/logout`, { form: { client_id: 'chat', refresh_token: one.refresh_token } });
  const later = fresh('after');
  await said(watchers, channel, later);
  await until(() => stays.heard(later).length === 1, 'the other session goes on');
  assert.equal(gone.heard(later).length, 0);
});

test('its events are asked for: a stream is made, and Keycloak proves that it works', async () => {
  const transmitter = `${KEYCLOAK_URL}/realms/${REALM}`;
  const made = await server(0).call('PUT', `${root}/providers/keycloak/signals`, { transmitter, client_id: 'gatecast', client_secret: SECRET });
  assert.equal(made.signals.delivery, 'poll');
  assert.deepEqual(made.verification, { verified: true }, JSON.stringify(made));
});

for (const [name, sdk] of Object.entries(SDKS)) {
  test(`${name}: a logout that Keycloak tells as an event cuts whom it ends, and a password that is changed as well`, async () => {
    const channel = `private-chat-${fresh('room')}`;
    const watchers = await watch(channel);
    const user = await person();
    for (const change of [() => signOut(user), () => manage('PUT', `/${REALM}/users/${user.id}/reset-password`, { type: 'password', value: PASSWORD, temporary: false })]) {
      const second = Math.floor(Date.now() / 1000);
      await until(() => Math.floor(Date.now() / 1000) > second + 1, 'what is issued now is of a later second');
      const client = await sdk(1, (await signIn(user, 'silent')).access_token, channel, user.id);
      const text = fresh('before');
      await said(watchers, channel, text);
      await until(() => client.heard(text).length === 1, 'she hears it');
      await change();
      await client.over();
      const later = fresh('after');
      await said(watchers, channel, later);
      assert.equal(client.heard(later).length, 0, 'nothing that is published afterwards');
    }
  });
}

const percentile = (all, p) => all.toSorted((a, b) => a - b)[Math.min(all.length - 1, Math.floor(all.length * p))];

/** Signs users in, and logs out one after the other; how long each of Keycloak's own calls took, in ms. */
async function logouts(count, living = [0, 1, 2], { before = () => {}, after = () => {} } = {}) {
  const channel = `private-chat-${fresh('many')}`;
  const watchers = await watch(channel, living);
  const took = [];
  let heard = 0;
  for (let done = 0; done < count; done += 1) {
    const user = await person();
    const client = await SDKS.ably(living[done % living.length], (await signIn(user)).access_token, channel, user.id);
    await before();
    took.push((await signOut(user)).took);
    const text = fresh('after');
    await said(watchers, channel, text, living[done % living.length]);
    heard += client.heard(text).length;
    await after();
  }
  assert.equal(heard, 0, 'messages that were published after a logout and heard by whom it ended');
  return took;
}

test(`${LOGOUTS} logouts beside ${CONNECTIONS} open connections`, async (t) => {
  await watch('private-chat-crowd', Array.from({ length: CONNECTIONS }, (_, at) => at));
  const took = await logouts(LOGOUTS);
  t.diagnostic(`Keycloak's own call: p50 ${percentile(took, 0.5).toFixed(0)} ms, p99 ${percentile(took, 0.99).toFixed(0)} ms, most ${Math.max(...took).toFixed(0)} ms`);
});

test('logouts while a node has just died are waited out, and not longer', async (t) => {
  const took = await logouts(4, [0, 1], { before: () => cluster.kill(3), after: () => cluster.startNode(3) });
  t.diagnostic(`Keycloak's own call with a node dead: ${took.map((one) => one.toFixed(0)).join(', ')} ms; the lease is ${LEASE_MS} ms`);
});
