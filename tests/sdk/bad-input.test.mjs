// Bad input at a live port. Each case is a clear refusal; the process, its memory and its other clients are untouched.

import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { once } from 'node:events';
import { after, afterEach, before, test } from 'node:test';
import { Cluster } from './lib/cluster.mjs';
import { Tab, closeTabs, is, serverSdk } from './lib/client.mjs';
import { RawSocket, frame, rawPusher } from './lib/raw.mjs';
import { until, within } from './lib/wait.mjs';

const MIB = 1 << 20;
let cluster;
let url;
let app;
let witness;
// Two clients that take half a minute to be judged: they start first and are looked at last.
let mute;
let stranger;
let steps = 0;

before(async () => {
  cluster = await Cluster.start({ nodes: 1 });
  [url] = cluster.urls;
  app = cluster.app;
  witness = new Tab(url, app);
  witness.inbox = await witness.subscribed('public-witness');
  const quick = await cluster.createApp({ name: 'quick', settings: { activity_timeout_ms: 1_000 } });
  mute = await rawPusher(url, quick.key);
  const strict = await cluster.createApp({ name: 'strict', settings: { authorized_connections: true } });
  stranger = await rawPusher(url, strict.key);
});

// After every case the same old client still gets its messages on the same old connection, once each.
afterEach(async () => {
  steps += 1;
  await serverSdk(url, app).trigger('public-witness', 'step', { n: steps });
  await witness.inbox.next(is('step', { n: steps }), 'the witness hears on');
  assert.equal(witness.states.all((state) => state === 'connected').length, 1, 'the witness was disturbed');
});
after(async () => {
  closeTabs();
  await cluster?.stop();
});

const pusher = () => rawPusher(url, app.key);

/** Sends bytes as an HTTP client that closes nothing itself; answers what came back until the server closed or `quiet`. */
async function http(bytes, { wait = 20_000 } = {}) {
  const { hostname, port } = new URL(url);
  const socket = connect({ host: hostname, port: Number(port) });
  socket.on('error', () => {});
  let text = '';
  const answered = new Promise((resolve) => {
    socket.on('data', (chunk) => {
      text += chunk.toString('latin1');
      if (/\r\n\r\n/.test(text)) resolve();
    });
    socket.on('close', resolve);
  });
  await once(socket, 'connect');
  socket.write(bytes);
  await within(answered, 'an answer or the end', wait);
  socket.destroy();
  return Number(/^HTTP\/1\.1 (\d+)/.exec(text)?.[1] ?? 0);
}

test('an oversized frame is refused by its announced length, before its bytes are taken', async () => {
  const socket = await pusher();
  const before = cluster.resident(1);
  socket.write(frame(1, 'x', { length: 2 ** 40 }));
  assert.equal((await socket.end()).code, 1009);
  const grown = cluster.resident(1) - before;
  assert.ok(grown < 8 * MIB, `grew by ${grown} bytes`);
});

test('a message above the limit in one frame, and in fragments, ends with 1009', async () => {
  const whole = await pusher();
  whole.write(frame(1, 'x'.repeat(2 * MIB)));
  // The server may be gone before it has read it all; the close frame is then lost to a reset.
  assert.ok([1009, 1006].includes((await whole.end()).code));
  const parts = await pusher();
  parts.write(frame(1, 'x'.repeat(1000), { fin: false }));
  for (let n = 0; n < 4000 && parts.ends.items.length === 0; n += 1) {
    parts.write(frame(0, 'x'.repeat(1000), { fin: false }));
    if (n % 100 === 0) await new Promise(setImmediate);
  }
  assert.ok([1009, 1006].includes((await parts.end()).code));
});

test('broken JSON, wrong shapes and deep nesting are answered, the connection lives', async () => {
  const socket = await pusher();
  const cases = ['{', 'null', '[]', '7', '"x"', '{"event":7}', '{"event":"pusher:subscribe"}', '{"event":"pusher:subscribe","data":[]}', '{"event":"pusher:subscribe","data":{"channel":7}}', `{"event":"x","data":${'['.repeat(5000)}${']'.repeat(5000)}}`];
  for (const text of cases) {
    const before = socket.events.all((item) => item.event === 'pusher:error').length;
    socket.send(text);
    await socket.events.count((item) => item.event === 'pusher:error', before + 1, `a refusal of ${text.slice(0, 40)}`);
  }
  socket.send({ event: 'pusher:ping', data: {} });
  await socket.event('pusher:pong');
  socket.close();
});

