// realtime-messaging, unmodified, in a real headless Chromium, over WebSocket and over its fallback; and the example chat, driven as
// people would. Skipped, with the reason printed, where there is no Chromium.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { Chromium, skip } from './lib/chromium.mjs';
import { Cluster, ROOT } from './lib/cluster.mjs';
import { AppServer, Client, closeClients } from './lib/realtime.mjs';
import { RawSocket } from './lib/raw.mjs';
import { Inbox, until, within } from './lib/wait.mjs';

const library = new URL('node_modules/realtime-messaging/dist/ortc-umd-min.js', import.meta.url);
const page = (url, application, protocol) => `<!doctype html><script src="/realtime.js"></script><script>
  const tell = (what, more) => fetch('/told', { method: 'POST', body: JSON.stringify({ what, ...more }) });
  addEventListener('error', (event) => tell('error', { message: event.message }));
  const client = window['ortc-umd'].createClient();
  client.setClusterUrl('${url}/server/2.1');
  client.setConnectionMetadata('browser');
  if ('${protocol}') client.setProtocol('${protocol}');
  const hear = (_, channel, message) => tell('heard', { channel, message });
  client.onConnected = () => {
    tell('connected', { agent: navigator.userAgent });
    client.subscribe('plain', true, hear);
    client.subscribeWithFilter('filtered', true, "message.n > 1", (_, channel, filtered, message) => tell('heard', { channel, message, filtered }));
    client.subscribeWithBuffer('buffered', 'browser', (_, channel, sequence, message) => tell('heard', { channel, message, sequence }));
  };
  client.onSubscribed = (_, channel) => tell('subscribed ' + channel);
  client.onException = (_, why) => tell('exception', { why: String(why) });
  window.client = client;
  client.connect('${application}', 'anytoken');
</script>`;

