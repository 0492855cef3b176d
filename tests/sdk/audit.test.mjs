// The audit: what is changed through any node, by an operator, by app servers in every dialect and by an identity provider, is
// one chain that is the same on three nodes; whatever is altered in an export is found far from them, and no secret is in it.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import { keyOf, rest } from './lib/ably.mjs';
import { serverSdk } from './lib/client.mjs';
import { BINARY, Cluster, appOf } from './lib/cluster.mjs';
import { Provider } from './lib/provider.mjs';
import { Client as PubNub, closeClients } from './lib/pubnub.mjs';
import { AppServer } from './lib/realtime.mjs';
import { until } from './lib/wait.mjs';

const run = promisify(execFile);
const may = [{ pattern: 'private-x', operations: ['subscribe', 'publish'] }];
const secrets = [];
let cluster;
let app;

const offline = (...args) => run(BINARY, ['audit', ...args], { env: {} });
const page = (query = '', node = 1) => cluster.admin(node).call('GET', `/v1/audit?limit=1000${query}`);
const file = (name, lines) => {
  const path = join(cluster.folder, name);
  writeFileSync(path, lines.map((line) => `${line}\n`).join(''));
  return path;
};
const exported = async (node = 1) => (await cluster.cli(node, 'audit', 'export')).trimEnd().split('\n');

before(async () => {
  cluster = await Cluster.start();
  const made = await cluster.admin(1).createApp({
    name: 'audited',
    protocols: ['pusher', 'ably', 'pubnub', 'realtime'],
    settings: { user_sign_in: true, realtime_authentication: true, pubnub_access_manager: true },
    keys: [{ name: 'server', revocable_tokens: true }],
  });
  app = appOf(made);
  secrets.push(app.secret, cluster.app.secret, cluster.adminToken, cluster.secret);
});
after(async () => {
  closeClients();
  await cluster?.stop();
});

test('a change is one record, whoever asks in whichever dialect through whichever node', async () => {
  const root = `/v1/apps/${app.id}`;
  await cluster.server(1, app).grant(app.id, { user: 'ana' }, may);
  await cluster.server(2, app).grant(app.id, { token: 'a-token-text-of-v1' }, may);
  const made = await cluster.server(3, app).call('POST', `${root}/keys`, { name: 'spare' });
  secrets.push('a-token-text-of-v1', made.key.secret);
  await cluster.server(1, app).call('POST', `${root}/revoke`, { target: { user: 'ana' } }, { 'gatecast-reason': Buffer.from('hat gek\u00fcndigt').toString('latin1') });
  await cluster.cli(2, '--reason', 'seen spamming', 'user', 'block', app.id, 'eve');
  await serverSdk(cluster.urls[2], app).terminateUserConnections('pusher-user');
  await rest(cluster.urls[0], { key: keyOf(app) }).auth.revokeTokens([{ type: 'clientId', value: 'ably-user' }]);
  const server = new PubNub(cluster.urls[1], app, { uuid: 'admin', server: true });
  secrets.push('a-pubnub-auth-key', 'a-realtime-token');
  await server.sdk.grant({ channels: ['news'], authKeys: ['a-pubnub-auth-key'], ttl: 5, read: true });
  assert.deepEqual(await new AppServer(cluster.urls[2], app).authenticate('a-realtime-token', { room: 'w' }), [null, true]);
  const provider = new Provider('idp');
  await cluster.server(2, app).call('POST', `${root}/providers`, provider.record(app.key));
  const token = provider.token('oidc-user', 'session-1');
  const logout = provider.logoutToken({ sub: 'oidc-user' });
  secrets.push(token, logout);
  assert.equal((await provider.logout(cluster.urls[0], app.id, logout)).status, 200);

  const { records, head } = await page('', 3);
  const of = (kind, name) => records.filter((one) => one.kind === kind && one.subjects.some((pair) => pair[1] === name));
  const [revoked] = of('revoke', 'ana');
  assert.equal(revoked.actor, `key ${app.key}`);
  assert.equal(revoked.reason, 'hat gek\u00fcndigt');
  assert.equal(revoked.narrowed, true);
  assert.deepEqual(revoked.effects[0], ['cut user', 'ana']);
  const [blocked] = of('block', 'eve');
  assert.deepEqual([blocked.actor, blocked.reason], ['operator', 'seen spamming']);
  assert.equal(of('disconnect', 'pusher-user').length, 1);
  assert.equal(of('revoke', 'ably-user').length, 1);
  assert.equal(of('sign out', 'oidc-user')[0].actor, 'provider idp');
  assert.equal(of('key create', made.key.id)[0].actor, `key ${app.key}`);
  assert.equal(records.filter((one) => one.kind === 'grant set' && one.app === app.id).length, 4);
  assert.match(head, /^[0-9a-f]{64}$/);
});

