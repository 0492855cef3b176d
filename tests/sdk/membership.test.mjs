// Nodes come and go under load, by the command line and by the API; those that join and vanish cost nobody anything; what
// must not be done is refused in words. And a write that is repeated under one key through three nodes at once is done once.

import assert from 'node:assert/strict';
import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { Cluster } from './lib/cluster.mjs';
import { rawPusher } from './lib/raw.mjs';
import { until, within } from './lib/wait.mjs';

const may = [{ pattern: 'private-x', operations: ['subscribe'] }];

let cluster;
before(async () => {
  cluster = await Cluster.start();
});
after(() => cluster?.stop());

/** How the command ends: its exit code and what it says. */
const ends = (node, ...args) =>
  cluster.cli(node, ...args).then(
    (said) => ({ code: 0, said }),
    ({ code, stderr }) => ({ code, said: stderr }),
  );

const voters = async (node) => {
  const { nodes } = await cluster.admin(node).cluster();
  return nodes.filter(({ role }) => role === 'voter').map((one) => one.node);
};

test('one Idempotency-Key raced through three nodes is one write with one answer', async () => {
  const { app } = cluster;
  for (let round = 0; round < 8; round += 1) {
    const key = { 'idempotency-key': `race-${round}` };
    const body = { subject: { user: `raced-${round}` }, grants: may };
    const grants = await Promise.all(
      [1, 2, 3, 1, 2, 3].map((node) => cluster.admin(node).call('POST', `/v1/apps/${app.id}/grants`, body, key)),
    );
    assert.equal(new Set(grants.map(({ revision }) => revision)).size, 1, JSON.stringify(grants));
    const spec = { name: `raced-${round}`, keys: [{ name: 'one' }] };
    const apps = await Promise.all([1, 2, 3].map((node) => cluster.admin(node).call('POST', '/v1/apps', spec, key)));
    assert.equal(new Set(apps.map((made) => `${made.app.id} ${made.keys[0].id} ${made.keys[0].secret}`)).size, 1);
    const { apps: all } = await cluster.admin(2).call('GET', '/v1/apps');
    assert.equal(all.filter(({ name }) => name === `raced-${round}`).length, 1);
  }
});

test('nodes are replaced under load, by the command line and by the API: nothing acknowledged is lost, nobody else is dropped', async () => {
  const { app } = cluster;
  const acknowledged = [];
  let through = [1, 2, 3];
  let done = false;
  const writers = Array.from({ length: 4 }, async (_, writer) => {
    for (let n = 0; !done; n += 1) {
      const user = `load-${writer}-${n}`;
      try {
        await cluster.admin(through[n % through.length]).grant(app.id, { user }, may);
        acknowledged.push(user);
      } catch {
        // Not acknowledged.
      }
    }
  });
  const stays = await rawPusher(cluster.urls[0], app.key);
  const goes = await rawPusher(cluster.urls[2], app.key);
  const peer = (node) => `127.0.0.1:${node.peer}`;
  try {
    // Node 2's machine is lost: 4 takes its place, by the command line.
    await cluster.kill(2);
    through = [1, 3];
    const four = await cluster.joinNode();
    await cluster.cli(1, 'cluster', 'replace', '2', '4', peer(four.node));
    await within(four.started, 'node 4 serves', 60_000);
    through = [1, 3, 4];
    // Node 3 is retired: added, drained and removed step by step, by the API.
    const five = await cluster.joinNode();
    await within(five.started, 'node 5 serves', 60_000);
    assert.deepEqual(await voters(1), [1, 3, 4], 'it follows');
    await cluster.admin(5).call('POST', '/v1/cluster/nodes/5/promote');
    assert.deepEqual(await voters(1), [1, 3, 4, 5]);
    through = [1, 4, 5];
    await cluster.admin(1).call('POST', '/v1/cluster/nodes/3/drain');
    assert.equal((await goes.end()).code, 4200);
    await cluster.admin(1).call('DELETE', '/v1/cluster/nodes/3');
    cluster.node(3).child.kill('SIGTERM');
    await within(cluster.node(3).ended, 'node 3 stops');
    const before = acknowledged.length;
    await until(() => acknowledged.length > before + 20, 'writes go on');
  } finally {
    done = true;
    await Promise.all(writers);
  }
  assert.equal(stays.ends.items.length, 0, 'a client of another node was dropped');
  stays.close();
  for (const node of [1, 4, 5]) {
    assert.deepEqual(await voters(node), [1, 4, 5], `at node ${node}`);
    for (const user of acknowledged.filter((_, at) => at % 9 === 0 || at > acknowledged.length - 20)) {
      const { grants } = await cluster.admin(node).grantsOf(app.id, user);
      assert.equal(grants.length, 1, `${user} at node ${node}`);
    }
  }
  assert.match(await cluster.cli(5, 'cluster', 'status'), /127\.0\.0\.1:\d+/);
  console.log(`${acknowledged.length} acknowledged grants over two replacements`);
});

test('three that join, serve and vanish leave the cluster writing, and what must not be done is refused', async () => {
  const { app } = cluster;
  const asked = [1, 4, 5];
  const vanishing = [];
  for (let n = 0; n < 3; n += 1) {
    const { node, started } = await cluster.joinNode(asked.map((id) => cluster.node(id)));
    await within(started, `node ${node.id} serves`, 60_000);
    vanishing.push(node.id);
  }
  // A learner takes writes and clients like any other node.
  await cluster.admin(vanishing[0]).grant(app.id, { user: 'through-a-learner' }, may);
  const client = await rawPusher(cluster.urls[vanishing[1] - 1], app.key);
  client.close();
  const table = await cluster.cli(1, 'cluster', 'status');
  assert.match(table, /ROLE +LEADS/);
  assert.equal(table.match(/ learner /g).length, 3, table);
  for (const id of vanishing) {
    await cluster.kill(id);
    rmSync(cluster.data(id), { recursive: true });
  }
  await cluster.admin(1).grant(app.id, { user: 'after-they-vanished' }, may);
  assert.deepEqual(await voters(1), asked);
  for (const id of asked) assert.equal((await cluster.admin(id).cluster()).fresh, true, `node ${id}`);

  const down = await ends(1, 'cluster', 'promote', String(vanishing[0]));
  assert.equal(down.code, 8, down.said);
  assert.match(down.said, /does not answer/);
  for (const verb of ['remove', 'drain', 'promote', 'demote']) {
    const { code, said } = await ends(1, 'cluster', verb, '99');
    assert.equal(code, 5, `${verb}: ${said}`);
    assert.match(said, /no node 99/);
  }
  for (const id of vanishing) await cluster.cli(4, 'cluster', 'remove', String(id));

  // With one of three voters down, another one cannot go.
  await cluster.kill(5);
  const refused = await ends(1, 'cluster', 'remove', '4');
  assert.equal(refused.code, 8, refused.said);
  assert.match(refused.said, /node 5 cannot be reached.*Start or remove node 5.*--force/s);
  await cluster.admin(1).grant(app.id, { user: 'still-writing' }, may);

  // Without a majority: in words, and without half of a backup.
  await cluster.kill(4);
  const backup = join(cluster.folder, 'half.backup');
  const failed = await ends(1, 'backup', 'create', backup);
  assert.equal(failed.code, 6, failed.said);
  assert.equal(existsSync(backup) || existsSync(`${backup}.partial`), false);
  const stuck = await ends(1, 'cluster', 'remove', '4');
  assert.ok([6, 7].includes(stuck.code), stuck.said);
  assert.doesNotMatch(stuck.said, /LogId|Some\(/);
});