describe('realtime-messaging in Chromium', { skip, timeout: 180_000 }, () => {
  let cluster;
  let app;
  let chromium;
  let server;
  let chat;
  const told = new Inbox('the pages');
  before(async () => {
    cluster = await Cluster.start({ nodes: 1 });
    const made = await cluster.createApp({ protocols: ['realtime'], open: [], settings: {} });
    const shown = await cluster.admin().call('GET', `/v1/apps/${made.id}`);
    app = { ...made, application: shown.app.aliases['realtime-application'] };
    chromium = new Chromium();
    server = createServer((request, response) => {
      let body = '';
      request.on('data', (part) => (body += part));
      request.on('end', () => {
        if (request.url.startsWith('/told')) {
          told.push({ ...JSON.parse(body), from: request.headers.referer });
          response.end();
        } else if (request.url === '/realtime.js') {
          response.writeHead(200, { 'content-type': 'text/javascript' }).end(readFileSync(library));
        } else {
          const html = page(cluster.urls[0], app.application, new URL(request.url, 'http://x').searchParams.get('protocol') ?? '');
          response.writeHead(200, { 'content-type': 'text/html' }).end(html);
        }
      });
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
  });
  after(async () => {
    closeClients();
    if (chat?.exitCode === null) {
      chat.kill('SIGTERM');
      await once(chat, 'exit');
    }
    server?.closeAllConnections();
    server?.close();
    await cluster?.stop();
    await chromium?.close();
  });

  for (const protocol of ['', 'xhr-streaming']) {
    test(`the SDK ${protocol ? `over ${protocol}` : 'by itself'}`, async () => {
      await new AppServer(cluster.urls[0], app).presence('enable', 'plain');
      const address = `http://127.0.0.1:${server.address().port}/?protocol=${protocol}`;
      const here = await chromium.open(address);
      const said = (matches, what) => told.next((one) => one.from === address && matches(one), what, 60_000);
      assert.match((await said(({ what }) => what === 'connected', 'connected')).agent, /Chrom/);
      for (const channel of ['plain', 'filtered', 'buffered']) await said(({ what }) => what === `subscribed ${channel}`, channel);
      const other = await new Client('node', cluster.urls[0]).connected(app);
      await other.subscribed('back');
      const heard = (channel, message) => said((one) => one.channel === channel && one.message === message, `${message} on ${channel}`);
      const text = `"q" \\ \n é 😀; ${'x'.repeat(2000)}`;
      other.send('plain', text);
      await heard('plain', text);
      other.send('filtered', '{"n":1}');
      other.send('filtered', '{"n":2}');
      assert.equal((await heard('filtered', '{"n":2}')).filtered, true);
      assert.ok(await other.publish('buffered', `kept ${protocol}`));
      assert.equal(typeof (await heard('buffered', `kept ${protocol}`)).sequence, 'string');
      assert.equal(await here.value(`(client.send('back', ${JSON.stringify(text)}), true)`), true);
      await other.message('back', text);
      const presence = `new Promise((done) => client.presence({ channel: 'plain' }, (error, result) => done(JSON.stringify(error ?? result))))`;
      await until(async () => (await here.value(presence)) === '{"subscriptions":1,"metadata":{"browser":1}}', 'the presence of one');
      assert.deepEqual(told.all((one) => one.from === address && ['error', 'exception'].includes(one.what)), []);
      await here.value('(client.disconnect(), true)');
      other.close();
    });
  }

  test('the example: log in, get a token, connect, talk, be refused, be cut off', async () => {
    const made = await cluster.createApp({ settings: { realtime_authentication: true } });
    const shown = await cluster.admin().call('GET', `/v1/apps/${made.id}`);
    const application = shown.app.aliases['realtime-application'];
    chat = spawn(process.execPath, [join(ROOT, 'examples/realtime-chat/server.mjs')], {
      stdio: ['ignore', 'pipe', 'inherit'],
      env: { ...process.env, PORT: '0', REALTIME_URL: cluster.urls[0], REALTIME_APPLICATION_KEY: application, REALTIME_PRIVATE_KEY: made.secret },
    });
    const [said] = await within(once(chat.stdout, 'data'), 'the app server listens');
    const url = /http:\S+/.exec(said)[0];
    const lines = "[...document.querySelectorAll('#lines li')].map((line) => line.textContent)";
    const refused = "[...document.querySelectorAll('.refused')].map((line) => line.textContent)";

    const stranger = await chromium.open(url);
    await stranger.until("!document.querySelector('#login').hidden");
    assert.equal((await fetch(`${url}session`)).status, 401);
    const wrong = new URLSearchParams({ name: 'ana', password: 'guess' });
    assert.equal((await fetch(`${url}login`, { method: 'POST', body: wrong, redirect: 'manual' })).status, 403);

    const enter = async (name) => {
      const tab = await chromium.open(url);
      await tab.until("document.readyState === 'complete'");
      await tab.fill('[name=name]', name);
      await tab.fill('[name=password]', `${name}-secret`);
      await tab.click('#login button');
      await tab.until("document.querySelector('#state')?.textContent === 'connected'", 'connected');
      await tab.until(`${lines}.includes('you hear chat:lobby')`);
      return tab;
    };
    const choose = (tab, channel) => tab.fill('#channel', channel);
    const send = async (tab, channel, text) => {
      await choose(tab, channel);
      await tab.fill('#text', text);
      await tab.click('#chat button');
    };
    const [ana, ben] = [await enter('ana'), await enter('ben')];
    await send(ana, 'chat:lobby', 'hello <b>ben</b>');
    for (const tab of [ana, ben]) await tab.until(`${lines}.includes('chat:lobby: ana: hello <b>ben</b>')`);

    // Ben may read notices and not write them.
    await choose(ben, 'notices');
    await ben.click('#join');
    await ben.until(`${lines}.includes('you hear notices')`);
    await send(ana, 'notices', 'closed on monday');
    await ben.until(`${lines}.includes('notices: ana: closed on monday')`);
    await send(ben, 'notices', 'open on monday');
    await ben.until(`${refused}.some((why) => why.includes('No permission to publish'))`);

    // For staff he has nothing: his SDK says so, and so does the broker to a client that does not ask its SDK.
    await choose(ben, 'staff');
    await ben.click('#join');
    await ben.until(`${refused}.some((why) => /permission/i.test(why) && why.includes('staff'))`);
    const token = await ben.value("fetch('/session').then((answer) => answer.json()).then(({ token }) => token)");
    const raw = await RawSocket.open(cluster.urls[0], '/broadcast/1/benbenbe/websocket', { parse: (text) => text });
    raw.send(JSON.stringify(`validate;${application};${token};;;`));
    const validated = await raw.events.next((one) => one.includes('ortc-validated'), 'validated');
    assert.ok(!validated.includes('staff'));
    raw.send(JSON.stringify(`subscribe;${application};${token};staff;null`));
    const answer = await raw.events.next((one) => one.includes('staff'), 'an answer');
    assert.equal(answer, String.raw`a["{\"op\":\"ortc-error\",\"ex\":{\"op\":\"subscribe\",\"ch\":\"staff\",\"ex\":\"No permission to subscribe\"}}"]`);
    raw.close();

    // His token is taken: he is out, at once, and stays out.
    await cluster.server(1, made).call('POST', `/v1/apps/${made.id}/revoke`, { target: { token } });
    await ben.until(`${refused}.some((why) => why.includes('Invalid connection.'))`);
    await send(ana, 'chat:lobby', 'is ben gone?');
    await ana.until(`${lines}.includes('chat:lobby: ana: is ben gone?')`);
    assert.equal(await ben.value(`${lines}.some((line) => line.includes('is ben gone?'))`), false);
  });
});
