// All histories of a node together have a bound: above it the largest let go of their oldest messages, nobody is refused,
// and who comes back past what is left is told so.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Cluster } from './lib/cluster.mjs';
import { keyOf, rest } from './lib/ably.mjs';
import { RawSocket } from './lib/raw.mjs';
import { until } from './lib/wait.mjs';

const MOST = 1 << 20;
let cluster;

before(async () => {
  cluster = await Cluster.start({ nodes: 1, args: ['--history-memory-mb', '1'] });
});
after(() => cluster?.stop());

/** The sum as operators see it. */
async function used() {
  const text = await (await fetch(`http://127.0.0.1:${cluster.nodes[0].internal}/metrics`, { headers: { authorization: `Bearer ${cluster.adminToken}` } })).text();
  return Number(/^gatecast_history_bytes (\d+)$/m.exec(text)[1]);
}

/** Attaches behind that serial. */
async function attached(socket, channel, channelSerial) {
  socket.send({ action: 10, channel, channelSerial });
  return socket.events.next((frame) => frame.action === 11 && frame.channel === channel, `${channel} is attached`);
}

test('above the bound the large channels let go, the small keep theirs, and a gap is told as one', async () => {
  const { app } = cluster;
  const api = rest(cluster.urls[0], { key: keyOf(app) });
  const params = new URLSearchParams({ key: keyOf(app), format: 'json', v: '6' });
  const reader = await RawSocket.open(cluster.urls[0], `/?${params}`);
  const begun = {};
  for (const name of ['small', 'large-1', 'large-2', 'large-3']) begun[name] = (await attached(reader, name)).channelSerial;
  for (let n = 0; n < 5; n += 1) await api.channels.get('small').publish('n', `${n}`);
  const text = 'x'.repeat(20_000);
  for (let n = 0; n < 240; n += 1) await api.channels.get(`large-${(n % 3) + 1}`).publish('n', text);
  await until(async () => {
    await api.channels.get('large-1').publish('last', text);
    return (await used()) <= MOST;
  }, 'the sum is below its bound');
  assert.ok((await used()) > MOST / 4, 'and not for want of messages');
  const items = async (name) => (await api.channels.get(name).history({ limit: 1000 })).items;
  assert.equal((await items('small')).length, 5);
  const [newest, ...others] = await items('large-1');
  assert.equal(newest.name, 'last');
  assert.ok(others.length > 3 && others.length < 60, `${others.length} others`);
  const back = await RawSocket.open(cluster.urls[0], `/?${params}`);
  const large = await attached(back, 'large-1', begun['large-1']);
  assert.equal(large.error?.code, 90003);
  const small = await attached(back, 'small', begun.small);
  assert.equal(small.error, undefined);
  reader.close();
  back.close();
});
