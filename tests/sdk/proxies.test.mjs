// Behind proxies the client's address is the client's: by X-Forwarded-For and by the PROXY protocol, from trusted proxies and
// from nobody else; by hand, and with a real nginx and a real HAProxy. Proxies are told apart by the loopback address that
// they come from: 127.0.0.2 is trusted, 127.0.0.1 is not.

import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import Pusher from 'pusher-js';
import { certificate } from './lib/certificate.mjs';
import { Cluster, TARGET, freePorts } from './lib/cluster.mjs';
import { Inbox, until, within } from './lib/wait.mjs';

const [TRUSTED, STRANGER] = ['127.0.0.2', '127.0.0.1'];
let cluster;
let folder;
let tlsPort;
const proxies = [];

before(async () => {
  mkdirSync(join(TARGET, 'sdk'), { recursive: true });
  folder = mkdtempSync(join(TARGET, 'sdk', 'proxies-'));
  const files = certificate(folder);
  [tlsPort] = await freePorts(1);
  const args = ['--public-tls', `127.0.0.1:${tlsPort}`, '--tls-cert', files.cert, '--tls-key', files.key, '--request-timeout-ms', '2000'];
  cluster = await Cluster.start({ nodes: 1, args: [...args, '--trusted-proxies', `${TRUSTED}, 10.0.0.0/8`] });
});
after(async () => {
  for (const proxy of proxies) {
    proxy.kill('SIGTERM');
    await within(once(proxy, 'exit'), 'a proxy ends');
  }
  await cluster?.stop();
});

