// A client's mistake leaves a trace: thirty and more typical ones in four dialects and our own API, made at one node and each
// found by `gatecast refusals` asked at another, by its rule, with what to do about it.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createHash, createHmac } from 'node:crypto';
import { after, before, test } from 'node:test';
import { jwt } from './lib/ably.mjs';
import { BINARY, Cluster, appOf } from './lib/cluster.mjs';
import { RawSocket, frame, rawPusher, sign } from './lib/raw.mjs';
import { Inbox, until } from './lib/wait.mjs';

const PUSHER = 'protocol=7&client=js&version=8.6.0';
const LONG = 'n'.repeat(300);
let cluster;
let url;
const apps = {};

/** An app, with what its clients in every dialect call it by. */
async function makeApp(spec = {}) {
  const made = await cluster.admin(2).createApp({
    name: 'refused',
    protocols: ['pusher', 'ably', 'pubnub', 'realtime'],
    open: [],
    keys: [{ name: 'server' }],
    ...spec,
    settings: { client_events: true, user_sign_in: true, ...spec.settings },
  });
  return appOf(made);
}

before(async () => {
  cluster = await Cluster.start({ args: ['--max-connections', '200'] });
  url = cluster.urls[1];
  apps.main = await makeApp({ settings: { message_bytes: 1_000, realtime_authentication: true } });
  apps.off = await makeApp();
  apps.tls = await makeApp({ settings: { tls_only: true } });
  apps.ably = await makeApp({ protocols: ['ably'] });
  await cluster.admin(2).patchApp(apps.off.id, { enabled: false });
  await cluster.admin(2).block(apps.main.id, 'mallory');
});
after(() => cluster?.stop());

// How clients of each dialect ask.

async function http(method, path, { body, headers, at = url } = {}) {
  const answer = await fetch(at + path, { method, body, headers });
  await answer.arrayBuffer();
  return answer.status;
}

/** A signed call of Pusher's HTTP API. */
function trigger(app, event, { ago = 0, secret = app.secret, key = app.key, id = app.id } = {}) {
  const body = typeof event === 'string' ? event : JSON.stringify(event);
  const query = { auth_key: key, auth_timestamp: Math.floor(Date.now() / 1000) - ago, auth_version: '1.0', body_md5: createHash('md5').update(body).digest('hex') };
  const text = Object.keys(query).sort().map((name) => `${name}=${query[name]}`).join('&');
  const mac = createHmac('sha256', secret).update(`POST\n/apps/${id}/events\n${text}`).digest('hex');
  return http('POST', `/apps/${id}/events?${text}&auth_signature=${mac}`, { body, headers: { 'content-type': 'application/json' } });
}

/** Opens a connection of Pusher's, says this, and leaves. */
async function pusher(app, say, query = PUSHER) {
  const raw = say ? await rawPusher(url, app.key) : await RawSocket.open(url, `/app/${app.key}?${query}`);
  try {
    if (!say) return await raw.end();
    const frames = say(raw);
    for (const one of [frames].flat()) raw.send(one);
    return await raw.events.next(({ event }) => /error/.test(event), 'an error');
  } finally {
    raw.close();
  }
}
const subscribe = (channel, more) => () => ({ event: 'pusher:subscribe', data: { channel, ...more } });

const basic = (key) => ({ authorization: `Basic ${Buffer.from(key).toString('base64')}` });
const bearer = (token) => ({ authorization: `Bearer ${token}` });
const ablyKey = (app, secret = app.secret) => `${app.id}.${app.key}:${secret}`;
const ablyPublish = (channel, headers, body = '{"name":"x","data":"y"}') =>
  http('POST', `/channels/${encodeURIComponent(channel)}/messages`, { body, headers: { 'content-type': 'application/json', ...headers } });

/** Opens a realtime connection of Ably's and says this once it stands; ends with the first error. */
async function ably(query, ...frames) {
  const raw = await RawSocket.open(url, `/?v=5&format=json&${query}`);
  try {
    if (frames.length > 0) await raw.events.next(({ action }) => action === 4, 'CONNECTED');
    for (const one of frames) raw.send(one);
    return await raw.events.next(({ error, action }) => error && action !== 4, 'an error');
  } finally {
    raw.close();
  }
}

const pubnub = (path, query = 'uuid=caller') => http('GET', `${path}?${query}`);
/** A signed call of PubNub's, `ago` seconds old. */
function signedPubnub(app, path, { ago = 0, secret = app.secret } = {}) {
  const query = `timestamp=${Math.floor(Date.now() / 1000) - ago}&uuid=server`;
  const text = `GET\n${app.publishKey}\n${path}\n${query}\n`;
  return pubnub(path, `${query}&signature=v2.${createHmac('sha256', secret).update(text).digest('base64url')}`);
}

