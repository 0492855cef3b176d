// The majority is lost for good: two of three folders are gone. From the one that is left a new cluster begins, as the
// operators' page says it step by step; what was granted is there, what was revoked stays so, and old tokens are void.

import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import { BINARY, Cluster } from './lib/cluster.mjs';
import { within } from './lib/wait.mjs';

const run = promisify(execFile);
const may = [{ pattern: 'private-x', operations: ['subscribe'] }];

let cluster;
before(async () => {
  cluster = await Cluster.start();
});
after(() => cluster?.stop());

const recover = (data, ...args) => run(BINARY, ['cluster', 'recover', '--data', data, ...args]).then(({ stdout }) => stdout);
const field = (text, name) => new RegExp(`^${name} (.*)$`, 'm').exec(text)?.[1];

const explain = async (node, subject) => {
  const asked = { ...subject, channel: 'private-x', operations: ['subscribe'] };
  return (await cluster.admin(node).explain(cluster.app.id, asked)).allowed;
};

test('a node whose folder belongs to another cluster does not start', async () => {
  // An island: the folder of a node that was once started alone.
  const island = await Cluster.start({ nodes: 1 });
  try {
    await island.kill(1);
    await cluster.kill(3);
    cpSync(island.data(1), join(cluster.folder, 'node-3-stale'), { recursive: true });
    const node = cluster.node(1);
    const args = ['serve', '--node', '1', '--data', join(cluster.folder, 'node-3-stale')];
    args.push('--public', '127.0.0.1:0', '--internal', '127.0.0.1:0', '--peer', `127.0.0.1:${node.peer}`);
    args.push('--cluster', cluster.nodes.map((each) => `${each.id}=127.0.0.1:${each.peer}`).join(','));
    const env = { ...process.env, GATECAST_CLUSTER_SECRET: cluster.secret, GATECAST_ADMIN_TOKEN: cluster.adminToken };
    const ended = await run(BINARY, args, { env }).catch((error) => error);
    assert.equal(ended.code, 1);
    assert.match(ended.stderr, /belongs to the cluster 1=\S+ alone, but the node was started for the cluster 1=/);
  } finally {
    await island.stop({ check: false });
    rmSync(island.folder, { recursive: true, force: true });
  }
  await cluster.startNode(3);
});

test('one folder of three begins a new cluster: grants are there, revoked stays revoked, two fresh nodes become voters', async () => {
  const { app } = cluster;
  for (const user of ['ana', 'bo', 'carl']) await cluster.admin(1).grant(app.id, { user }, may);
  await cluster.admin(1).grant(app.id, { token: 'held' }, may);
  await cluster.admin(2).deleteGrants(app.id, { user: 'bo' });
  await cluster.admin(3).block(app.id, 'carl', { reason: 'for the test' });
  assert.equal(await explain(2, { user: 'ana' }), true);
  assert.equal(await explain(2, { token: 'held' }), true);

  for (const id of [1, 2, 3]) await cluster.kill(id);
  for (const id of [2, 3]) rmSync(cluster.data(id), { recursive: true });
  const data = cluster.data(1);
  const known = await recover(data, '--dry-run');
  assert.equal(field(known, 'nodes'), '1 2 3');
  const former = field(known, 'cluster');

  // Cut off anywhere, the folder is the old one or the new one, and whole.
  for (let at = 0; at < 12; at += 1) {
    const child = spawn(BINARY, ['cluster', 'recover', '--data', data], { stdio: 'ignore' });
    const killing = setTimeout(() => child.kill('SIGKILL'), at * 12);
    await once(child, 'exit');
    clearTimeout(killing);
    const left = await recover(data, '--dry-run');
    assert.equal(field(left, 'grants'), field(left, 'cluster') === former ? '3' : '2', left);
    if (field(left, 'cluster') !== former) break;
  }
  if (field(await recover(data, '--dry-run'), 'cluster') === former) {
    assert.match(await recover(data), /no token issued before is honoured/);
  }
  assert.notEqual(field(await recover(data, '--dry-run'), 'cluster'), former);
  assert.equal(readdirSync(data).filter((name) => name.startsWith('former-')).length, 1);

  cluster.node(1).alone = true;
  await cluster.startNode(1);
  for (let n = 0; n < 2; n += 1) {
    const { node, started } = await cluster.joinNode([cluster.node(1)]);
    await within(started, `node ${node.id} serves`, 60_000);
    await cluster.cli(1, 'cluster', 'promote', String(node.id));
  }
  const { nodes } = await cluster.admin(5).cluster();
  assert.deepEqual(nodes.filter(({ role }) => role === 'voter').map(({ node }) => node), [1, 4, 5]);
  for (const node of [1, 4, 5]) {
    assert.equal(await explain(node, { user: 'ana' }), true, 'what was granted is there');
    assert.equal(await explain(node, { user: 'bo' }), false, 'what was deleted stays so');
    assert.equal(await explain(node, { user: 'carl' }), false, 'who was blocked stays so');
    assert.equal(await explain(node, { token: 'held' }), false, 'what somebody may hold is void');
  }
  // It bears the loss of the node that it began with.
  await cluster.kill(1);
  await cluster.admin(4).grant(app.id, { user: 'dora' }, may);
  assert.equal(await explain(5, { user: 'dora' }), true);
});
