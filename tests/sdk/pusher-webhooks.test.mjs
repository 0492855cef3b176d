// Webhooks over three processes, a receiver that is away, nodes that are killed and restarted: what is told is told whole, and
// once under each id; what was given up can be delivered after all.

import assert from 'node:assert/strict';
import { after, afterEach, before, describe, test } from 'node:test';
import { Cluster } from './lib/cluster.mjs';
import { Tab, closeTabs, serverSdk } from './lib/client.mjs';
import { Receiver, judge, stopReceivers } from './lib/receiver.mjs';
import { until, within } from './lib/wait.mjs';

const KINDS = ['channel_occupied', 'channel_vacated', 'member_added', 'member_removed'];
const member = (id) => ({ user_id: id });
// Enough that every node is home of some, and backup of some.
const ROOMS = Array.from({ length: 9 }, (_, n) => `presence-told-${n}`);
const inside = (users) => new Set(ROOMS.flatMap((room) => [room, ...users.map((user) => `${user} in ${room}`)]));

test('the judge sees what was told twice, never, or of nobody', () => {
  const told = (id, name, user_id) => ({ id, name, channel: 'r', user_id });
  assert.deepEqual(judge([told('1', 'member_added', 'a'), told('1', 'member_added', 'a')]), []);
  assert.equal(judge([told('1', 'member_added', 'a'), told('2', 'member_added', 'a')]).length, 1);
  assert.deepEqual(judge([told('3', 'member_added', 'a'), told('2', 'member_removed', 'a'), told('1', 'member_added', 'a')], new Set(['a in r'])), []);
  assert.equal(judge([told('1', 'member_removed', 'a')]).length, 1);
  assert.equal(judge([told('1', 'member_added', 'a')], new Set()).length, 1);
  assert.equal(judge([], new Set(['r'])).length, 1);
});