const form = (fields) => ({ body: new URLSearchParams(fields).toString(), headers: { 'content-type': 'application/x-www-form-urlencoded' } });
/** Opens a connection of Realtime.co's and says these commands. */
async function realtime(...commands) {
  const raw = await RawSocket.open(url, '/broadcast/1/c/websocket', { parse: (text) => text });
  try {
    for (const one of commands) raw.send(JSON.stringify(one));
    return await raw.events.next((text) => text.includes('ortc-error'), 'an error');
  } finally {
    raw.close();
  }
}

const MAIN = () => apps.main;
const NOBODYS = () => undefined;

/** Mistake, whose list it is in, the dialect, the rule, what else is known of it, and the making of it. */
const MISTAKES = [
  ['a key that nobody has', NOBODYS, 'pusher', 'unknown_key', { code: 4001 }, () => pusher({ key: 'nobodys' })],
  ['an app that was disabled', () => apps.off, 'pusher', 'app_disabled', {}, () => pusher(apps.off)],
  ['plain where TLS is asked for', () => apps.tls, 'pusher', 'tls_only', { code: 4000 }, () => pusher(apps.tls)],
  ['a dialect that the app does not speak', () => apps.ably, 'pusher', 'protocol_off', {}, () => pusher(apps.ably)],
  ['no protocol version', MAIN, 'pusher', 'protocol_version', { code: 4008 }, () => pusher(apps.main, undefined, '')],
  ['a proxy that dropped Upgrade', MAIN, 'pusher', 'no_upgrade', { code: 426 }, () => http('GET', `/app/${apps.main.key}?${PUSHER}`)],
  ['a private channel without an answer of the auth endpoint', MAIN, 'pusher', 'credential_missing', { channel: 'private-a' }, () => pusher(apps.main, subscribe('private-a'))],
  ['an auth endpoint with the wrong secret', MAIN, 'pusher', 'wrong_secret', { channel: 'private-b' },
    () => pusher(apps.main, (raw) => subscribe('private-b', { auth: sign({ ...apps.main, secret: 'x' }, raw.socketId, 'private-b') })())],
  ['an auth answer without a colon', MAIN, 'pusher', 'credential_malformed', { channel: 'private-c' }, () => pusher(apps.main, subscribe('private-c', { auth: 'abc' }))],
  ['a presence channel without a member', MAIN, 'pusher', 'member_missing', { channel: 'presence-d' },
    () => pusher(apps.main, (raw) => subscribe('presence-d', { auth: sign(apps.main, raw.socketId, 'presence-d') })())],
  ['a channel name that is too long', MAIN, 'pusher', 'channel_name', {}, () => pusher(apps.main, subscribe(LONG))],
  ['a client event on a channel without the prefix', MAIN, 'pusher', 'channel_prefix', { channel: 'room' },
    () => pusher(apps.main, () => ({ event: 'client-hello', channel: 'room', data: {} }))],
  ['what is no JSON', MAIN, 'pusher', 'bad_message', {}, () => pusher(apps.main, () => '{"event":')],
  ['a sign-in that was signed wrongly', MAIN, 'pusher', 'wrong_secret', { code: 4009 },
    () => pusher(apps.main, () => ({ event: 'pusher:signin', data: { auth: `${apps.main.key}:beef`, user_data: '{"id":"ana"}' } }))],
  ['a blocked user signs in', MAIN, 'pusher', 'blocked', {},
    () => pusher(apps.main, (raw) => {
      const data = '{"id":"mallory"}';
      return { event: 'pusher:signin', data: { auth: sign(apps.main, raw.socketId, '', 'user', '', data), user_data: data } };
    })],
  ['a frame that no client may write', MAIN, 'pusher', 'broken_frame', {},
    async () => {
      const raw = await rawPusher(url, apps.main.key);
      raw.write(frame(1, 'x', { mask: false }));
      await raw.end();
      raw.close();
    }],
  ['a server with the wrong secret', MAIN, 'pusher', 'wrong_secret', { code: 401 }, () => trigger(apps.main, { name: 'e', channel: 'a', data: '' }, { secret: 'x' })],
  ['a server whose clock is off', MAIN, 'pusher', 'clock_off', { code: 401 }, () => trigger(apps.main, { name: 'e', channel: 'a', data: '' }, { ago: 660 })],
  ['an event for an app that is not there', NOBODYS, 'pusher', 'no_such_app', { code: 404 }, () => trigger(apps.main, { name: 'e', channel: 'a', data: '' }, { id: 987654321 })],
  ['an event that is too large', MAIN, 'pusher', 'message_too_large', { code: 413 }, () => trigger(apps.main, { name: 'e', channel: 'a', data: 'x'.repeat(20_000) })],
  ['an event that is no JSON', MAIN, 'pusher', 'bad_message', { code: 400 }, () => trigger(apps.main, '{"name"')],
  ['an event to a name that no channel has', MAIN, 'pusher', 'channel_name', { code: 400 }, () => trigger(apps.main, { name: 'e', channel: 'a b!', data: '' })],
  ['an Ably key with the wrong secret', MAIN, 'ably', 'wrong_secret', { code: 40101 }, () => ably(`key=${encodeURIComponent(ablyKey(apps.main, 'wrong'))}`)],
  ['no credential at all', NOBODYS, 'ably', 'credential_missing', {}, () => ably('')],
  ['an Ably key that its app does not have', MAIN, 'ably', 'unknown_key', {}, () => ablyPublish('a', basic(`${apps.main.id}.nobodys:x`))],
  ['a JWT that has expired', MAIN, 'ably', 'token_expired', { code: 40142 }, () => ablyPublish('a', bearer(jwt(apps.main, {}, { ttl: -60 })))],
  ['a JWT without the capability', MAIN, 'ably', 'not_granted', { channel: 'secret' },
    () => ably(`access_token=${jwt(apps.main, { 'x-ably-capability': '{"open":["*"]}' })}`, { action: 10, channel: 'secret' })],
  ['a client id that is another’s', MAIN, 'ably', 'wrong_user', {}, () => ably(`access_token=${jwt(apps.main, { 'x-ably-clientId': 'ana' })}&clientId=bob`)],
  ['a message that is too large for Ably', MAIN, 'ably', 'message_too_large', { channel: 'a' }, () => ablyPublish('a', basic(ablyKey(apps.main)), JSON.stringify({ data: 'x'.repeat(2_000) }))],
  ['a body of another shape', MAIN, 'ably', 'bad_message', {}, () => ablyPublish('a', basic(ablyKey(apps.main)), '[[')],
  ['a subscribe key that nobody has', NOBODYS, 'pubnub', 'unknown_key', {}, () => pubnub('/v2/subscribe/sub-c-nobody/a/0')],
  ['no grant to publish', MAIN, 'pubnub', 'not_granted', { channel: 'a' }, () => pubnub(`/publish/${apps.main.publishKey}/${apps.main.subscribeKey}/0/a/0/%221%22`)],
  ['a PubNub server whose clock is off', MAIN, 'pubnub', 'clock_off', {}, () => signedPubnub(apps.main, `/v1/auth/grant/sub-key/${apps.main.subscribeKey}`, { ago: 600 })],
  ['a PubNub server with the wrong secret', MAIN, 'pubnub', 'wrong_secret', {}, () => signedPubnub(apps.main, `/v1/auth/grant/sub-key/${apps.main.subscribeKey}`, { secret: 'x' })],
  ['what is no JSON to PubNub', MAIN, 'pubnub', 'bad_message', { channel: 'a' }, () => pubnub(`/publish/${apps.main.publishKey}/${apps.main.subscribeKey}/0/a/0/%7B`)],
  ['an application key that nobody has', NOBODYS, 'realtime', 'unknown_key', {}, () => realtime('validate;nobody;tok;;;me;')],
  ['a token that was never authenticated', MAIN, 'realtime', 'token_unknown', { code: 1008 }, () => realtime(`validate;${apps.main.application};tok;;;me;`)],
  ['a private key that is wrong', MAIN, 'realtime', 'wrong_secret', { channel: 'a', code: 401 }, () => http('POST', '/send', form({ AK: apps.main.application, PK: 'x', AT: 't', C: 'a', M: 'm' }))],
  ['a channel that no channel is called', MAIN, 'realtime', 'channel_name', { code: 400 },
    () => http('POST', '/send', form({ AK: apps.main.application, PK: apps.main.secret, AT: 't', C: 'a b', M: 'm' }))],
  ['a key of our own API with a wrong secret', MAIN, 'v1', 'wrong_secret', { code: 401 }, () => http('GET', `/v1/apps/${apps.main.id}/connections`, { headers: bearer(`${apps.main.key}:x`) })],
  ['a key of another app', MAIN, 'v1', 'beyond_key', { code: 403 }, () => http('GET', `/v1/apps/${apps.main.id}/connections`, { headers: bearer(`${apps.ably.key}:${apps.ably.secret}`) })],
  ['a wrong admin token', NOBODYS, 'v1', 'operator_token', { code: 401 }, () => http('GET', '/v1/apps', { headers: bearer('wrong'), at: cluster.adminUrls[1] })],
];