test('text that is not UTF-8 ends with 1007; a broken frame with 1002', async () => {
  const latin = await pusher();
  latin.write(frame(1, Buffer.from([0x7b, 0xff, 0xfe, 0x7d])));
  assert.equal((await latin.end()).code, 1007);
  const reserved = await pusher();
  reserved.write(frame(1, '{}', { reserved: 7 }));
  assert.equal((await reserved.end()).code, 1002);
  const unmasked = await pusher();
  unmasked.write(frame(1, '{}', { mask: false }));
  assert.equal((await unmasked.end()).code, 1002);
  const opcode = await pusher();
  opcode.write(frame(11, '{}'));
  assert.equal((await opcode.end()).code, 1002);
  const control = await pusher();
  control.write(frame(9, 'x'.repeat(200)));
  assert.equal((await control.end()).code, 1002);
});

test('names with control characters are refused in a subscription, an event and a member', async () => {
  const socket = await pusher();
  for (const channel of ['public-\u0000', 'public-\n', 'public-\u001b[31m', 'public-\u202e', '', 'public-#', '#server-to-user-x']) {
    const refused = (item) => item.event === 'pusher:subscription_error';
    const before = socket.events.all(refused).length;
    socket.send({ event: 'pusher:subscribe', data: { channel, auth: '' } });
    await socket.events.count(refused, before + 1, `a refusal of ${JSON.stringify(channel)}`);
  }
  socket.close();
});

test('a client that speaks before the handshake is done gets no service and harms nobody', async () => {
  const { hostname, port } = new URL(url);
  const socket = connect({ host: hostname, port: Number(port) });
  socket.on('error', () => {});
  await once(socket, 'connect');
  // Ended in order or reset: `once` would take a reset for a failure.
  const gone = new Promise((resolve) => socket.on('close', resolve));
  socket.write(frame(1, '{"event":"pusher:subscribe","data":{"channel":"public-x"}}'));
  socket.end('\r\n\r\n');
  socket.resume();
  await within(gone, 'the server ends it');
});

test('events in the same packet as the handshake are served in order or refused, never lost halfway', async () => {
  const { hostname, port } = new URL(url);
  const socket = connect({ host: hostname, port: Number(port) });
  let text = '';
  socket.on('data', (chunk) => (text += chunk.toString('latin1')));
  await once(socket, 'connect');
  socket.write(
    Buffer.concat([
      Buffer.from(
        `GET /app/${app.key}?protocol=7&client=js&version=8.6.0 HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n`,
      ),
      frame(1, '{"event":"pusher:ping","data":{}}'),
    ]),
  );
  await until(() => /pusher:pong/.test(text), 'the early ping is answered');
  assert.ok(text.indexOf('connection_established') < text.indexOf('pusher:pong'));
  socket.destroy();
});

test('a client that connects and never speaks costs a socket and nothing else; half a request is cut off', async () => {
  const { hostname, port } = new URL(url);
  const before = cluster.resident(1);
  const silent = Array.from({ length: 200 }, () => connect({ host: hostname, port: Number(port) }));
  await Promise.all(silent.map((socket) => once(socket, 'connect')));
  for (const socket of silent) socket.on('error', () => {});
  const half = connect({ host: hostname, port: Number(port) });
  half.on('error', () => {});
  await once(half, 'connect');
  half.write('GET /app/x HTTP/1.1\r\nHost: x\r\n');
  half.resume();
  await within(once(half, 'close'), 'half a request is cut off', 30_000);
  const grown = cluster.resident(1) - before;
  assert.ok(grown < 200 * 32 * 1024 + 8 * MIB, `200 silent sockets took ${grown} bytes`);
  for (const socket of silent) socket.destroy();
});

