// TLS on the public side: the same protocol, a certificate that changes while connections live, peers that can be cut.

import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createServer } from 'node:net';
import { once } from 'node:events';
import { connect as connectTls } from 'node:tls';
import { after, afterEach, before, test } from 'node:test';
import { certificate } from './lib/certificate.mjs';
import { Cluster, TARGET } from './lib/cluster.mjs';
import { Tab, closeTabs, is, serverSdk } from './lib/client.mjs';
import { RawSocket, rawPusher } from './lib/raw.mjs';
import { Receiver, stopReceivers } from './lib/receiver.mjs';
import { until, within } from './lib/wait.mjs';

// The certificate is our own; pusher-js in Node has no other way to be told.
process.env.NODE_TLS_REJECT_UNAUTHORIZED = '0';
process.removeAllListeners('warning');

let folder;
let files;
let cluster;
let secure;
let port;

before(async () => {
  mkdirSync(join(TARGET, 'sdk'), { recursive: true });
  folder = mkdtempSync(join(TARGET, 'sdk', 'tls-'));
  files = certificate(folder, 'first');
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  ({ port } = probe.address());
  await new Promise((done) => probe.close(done));
  const args = ['--public-tls', `127.0.0.1:${port}`, '--tls-cert', files.cert, '--tls-key', files.key];
  cluster = await Cluster.start({ nodes: 1, args });
  secure = `https://127.0.0.1:${port}`;
});
afterEach(() => {
  closeTabs();
  stopReceivers();
});
after(async () => {
  await cluster?.stop();
  rmSync(folder, { recursive: true, force: true });
});

const wss = (app = cluster.app, options = {}) =>
  new Tab(secure, app, { options: { forceTLS: true, wssPort: port, enabledTransports: ['wss', 'ws'], ...options } });
const sdk = () => serverSdk(secure, cluster.app, { useTLS: true });
const subject = async () => {
  const socket = connectTls({ host: '127.0.0.1', port });
  await within(once(socket, 'secureConnect'), 'the TLS handshake');
  const { CN } = socket.getPeerCertificate().subject;
  socket.destroy();
  return CN;
};

test('pusher-js and the server SDK over TLS, beside plain ones on the other port', async () => {
  const plain = await new Tab(cluster.urls[0], cluster.app).subscribed('private-both');
  const inbox = await wss().subscribed('private-both');
  assert.equal((await sdk().trigger('private-both', 'e', { n: 1 })).status, 200);
  await Promise.all([plain, inbox].map((each) => each.next(is('e', { n: 1 }), 'the event')));
  const socket = connectTls({ host: '127.0.0.1', port, ALPNProtocols: ['h2', 'http/1.1'] });
  await within(once(socket, 'secureConnect'), 'the TLS handshake');
  assert.equal(socket.alpnProtocol, 'http/1.1');
  assert.ok(['TLSv1.2', 'TLSv1.3'].includes(socket.getProtocol()));
  socket.destroy();
});

test('goodbyes arrive whole over TLS', async () => {
  const lost = await RawSocket.open(secure, '/app/nobody?protocol=7&client=js&version=8.6.0');
  assert.equal((await lost.event('pusher:error')).data.code, 4001);
  assert.equal((await lost.end()).code, 4001);
});

test('an app that wants TLS says 4000 on the plain port, and pusher-js comes back with TLS', async () => {
  const app = await cluster.createApp({ name: 'strict', settings: { tls_only: true } });
  const plain = await RawSocket.open(cluster.urls[0], `/app/${app.key}?protocol=7&client=js&version=8.6.0`);
  assert.equal((await plain.end()).code, 4000);
  const tab = new Tab(cluster.urls[0], app, { options: { wssPort: port, enabledTransports: ['ws', 'wss'] } });
  await tab.connected();
  await tab.error(4000);
});

test('a peer that takes nothing is cut, TLS or not', async () => {
  const channel = 'public-firehose';
  const reader = await wss().subscribed(channel);
  const stuck = await rawPusher(secure, cluster.app.key);
  stuck.send({ event: 'pusher:subscribe', data: { channel, auth: '' } });
  await stuck.event('pusher_internal:subscription_succeeded');
  stuck.socket.pause();
  const server = serverSdk(cluster.urls[0], cluster.app);
  const data = 'x'.repeat(10_000);
  for (let n = 0; n < 2_000; n += 8) {
    await Promise.all([0, 1, 2, 3, 4, 5, 6, 7].map((k) => server.trigger(channel, 'f', { n: n + k, data })));
  }
  await reader.count(is('f'), 2_000, 'the healthy reader got everything', 60_000);
  await until(async () => {
    const { connections } = await cluster.admin().connections(cluster.app.id);
    return !connections.some((each) => each.id === stuck.socketId);
  }, 'the stuck connection is gone');
  stuck.close();
});

test('SIGHUP takes a new certificate and keeps connections; a broken one changes nothing', async () => {
  const inbox = await wss().subscribed('public-reload');
  assert.equal(await subject(), 'first');
  files = certificate(folder, 'second');
  process.kill(cluster.pid(1), 'SIGHUP');
  await until(async () => (await subject()) === 'second', 'the second certificate');
  writeFileSync(files.cert, 'nonsense');
  process.kill(cluster.pid(1), 'SIGHUP');
  await until(() => /old certificate stays/.test(cluster.log(1)), 'the log says so');
  assert.equal(await subject(), 'second');
  await sdk().trigger('public-reload', 'still', {});
  await inbox.next(is('still'), 'the old connection hears on');
  assert.equal(cluster.log(1).includes('PRIVATE KEY'), false);
});

test('a webhook to an https receiver whose certificate nobody vouches for is refused, and the log says why', async () => {
  const own = certificate(mkdtempSync(join(folder, 'receiver-')), 'receiver');
  const app = await cluster.createApp({ name: 'hooked', settings: { webhook_private_targets: true } });
  const receiver = await Receiver.start(serverSdk(cluster.urls[0], app), 'tls', own.pem);
  await cluster.admin().patchApp(app.id, { settings: { webhooks: [{ url: receiver.url }] } });
  await new Tab(cluster.urls[0], app).subscribed('public-tls-hook');
  const failed = await until(async () => {
    const { deliveries } = await cluster.admin().call('GET', `/v1/apps/${app.id}/webhooks/deliveries`);
    return deliveries.find((each) => each.attempts > 0);
  }, 'an attempt');
  assert.match(failed.error, /certificate|issuer/i);
  assert.equal(receiver.requests.items.length, 0);
});