/** What `gatecast refusals` lists, asked at a node where nothing of it happened. */
async function listed(app, ...more) {
  const answer = await cluster.cli(1, 'refusals', ...(app ? [app.id] : []), '--limit', '1000', '-o', 'json', ...more);
  return JSON.parse(answer).refusals;
}

const shown = [];
for (const [mistake, whose, dialect, rule, more, make] of MISTAKES) {
  test(`${dialect}: ${mistake}: ${rule}`, async () => {
    const before = new Set((await listed(whose())).map(({ id }) => id));
    await make();
    const fits = (one) => !before.has(one.id) && one.dialect === dialect && Object.entries(more).every(([name, value]) => one[name] === value);
    const found = await until(async () => (await listed(whose())).find((one) => fits(one) && one.rule === rule), `${rule} is listed`);
    assert.match(found.advice, /^[A-Z].{40,}\.$/);
    assert.equal(found.node, 2);
    assert.match(found.remote, /^127\.0\.0\.1:\d+$/);
    assert.equal(found.app, whose()?.id ?? null);
    shown.push(found);
  });
}

test('whatever was refused, no secret, token or name of a user is in the lists', async () => {
  const all = JSON.stringify([await listed(), shown]);
  for (const app of Object.values(apps)) assert.ok(!all.includes(app.secret), 'a secret is listed');
  assert.ok(!/mallory|eyJ|:x"/.test(all), all.match(/.{40}(mallory|eyJ).{10}/)?.[0]);
  // By her name she is found all the same.
  const hers = await listed(apps.main, '--user', 'mallory');
  assert.deepEqual([...new Set(hers.map(({ rule }) => rule))], ['blocked']);
});

test('--follow shows what is refused from now on', async () => {
  const args = ['--server', cluster.adminUrls[0], '--token', cluster.adminToken, 'refusals', apps.tls.id, '--follow'];
  const child = spawn(BINARY, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  const lines = new Inbox('follow');
  child.stdout.on('data', (bytes) => String(bytes).split('\n').filter(Boolean).forEach((line) => lines.push(line)));
  try {
    await lines.next((line) => /rule=tls_only .*Connect with TLS/.test(line), 'what there was');
    const before = lines.items.length;
    await pusher(apps.tls);
    await lines.count(() => true, before + 1, 'one more line');
    await pusher(apps.tls);
    await lines.count(() => true, before + 2, 'and one more');
  } finally {
    child.kill('SIGTERM');
  }
});

test('a flood costs one line of the log, and is counted', async () => {
  const app = await makeApp();
  // At a node that has not logged yet: of any place of the sources no more than twenty lines a minute are written.
  const [, , at] = cluster.urls;
  const logged = () => cluster.log(3).split('\n').filter((line) => line.includes('"message":"refused"') && line.includes(`"app":${app.id}`));
  const path = `/v1/apps/${app.id}/connections`;
  for (let round = 0; round < 20; round += 1) {
    await Promise.all(Array.from({ length: 50 }, () => http('GET', path, { headers: bearer(`${app.key}:x`), at })));
  }
  const { refusals, not_kept: more } = JSON.parse(await cluster.cli(1, 'refusals', app.id, '--limit', '1000', '-o', 'json'));
  assert.equal(refusals.length + more, 1_000, `${refusals.length} and ${more}`);
  assert.ok(logged().length >= 1 && logged().length <= 2, logged().join('\n'));
  assert.match(logged()[0], /"rule":"wrong_secret".*"advice":"Sign with the secret/);
});

test('who may not inspect the app is not shown its refusals', async () => {
  await assert.rejects(cluster.server(2, apps.ably).call('GET', `/v1/apps/${apps.main.id}/refusals`), { status: 403 });
  await assert.rejects(cluster.server(2, apps.main).call('GET', '/v1/refusals'), { status: 403 });
  const { refusals } = await cluster.server(2, apps.main).call('GET', `/v1/apps/${apps.main.id}/refusals?limit=5`);
  assert.equal(refusals.length, 5);
});