test('a client that never reads is ended; what waits for it is bounded', async () => {
  const channel = 'public-firehose';
  const reader = await new Tab(url, app).subscribed(channel);
  const stuck = await pusher();
  stuck.send({ event: 'pusher:subscribe', data: { channel, auth: '' } });
  await stuck.event('pusher_internal:subscription_succeeded');
  const held = async () =>
    (await cluster.admin().connections(app.id)).connections.some((each) => each.id === stuck.socketId);
  assert.ok(await held(), 'the listing knows connections by their socket id');
  stuck.socket.pause();
  const before = cluster.resident(1);
  const server = serverSdk(url, app);
  const data = 'x'.repeat(10_000);
  // 40 MB for one reader: far beyond its outbox and both kernels' socket buffers.
  for (let n = 0; n < 4000; n += 8) {
    await Promise.all([0, 1, 2, 3, 4, 5, 6, 7].map((k) => server.trigger(channel, 'f', { n: n + k, data })));
  }
  await reader.count(is('f'), 4000, 'the healthy reader got everything', 60_000);
  const grown = cluster.resident(1) - before;
  assert.ok(grown < 24 * MIB, `one stuck reader cost ${grown} bytes`);
  assert.equal(await held(), false, 'the stuck connection is still held');
  stuck.close();
});

test('HTTP: oversized body, broken JSON, wrong length, smuggling attempts, unknown app, unsigned', async () => {
  const path = `/apps/${app.id}/events`;
  const post = (headers, body) => `POST ${path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n${headers}\r\n${body}`;
  assert.ok([400, 401, 413].includes(await http(post(`Content-Length: ${64 * MIB}\r\n`, 'x'))));
  assert.equal(await http(post('Content-Length: 2\r\n', '{}')), 401, 'no signature');
  assert.ok([400, 401].includes(await http(post('Content-Length: 1\r\n', '{'))));
  assert.ok([400, 401].includes(await http(post('Content-Length: 2\r\nContent-Length: 3\r\n', '{}'))));
  assert.ok([400, 401].includes(await http(post('Transfer-Encoding: chunked\r\nContent-Length: 2\r\n', '0\r\n\r\n'))));
  assert.equal(await http(`GET /${'x'.repeat(200_000)} HTTP/1.1\r\nHost: x\r\n\r\n`).then((status) => status >= 400 || status === 0), true);
  assert.ok([401, 404].includes(await http('GET /apps/0/channels HTTP/1.1\r\nHost: x\r\n\r\n')));
  assert.equal(await http('GET /nothing/here HTTP/1.1\r\nHost: x\r\n\r\n'), 404);
  assert.equal(await http('GET /v1/apps HTTP/1.1\r\nHost: x\r\n\r\n'), 401);
});

test('the native API refuses in its own words: code, message, hint', async () => {
  const call = async (path, body, headers = {}) => {
    const response = await fetch(`${url}${path}`, {
      method: 'POST',
      headers: { authorization: `Bearer ${app.key}:${app.secret}`, 'content-type': 'application/json', ...headers },
      body,
    });
    return { status: response.status, ...(await response.json()) };
  };
  const grants = `/v1/apps/${app.id}/grants`;
  const cases = [
    [await call(grants, '{'), 400],
    [await call(grants, '{"subject":{"user":"x"},"grants":[{"pattern":"/[/","operations":["subscribe"]}]}'), 400],
    [await call(grants, '{"subject":{"user":"x"},"grants":[{"pattern":"a","operations":["fly"]}]}'), 400],
    [await call(grants, '{"subject":{"user":""},"grants":[{"pattern":"a","operations":["subscribe"]}]}'), 400],
    [await call(grants, '{}', { authorization: 'Bearer nobody:nothing' }), 401],
    [await call('/v1/apps/999999999/grants', '{"subject":{"user":"x"},"grants":[]}'), [403, 404]],
    [await call('/v1/apps', '{"name":"mine"}'), 403],
  ];
  for (const [answer, status] of cases) {
    assert.ok([status].flat().includes(answer.status), JSON.stringify(answer));
    assert.ok(answer.error.code && answer.error.message && answer.error.hint, JSON.stringify(answer));
    assert.equal(JSON.stringify(answer).includes(app.secret), false, 'a secret in an error');
  }
});

test('a client that answers no ping is closed with 4201; one that never authorizes where it must, with 4009', async () => {
  await mute.event('pusher:ping');
  assert.equal((await mute.end(45_000)).code, 4201);
  // Pings keep it alive, so that only the time to authorize can end it.
  const beat = setInterval(() => stranger.send({ event: 'pusher:ping', data: {} }), 5_000);
  const end = await stranger.end(45_000);
  clearInterval(beat);
  assert.equal(end.code, 4009);
});

test('no secret is in the log', () => {
  const log = cluster.log(1);
  for (const secret of [app.secret, cluster.adminToken, cluster.secret]) assert.equal(log.includes(secret), false);
});
