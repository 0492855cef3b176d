// Keys that a provider publishes at an address: one node fetches them, all three judge by them, a key that leaves takes with it who
// stood on it, and a provider that cannot be asked keeps its last ones. A leader that dies takes nothing of this with it.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { after, before, test } from 'node:test';
import { Client as Ably, closeClients as closeAbly, keyOf } from './lib/ably.mjs';
import { Tab, closeTabs } from './lib/client.mjs';
import { Cluster } from './lib/cluster.mjs';
import { Native } from './lib/native.mjs';
import { Provider } from './lib/provider.mjs';
import { until } from './lib/wait.mjs';

const ALL = ['RS256', 'PS256', 'ES256', 'ES384', 'EdDSA'];
const CHANNEL = 'private-chat-keys';
let cluster;
let app;
let root;
let provider;
let site;
const url = (n) => cluster.urls[n % 3];
const server = (n) => cluster.server(1 + (n % 3), app);
const shown = async (n) => (await server(n).call('GET', `${root}/providers/idp`)).provider;
const refresh = (n) => server(n).call('POST', `${root}/providers/idp/refresh`);
const bearer = (n, algorithm) => new Native(url(n), provider.token('ana', 'session', { algorithm }));
const looks = (n, algorithm) => bearer(n, algorithm).call('GET', `${root}/channels/${CHANNEL}`);

/** What the provider publishes, and who came for it. */
async function publish() {
  const state = { asked: 0, algorithms: ALL, fails: false };
  const http = createServer((request, answer) => {
    state.asked += 1;
    const metadata = request.url === '/.well-known/openid-configuration';
    const body = metadata ? { issuer: provider.issuer, jwks_uri: `${state.url}/keys` } : provider.jwks(state.algorithms);
    answer.writeHead(state.fails ? 500 : 200, { 'content-type': 'application/json' });
    answer.end(JSON.stringify(body));
  });
  http.listen(0, '127.0.0.1');
  await once(http, 'listening');
  state.url = `http://127.0.0.1:${http.address().port}`;
  state.close = () => http.close();
  return state;
}

before(async () => {
  cluster = await Cluster.start({ nodes: 3 });
  const made = await cluster.admin(1).createApp({
    name: 'keys',
    protocols: ['pusher', 'ably'],
    settings: { provider_private_targets: true },
    keys: [{ name: 'server' }],
  });
  app = { id: String(made.app.id), key: made.keys[0].id, secret: made.keys[0].secret };
  root = `/v1/apps/${app.id}`;
  const capability = [{ pattern: 'private-chat-*', operations: ['subscribe', 'publish', 'metadata'] }];
  const ceiling = await server(0).call('POST', `${root}/keys`, { name: 'ceiling', capability });
  provider = new Provider('idp');
  site = await publish();
  const { keys: _, ...record } = provider.record(ceiling.key.id, { claims: { rights: 'ceiling' }, jwks_uri: `${site.url}/keys` });
  await server(1).call('POST', `${root}/providers`, record);
});
after(async () => {
  closeAbly();
  closeTabs();
  site?.close();
  await cluster?.stop();
});

test('the keys come by themselves, once, and every node judges by them', async () => {
  for (const n of [0, 1, 2]) {
    const known = await until(async () => {
      const one = await shown(n);
      return one.keys.length === ALL.length && one;
    }, 'every node has the keys');
    assert.deepEqual([known.fetch.failures, known.fetch.error, known.jwks_uri], [0, null, `${site.url}/keys`]);
    for (const algorithm of ALL) await looks(n, algorithm);
  }
  assert.equal(site.asked, 1);
});

test('a key that nobody knows is not looked for again within the minute, however many tokens name one', async () => {
  const stranger = new Provider('idp');
  const asked = site.asked;
  for (let turn = 0; turn < 30; turn += 1) {
    const client = new Native(url(turn), stranger.token('eve', 's'));
    await assert.rejects(client.call('GET', `${root}/channels/${CHANNEL}`), { status: 401, code: 'bad_credential' });
  }
  await refresh(0);
  assert.equal(site.asked, asked + 1, 'only who may ask is heard');
});

