// Moving to Gatecast and living on it: variables of other servers imported into a real node, close codes that let clients come back, and
// webhooks that wait when a node is told to stop.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { createServer, connect } from 'node:net';
import { once } from 'node:events';
import { join } from 'node:path';
import { after, afterEach, before, describe, test } from 'node:test';
import { BINARY, Cluster } from './lib/cluster.mjs';
import { Tab, closeTabs, is, serverSdk } from './lib/client.mjs';
import { rawPusher } from './lib/raw.mjs';
import { Receiver, stopReceivers } from './lib/receiver.mjs';
import { until, within } from './lib/wait.mjs';

describe('Pusher: moving, coming back, stopping', () => {
  let cluster;
  let url;
  before(async () => {
    cluster = await Cluster.start({ nodes: 1 });
    url = cluster.urls[0];
  });
  afterEach(() => {
    closeTabs();
    stopReceivers();
  });
  after(() => cluster?.stop());

  /** What `gatecast app import-env` prints and says on the side. */
  function imported(text, ...more) {
    const file = join(cluster.folder, 'imported.env');
    writeFileSync(file, text);
    const env = { ...process.env, GATECAST_SERVER: cluster.adminUrls[0], GATECAST_ADMIN_TOKEN: cluster.adminToken };
    const out = execFileSync(BINARY, ['app', 'import-env', '--file', file, '-o', 'json', ...more], { env, encoding: 'utf8' });
    return JSON.parse(out);
  }

  for (const [family, text, app, settings, more] of [
    [
      'Pusher',
      'PUSHER_APP_ID=7001\nPUSHER_APP_KEY="pusher-key"\nPUSHER_APP_SECRET=pusher-secret\nPUSHER_APP_CLUSTER=mt1\n',
      { id: '7001', key: 'pusher-key', secret: 'pusher-secret' },
      {},
      [],
    ],
    [
      'Laravel Reverb',
      'REVERB_APP_ID=7002\nREVERB_APP_KEY=reverb-key\nREVERB_APP_SECRET=reverb-secret\nREVERB_HOST="0.0.0.0"\nREVERB_APP_MAX_MESSAGE_SIZE=500\n',
      { id: '7002', key: 'reverb-key', secret: 'reverb-secret' },
      { event_bytes: 500 },
      [],
    ],
    [
      'soketi',
      'SOKETI_DEFAULT_APP_ID=app-id\nSOKETI_DEFAULT_APP_KEY=soketi-key\nSOKETI_DEFAULT_APP_SECRET=soketi-secret\nSOKETI_DEFAULT_APP_ENABLE_CLIENT_MESSAGES=true\nSOKETI_PRESENCE_MAX_MEMBERS=1\n',
      { id: '7003', key: 'soketi-key', secret: 'soketi-secret' },
      { client_events: true, presence_clients: 1 },
      ['--id', '7003'],
    ],
  ]) {
    test(`the variables of ${family}, imported into a running node, are an app that its SDKs use as it is`, async () => {
      const made = imported(text, ...more);
      assert.equal(String(made.app.id), app.id);
      for (const [name, value] of Object.entries(settings)) assert.equal(made.app.settings[name], value, name);
      const sdk = serverSdk(url, app);
      const tab = await new Tab(url, app, { sdk, member: { user_id: 'one' } }).connected();
      const inbox = await tab.subscribed('private-moved');
      await sdk.trigger('private-moved', 'e', { n: 1 });
      await inbox.next(is('e', { n: 1 }), 'the event');
      await tab.subscribed('presence-moved');
      assert.equal((await sdk.get({ path: '/channels/presence-moved/users' })).status, 200);
      if (family === 'Laravel Reverb') await assert.rejects(sdk.trigger('x', 'e', 'x'.repeat(501)), (error) => error.status === 413);
      if (family === 'soketi') {
        const second = new Tab(url, app, { sdk, member: { user_id: 'two' } });
        assert.equal((await second.refused('presence-moved')).status, 4100);
        const other = await new Tab(url, app, { sdk }).connected();
        const heard = await other.subscribed('private-moved');
        inbox.channel.trigger('client-hi', { n: 2 });
        await heard.next(is('client-hi', { n: 2 }), 'the whisper');
      }
    });
  }

  test('4004 keeps a client away, 4100 lets it come back after a second and in when there is room', async () => {
    const app = await cluster.createApp({ protocols: ['pusher'], open: [], settings: { connections_per_node: 1 } });
    const first = await new Tab(url, app).connected();
    const away = new Tab(url, app);
    await away.error(4004);
    await away.states.next((state) => state === 'disconnected', 'stays away');
    await cluster.admin().patchApp(app.id, { settings: { quota_retry: true } });
    const patient = new Tab(url, app);
    await patient.error(4100);
    const began = Date.now();
    await patient.errors.count((error) => error.code === 4100, 3, 'it comes back');
    assert.ok(Date.now() - began > 900, 'not at once');
    assert.equal(patient.states.all((state) => state === 'disconnected').length, 0);
    first.close();
    await patient.connected();
  });

  test('a client that reads too slowly is closed with 4100, and the SDK comes back', async () => {
    // pusher-js behind a gate that stops passing on what the node says.
    const links = [];
    const gate = createServer((socket) => {
      const onward = connect(Number(new URL(url).port), '127.0.0.1');
      links.push({ socket, onward });
      for (const [from, to] of [[socket, onward], [onward, socket]]) from.on('error', () => to.destroy()).pipe(to);
    });
    gate.listen(0, '127.0.0.1');
    await once(gate, 'listening');
    const tab = await new Tab(`http://127.0.0.1:${gate.address().port}`, cluster.app, { sdk: serverSdk(url, cluster.app) }).connected();
    const inbox = await tab.subscribed('public-slow');
    links[0].onward.pause();
    const sdk = serverSdk(url, cluster.app);
    await until(async () => {
      const body = Array.from({ length: 10 }, () => ({ channel: 'public-slow', name: 'much', data: 'x'.repeat(10_000) }));
      await Promise.all(Array.from({ length: 8 }, () => sdk.triggerBatch(body)));
      return (await cluster.server().connections(cluster.app.id)).connections.length === 0;
    }, 'the node gives it up', 60_000);
    links[0].onward.resume();
    await tab.states.count((state) => state === 'connected', 2, 'it is back', 60_000);
    await inbox.count(({ event }) => event === 'pusher:subscription_succeeded', 2, 'and subscribed');
    await sdk.trigger('public-slow', 'now', {});
    await inbox.next(({ event }) => event === 'now', 'a new event');
    gate.close();
  });

  test('an orderly stop: 4200 to every client family, webhooks that wait are delivered first, and the SDK tries at once', async () => {
    const app = await cluster.createApp({ settings: { webhook_private_targets: true } });
    const receiver = await Receiver.start(serverSdk(url, app));
    await cluster.admin().patchApp(app.id, {
      settings: { webhooks: [{ url: `${receiver.url}/single` }, { url: `${receiver.url}/batch`, batch: true }] },
    });
    const tab = await new Tab(url, app).connected();
    const inbox = await tab.subscribed('public-stop');
    const swift = await rawPusher(url, app.key, 'client=pusher-websocket-swift&version=10.1.5&protocol=7');
    const java = await rawPusher(url, app.key, 'client=java-client&protocol=5&version=2.4.4');
    const hooked = (each) => each.channel === 'public-stop' && each.name === 'channel_occupied';
    await receiver.events.count(hooked, 2, 'both hooks work');
    // From now on the receiver fails: what happens has to wait.
    receiver.answers.push(...Array(6).fill(503));
    swift.send({ event: 'pusher:subscribe', data: { channel: 'public-late' } });
    await swift.event('pusher_internal:subscription_succeeded');
    await receiver.requests.count((each) => each.answer === 503, 4, 'two deliveries have failed twice', 30_000);
    cluster.node(1).child.kill('SIGTERM');
    for (const raw of [swift, java]) {
      assert.equal((await raw.end()).code, 4200);
      raw.close();
    }
    await tab.states.next((state) => state === 'connecting', 'it tries at once', 900);
    await within(cluster.node(1).ended, 'the node ends', 20_000);
    assert.equal(receiver.events.all((each) => each.channel === 'public-late').length, 2, JSON.stringify(receiver.requests.items.map((each) => [each.path, each.answer])));
    await cluster.startNode(1);
    // Nobody else was there to take it, so it comes at the pace of its own time-outs.
    await tab.states.count((state) => state === 'connected', 2, 'it is back', 60_000);
    await inbox.count(({ event }) => event === 'pusher:subscription_succeeded', 2, 'and subscribed');
    assert.equal(tab.states.all((state) => ['disconnected', 'failed'].includes(state)).length, 0);
  });
});