describe('webhooks over three nodes', () => {
  let cluster;
  before(async () => {
    cluster = await Cluster.start({ nodes: 3 });
  });
  afterEach(() => {
    closeTabs();
    stopReceivers();
  });
  after(() => cluster?.stop());

  async function known(revision, id, nodes = [1, 2, 3]) {
    await until(async () => {
      const views = await Promise.all(nodes.map((node) => cluster.admin(node).call('GET', `/v1/apps/${id}`)));
      return views.every((view) => view.revision >= revision);
    }, 'every node knows');
  }

  /** An app, its receiver, and hooks to it. */
  async function hooked(settings, hooks) {
    const app = await cluster.createApp({ settings });
    const receiver = await Receiver.start(serverSdk(cluster.urls[1], app));
    const webhooks = hooks.map((hook) => ({ event_types: KINDS, ...hook, url: receiver.url + hook.url }));
    const { revision } = await cluster.admin(2).patchApp(app.id, { settings: { webhooks } });
    await known(revision, app.id);
    return { app, receiver };
  }

  /** Waits until what a hook was told is the truth. */
  async function told(receiver, path, truth, ms = 60_000) {
    const wrong = () => judge(receiver.events.all((one) => one.path === path), truth);
    await until(() => wrong().length === 0, 'all is told', ms).catch(() => assert.deepEqual(wrong(), [], path));
  }

  test('what waits for a receiver that is away outlives kill -9 of the node that would have posted it, under the same ids', { timeout: 180_000 }, async () => {
    const { app, receiver } = await hooked({ webhook_private_targets: true }, [{ url: '/single' }, { url: '/batch', batch: true }]);
    const tab = (node, user) => new Tab(cluster.urls[node - 1], app, { member: member(user) });
    const stays = tab(2, 'stays');
    const leaves = tab(3, 'leaves');
    for (const one of [stays, leaves]) await Promise.all(ROOMS.map((room) => one.subscribed(room)));
    for (const path of ['/single', '/batch']) await told(receiver, path, inside(['stays', 'leaves']));
    receiver.otherwise = 503;
    const comes = tab(3, 'comes');
    await Promise.all(ROOMS.map((room) => comes.subscribed(room)));
    leaves.close();
    const waits = (name) => (room) => receiver.requests.items.some((one) => one.answer === 503 && one.json.events.some((event) => event.channel === room && event.name === name));
    for (const name of ['member_added', 'member_removed']) await until(() => ROOMS.every(waits(name)), `${name} was tried everywhere`);
    const tried = new Map(receiver.requests.items.flatMap((one) => one.json.events).map((event) => [event.id, event]));
    await cluster.kill(1);
    await cluster.startNode(1);
    // The one that has just come back may be home of some again.
    await cluster.kill(1);
    receiver.otherwise = 200;
    for (const path of ['/single', '/batch']) await told(receiver, path, inside(['stays', 'comes']), 90_000);
    // Nothing was decided anew: each event has the id under which it was tried before.
    for (const event of receiver.events.items) {
      const same = tried.get(event.id) ?? event;
      assert.deepEqual([event.name, event.channel, event.user_id], [same.name, same.channel, same.user_id]);
    }
    const late = receiver.events.all((one) => ['comes', 'leaves'].includes(one.user_id) && (one.user_id === 'comes' || one.name === 'member_removed'));
    assert.deepEqual(late.filter((one) => !tried.has(one.id)), []);
    await cluster.startNode(1);
    for (const one of [stays, comes]) one.close();
    for (const path of ['/single', '/batch']) await told(receiver, path, new Set(), 60_000);
    assert.ok(receiver.requests.items.every((one) => one.valid));
  });

  test('a rolling restart tells of all who left just before, once', { timeout: 180_000 }, async () => {
    const { app, receiver } = await hooked({ webhook_private_targets: true }, [{ url: '/all', batch: true }]);
    const stays = [1, 2, 3].map((node) => new Tab(cluster.urls[node - 1], app, { member: member(`stays-${node}`) }));
    for (const one of stays) await Promise.all(ROOMS.map((room) => one.subscribed(room)));
    for (const node of [1, 2, 3]) {
      const other = (node % 3) + 1;
      const leaves = new Tab(cluster.urls[other - 1], app, { member: member(`leaves-${node}`) });
      await Promise.all(ROOMS.map((room) => leaves.subscribed(room)));
      leaves.close();
      cluster.node(node).child.kill('SIGTERM');
      await within(cluster.node(node).ended, `node ${node} ends`, 30_000);
      await cluster.startNode(node);
    }
    await told(receiver, '/all', inside(['stays-1', 'stays-2', 'stays-3']), 90_000);
    for (const node of [1, 2, 3]) {
      const left = receiver.events.all((one) => one.user_id === `leaves-${node}` && one.name === 'member_removed');
      assert.equal(new Set(left.map((one) => one.channel)).size, ROOMS.length, `leaves-${node}`);
    }
  });

  test('what is given up is a dead letter: on two nodes, listed without secrets, and delivered after all when somebody wants it', { timeout: 120_000 }, async () => {
    const { app, receiver } = await hooked({}, [{ url: '/hook?secret=s1', headers: { 'X-Secret': 's2' } }]);
    const tab = new Tab(cluster.urls[1], app, { member: member('ana') });
    await Promise.all(ROOMS.map((room) => tab.subscribed(room)));
    const dead = async (node) => (await cluster.admin(node).call('GET', `/v1/apps/${app.id}/webhooks/dead?limit=1000`)).dead_letters;
    // Its address is not public, which this app may not reach: given up at once.
    await until(async () => (await dead(2)).length === 2 * ROOMS.length, 'two of each room are given up', 30_000);
    assert.equal(receiver.requests.items.length, 0);
    await cluster.kill(1);
    const letters = await until(async () => {
      const found = await dead(3).catch(() => []);
      return found.length === 2 * ROOMS.length && found;
    }, 'they outlive a node', 30_000);
    for (const secret of ['s1', 's2', 'ana']) assert.ok(!JSON.stringify(letters).includes(secret), secret);
    assert.ok(letters.every((one) => one.target.endsWith('/hook') && one.attempts === 1 && /not public/.test(one.error)), JSON.stringify(letters[0]));
    await cluster.startNode(1);
    assert.match([1, 2, 3].map((node) => cluster.log(node)).join(''), /a webhook was given up/);
    const metrics = await Promise.all(cluster.adminUrls.map(async (url) => (await fetch(`${url}/metrics`)).text()));
    assert.match(metrics.join(''), /gatecast_webhook_dead_total [1-9]/);

    const { revision } = await cluster.admin(2).patchApp(app.id, { settings: { webhook_private_targets: true } });
    await known(revision, app.id);
    const shown = JSON.parse(await cluster.cli(3, 'webhook', 'dead', app.id, '-o', 'json'));
    const first = shown.dead_letters[0];
    const one = JSON.parse(await cluster.cli(2, 'webhook', 'replay', app.id, '--id', first.id, '-o', 'json'));
    assert.deepEqual([one.replaying, one.unwanted], [1, 0]);
    const event = await receiver.events.next(() => true, 'the one that was named');
    assert.equal(event.id, first.event_ids[0]);
    await until(async () => (await dead(1)).every((letter) => letter.id !== first.id), 'it is off the list');
    assert.equal((await cluster.admin(1).call('POST', `/v1/apps/${app.id}/webhooks/replay`, {})).replaying, letters.length - 1);
    await until(async () => (await dead(2)).length === 0, 'none is left', 30_000);
    assert.deepEqual(judge(receiver.events.items, inside(['ana'])), []);
    assert.deepEqual(new Set(receiver.events.items.map((each) => each.id)), new Set(letters.flatMap((each) => each.event_ids)));
    assert.ok(receiver.requests.items.every((each) => each.valid), 'libraries take a body of today');
    await assert.rejects(cluster.admin(1).call('POST', `/v1/apps/${app.id}/webhooks/replay`, { ids: ['x'] }), /bad_value|dead letter/);
    await assert.rejects(cluster.admin(1).call('POST', `/v1/apps/${app.id}/webhooks/replay`, { every: true }), /bad_json|unknown field/);
  });
});
