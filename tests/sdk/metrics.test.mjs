// The metrics of the message plane against a load whose every frame is known: what they count is what was done, over several
// worker threads, and they stay what they are when a connection has gone.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createHash, createHmac } from 'node:crypto';
import { after, before, test } from 'node:test';
import { Cluster } from './lib/cluster.mjs';
import { RawSocket, rawPusher, sign } from './lib/raw.mjs';
import { until } from './lib/wait.mjs';

let cluster;
let url;
let app;

before(async () => {
  cluster = await Cluster.start({ nodes: 1, args: ['--workers', '2', '--max-connections', '200'] });
  [url] = cluster.urls;
  app = await cluster.createApp({ protocols: ['pusher', 'ably'], open: [{ pattern: 'room', operations: ['subscribe'] }] });
});
after(() => cluster?.stop());

const scraped = async (accept = '*/*') => {
  const answer = await fetch(`${cluster.adminUrls[0]}/metrics`, { headers: { accept } });
  return { type: answer.headers.get('content-type'), text: await answer.text() };
};

/** Every series by its name and labels, these in the order of their names. */
async function series() {
  const { text } = await scraped();
  const lines = text.split('\n').filter((line) => line && !line.startsWith('#'));
  return new Map(lines.map((line) => {
    const [, name, labels = '', value] = /^([a-z_]+)(?:\{(.*)\})? (\S+)$/.exec(line);
    return [`${name}{${[...labels.matchAll(/\w+="[^"]*"/g)].map(String).sort().join(',')}}`, Number(value)];
  }));
}

/** One of them; 0 when it is not there. */
const of = (all, name, labels = {}) =>
  all.get(`${name}{${Object.entries(labels).map(([label, value]) => `${label}="${value}"`).sort().join(',')}}`) ?? 0;

const gained = (before, after, name, labels) => of(after, name, labels) - of(before, name, labels);

/** A signed call of Pusher's HTTP API. */
async function trigger(event, secret = app.secret) {
  const body = JSON.stringify(event);
  const query = { auth_key: app.key, auth_timestamp: Math.floor(Date.now() / 1000), auth_version: '1.0', body_md5: createHash('md5').update(body).digest('hex') };
  const text = Object.keys(query).sort().map((name) => `${name}=${query[name]}`).join('&');
  const mac = createHmac('sha256', secret).update(`POST\n/apps/${app.id}/events\n${text}`).digest('hex');
  const answer = await fetch(`${url}/apps/${app.id}/events?${text}&auth_signature=${mac}`, { method: 'POST', body, headers: { 'content-type': 'application/json' } });
  await answer.arrayBuffer();
  return answer.status;
}

const CLIENTS = 5;
const EVENTS = 7;

test('a scripted load is in the metrics to the message', async () => {
  const mine = { dialect: 'pusher', app: app.id };
  const before = await series();
  const clients = await Promise.all(Array.from({ length: CLIENTS }, () => rawPusher(url, app.key)));
  const said = JSON.stringify({ event: 'pusher:subscribe', data: { channel: 'room' } });
  for (const client of clients) {
    client.send(said);
    await client.event('pusher_internal:subscription_succeeded');
  }
  for (let n = 0; n < EVENTS; n += 1) assert.equal(await trigger({ name: 'step', channel: 'room', data: `${n}` }), 200);
  for (const client of clients) await client.events.count(({ event }) => event === 'step', EVENTS, 'every event');
  // One more of them is refused twice: by HTTP, and on the socket.
  assert.equal(await trigger({ name: 'step', channel: 'room', data: '' }, 'wrong'), 401);
  const [first] = clients;
  const wrong = JSON.stringify({ event: 'pusher:subscribe', data: { channel: 'private-x', auth: sign({ ...app, secret: 'x' }, first.socketId, 'private-x') } });
  first.send(wrong);
  await first.event('pusher:subscription_error');
  const after = await series();

  const more = (name, labels) => gained(before, after, name, labels);
  assert.equal(of(after, 'gatecast_connections', mine), CLIENTS);
  assert.equal(of(after, 'gatecast_subscriptions', mine), CLIENTS);
  assert.equal(of(after, 'gatecast_outbuf_bytes', mine), 0);
  assert.equal(more('gatecast_connections_opened_total', { dialect: 'pusher' }), CLIENTS);
  assert.equal(more('gatecast_messages_total', { ...mine, dir: 'in' }), CLIENTS + 1);
  assert.equal(more('gatecast_message_bytes_total', { ...mine, dir: 'in' }), CLIENTS * said.length + wrong.length);
  // The greeting, the answer, the events; and two errors, as its SDKs read one or the other.
  assert.equal(more('gatecast_messages_total', { ...mine, dir: 'out' }), CLIENTS * (2 + EVENTS) + 2);
  assert.ok(more('gatecast_message_bytes_total', { ...mine, dir: 'out' }) > CLIENTS * (2 + EVENTS) * 20);
  assert.equal(more('gatecast_client_auth_total', { dialect: 'pusher', outcome: 'ok', reason: 'none' }), CLIENTS);
  assert.equal(more('gatecast_client_auth_total', { dialect: 'pusher', outcome: 'refused', reason: 'wrong_secret' }), 2);
  assert.equal(more('gatecast_refusals_total', { dialect: 'pusher', rule: 'wrong_secret' }), 2);
  assert.equal(more('gatecast_http_requests_total', { dialect: 'pusher', method: 'POST', status: '2xx' }), EVENTS);
  assert.equal(more('gatecast_http_requests_total', { dialect: 'pusher', method: 'POST', status: '4xx' }), 1);
  assert.equal(more('gatecast_publish_duration_seconds_count'), EVENTS);
  // Once for each worker thread with subscribers.
  const threads = more('gatecast_delivery_lag_seconds_count') / EVENTS;
  assert.ok(threads === 1 || threads === 2, `${threads} threads`);
  assert.equal(of(after, 'gatecast_channels_occupied'), 1);

  for (const client of clients.slice(1)) client.close();
  await until(async () => of(await series(), 'gatecast_connections', mine) === 1, 'the others have gone');
  const then = await series();
  for (const dir of ['in', 'out']) {
    assert.equal(gained(after, then, 'gatecast_messages_total', { ...mine, dir }), 0, 'what has gone still counts');
  }
  assert.equal(gained(after, then, 'gatecast_disconnects_total', { dialect: 'pusher', code: 'none' }), CLIENTS - 1);
  await cluster.admin().patchApp(app.id, { enabled: false });
  await first.end();
  await until(async () => gained(after, await series(), 'gatecast_disconnects_total', { dialect: 'pusher', code: '4003' }) === 1, '4003 is counted');
  await cluster.admin().patchApp(app.id, { enabled: true });
  first.close();
});

