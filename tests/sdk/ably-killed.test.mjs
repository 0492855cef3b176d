// kill -9 of the node that serves a client: it goes on at another, with every message exactly once.

import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';
import { createConnection, createServer } from 'node:net';
import { once } from 'node:events';
import { Cluster } from './lib/cluster.mjs';
import { Client, closeClients, keyOf, rest } from './lib/ably.mjs';
import { until } from './lib/wait.mjs';

let cluster;
let balancer;

/** A TCP balancer as a client sees one: one address, whichever node answers first behind it. */
async function balance(ports) {
  const server = createServer((from) => {
    from.on('error', () => {});
    const tryNext = ([port, ...rest]) => {
      if (port === undefined) return from.destroy();
      const to = createConnection({ host: '127.0.0.1', port });
      to.once('error', () => tryNext(rest));
      to.once('connect', () => {
        to.on('error', () => from.destroy());
        to.on('close', () => from.destroy());
        from.on('close', () => to.destroy());
        from.pipe(to).pipe(from);
      });
    };
    tryNext(ports);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return server;
}

before(async () => {
  cluster = await Cluster.start({ nodes: 3, app: { namespaces: { kept: { history_ms: 3_600_000 } } } });
  balancer = await balance(cluster.nodes.map((node) => node.public));
});
afterEach(closeClients);
after(async () => {
  balancer?.close();
  await cluster?.stop();
});

test('the serving node is killed: same connection, every message exactly once, presence follows', async () => {
  const app = cluster.app;
  const one = await new Client(`http://127.0.0.1:${balancer.address().port}`, { key: keyOf(app), clientId: 'kit' }).connected();
  const names = ['k1', 'k2', 'k3', 'k4', 'k5', 'k6'];
  const inboxes = [];
  for (const name of names) inboxes.push(await one.subscribed(name));
  await inboxes[0].channel.presence.enter('here');
  const watcher = await new Client(cluster.urls[2], { key: keyOf(app) }).connected();
  const watched = await watcher.subscribed('k1');
  await until(async () => (await watched.channel.presence.get()).length === 1, 'kit is there');
  const api = rest(cluster.urls[1], { key: keyOf(app), httpRequestTimeout: 8000 });
  const id = one.id;
  const kept = names.map((name) => `kept:${name}`);
  for (const name of kept) {
    const channel = one.sdk.channels.get(name);
    for (let batch = 0; batch < 3; batch += 1) await channel.publish(Array.from({ length: 50 }, (_, at) => ({ name: 'x', data: `${batch * 50 + at}` })));
    await channel.presence.enter();
    await channel.presence.leave();
  }
  let n = 0;
  let running = true;
  const publishing = (async () => {
    while (running) {
      const at = n;
      const channel = api.channels.get(names[at % names.length]);
      // The same id until it is known to be there: a repetition must not double it.
      await until(() => channel.publish({ id: `m${at}:0`, name: 'm', data: `${at}` }).then(() => true), `message ${at}`, 30_000, 100);
      n += 1;
    }
  })();
  await until(() => n > 30, 'messages flow');
  await cluster.kill(1);
  await one.states.count((change) => change.state === 'connected', 2, 'connects again');
  const before = n;
  await until(() => n > before + 60, 'messages flow on', 60_000);
  running = false;
  await publishing;
  for (const [at, inbox] of inboxes.entries()) {
    const expected = Array.from({ length: n }, (_, each) => each).filter((each) => each % names.length === at);
    await inbox.count(() => true, expected.length, `all of ${names[at]}`);
    assert.deepEqual(inbox.items.map((message) => Number(message.data)), expected, names[at]);
  }
  assert.equal(one.id, id);
  for (const name of kept) {
    const page = await api.channels.get(name).history({ limit: 1000, direction: 'forwards' });
    assert.deepEqual(page.items.map((message) => Number(message.data)), Array.from({ length: 150 }, (_, each) => each), name);
    const past = await api.channels.get(name).presence.history();
    assert.deepEqual(past.items.map((item) => item.action), ['leave', 'enter'], name);
  }
  await until(async () => (await watched.channel.presence.get()).length === 1, 'kit is there still');
});