test('records are found by app, user, actor, kind and time, page by page; who administers an app sees its own', async () => {
  const { records, last } = await page();
  const named = await page('&user=ana');
  assert.ok(named.records.length >= 2 && named.records.every((one) => JSON.stringify(one).includes('"ana"')));
  const byKey = await page(`&actor=${encodeURIComponent(`key ${app.key}`)}`);
  assert.ok(byKey.records.length >= 5 && byKey.records.every((one) => one.actor === `key ${app.key}`));
  assert.deepEqual((await page('&kind=block')).records.map((one) => one.kind), ['block']);
  const middle = records[Math.floor(records.length / 2)].time_ms;
  const [early, late] = [await page(`&until_ms=${middle}`), await page(`&since_ms=${middle}`)];
  assert.equal(early.records.length + late.records.length, records.length);
  const walked = [];
  for (let from = 0, more = true; more; ) {
    const part = await cluster.admin(2).call('GET', `/v1/audit?limit=3&from=${from}`);
    walked.push(...part.records);
    ({ next: from, more } = part);
  }
  assert.deepEqual(walked, records);
  assert.equal(walked.at(-1).index, last);

  const own = await cluster.server(2, app).call('GET', `/v1/apps/${app.id}/audit?limit=1000`);
  assert.deepEqual(own.records.map((one) => one.index), (await page(`&app=${app.id}`)).records.map((one) => one.index));
  assert.ok(own.records.every((one) => one.app === app.id && !('hash' in one)) && !('head' in own));
  await assert.rejects(cluster.server(1, app).call('GET', '/v1/audit'), { status: 403, code: 'operator_only' });
  await assert.rejects(cluster.server(1, app).call('GET', `/v1/apps/${cluster.app.id}/audit`), { status: 403 });
  for (const reason of ['', 'x'.repeat(257)]) {
    const block = cluster.admin(1).call('POST', `/v1/apps/${app.id}/users/x/block`, {}, { 'gatecast-reason': reason });
    await assert.rejects(block, { status: 400, code: 'bad_value' });
  }
});

test('every node has the same; `verify` says so, and finds whatever is altered, removed or moved in an export', async () => {
  const [one, two, three] = await Promise.all([1, 2, 3].map(exported));
  assert.deepEqual(one, two);
  assert.deepEqual(one, three);
  const verified = JSON.parse(await cluster.cli(3, 'audit', 'verify', '-o', 'json'));
  assert.deepEqual([verified.nodes, verified.silent], [[1, 2, 3], []]);
  const whole = file('export', one);
  const said = JSON.parse((await offline('verify', whole, '-o', 'json')).stdout);
  assert.equal(said.head, verified.head);
  assert.equal(said.records, one.length - 1);

  const text = one.join('\n');
  for (const secret of secrets) assert.ok(!text.includes(secret), `a secret is in it: ${secret}`);

  const bytes = readFileSync(whole);
  const path = join(cluster.folder, 'altered');
  for (let step = 0; step < 40; step += 1) {
    const at = Math.floor((bytes.length * step) / 40);
    const altered = Buffer.from(bytes);
    altered[at] ^= 1;
    writeFileSync(path, altered);
    await assert.rejects(offline('verify', path), { code: 1 }, `byte ${at}`);
  }
  const found = (lines, pattern, ...more) => assert.rejects(offline('verify', file('bad', lines), ...more), { code: 1, stderr: pattern });
  const reason = one.findIndex((line) => line.includes('seen spamming'));
  await found(one.with(reason, one[reason].replace('seen spamming', 'by mistake')), new RegExp(`line ${reason + 1}: record ${reason + 1} was altered`));
  await found(one.toSpliced(3, 1), /records 4 to 4 are missing/);
  await found(one.toSpliced(0, 2), /records 1 to 2 are missing/);
  await found(one.toSpliced(-2, 1), /should be the last/);
  await found(one.slice(0, -1), /the line with the head is missing/);
  await found([...one.slice(0, 4), one[5], one[4], ...one.slice(6)], /records 5 to 5 are missing/);
  // Who kept a hash needs no last line, and is not told another story with one.
  const kept = JSON.parse(one[4]);
  await offline('verify', file('good', one.slice(0, -1)), '--head', said.head);
  await offline('verify', whole, '--head', `5:${kept.hash}`);
  await found(one, /record 6 is another/, '--head', `6:${kept.hash}`);
});

