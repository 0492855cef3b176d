// A plain OAuth library, which knows nothing of Gatecast, asks about tokens and ends them, through whichever node: what it
// was told is true of every node's next answer, and of the connections that stood on the token.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import * as oauth from 'oauth4webapi';
import { Client as Ably, closeClients, jwt } from './lib/ably.mjs';
import { Cluster, appOf } from './lib/cluster.mjs';
import { until } from './lib/wait.mjs';

const CHANNEL = 'orders';
let cluster;
let app;

before(async () => {
  cluster = await Cluster.start({ nodes: 3 });
  app = appOf(await cluster.admin(1).createApp({ name: 'oauth', protocols: ['ably', 'realtime'], keys: [{ name: 'server' }] }));
});
after(async () => {
  closeClients();
  await cluster?.stop();
});

/** What the library has to know: one node is the authorization server, a key is the client. */
function through(node, secret = app.secret) {
  const url = cluster.urls[node % 3];
  const server = { issuer: url, introspection_endpoint: `${url}/oauth/introspect`, revocation_endpoint: `${url}/oauth/revoke` };
  return [server, { client_id: app.key }, oauth.ClientSecretBasic(secret)];
}
const loopback = { [oauth.allowInsecureRequests]: true };

async function introspected(node, token, secret) {
  const [server, client, authentication] = through(node, secret);
  const response = await oauth.introspectionRequest(server, client, authentication, token, loopback);
  return oauth.processIntrospectionResponse(server, client, response);
}
async function revoked(node, token) {
  const [server, client, authentication] = through(node);
  await oauth.processRevocationResponse(await oauth.revocationRequest(server, client, authentication, token, loopback));
}
const activeEverywhere = (token) => Promise.all([0, 1, 2].map(async (node) => (await introspected(node, token)).active));

test('a signed token is described, and its end is the end of its connection', async () => {
  const capability = { [CHANNEL]: ['subscribe', 'publish'] };
  const token = jwt(app, { jti: 'one', 'x-ably-clientId': 'ana', 'x-ably-capability': JSON.stringify(capability) });
  const client = await new Ably(cluster.urls[0], { token }).connected();
  await client.subscribed(CHANNEL);
  const told = await introspected(1, token);
  assert.equal(told.active, true);
  assert.equal(told.sub, 'ana');
  assert.equal(told.client_id, app.key);
  assert.ok(told.exp > told.iat && Math.abs(told.iat - Date.now() / 1000) < 60, `iat ${told.iat} exp ${told.exp}`);
  const [{ actions, ...detail }, ...more] = told.authorization_details;
  assert.deepEqual([detail, more], [{ type: 'gatecast', channels: [CHANNEL] }, []]);
  // What Ably calls subscribing is to see who is there as well.
  assert.deepEqual(actions.sort(), ['presence-read', 'publish', 'subscribe']);
  await revoked(2, token);
  assert.deepEqual(await activeEverywhere(token), [false, false, false]);
  await client.states.next(({ state }) => state === 'failed' || state === 'disconnected', 'the connection ends');
});

test('a token that only is what is granted to it is as good as its grants', async () => {
  const subject = { token: 'a-token-of-realtime' };
  assert.deepEqual(await activeEverywhere(subject.token), [false, false, false]);
  await cluster.server(2, app).call('POST', `/v1/apps/${app.id}/grants`, { subject, grants: [{ pattern: CHANNEL, operations: ['subscribe'] }] });
  assert.deepEqual(await activeEverywhere(subject.token), [true, true, true]);
  await revoked(0, subject.token);
  assert.deepEqual(await activeEverywhere(subject.token), [false, false, false]);
});

test('a client is authenticated as its library has it, and is told how where it is not', async () => {
  const { key } = await cluster.admin(1).call('POST', `/v1/apps/${app.id}/keys`, { name: 'library', id: 'my-key_1' });
  for (const [node, authentication] of [oauth.ClientSecretBasic(key.secret), oauth.ClientSecretPost(key.secret)].entries()) {
    const [server] = through(node);
    const answer = await oauth.introspectionRequest(server, { client_id: key.id }, authentication, 'x', loopback);
    assert.deepEqual([answer.status, await answer.json()], [200, { active: false }]);
  }
  const refused = await fetch(`${cluster.urls[0]}/oauth/introspect`, { method: 'POST', body: new URLSearchParams({ token: 'x' }) });
  assert.equal(refused.status, 401);
  assert.match(refused.headers.get('www-authenticate'), /^Basic .*Bearer /);
});

test('what is revoked before it counts is void when its time comes, or its key is switched on again', async () => {
  const now = Math.floor(Date.now() / 1000);
  const early = jwt(app, { jti: 'early', nbf: now + 8, exp: now + 60 });
  const { key } = await cluster.admin(1).call('POST', `/v1/apps/${app.id}/keys`, { name: 'off' });
  const off = jwt({ ...app, key: key.id, secret: key.secret }, { jti: 'off' });
  const switched = (enabled) => cluster.admin(2).call('PATCH', `/v1/apps/${app.id}/keys/${key.id}`, { enabled });
  await switched(false);
  for (const token of [early, off]) {
    assert.deepEqual(await activeEverywhere(token), [false, false, false]);
    await revoked(1, token);
  }
  await switched(true);
  const other = jwt({ ...app, key: key.id, secret: key.secret }, { jti: 'other' });
  assert.deepEqual(await activeEverywhere(other), [true, true, true]);
  assert.deepEqual(await activeEverywhere(off), [false, false, false]);
  const like = jwt(app, { jti: 'like it', nbf: now + 8, exp: now + 60 });
  await until(async () => (await introspected(0, like)).active, 'the time of both has come');
  assert.deepEqual(await activeEverywhere(early), [false, false, false]);
});

test('who is nobody here is not active, and a client without its secret is told so in words that it reads', async () => {
  assert.deepEqual(await activeEverywhere(jwt({ ...app, secret: 'x'.repeat(32) }, {})), [false, false, false]);
  await revoked(0, 'a-token-that-nobody-has-seen');
  await assert.rejects(introspected(0, 'x', 'wrong'), (error) => error instanceof oauth.WWWAuthenticateChallengeError || error.error === 'invalid_client');
});