test('members of presence sets are counted, and who was refused before he was anybody', async () => {
  const raw = await rawPusher(url, app.key);
  const data = '{"user_id":"ana"}';
  raw.send({ event: 'pusher:subscribe', data: { channel: 'presence-x', auth: sign(app, raw.socketId, 'presence-x', data), channel_data: data } });
  await raw.event('pusher_internal:subscription_succeeded');
  await until(async () => of(await series(), 'gatecast_presence_members') === 1, 'a member');
  raw.close();
  await until(async () => of(await series(), 'gatecast_presence_members') === 0, 'nobody');
  const nobody = await RawSocket.open(url, '/app/nobodys?protocol=7&client=js&version=8.6.0');
  assert.equal((await nobody.end()).code, 4001);
  nobody.close();
  const counted = async () => of(await series(), 'gatecast_disconnects_total', { dialect: 'pusher', code: '4001' });
  await until(async () => (await counted()) === 1, '4001 is counted');
  assert.equal(of(await series(), 'gatecast_client_auth_total', { dialect: 'pusher', outcome: 'refused', reason: 'unknown_key' }), 1);
});

test('what the node is and how it is', async () => {
  const all = await series();
  assert.ok([...all.keys()].some((name) => /^gatecast_build_info\{version="\d+\.\d+\.\d+"\}$/.test(name)));
  const lease = of(all, 'gatecast_lease_remaining_seconds');
  assert.ok(lease > 0 && lease <= 3, `${lease}`);
  for (const name of ['process_cpu_seconds_total', 'process_resident_memory_bytes', 'process_open_fds', 'process_max_fds', 'process_start_time_seconds', 'gatecast_raft_log_index']) {
    assert.ok(of(all, name) > 0, name);
  }
  assert.ok(of(all, 'gatecast_raft_log_index') >= of(all, 'gatecast_raft_applied_index'));
  const resident = cluster.resident(1);
  assert.ok(Math.abs(of(all, 'process_resident_memory_bytes') - resident) < resident / 2);
  assert.equal(of(all, 'gatecast_peer_links'), 0);
});

test('Prometheus gets OpenMetrics, everybody else the older form', async () => {
  const open = await scraped('application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3');
  assert.match(open.type, /^application\/openmetrics-text/);
  assert.match(open.text, /# TYPE gatecast_messages counter\n[^#]*gatecast_messages_total\{/);
  assert.ok(open.text.endsWith('# EOF\n'));
  const older = await scraped();
  assert.match(older.type, /^text\/plain; version=0\.0\.4/);
  assert.match(older.text, /# TYPE gatecast_messages_total counter\n/);
});

const missing = spawnSync('promtool', ['--version']).error !== undefined;
test('promtool finds nothing to say about the metrics', { skip: missing && 'promtool is not installed (Debian: prometheus)' }, async () => {
  const { text } = await scraped();
  const { status, stderr } = spawnSync('promtool', ['check', 'metrics'], { input: text, encoding: 'utf8' });
  assert.equal(stderr, '');
  assert.equal(status, 0);
});