test('`prove` leads from a record to the hash that stands for all, and an altered proof does not', async () => {
  const { records } = await page('&kind=revoke');
  const lines = (await cluster.cli(2, 'audit', 'prove', String(records[0].revision))).trimEnd().split('\n');
  const head = JSON.parse(lines.at(-1)).head.hash;
  const proof = file('proof', lines);
  const { stdout } = await offline('verify', proof, '--head', head, '-o', 'json');
  assert.deepEqual(JSON.parse(stdout), { proven: lines.length - 1, head });
  const bad = file('bad-proof', lines.with(0, lines[0].replace('"narrowed":true', '"narrowed":false')));
  await assert.rejects(offline('verify', bad), { code: 1, stderr: /was altered/ });
  await assert.rejects(offline('verify', proof, '--head', '0'.repeat(64)), { code: 1 });
  await assert.rejects(cluster.cli(1, 'audit', 'prove', '1'), { code: 5 });
});

test('a node that was killed has the same chain when it is back, and so has one that joins', async () => {
  const before = await exported(1);
  await cluster.kill(3);
  for (let n = 0; n < 30; n += 1) await cluster.server(1 + (n % 2), app).grant(app.id, { user: `later-${n}` }, may);
  await cluster.startNode(3);
  const verified = async (node, nodes) => {
    const said = JSON.parse(await cluster.cli(node, 'audit', 'verify', '-o', 'json'));
    return said.nodes.join() === nodes && said;
  };
  const all = await until(() => verified(3, '1,2,3'), 'all three have the same');
  await (await cluster.joinNode()).started;
  await until(() => verified(4, '1,2,3,4'), 'the fourth has the same');
  assert.equal(all.records, before.length - 1 + 30);
  const grown = await exported(3);
  assert.deepEqual(grown.slice(0, before.length - 1), before.slice(0, -1), 'what was there is there');
});

test('a restored backup goes on with the chain, and says that it was restored', async () => {
  const former = await Cluster.start({ nodes: 1 });
  try {
    await former.admin(1).grant(former.app.id, { user: 'kept' }, may);
    const before = (await former.cli(1, 'audit', 'export')).trimEnd().split('\n');
    const copy = join(former.folder, 'copy.backup');
    await former.cli(1, 'backup', 'create', copy);
    await former.kill(1);
    const data = join(former.folder, 'restored', 'node-1');
    await former.cli(1, 'backup', 'restore', copy, '--data', data, '--peer-addr', `127.0.0.1:${former.node(1).peer}`);
    former.folder = join(former.folder, 'restored');
    await former.startNode(1);
    const after = (await former.cli(1, 'audit', 'export')).trimEnd().split('\n');
    assert.deepEqual(after.slice(0, before.length - 1), before.slice(0, -1));
    const restored = JSON.parse(after[before.length - 1]);
    assert.deepEqual([restored.kind, restored.actor], ['cluster restore', 'cluster']);
    await former.cli(1, 'audit', 'verify');
  } finally {
    await former.stop();
  }
});

test('what is kept is bounded, and what is left is still followed to the same hash', async () => {
  await cluster.cli(1, 'audit', 'retention', '--records', '5');
  for (let n = 0; n < 12; n += 1) await cluster.server(1 + (n % 3), app).grant(app.id, { user: `kept-${n}` }, may);
  await until(async () => (await page()).records.length === 5, 'five are kept');
  const lines = await exported(2);
  assert.equal(lines.length, 6);
  await offline('verify', file('short', lines));
  const said = JSON.parse(await cluster.cli(1, 'audit', 'verify', '-o', 'json'));
  assert.deepEqual([said.records, said.nodes], [5, [1, 2, 3, 4]]);
  await assert.rejects(cluster.cli(1, 'audit', 'retention', '--records', '0'), { code: 1 });
});
