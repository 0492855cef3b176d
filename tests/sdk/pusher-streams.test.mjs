// pusher-js over its HTTP fallbacks, and their raw bytes. The node has two workers, so that a client's requests come to other
// threads than its connection's.

import assert from 'node:assert/strict';
import { after, afterEach, before, describe, test } from 'node:test';
import { Cluster } from './lib/cluster.mjs';
import { Tab, closeTabs, serverSdk } from './lib/client.mjs';
import { RawStream } from './lib/stream.mjs';
import { until } from './lib/wait.mjs';

describe('Pusher over plain HTTP', () => {
  let cluster;
  let app;
  let url;
  let sdk;
  const streams = [];
  let unique = 0;

  before(async () => {
    cluster = await Cluster.start({ nodes: 1, args: ['--workers', '2'] });
    ({ app } = cluster);
    url = cluster.urls[0];
    sdk = serverSdk(url, app);
  });
  afterEach(() => {
    closeTabs();
    for (const stream of streams.splice(0)) stream.close();
  });
  after(() => cluster?.stop());

  const tab = (transport, more = {}) => {
    const { hostname, port } = new URL(url);
    const options = { httpHost: hostname, httpPort: Number(port), enabledTransports: [transport], ...more.options };
    return new Tab(url, app, { ...more, options });
  };
  const stream = (key = app.key, query = '?protocol=7&client=js&version=8.6.0&t=1&n=1') => {
    const one = new RawStream(url, `/pusher/app/${key}/042/raw${String((unique += 1)).padStart(5, '0')}`, query);
    streams.push(one);
    return one;
  };
  const frame = (event, data, channel) => JSON.stringify({ event, data, channel });
  const said = (line) => JSON.parse(JSON.parse(line.slice(1))[0]);

  for (const transport of ['xhr_streaming', 'xhr_polling']) {
    test(`${transport}: connect, sign in, subscribe, receive, whisper, leave`, async () => {
      const [one, two] = [tab(transport, { user: 'ana' }), tab(transport, { user: 'ben' })];
      await Promise.all([one.signedIn(), two.signedIn()]);
      const [inbox, whispers] = [await one.subscribed('private-http'), await two.subscribed('private-http')];
      const big = 'é"\\'.repeat(1500);
      await sdk.trigger('private-http', 'big', { big });
      assert.deepEqual((await inbox.next(({ event }) => event === 'big', 'big')).data, { big });
      inbox.channel.trigger('client-hi', { n: 1 });
      assert.deepEqual((await whispers.next(({ event }) => event === 'client-hi', 'hi')).data, { n: 1 });
      const refused = tab(transport, { sign: () => ({ auth: `${app.key}:${'0'.repeat(64)}` }) });
      await refused.connected();
      await refused.refused('private-http');
      closeTabs();
      await until(async () => (await cluster.server().connections(app.id)).connections.length === 0, 'nobody is left');
    });
  }

  test('xhr_streaming: more than a browser keeps comes over several responses, nothing lost', async () => {
    const one = await tab('xhr_streaming').connected();
    const inbox = await one.subscribed('public-much');
    const text = 'x'.repeat(9_000);
    for (let n = 0; n < 60; n += 1) await sdk.trigger('public-much', 'e', { n, text });
    await inbox.count(({ event }) => event === 'e', 60, 'all of it');
    assert.deepEqual(inbox.all(({ event }) => event === 'e').map(({ data }) => data.n), Array.from({ length: 60 }, (_, n) => n));
    assert.equal(one.states.all((state) => state === 'connected').length, 1);
  });

  test('a refusal is told and not retried; a terminated user stays away', async () => {
    const stranger = tab('xhr_streaming', {});
    await stranger.connected();
    const unknown = new Tab(url, { ...app, key: 'nobody' }, { sdk, options: { httpHost: '127.0.0.1', httpPort: Number(new URL(url).port), enabledTransports: ['xhr_streaming'] } });
    await unknown.errors.next((error) => JSON.stringify(error).includes('4001'), '4001');
    await unknown.states.next((state) => state === 'disconnected', 'stays away');
    const user = await tab('xhr_streaming', { user: 'gone' }).signedIn();
    await sdk.terminateUserConnections('gone');
    await user.states.next((state) => state === 'disconnected', 'stays away');
  });

  test('the bytes of a stream', async () => {
    const one = stream();
    const response = await one.read('xhr_streaming', { origin: 'http://page.example' });
    assert.equal(response.headers['access-control-allow-origin'], 'http://page.example');
    await one.line('o{}');
    const { event, data } = said(await one.lines.next((line) => line.startsWith('a['), 'the greeting'));
    assert.equal(event, 'pusher:connection_established');
    assert.match(JSON.parse(data).socket_id, /^\d+\.\d+$/);
    assert.deepEqual(one.lines.all().slice(0, 2), ['h'.repeat(2048), 'o{}']);
    assert.equal(await one.send([]), 204);
    assert.equal(await one.send([frame('pusher:ping', {}), frame('pusher:subscribe', { channel: 'public-bytes' })]), 204);
    await one.line(String.raw`a["{\"event\":\"pusher:pong\",\"data\":\"{}\"}"]`);
    await one.lines.next((line) => line.includes('subscription_succeeded'), 'a subscription');
    for (const bad of ['', '{}', '[1]', `["${'x'.repeat(300_000)}"]`]) assert.ok([400, 413].includes(await one.send(bad)), bad.slice(0, 9));
    assert.equal(await stream().send(['{}']), 404);
    const nobody = stream('nobody');
    await nobody.read();
    const close = await nobody.lines.next((line) => line.startsWith('c['), 'the close');
    assert.equal(JSON.parse(close.slice(1))[0], 4001);
    assert.deepEqual(await nobody.end(), { whole: true, rest: '' });
  });
});