/** A header of the PROXY protocol, version 2, for TCP over IPv4. */
function header(from, port, command = 1) {
  const rest = Buffer.alloc(12);
  Buffer.from(from.split('.').map(Number)).copy(rest);
  Buffer.from([127, 0, 0, 1]).copy(rest, 4);
  rest.writeUInt16BE(port, 8);
  rest.writeUInt16BE(443, 10);
  const fixed = Buffer.from([...Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1'), 0x20 | command, 0x11, 0, 12]);
  return Buffer.concat([fixed, rest]);
}

/** A connection from that address, which begins with these bytes and then asks for a Pusher WebSocket. */
async function socket({ via = TRUSTED, before: first = [], headers = '', tls = false }) {
  const to = { host: '127.0.0.1', port: cluster.node(1).public, localAddress: via };
  let raw = connect(tls ? { ...to, port: tlsPort } : to);
  raw.on('error', () => {});
  raw.setNoDelay(true);
  const heard = new Inbox('the socket');
  raw.on('close', () => heard.push('closed'));
  await within(once(raw, 'connect'), 'the connection');
  for (const bytes of first) {
    raw.write(bytes);
    await new Promise((done) => setTimeout(done, 2));
  }
  if (tls) {
    raw = connectTls({ socket: raw, rejectUnauthorized: false });
    raw.on('error', () => {});
    await within(once(raw, 'secureConnect'), 'the handshake');
  }
  raw.on('data', (data) => heard.push(data.toString('latin1')));
  raw.write(`GET /app/${cluster.app.key}?protocol=7&client=js&version=8.6.0 HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n`
    + `Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n${headers}\r\n`);
  return { raw, heard };
}

/** The address under which the one connection there is is listed. */
async function listed() {
  const list = async () => (await cluster.server(1).connections(cluster.app.id)).connections;
  const [one] = await until(async () => { const all = await list(); return all.length === 1 && all; }, 'one connection');
  return one.remote;
}

async function addressOf(how) {
  const { raw, heard } = await socket(how);
  await heard.next((text) => text.includes('connection_established'), 'the greeting');
  const remote = await listed();
  raw.destroy();
  await until(async () => (await cluster.server(1).connections(cluster.app.id)).connections.length === 0, 'it has gone');
  return remote;
}

test('what a stranger says of its address is not believed', async () => {
  assert.match(await addressOf({ via: STRANGER, headers: 'X-Forwarded-For: 9.9.9.9\r\n' }), /^127\.0\.0\.1:\d+$/);
  // To one that may not send it, it is no HTTP.
  const { heard } = await socket({ via: STRANGER, before: [header('9.9.9.9', 1234)] });
  await heard.next((text) => text.includes('400 Bad Request') || text === 'closed', 'a refusal');
});

test('what a trusted proxy says is, and only what it adds itself', async () => {
  assert.match(await addressOf({}), /^127\.0\.0\.2:\d+$/);
  assert.equal(await addressOf({ headers: 'X-Forwarded-For: 9.9.9.9\r\n' }), '9.9.9.9');
  assert.equal(await addressOf({ headers: 'X-Forwarded-For: 6.6.6.6, 9.9.9.9, 10.1.2.3\r\n' }), '9.9.9.9');
  assert.equal(await addressOf({ headers: 'X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 9.9.9.9\r\n' }), '9.9.9.9');
  assert.match(await addressOf({ headers: 'X-Forwarded-For: unknown\r\n' }), /^127\.0\.0\.2:\d+$/);
});

test('the PROXY protocol is read before HTTP and before TLS, in whatever pieces it comes', async () => {
  const whole = header('9.9.9.9', 1234);
  assert.equal(await addressOf({ before: [whole] }), '9.9.9.9:1234');
  assert.equal(await addressOf({ before: [...whole].map((byte) => Buffer.from([byte])) }), '9.9.9.9:1234');
  assert.equal(await addressOf({ before: [whole], tls: true }), '9.9.9.9:1234');
  assert.match(await addressOf({ tls: true }), /^127\.0\.0\.2:\d+$/);
  // The proxy's own health check.
  assert.match(await addressOf({ before: [header('9.9.9.9', 1234, 0)] }), /^127\.0\.0\.2:\d+$/);
  // The client behind it is no proxy of ours.
  assert.equal(await addressOf({ before: [whole], headers: 'X-Forwarded-For: 6.6.6.6\r\n' }), '9.9.9.9:1234');
});

test('a broken or endless header ends its connection, and nobody else is held up', async () => {
  const broken = header('9.9.9.9', 1234);
  broken.writeUInt16BE(60_000, 14);
  await (await socket({ before: [broken] })).heard.next((text) => text === 'closed', 'the end');
  const silent = connect({ host: '127.0.0.1', port: cluster.node(1).public, localAddress: TRUSTED });
  const begun = connect({ host: '127.0.0.1', port: cluster.node(1).public, localAddress: TRUSTED });
  for (const one of [silent, begun]) one.on('error', () => {});
  begun.write(header('9.9.9.9', 1234).subarray(0, 14));
  const ends = [silent, begun].map((one) => within(new Promise((done) => one.resume().on('close', done)), 'the end'));
  assert.equal(await addressOf({ headers: 'X-Forwarded-For: 9.9.9.9\r\n' }), '9.9.9.9');
  await Promise.all(ends);
});

test('who was refused is told by the same address, over HTTP too', async () => {
  const { heard } = await socket({ headers: 'X-Forwarded-For: 8.8.4.4\r\n' });
  await heard.next((text) => text.includes('connection_established'), 'the greeting');
  const { port } = new URL(cluster.urls[0]);
  const raw = connect({ host: '127.0.0.1', port, localAddress: TRUSTED });
  raw.write(`GET /channels/private-x/messages HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 8.8.8.8\r\nAuthorization: Basic ${Buffer.from(`${cluster.app.key}:wrong`).toString('base64')}\r\nConnection: close\r\n\r\n`);
  await within(once(raw.resume(), 'close'), 'the answer');
  // Whoever shows no key of ours is of no app: the log has it.
  await until(() => cluster.log(1).includes('"remote":"8.8.8.8"'), 'a refusal from 8.8.8.8');
});

/** Starts a proxy from this configuration, and waits until it listens. */
async function proxy(program, args, port) {
  const child = spawn(program, args, { stdio: ['ignore', 'ignore', 'inherit'] });
  proxies.push(child);
  await until(() => new Promise((done) => {
    const probe = connect(port, '127.0.0.1', () => { probe.destroy(); done(true); });
    probe.on('error', () => done(false));
  }), `${program} listens`);
}

/** pusher-js as it is, through a proxy; the address that it is listed under. */
async function through(port) {
  const pusher = new Pusher(cluster.app.key, { wsHost: '127.0.0.1', wsPort: port, forceTLS: false, enabledTransports: ['ws'], cluster: '' });
  await until(() => pusher.connection.state === 'connected', 'pusher-js is connected');
  const remote = await until(async () => (await cluster.server(1).connections(cluster.app.id)).connections.map((one) => one.remote).find((one) => one.startsWith('127.0.0.1')), 'its address');
  pusher.disconnect();
  return remote;
}

const without = (program) => spawnSync(program, ['-v']).error !== undefined && `${program} is not installed (Debian: ${program === 'nginx' ? 'nginx-light' : program})`;

test('behind a real nginx', { skip: without('nginx') }, async () => {
  const [port] = await freePorts(1);
  const config = `
    daemon off; worker_processes 1; pid ${folder}/nginx.pid; error_log stderr error;
    events {}
    http {
      access_log off;
      client_body_temp_path ${folder}/body; proxy_temp_path ${folder}/proxy; fastcgi_temp_path ${folder}/f; uwsgi_temp_path ${folder}/u; scgi_temp_path ${folder}/s;
      map $http_upgrade $connection_upgrade { default upgrade; '' ''; }
      server {
        listen 127.0.0.1:${port};
        location / {
          proxy_pass http://127.0.0.1:${cluster.node(1).public};
          proxy_bind ${TRUSTED};
          proxy_http_version 1.1;
          proxy_set_header Upgrade $http_upgrade;
          proxy_set_header Connection $connection_upgrade;
          proxy_set_header Host $host;
          proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
          proxy_read_timeout 150s;
          proxy_buffering off;
        }
      }
    }`;
  writeFileSync(join(folder, 'nginx.conf'), config);
  await proxy('nginx', ['-p', folder, '-c', join(folder, 'nginx.conf')], port);
  // nginx says the address alone, the node the port as well.
  assert.equal(await through(port), '127.0.0.1');
});

test('behind a real HAProxy with the PROXY protocol', { skip: without('haproxy') }, async () => {
  const [port] = await freePorts(1);
  const config = `
defaults
  mode tcp
  timeout connect 5s
  timeout client 150s
  timeout server 150s
listen gatecast
  bind 127.0.0.1:${port}
  source ${TRUSTED}
  server node 127.0.0.1:${cluster.node(1).public} send-proxy-v2
`;
  writeFileSync(join(folder, 'haproxy.cfg'), config);
  await proxy('haproxy', ['-f', join(folder, 'haproxy.cfg'), '-q'], port);
  assert.match(await through(port), /^127\.0\.0\.1:\d+$/);
});