test('a key that left the set takes with it who stood on it, when refresh has returned', async () => {
  const watcher = new Ably(url(2), { key: keyOf(app) });
  const watched = await watcher.subscribed(CHANNEL);
  const open = async (n, algorithm) => {
    const tab = new Tab(url(n), app, { sign: () => ({ auth: provider.token(`user-${n}`, 's', { algorithm }) }) });
    await tab.connected();
    return tab.subscribed(CHANNEL);
  };
  const [gone, stays] = [await open(0, 'ES256'), await open(1, 'RS256')];
  site.algorithms = ALL.filter((one) => one !== 'ES256');
  const answer = await refresh(2);
  assert.equal(answer.provider.keys.length, ALL.length - 1);
  await server(1).call('POST', `${root}/publish`, { channel: CHANNEL, name: 'said', data: 'after' });
  await watched.next(({ data }) => data === 'after', 'a watcher hears it');
  await until(() => stays.all(({ data }) => data === 'after').length === 1, 'who stands on another key hears it');
  assert.equal(gone.all(({ data }) => data === 'after').length, 0);
  for (const n of [0, 1, 2]) await assert.rejects(looks(n, 'ES256'), { status: 401 });
  site.algorithms = ALL;
  await refresh(0);
  for (const n of [0, 1, 2]) await looks(n, 'ES256');
});

test('a provider that cannot be asked keeps its last keys, and says so', async () => {
  site.fails = true;
  await assert.rejects(refresh(1), (error) => error.status === 503 && /the answer is 500/.test(error.message));
  for (const n of [0, 1, 2]) {
    const one = await until(async () => {
      const now = await shown(n);
      return now.fetch.failures === 1 && now;
    }, 'every node knows that it failed');
    assert.equal(one.keys.length, ALL.length);
    await looks(n, 'EdDSA');
    const metrics = await fetch(`http://127.0.0.1:${cluster.nodes[n].internal}/metrics`, { headers: { authorization: `Bearer ${cluster.adminToken}` } });
    assert.match(await metrics.text(), /providers_failing 1/);
  }
  assert.ok([1, 2, 3].some((id) => /keys could not be fetched/.test(cluster.log(id))));
  site.fails = false;
  await refresh(2);
  assert.equal((await shown(2)).fetch.failures, 0);
});

test('only an operator may let keys be fetched from inside', async () => {
  await assert.rejects(server(0).call('PATCH', root, { settings: { provider_private_targets: true } }), { status: 403 });
  await cluster.admin(1).patchApp(app.id, { settings: { provider_private_targets: false } });
  const asked = site.asked;
  await assert.rejects(refresh(0), (error) => error.status === 503 && /https only/.test(error.message));
  await server(1).call('PATCH', `${root}/providers/idp`, { jwks_uri: `https://127.0.0.1:${new URL(site.url).port}/keys` });
  await assert.rejects(refresh(0), (error) => error.status === 503 && /not public/.test(error.message));
  assert.equal(site.asked, asked);
  await cluster.admin(1).patchApp(app.id, { settings: { provider_private_targets: true } });
});

test('whoever leads next goes on: a set that the issuer names, and a key that leaves it', async () => {
  await server(0).call('PATCH', `${root}/providers/idp`, { discovery: site.url });
  await until(async () => (await shown(0)).keys.length === ALL.length, 'the keys came by discovery');
  const leader = await cluster.leader();
  const rest = [1, 2, 3].filter((id) => id !== leader);
  await cluster.kill(leader);
  site.algorithms = ALL.filter((one) => one !== 'PS256');
  // Between leaders nothing can be asked for.
  const call = () => refresh(rest[0] - 1).catch(() => null);
  const answer = await until(call, 'the next leader fetches');
  assert.equal(answer.provider.keys.length, ALL.length - 1);
  for (const id of rest) await assert.rejects(looks(id - 1, 'PS256'), { status: 401 });
  for (const id of rest) await looks(id - 1, 'RS256');
});
