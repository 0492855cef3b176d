// Security events that the cluster asks a provider for (Shared Signals, poll delivery): a stream is made and verified, whom an
// event ends receives nothing that is published after its acknowledgement, a burst is bounded and loses none, also when the node
// that asks is killed in the middle. Secrets are in no answer and in no log.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { createServer } from 'node:https';
import { join } from 'node:path';
import { after, afterEach, before, test } from 'node:test';
import { Client as Ably, keyOf } from './lib/ably.mjs';
import { certificate } from './lib/certificate.mjs';
import { Cluster, appOf } from './lib/cluster.mjs';
import { Native } from './lib/native.mjs';
import { Provider } from './lib/provider.mjs';
import { closeAll, signedIn } from './lib/signed-in.mjs';
import { Transmitter } from './lib/transmitter.mjs';
import { until } from './lib/wait.mjs';

const CHAT = ['subscribe', 'publish', 'presence', 'presence-read', 'history', 'metadata'];
const BURST = Number(process.env.SIGNALS_BURST ?? 10_000);
let cluster;
let app;
let provider;
let transmitter;
let root;
let unique = 0;
const fresh = (prefix) => `${prefix}-${(unique += 1)}`;
const url = (n) => cluster.urls[n % 3];
const server = (n) => cluster.server(1 + (n % 3), app);
const SDKS = signedIn(() => ({ app, url }));
const signals = () => `${root}/providers/idp/signals`;
const shown = async (n) => (await server(n).call('GET', `${root}/providers/idp`)).provider.signals;

before(async () => {
  cluster = await Cluster.start({ nodes: 3 });
  const made = await cluster.admin(1).createApp({
    name: 'polled',
    protocols: ['pusher', 'ably', 'pubnub', 'realtime'],
    settings: { client_events: true, user_sign_in: true, realtime_authentication: true, pubnub_access_manager: true, provider_private_targets: true },
    keys: [{ name: 'server' }],
  });
  app = appOf(made);
  root = `/v1/apps/${app.id}`;
  const capability = [{ pattern: 'private-chat-*', operations: CHAT }];
  const ceiling = await server(0).call('POST', `${root}/keys`, { name: 'ceiling', capability });
  provider = new Provider('idp');
  transmitter = await Transmitter.start(provider);
  await server(1).call('POST', `${root}/providers`, provider.record(ceiling.key.id, { claims: { rights: 'ceiling' } }));
});
afterEach(closeAll);
after(async () => {
  transmitter?.close();
  await cluster?.stop();
});

async function said(watchers, channel, text) {
  await server(unique).call('POST', `${root}/publish`, { channel, name: 'said', data: text });
  await Promise.all(watchers.map((inbox) => inbox.next(({ data }) => data === text, `${text} is heard by a watcher`)));
}

async function watch(channel) {
  const watchers = [0, 1, 2].map((n) => new Ably(url(n), { key: keyOf(app) }));
  return Promise.all(watchers.map((one) => one.subscribed(channel)));
}

test('caep interop: a transmitter for whose certificate nobody vouches is asked nothing', async () => {
  let asked = 0;
  const https = createServer(certificate(cluster.folder).pem, (_, answer) => {
    asked += 1;
    answer.end('{}');
  });
  https.listen(0, '127.0.0.1');
  await once(https, 'listening');
  const body = { transmitter: `https://127.0.0.1:${https.address().port}`, client_id: 'c', client_secret: 'secret' };
  const failed = (error) => error.status === 503 && /certificate|UnknownIssuer/i.test(error.message);
  await assert.rejects(server(0).call('PUT', signals(), body), failed);
  assert.equal(asked, 0);
  https.close();
});

test('caep interop: a stream is made with client credentials and verified, for events that are asked for and for those that are sent', async () => {
  const secret = join(cluster.folder, 'client-secret');
  writeFileSync(secret, `${transmitter.client.secret}\n`);
  const common = [app.id, 'idp', '--transmitter', transmitter.url, '--client-id', transmitter.client.id, '--client-secret-file', secret];
  const wrong = server(0).call('PUT', signals(), { transmitter: transmitter.url, client_id: 'gatecast', client_secret: 'guessed' });
  await assert.rejects(wrong, (error) => error.status === 503 && /access token: the answer is 401/.test(error.message));

  await cluster.cli(2, 'provider', 'ssf', 'connect', ...common, '--delivery', 'push', '--receiver', url(1));
  const sent = await shown(0);
  assert.deepEqual([sent.delivery, sent.bearer, sent.stream.id], ['push', true, transmitter.stream.stream_id]);
  assert.ok(sent.stream.verified_ms > 0, 'its verification came');
  assert.ok(transmitter.scopes.every((scope) => scope === 'ssf.manage ssf.read'));
  const user = fresh('user');
  const event = provider.event('session-revoked', provider.subject(user), { aud: transmitter.audience });
  assert.equal((await transmitter.push(event)).status, 202);
  assert.equal((await provider.tell(url(0), app.id, event)).body.err, 'authentication_failed', 'not without what was agreed on');

  const first = transmitter.stream.stream_id;
  await cluster.cli(2, 'provider', 'ssf', 'disconnect', app.id, 'idp');
  await cluster.cli(2, 'provider', 'ssf', 'connect', ...common);
  const client = { client_id: transmitter.client.id, client_secret: transmitter.client.secret };
  const answer = await server(0).call('PUT', signals(), { transmitter: transmitter.url, ...client });
  assert.equal(answer.verification.verified, true, JSON.stringify(answer));
  const asked = await shown(1);
  assert.deepEqual([asked.delivery, asked.endpoint], ['poll', `${transmitter.url}/poll`]);
  assert.notEqual(asked.stream.id, first, 'in place of the first');
  const logs = [1, 2, 3].map((id) => cluster.log(id)).join('');
  const texts = JSON.stringify([sent, asked, answer, await server(2).call('GET', signals())]) + logs;
  assert.ok(!texts.includes(transmitter.client.secret), 'the secret is nowhere');
});

