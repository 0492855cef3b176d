// pusher-js, the browser's build, in a real headless Chromium, over WebSocket and the HTTP fallbacks: connects, subscribes, hears, signs in, sees members.
// Skipped, with the reason printed, where there is no Chromium.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { once } from 'node:events';
import { after, test } from 'node:test';
import { Chromium, skip } from './lib/chromium.mjs';
import { Cluster } from './lib/cluster.mjs';
import { serverSdk } from './lib/client.mjs';
import { Inbox, until } from './lib/wait.mjs';

const library = new URL('node_modules/pusher-js/dist/web/pusher.min.js', import.meta.url);
const page = (app, port, transport) => `<!doctype html><script src="/pusher.js"></script><script>
  const tell = (what, more) => fetch('/told', { method: 'POST', body: JSON.stringify({ what, ...more }) });
  addEventListener('error', (event) => tell('error', { message: event.message }));
  const pusher = window.pusher = new Pusher('${app.key}', {
    cluster: 'local', wsHost: '127.0.0.1', wsPort: ${port}, httpHost: '127.0.0.1', httpPort: ${port}, forceTLS: false, enabledTransports: ['${transport}'],
    channelAuthorization: { endpoint: '/auth' }, userAuthentication: { endpoint: '/user' },
  });
  pusher.connection.bind('connected', () => tell('connected', { agent: navigator.userAgent }));
  pusher.connection.bind('error', (error) => tell('refused', { error }));
  pusher.signin();
  const news = pusher.subscribe('public-browser');
  news.bind('pusher:subscription_succeeded', () => tell('subscribed'));
  news.bind('headline', (data) => tell('headline', { data }));
  pusher.user.bind('letter', (data) => tell('letter', { data }));
  const room = pusher.subscribe('presence-browser');
  room.bind('pusher:subscription_succeeded', (members) => tell('room', { me: members.me, count: members.count }));
  room.bind('client-wave', (data, { user_id }) => tell('wave', { data, user_id }));
</script>`;

let cluster;
let chromium;
let server;
after(async () => {
  await chromium?.close();
  server?.closeAllConnections();
  server?.close();
  await cluster?.stop();
});

for (const transport of ['ws', 'xhr_streaming', 'xhr_polling']) test(`pusher-js in Chromium over ${transport}`, { skip, timeout: 120_000 }, async () => {
  cluster ??= await Cluster.start({ nodes: 1 });
  const { app } = cluster;
  const sdk = serverSdk(cluster.urls[0], app);
  const told = new Inbox('the page');
  server?.closeAllConnections();
  server?.close();
  server = createServer((request, response) => {
    let body = '';
    request.on('data', (part) => (body += part));
    request.on('end', () => {
      const form = new URLSearchParams(body);
      const json = (value) => response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(value));
      if (request.url === '/told') {
        told.push(JSON.parse(body));
        response.end();
      } else if (request.url === '/auth') {
        json(sdk.authorizeChannel(form.get('socket_id'), form.get('channel_name'), { user_id: 'browser', user_info: { name: 'B' } }));
      } else if (request.url === '/user') {
        json(sdk.authenticateUser(form.get('socket_id'), { id: 'browser' }));
      } else if (request.url === '/pusher.js') {
        response.writeHead(200, { 'content-type': 'text/javascript' }).end(readFileSync(library));
      } else {
        response.writeHead(200, { 'content-type': 'text/html' }).end(page(app, new URL(cluster.urls[0]).port, transport));
      }
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  chromium ??= new Chromium();
  const here = await chromium.open(`http://127.0.0.1:${server.address().port}/`);
  const said = (what) => told.next((each) => each.what === what, what, 60_000);
  assert.match((await said('connected')).agent, /Chrom/);
  await said('subscribed');
  assert.deepEqual(await said('room'), { what: 'room', me: { id: 'browser', info: { name: 'B' } }, count: 1 });
  await sdk.trigger('public-browser', 'headline', { ü: [1, 2] });
  assert.deepEqual((await said('headline')).data, { ü: [1, 2] });
  await until(async () => (await cluster.server().connections(app.id, 'browser')).connections.length === 1, 'the sign-in');
  await until(async () => {
    await sdk.sendToUser('browser', 'letter', { n: 1 });
    return told.all((each) => each.what === 'letter').length > 0;
  }, 'the letter');
  assert.deepEqual(told.all((each) => ['error', 'refused'].includes(each.what)), []);
  await here.value('(pusher.disconnect(), true)');
  await until(async () => (await cluster.server().connections(app.id)).connections.length === 0, 'it is gone');
});
