// Ready means redundant: nodes are killed one after the other, the next as soon as `/ready` of the last one says so, and
// what was acknowledged before and in between is in every channel's history afterwards.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { keyOf, rest } from './lib/ably.mjs';
import { Cluster } from './lib/cluster.mjs';
import { until } from './lib/wait.mjs';

let cluster;
before(async () => {
  cluster = await Cluster.start({ nodes: 3 });
});
after(() => cluster?.stop());

const ready = async (id) => (await fetch(`${cluster.adminUrls[id - 1]}/ready`)).ok;

const unreplicated = async (id) => {
  const text = await (await fetch(`${cluster.adminUrls[id - 1]}/metrics`)).text();
  return Number(/^gatecast_channels_unreplicated (\d+)$/m.exec(text)[1]);
};

test('kill -9, start, wait for /ready, kill the next: nothing that was acknowledged is lost', { timeout: 300_000 }, async () => {
  const app = await cluster.createApp({ name: 'copies', settings: { history_ms: 900_000 } });
  const clients = cluster.urls.map((url) => rest(url, { key: keyOf(app) }));
  const channels = Array.from({ length: 24 }, (_, n) => `public-copied-${n}`);
  const acknowledged = new Map(channels.map((channel) => [channel, []]));
  let round = 0;
  const publish = async () => {
    round += 1;
    for (const channel of channels) {
      const data = `${round}`;
      const client = clients[round % 3];
      const done = await client.channels.get(channel).publish('n', data).then(() => true, () => false);
      if (done) acknowledged.get(channel).push(data);
    }
  };
  for (const id of [1, 2, 3]) await until(() => ready(id), `node ${id} is ready`, 30_000);
  await publish();
  for (const id of [1, 2, 3, 1]) {
    await cluster.kill(id);
    await cluster.startNode(id);
    await until(() => ready(id), `node ${id} is ready`, 40_000);
    await publish();
  }
  for (const id of [1, 2, 3]) await until(async () => (await unreplicated(id)) === 0, `all of node ${id} is copied`, 20_000);
  for (const [channel, wanted] of acknowledged) {
    const page = await clients[1].channels.get(channel).history({ limit: 100 });
    const there = new Set(page.items.map((message) => message.data));
    assert.deepEqual(wanted.filter((data) => !there.has(data)), [], channel);
  }
});