test('caep interop: the liveness of a stream is verified whenever somebody asks, and why not is said', async () => {
  const verify = async (n) => (await server(n).call('POST', `${signals()}/verify`)).verification;
  for (const n of [0, 1, 2]) assert.deepEqual(await verify(n), { verified: true });
  assert.ok((await shown(1)).stream.verified_ms > 0);
  const { stream } = transmitter;
  transmitter.stream = { ...stream, stream_id: 'another' };
  assert.deepEqual(await verify(0), { verified: false, why: 'the answer is 404' });
  transmitter.stream = stream;
  assert.deepEqual(await verify(0), { verified: true });
});

for (const [name, sdk] of Object.entries(SDKS)) {
  test(`${name}: whom an event ends receives nothing that is published after its acknowledgement`, async () => {
    const channel = `private-chat-${fresh('room')}`;
    const watchers = await watch(channel);
    const user = fresh('user');
    const victim = await sdk(1, provider.token(user, fresh('s')), channel, user);
    const text = fresh('before');
    await said(watchers, channel, text);
    await until(() => victim.heard(text).length === 1, 'she is there');
    const jti = transmitter.tell('session-revoked', provider.subject(user));
    await until(() => transmitter.acknowledged.has(jti), 'it is acknowledged');
    const later = fresh('after');
    await said(watchers, channel, later);
    assert.equal(victim.heard(later).length, 0);
    await victim.over();
  });
}

test('what is no event is told so, once, and keeps nothing waiting', async () => {
  const stranger = new Provider('idp');
  stranger.issuer = provider.issuer;
  const subject = provider.subject(fresh('user'));
  const more = { aud: transmitter.audience };
  const bad = {
    forged: [stranger.event('session-revoked', subject, more), 'invalid_key'],
    audience: [provider.event('session-revoked', subject, { aud: 'shop' }), 'invalid_audience'],
    token: [provider.token('ana', 's', { aud: transmitter.audience }), 'invalid_request'],
    number: [7, 'invalid_request'],
    subject: [provider.event('session-revoked', { format: 'email', email: 'a@b.c' }, more), 'invalid_request'],
  };
  for (const [jti, [set]] of Object.entries(bad)) transmitter.put(jti, set);
  const good = transmitter.tell('session-revoked', subject);
  await until(() => transmitter.acknowledged.has(good) && Object.keys(bad).every((jti) => transmitter.refused.has(jti)), 'all are answered');
  for (const [jti, [, err]] of Object.entries(bad)) {
    assert.equal(transmitter.refused.get(jti).err, err, jti);
    assert.ok(!transmitter.acknowledged.has(jti));
  }
});

test('a transmitter that fails is asked again, with a new access token', async () => {
  transmitter.answers.push(500, 401);
  transmitter.tokens.clear();
  const jti = transmitter.tell('session-revoked', provider.subject(fresh('user')));
  await until(() => transmitter.acknowledged.has(jti), 'it is acknowledged in the end');
});

test(`a burst of ${BURST} events is bounded and loses none, while the node that asks is killed`, async (t) => {
  const users = Array.from({ length: BURST }, () => fresh('burst'));
  const began = performance.now();
  const told = users.map((user) => transmitter.tell('session-revoked', provider.subject(user)));
  const victims = [0, BURST - 1].map((at) => provider.token(users[at], fresh('s'), { iat: Math.floor(Date.now() / 1000) - 60 }));
  await until(() => told.filter((jti) => transmitter.acknowledged.has(jti)).length >= BURST / 10, 'it has begun', 120_000);
  const leader = await cluster.leader(1);
  const before = told.filter((jti) => transmitter.acknowledged.has(jti)).length;
  await cluster.kill(leader);
  await until(() => told.every((jti) => transmitter.acknowledged.has(jti)), 'every one is acknowledged', 240_000, 250);
  const took = (performance.now() - began) / 1000;
  assert.ok(before < BURST, `the leader died in the middle: ${before}`);
  assert.equal(transmitter.pending.size, 0);
  assert.ok(told.every((jti) => !transmitter.refused.has(jti)));
  assert.ok(transmitter.polls.every((asked) => asked.maxEvents <= 256 && (asked.ack?.length ?? 0) <= 256), 'every request is bounded');
  const alive = [0, 1, 2].filter((n) => n + 1 !== leader);
  for (const n of alive) {
    for (const token of victims) {
      await assert.rejects(new Native(url(n), token).call('GET', `${root}/channels/private-chat-x`), { status: 401 });
    }
  }
  t.diagnostic(`${BURST} events in ${took.toFixed(1)} s; ${before} before the leader was killed`);
  await cluster.startNode(leader);
});

test('a stream that is taken away is taken away at its transmitter too, and nobody asks for its events', async () => {
  await cluster.cli(1, 'provider', 'ssf', 'disconnect', app.id, 'idp');
  assert.equal(transmitter.stream, undefined);
  for (const n of [0, 1, 2]) await until(async () => (await shown(n)) === null, 'it is gone');
  // Whoever waits is answered by this, and asks no more.
  const jti = transmitter.tell('session-revoked', provider.subject(fresh('user')), { aud: provider.audience });
  await until(() => transmitter.waiting === 0, 'nobody waits');
  const { length } = transmitter.polls;
  for (const n of [0, 1, 2]) await server(n).call('GET', `${root}/providers/idp`);
  assert.equal(transmitter.polls.length, length);
  assert.ok(!transmitter.acknowledged.has(jti));
});
