// Realtime.co's fallback over plain HTTP: the browser SDK where WebSockets do not get through, and the raw bytes. The node has two
// workers, so that a client's requests come to other threads than its connection's.

import assert from 'node:assert/strict';
import { createServer, request } from 'node:http';
import { once } from 'node:events';
import { after, afterEach, before, describe, test } from 'node:test';
import { Cluster } from './lib/cluster.mjs';
import { Client, closeClients } from './lib/realtime.mjs';
import { RawStream } from './lib/stream.mjs';
import { until } from './lib/wait.mjs';

describe('Realtime.co over plain HTTP', () => {
  let cluster;
  let app;
  let url;
  const streams = [];
  let unique = 0;

  before(async () => {
    cluster = await Cluster.start({ nodes: 1, args: ['--workers', '2'] });
    const made = await cluster.createApp({ protocols: ['realtime'], open: [], settings: {} });
    const shown = await cluster.admin().call('GET', `/v1/apps/${made.id}`);
    app = { ...made, application: shown.app.aliases['realtime-application'] };
    url = cluster.urls[0];
  });
  afterEach(() => {
    closeClients();
    for (const stream of streams.splice(0)) stream.close();
  });
  after(() => cluster?.stop());

  const stream = (prefix = '') => {
    const one = new RawStream(url, `${prefix}/broadcast/042/raw_${String((unique += 1)).padStart(4, '0')}`);
    streams.push(one);
    return one;
  };
  const connections = async () => (await cluster.admin().connections(app.id)).connections.length;
  const VALIDATED = String.raw`a["{\"op\":\"ortc-validated\",\"up\":null,\"set\":30}"]`;
  const validated = async (one) => {
    await one.line('o');
    assert.equal(await one.send([`validate;${app.application};t;;;;`]), 204);
    await one.line(VALIDATED);
    return one;
  };

  test('the browser SDK, told to: connect, subscribe, receive, leave', async () => {
    const client = await new Client('browser', url, { protocol: 'xhr-streaming' }).connected(app);
    await client.subscribed('told');
    const other = await new Client('node', url).connected(app);
    await other.subscribed('told');
    const text = 'hello "q" \\ \n é 😀;x';
    client.send('told', text);
    await Promise.all([client.message('told', text), other.message('told', text)]);
    // More than one response brings: the SDK asks for the next one and nothing is lost between them.
    const long = (n) => `${n}:${'y'.repeat(6000)}`;
    for (let n = 0; n < 50; n += 1) other.send('told', long(n));
    for (let n = 0; n < 50; n += 1) await client.message('told', long(n));
    other.send('told', 'after');
    await client.message('told', 'after');
    client.ortc.disconnect();
    await client.event('Disconnected');
    other.close();
    await until(async () => (await connections()) === 0, 'nobody is left');
  });

  test('the browser SDK falls back by itself where WebSockets are refused', async () => {
    const refused = [];
    const proxy = createServer((incoming, outgoing) => {
      const to = { method: incoming.method, headers: incoming.headers, agent: false };
      const onward = request(url + incoming.url, to, (answer) => {
        outgoing.writeHead(answer.statusCode, answer.headers);
        answer.pipe(outgoing);
      });
      onward.on('error', () => outgoing.destroy());
      outgoing.on('close', () => onward.destroy());
      incoming.pipe(onward);
    });
    proxy.on('upgrade', (incoming, socket) => {
      refused.push(incoming.url);
      socket.end('HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n');
    });
    proxy.listen(0, '127.0.0.1');
    await once(proxy, 'listening');
    try {
      const client = new Client('browser', `http://127.0.0.1:${proxy.address().port}`).connect(app);
      await client.events.next((event) => event === 'Connected', 'a connection', 60_000);
      assert.ok(refused.length > 0, 'it tried a WebSocket first');
      await client.subscribed('fell');
      client.send('fell', 'back');
      await client.message('fell', 'back');
    } finally {
      closeClients();
      proxy.closeAllConnections();
      proxy.close();
    }
  });

  test('the bytes of a stream', async () => {
    const one = stream('/any/prefix');
    const response = await one.read('xhr_streaming', { origin: 'http://page.example' });
    assert.equal(response.statusCode, 200);
    assert.match(response.headers['content-type'], /^application\/javascript/);
    assert.equal(response.headers['access-control-allow-origin'], 'http://page.example');
    assert.equal(response.headers['access-control-allow-credentials'], 'true');
    await one.line('h'.repeat(2048));
    await validated(one);
    assert.deepEqual(one.lines.all().slice(0, 3), ['h'.repeat(2048), 'o', VALIDATED]);
    assert.equal(await one.send([`subscribe;${app.application};t;ch;`, `send;${app.application};t;ch;;12345678_1-1_é "q"`]), 204);
    await one.line(String.raw`a["{\"op\":\"ortc-subscribed\",\"ch\":\"ch\"}"]`);
    await one.line(String.raw`a["{\"ch\":\"ch\",\"m\":\"12345678_1-1_é \\\"q\\\"\"}"]`);
    assert.equal(one.answered.headers.get('access-control-allow-origin'), '*');
    const asked = await fetch(`${url}${one.place}/xhr_send`, { method: 'OPTIONS', headers: { origin: 'http://page.example' } });
    assert.equal(asked.status, 204);
    assert.match(asked.headers.get('access-control-allow-methods'), /POST/);
  });

  test('a second reader is refused and the first goes on', async () => {
    const one = stream();
    await one.read();
    await one.line('o');
    const second = new RawStream(url, one.place);
    await second.read();
    assert.deepEqual(await second.end(), { whole: true, rest: '' });
    assert.deepEqual(second.lines.all(), ['c[2010,"Another connection still open"]']);
    await validated(one);
  });

  test('polling: a response for each time there is something, and nothing lost in between', async () => {
    const one = stream();
    await one.read('xhr');
    await one.end();
    await one.line('o');
    assert.equal(await one.send([`validate;${app.application};t;;;;`]), 204);
    const told = (text) => one.lines.all((line) => line.includes(text)).length > 0;
    const polled = async (text) => {
      while (!told(text)) {
        const ends = one.ends.items.length;
        await one.read('xhr');
        await one.ends.count(() => true, ends + 1, 'the answer');
      }
    };
    await polled('ortc-validated');
    assert.equal(await one.send([`subscribe;${app.application};t;polled;`]), 204);
    await polled('ortc-subscribed');
    const sender = await new Client('node', url).connected(app);
    sender.send('polled', 'between two polls');
    await polled('between two polls');
  });

  test('who breaks off is gone at once, and who does not come back soon', async () => {
    await until(async () => (await connections()) === 0, 'nobody is left');
    const here = 0;
    const [leaver, absent] = [stream(), stream()];
    await leaver.read();
    await validated(leaver);
    leaver.close();
    await until(async () => (await connections()) === here, 'the leaver is gone', 4_000);
    await absent.read('xhr');
    await absent.end();
    assert.equal(await absent.send([`validate;${app.application};t;;;;`]), 204);
    await until(async () => (await connections()) === here + 1, 'it is there');
    await until(async () => (await connections()) === here, 'it is given up', 15_000);
    assert.equal(await absent.send(['b']), 404);
  });

  test('a refused connection is told why and closed; unknown and too large requests are refused', async () => {
    const one = stream();
    await one.read();
    await one.line('o');
    assert.equal(await one.send(['validate;nobody;t;;;;']), 204);
    await one.line(String.raw`a["{\"op\":\"ortc-error\",\"ex\":{\"op\":\"validate\",\"ex\":\"Invalid connection.\"}}"]`);
    await one.line('c[1000,"Invalid connection."]');
    assert.deepEqual(await one.end(), { whole: true, rest: '' });
    assert.equal(await stream().send(['b']), 404);
    const other = stream();
    await other.read();
    assert.equal(await other.send(`["${'x'.repeat(20_000)}"]`), 413);
  });

  test('a reader that takes nothing is cut, and its node goes on', async () => {
    const stuck = stream();
    const response = await stuck.read();
    await validated(stuck);
    const here = await connections();
    assert.equal(await stuck.send([`subscribe;${app.application};t;flood;`]), 204);
    await stuck.line(String.raw`a["{\"op\":\"ortc-subscribed\",\"ch\":\"flood\"}"]`);
    response.pause();
    response.socket.pause();
    const sender = await new Client('node', url).connected(app);
    const text = 'z'.repeat(3000);
    await until(async () => {
      for (let n = 0; n < 100; n += 1) sender.send('flood', text);
      return (await connections()) === here;
    }, 'the stuck reader is cut', 60_000);
  });
});
