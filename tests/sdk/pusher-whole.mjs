// What is left of Pusher beyond its main path, as one suite over any number of nodes: webhooks, watchlists, counts,
// cache and encrypted channels, Laravel Echo, limits that change while the app runs.

import assert from 'node:assert/strict';
import { after, afterEach, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import Echo from 'laravel-echo';
import PusherClient from 'pusher-js';
import { Cluster } from './lib/cluster.mjs';
import { Tab, closeTabs, is, serverSdk } from './lib/client.mjs';
import { Receiver, stopReceivers } from './lib/receiver.mjs';
import { RawSocket, rawPusher, sign } from './lib/raw.mjs';
import { until } from './lib/wait.mjs';

let unique = 0;
const fresh = (prefix) => `${prefix}-${(unique += 1)}`;
/** Longer than the three seconds in which an end may be taken back. */
const GRACE_MS = 3_000;

/** Defines the suite over a cluster of this many nodes. */
export function pusherWhole(nodes) {
  describe(`Pusher, whole, over ${nodes === 1 ? 'one node' : `${nodes} nodes`}`, () => {
    let cluster;
    let turn = 0;
    const url = () => cluster.urls[(turn += 1) % nodes];
    const make = async (settings = {}) => {
      const app = await cluster.createApp({ name: fresh('whole'), settings });
      await everywhere(cluster, app);
      return app;
    };
    const on = {
      url,
      make,
      nodes,
      cluster: () => cluster,
      tab: (app, options) => new Tab(url(), app, options),
      sdk: (app, more) => serverSdk(url(), app, more),
    };
    before(async () => {
      cluster = await Cluster.start({ nodes, args: ['--path-prefix', '/pre/fix'] });
    });
    afterEach(() => {
      closeTabs();
      stopReceivers();
    });
    after(() => cluster?.stop());

    webhooks(on);
    targets(on);
    watchlists(on);
    counts(on);
    caches(on);
    encrypted(on);
    echo(on);
    paths(on);
    limits(on);
    families(on);
  });
}

/** Waits until every node knows the app: settings are read from each node's own view. */
async function everywhere(cluster, app, revision = app.revision) {
  await until(async () => {
    const views = await Promise.all(cluster.nodes.map((node) => cluster.admin(node.id).call('GET', `/v1/apps/${app.id}`)));
    return views.every((view) => view.app.revision >= 0 && view.revision >= revision);
  }, 'every node has the app');
}

async function set({ cluster }, app, settings) {
  const { revision } = await cluster().admin().patchApp(app.id, { settings });
  await everywhere(cluster(), app, revision);
  // Channels look at their limits once a second.
  await sleep(1_100);
}

/** An app whose webhooks go to a receiver of its own. */
async function hooked(on, hooks = [{}], settings = {}) {
  const app = await on.make({ webhook_private_targets: true, ...settings });
  const receiver = await Receiver.start(on.sdk(app));
  const webhooks = hooks.map((hook, n) => ({ url: `${receiver.url}/hook${n}`, ...hook }));
  await set(on, app, { webhooks });
  return { app, receiver };
}

function webhooks(on) {
  test('channel_occupied and channel_vacated come once, signed, in the form that every SDK reads', async () => {
    const { app, receiver } = await hooked(on);
    const channel = fresh('public-hook');
    const [one, two] = [on.tab(app), on.tab(app)];
    await one.subscribed(channel);
    await two.subscribed(channel);
    await receiver.next('channel_occupied', channel);
    const [request] = receiver.requests.items;
    assert.equal(request.valid, true, "the npm SDK's webhook().isValid()");
    assert.equal(request.headers['content-type'], 'application/json');
    for (const name of ['X-Pusher-Key', 'X-Pusher-Signature', 'Content-Type']) assert.ok(request.names.includes(name), `${name} in ${request.names}`);
    assert.equal(request.headers['x-pusher-key'], app.key);
    assert.ok(Math.abs(request.json.time_ms - Date.now()) < 60_000);
    one.close();
    two.close();
    await receiver.next('channel_vacated', channel);
    assert.equal(receiver.all('channel_occupied', channel).length, 1);
    assert.equal(receiver.all('channel_vacated', channel).length, 1);
    assert.ok(receiver.requests.items.every((each) => each.valid));
  });

  test('members are added and removed once per user; a quick return is neither', async () => {
    const { app, receiver } = await hooked(on, [{ event_types: ['member_added', 'member_removed'] }]);
    const channel = fresh('presence-hook');
    const member = { user_id: 'ana', user_info: { n: 1 } };
    const [one, two] = [on.tab(app, { member }), on.tab(app, { member })];
    await one.subscribed(channel);
    await two.subscribed(channel);
    const added = await receiver.next('member_added', channel);
    assert.equal(added.user_id, 'ana');
    one.close();
    two.close();
    const back = on.tab(app, { member });
    await back.subscribed(channel);
    await sleep(GRACE_MS + 1_000);
    assert.equal(receiver.all('member_removed', channel).length, 0, 'she came back in time');
    assert.equal(receiver.all('member_added', channel).length, 1);
    back.close();
    const removed = await receiver.next('member_removed', channel);
    assert.equal(removed.user_id, 'ana');
    assert.equal(receiver.events.all((each) => each.name.startsWith('channel_')).length, 0, 'not asked for');
  });

  test('client_event carries data as a string, the socket and, on presence channels, the user', async () => {
    const { app, receiver } = await hooked(on, [{ event_types: ['client_event'] }]);
    const [room, talk] = [fresh('presence-hook'), fresh('private-hook')];
    const tab = on.tab(app, { member: { user_id: 'ana' } });
    (await tab.subscribed(room)).channel.trigger('client-yo', { yolo: 'woot' });
    (await tab.subscribed(talk)).channel.trigger('client-hi', { n: 1 });
    await on.sdk(app).trigger(talk, 'server-said', {});
    const yo = await receiver.next('client_event', room);
    assert.deepEqual({ ...yo, path: '' }, { name: 'client_event', channel: room, event: 'client-yo', data: '{"yolo":"woot"}', socket_id: tab.socketId, user_id: 'ana', path: '' });
    const hi = await receiver.next('client_event', talk);
    assert.equal(hi.user_id, undefined);
    assert.equal(receiver.events.items.length, 2);
  });

  test('cache_miss comes once for a rush of misses; subscription_count with the number', async () => {
    const { app, receiver } = await hooked(on, [{ event_types: ['cache_miss', 'subscription_count'] }], { subscription_count: true });
    const channel = fresh('private-cache-hook');
    await Promise.all([1, 2, 3].map(() => on.tab(app).subscribed(channel)));
    await receiver.next('cache_miss', channel);
    await receiver.events.next((each) => each.name === 'subscription_count' && each.subscription_count === 3, 'three of them');
    assert.equal(receiver.all('cache_miss', channel).length, 1);
  });

  test('filters by name and a batch per hook; custom headers', async () => {
    const hooks = [
      { event_types: ['channel_occupied'], filter: { channel_name_starts_with: 'public-wanted' }, batch: true, headers: { 'X-Mine': 'yes' } },
      { event_types: ['channel_occupied'], filter: { channel_name_ends_with: '-end' } },
    ];
    const { app, receiver } = await hooked(on, hooks);
    const tab = on.tab(app);
    await tab.connected();
    const wanted = Array.from({ length: 12 }, () => fresh('public-wanted'));
    const others = [fresh('public-other'), `${fresh('public-other')}-end`];
    await Promise.all([...wanted, ...others].map((channel) => tab.subscribed(channel)));
    for (const channel of wanted) await receiver.next('channel_occupied', channel);
    await receiver.next('channel_occupied', others[1]);
    const batches = receiver.requests.all((each) => each.path === '/hook0');
    assert.ok(batches.length < wanted.length, `${batches.length} requests for ${wanted.length} events`);
    assert.ok(batches.every((each) => each.valid && each.headers['x-mine'] === 'yes'));
    const said = (path) => receiver.events.all((each) => each.path === path).map((each) => each.channel).sort();
    assert.deepEqual(said('/hook0'), [...wanted].sort());
    assert.deepEqual(said('/hook1'), [others[1]]);
  });

  test('a failed webhook is tried again with the same time; the log says how it went', async () => {
    const { app, receiver } = await hooked(on, [{ event_types: ['channel_occupied'] }]);
    receiver.answers.push(500, 404);
    const channel = fresh('public-retry');
    await on.tab(app).subscribed(channel);
    await receiver.next('channel_occupied', channel);
    const bodies = receiver.requests.items.map((each) => each.body);
    assert.deepEqual(receiver.requests.items.map((each) => each.answer), [500, 404, 200]);
    assert.equal(new Set(bodies).size, 1, 'the same body each time');
    const [delivery] = await until(async () => {
      const { deliveries } = await on.cluster().server(1, app).call('GET', `/v1/apps/${app.id}/webhooks/deliveries`);
      return deliveries.length > 0 && deliveries[0].state === 'delivered' && deliveries;
    }, 'the log says delivered');
    assert.deepEqual([delivery.attempts, delivery.status, delivery.events], [3, 200, ['channel_occupied']]);
  });

  test('the oldest active key signs', async () => {
    const { app, receiver } = await hooked(on, [{ event_types: ['channel_occupied'] }]);
    const made = await on.cluster().admin().call('POST', `/v1/apps/${app.id}/keys`, { name: 'second' });
    await everywhere(on.cluster(), app, made.revision);
    const [first, second] = [fresh('public-key'), fresh('public-key')];
    await on.tab(app).subscribed(first);
    await receiver.next('channel_occupied', first);
    assert.equal(receiver.requests.items.at(-1).headers['x-pusher-key'], app.key);
    const younger = { ...app, key: made.key.id, secret: made.key.secret };
    receiver.sdk = on.sdk(younger);
    const off = await on.cluster().admin().call('PATCH', `/v1/apps/${app.id}/keys/${app.key}`, { enabled: false });
    await everywhere(on.cluster(), app, off.revision);
    await on.tab(younger).subscribed(second);
    await receiver.next('channel_occupied', second);
    const last = receiver.requests.items.at(-1);
    assert.deepEqual([last.headers['x-pusher-key'], last.valid], [made.key.id, true]);
  });
}

function targets(on) {
  const gaveUp = (app, wanted) =>
    until(async () => {
      const { deliveries } = await on.cluster().admin().call('GET', `/v1/apps/${app.id}/webhooks/deliveries`);
      return deliveries.find((each) => wanted(each));
    }, 'the log tells of it');

  test('no private address is reached, by number or by name, and no redirect is followed', async () => {
    const app = await on.make();
    const receiver = await Receiver.start(on.sdk(app));
    const { port } = new URL(receiver.url);
    const hosts = ['127.0.0.1', 'localhost', '[::1]', '0x7f.1', '[::ffff:127.0.0.1]', '169.254.169.254'];
    await set(on, app, { webhooks: hosts.map((host) => ({ url: `http://${host}:${port}/`, event_types: ['channel_occupied'] })) });
    await on.tab(app).subscribed(fresh('public-ssrf'));
    for (const host of hosts) {
      const target = host === '0x7f.1' ? /0x7f\.1|127/ : new RegExp(host.replace(/[[\].]/g, '\\$&'));
      const delivery = await gaveUp(app, (each) => target.test(each.target) && each.attempts > 0);
      assert.match(delivery.error, /not public/, `${host}: ${JSON.stringify(delivery)}`);
    }
    assert.equal(receiver.requests.items.length, 0);

    const inside = await Receiver.start(on.sdk(app), 'inside');
    const open = await hooked(on, [{ event_types: ['channel_occupied'] }]);
    open.receiver.answers.push({ status: 307, headers: { location: `${inside.url}/stolen` } });
    const channel = fresh('public-redirect');
    await on.tab(open.app).subscribed(channel);
    await open.receiver.next('channel_occupied', channel);
    assert.equal(open.receiver.requests.items[0].answer.status, 307, 'tried again at the same place');
    assert.equal(inside.requests.items.length, 0, 'the redirect was followed');
  });

  test("an app's own servers may set hooks but not reach the inside; nonsense is refused by name", async () => {
    const app = await on.make();
    const server = on.cluster().server(1, app);
    await assert.rejects(server.patchApp(app.id, { settings: { webhook_private_targets: true } }), (error) => error.status === 403);
    await server.patchApp(app.id, { settings: { webhooks: [{ url: 'https://example.com/hook' }] } });
    const { app: shown } = await on.cluster().admin().call('GET', `/v1/apps/${app.id}`);
    assert.equal(shown.settings.webhooks[0].url, 'https://example.com/hook');
    await assert.rejects(server.patchApp(app.id, { settings: { webhooks: [{ url: 'https://x', event_types: ['channel_ocupied'] }] } }), /channel_occupied/);
  });
}

function watchlists(on) {
  const online = (tab) => tab.messages.all((each) => each.event === 'pusher_internal:watchlist_events').map((each) => each.data.events ?? JSON.parse(each.data).events);

  test('the first frame tells of the whole list, later ones of who comes and goes', async () => {
    const app = await on.make({ watchlist: true });
    const [ana, bea, cleo] = [fresh('ana'), fresh('bea'), fresh('cleo')];
    const first = await on.tab(app, { user: bea }).signedIn();
    const watcher = on.tab(app, { user: ana, watchlist: [bea, cleo] });
    const seen = [];
    for (const name of ['online', 'offline']) watcher.pusher.user.watchlist.bind(name, (event) => seen.push([name, ...event.user_ids]));
    await watcher.signedIn();
    await until(() => seen.length === 2, 'the whole list');
    assert.deepEqual(seen, [['online', bea], ['offline', cleo]]);
    assert.equal(online(watcher).length, 1, 'in one frame');
    const late = await on.tab(app, { user: cleo }).signedIn();
    await until(() => seen.length === 3, 'cleo comes');
    const second = await on.tab(app, { user: bea }).signedIn();
    first.close();
    late.close();
    await until(() => seen.length === 4, 'cleo goes');
    assert.deepEqual(seen.slice(2), [['online', cleo], ['offline', cleo]], 'bea is still there in her second tab');
    second.close();
    await until(() => seen.length === 5, 'bea goes');
    assert.deepEqual(seen.at(-1), ['offline', bea]);
  });

  test('above 100 users: 100 are watched, and 4302 says so; without the setting nothing is told', async () => {
    const app = await on.make({ watchlist: true });
    const watchlist = Array.from({ length: 101 }, (_, n) => `user-${n}`);
    const watcher = await on.tab(app, { user: fresh('ana'), watchlist }).signedIn();
    await watcher.error(4302);
    await watcher.messages.next((each) => each.event === 'pusher_internal:watchlist_events', 'the list');
    const [[list]] = online(watcher);
    assert.deepEqual([list.name, list.user_ids.length], ['offline', 100]);
    assert.equal(watcher.state, 'connected');
    const plain = await on.make();
    const quiet = await on.tab(plain, { user: fresh('ana'), watchlist: ['b'] }).signedIn();
    quiet.pusher.send_event('pusher:ping', {});
    await quiet.messages.next((each) => each.event === 'pusher:pong', 'the pong');
    assert.deepEqual(online(quiet), []);
  });
}

function counts(on) {
  test('subscribers are told their number, except on presence channels; live switched', async () => {
    const app = await on.make();
    const [channel, room] = [fresh('public-count'), fresh('presence-count')];
    const [one, two, three] = [on.tab(app, { member: { user_id: 'a' } }), on.tab(app), on.tab(app)];
    const inbox = await one.subscribed(channel);
    const silent = await one.subscribed(room);
    await set(on, app, { subscription_count: true });
    await two.subscribed(channel);
    await three.subscribed(channel);
    const said = (n) => inbox.next((each) => each.event === 'pusher:subscription_count' && each.data.subscription_count === n, `${n} subscribers`);
    await said(3);
    assert.equal(inbox.channel.subscriptionCount, 3);
    three.close();
    await until(() => inbox.channel.subscriptionCount === 2, 'two subscribers');
    assert.equal(silent.all((each) => each.event === 'pusher:subscription_count').length, 0);
  });

  test('above a hundred subscribers the number comes at most every five seconds', { timeout: 60_000 }, async () => {
    const app = await on.make({ subscription_count: true });
    const channel = fresh('public-crowd');
    const inbox = await on.tab(app).subscribed(channel);
    const crowd = [];
    for (let n = 0; n < 12; n += 1) {
      crowd.push(...(await Promise.all(Array.from({ length: 10 }, () => rawPusher(on.url(), app.key)))));
    }
    for (const socket of crowd) socket.send({ event: 'pusher:subscribe', data: { channel, auth: '' } });
    await inbox.next((each) => each.event === 'pusher:subscription_count' && each.data.subscription_count === 121, 'all of them', 15_000);
    const told = inbox.all((each) => each.event === 'pusher:subscription_count' && each.data.subscription_count > 100);
    assert.ok(told.length <= 2, `told ${told.length} times above a hundred`);
    for (const socket of crowd) socket.close();
  });
}

function caches(on) {
  test('a cache channel misses, then replays its last server event, also after everybody has left', async () => {
    const app = await on.make();
    const channel = fresh('cache-news');
    const open = await on.make({});
    const first = on.tab(app, {});
    const name = `private-${channel}`;
    const missed = await first.subscribed(name);
    await missed.next((each) => each.event === 'pusher:cache_miss', 'the miss');
    await on.sdk(app).trigger(name, 'price', { n: 1 });
    await on.sdk(app).trigger(name, 'price', { n: 2 });
    await missed.next(is('price', { n: 2 }), 'the live event');
    missed.channel.trigger('client-noise', { n: 3 });
    first.close();
    await until(async () => (await (await on.sdk(app).get({ path: `/channels/${name}` })).json()).occupied === false, 'nobody is left');
    const late = await on.tab(app).subscribed(name);
    const replayed = await late.next((each) => each.event === 'price', 'the replay');
    assert.deepEqual(replayed.data, { n: 2 });
    assert.equal(late.all((each) => each.event === 'pusher:cache_miss').length, 0);
    assert.equal(late.all((each) => each.event === 'client-noise').length, 0, 'client events are not cached');
    const info = await (await on.sdk(app).get({ path: `/channels/${name}`, params: { info: 'cache' } })).json();
    assert.equal(info.cache.data, '{"n":2}');
    assert.ok(info.cache.ttl > 1_700 && info.cache.ttl <= 1_800);
    assert.ok(open.id);
  });

  test('a cached event ends with its time; every cache prefix caches, a name that only holds the word does not', async () => {
    const app = await on.make({ cache_ms: 1_500 });
    const names = ['private-cache-', 'presence-cache-', 'private-encrypted-cache-'].map((prefix) => fresh(prefix));
    for (const name of names) await on.sdk(app).post({ path: '/events', body: { name: 'e', data: '{"n":1}', channels: [name] } });
    const tab = on.tab(app, { member: { user_id: 'a' }, options: {} });
    for (const name of names.slice(0, 2)) await (await tab.subscribed(name)).next(is('e', { n: 1 }), `the replay of ${name}`);
    const plain = fresh('private-my-cache-x');
    await on.sdk(app).trigger(plain, 'e', {});
    const inbox = await tab.subscribed(plain);
    assert.equal(inbox.all(is('e')).length, 0);
    // The channel's home counts the time by the cluster's clock: newcomers ask until it is over there.
    const misses = async () => {
      const late = await on.tab(app).subscribed(names[0]);
      const first = await late.next((each) => each.event === 'pusher:cache_miss' || each.event === 'e', 'a miss or the replay');
      return first.event === 'pusher:cache_miss';
    };
    await until(misses, 'its time is over', 10_000);
  });
}

function encrypted(on) {
  test('an encrypted channel decrypts in pusher-js, and we pass it through unchanged', async () => {
    const app = await on.make();
    const sdk = on.sdk(app, { encryptionMasterKeyBase64: Buffer.alloc(32, 7).toString('base64') });
    const channel = fresh('private-encrypted-vault');
    const tab = on.tab(app, { sdk });
    const inbox = await tab.subscribed(channel);
    const secret = { card: '4111', ü: [1, { deep: true }] };
    await sdk.trigger(channel, 'secret', secret);
    const got = await inbox.next((each) => each.event === 'secret', 'the decrypted event');
    assert.deepEqual(got.data, secret);
    const wire = await tab.messages.next((each) => each.event === 'secret', 'the frame');
    assert.ok(wire.data.ciphertext && wire.data.nonce && !JSON.stringify(wire).includes('4111'));
    const cached = fresh('private-encrypted-cache-vault');
    await sdk.trigger(cached, 'secret', secret);
    const late = await on.tab(app, { sdk }).subscribed(cached);
    assert.deepEqual((await late.next((each) => each.event === 'secret', 'the cached event')).data, secret);
    const unsigned = await rawPusher(on.url(), app.key);
    unsigned.send({ event: 'pusher:subscribe', data: { channel, auth: '' } });
    await unsigned.event('pusher:subscription_error');
    unsigned.close();
  });
}

function echo(on) {
  test('Laravel Echo: channel, private with whisper, presence, and the reverb broadcaster', async () => {
    const app = await on.make();
    const sdk = on.sdk(app);
    const echoes = ['pusher', 'reverb'].map((broadcaster) => {
      const { hostname, port } = new URL(on.url());
      const Pusher = PusherClient;
      return new Echo({
        broadcaster,
        Pusher,
        key: app.key,
        cluster: 'local',
        wsHost: hostname,
        wsPort: Number(port),
        forceTLS: false,
        enabledTransports: ['ws'],
        enableStats: false,
        authorizer: (channel) => ({
          authorize: (socketId, callback) => callback(null, sdk.authorizeChannel(socketId, channel.name, channel.name.startsWith('presence-') ? { user_id: broadcaster, user_info: { name: broadcaster } } : undefined)),
        }),
      });
    });
    const [one, two] = echoes;
    const seen = [];
    const ready = (channel) => new Promise((done) => channel.subscribed(done));
    const [news, orders, room] = [fresh('public-echo'), fresh('echo'), fresh('echo')];
    const event = 'App\\Events\\OrderShipped';
    await ready(one.channel(news).listen('OrderShipped', (data) => seen.push(['news', data.n])));
    await ready(one.private(orders).listen('.plain', (data) => seen.push(['plain', data.n])).listenForWhisper('typing', (data) => seen.push(['whisper', data.n])));
    await ready(two.private(orders));
    await sdk.trigger(news, event, { n: 1 });
    await sdk.trigger(`private-${orders}`, 'plain', { n: 2 });
    await until(() => seen.length === 2, 'both events');
    two.private(orders).whisper('typing', { n: 3 });
    await until(() => seen.length === 3, 'the whisper');
    assert.deepEqual(seen, [['news', 1], ['plain', 2], ['whisper', 3]]);
    const members = [];
    one.join(room).here((all) => members.push(['here', ...all.map((each) => each.name)])).joining((each) => members.push(['joining', each.name])).leaving((each) => members.push(['leaving', each.name]));
    await until(() => members.length === 1, 'here');
    two.join(room);
    await until(() => members.length === 2, 'joining');
    two.leave(room);
    await until(() => members.length === 3, 'leaving');
    assert.deepEqual(members, [['here', 'pusher'], ['joining', 'reverb'], ['leaving', 'reverb']]);
    for (const each of echoes) each.disconnect();
  });
}

function paths(on) {
  test('wsPath: the prefix of the configuration, for sockets and for HTTP; another one is refused with 4005 or 404', async () => {
    const app = await on.make();
    const tab = on.tab(app, { options: { wsPath: '/pre/fix' } });
    const inbox = await tab.subscribed(fresh('public-prefix'));
    const { channel } = inbox;
    const url = new URL(on.url());
    const sdk = on.sdk(app);
    const query = new URLSearchParams(sdk.createSignedQueryString({ method: 'GET', path: `/apps/${app.id}/channels`, params: {} }));
    const answer = await fetch(`${url.origin}/pre/fix/apps/${app.id}/channels?${query}`);
    assert.equal(answer.status, 200, await answer.clone().text());
    assert.ok((await answer.json()).channels[channel.name]);
    assert.equal((await fetch(`${url.origin}/else/apps/${app.id}/channels?${query}`)).status, 404);
    const lost = await RawSocket.open(url.origin, `/app/${app.key}/more?protocol=7`);
    assert.equal((await lost.end()).code, 4005);
  });

  test('pages of any origin may read answers and refusals', async () => {
    const app = await on.make();
    const base = `${on.url()}/apps/${app.id}`;
    const allowed = (answer) => answer.headers.get('access-control-allow-origin');
    const refused = await fetch(`${base}/channels`);
    assert.deepEqual([refused.status, allowed(refused)], [401, '*']);
    const query = on.sdk(app).createSignedQueryString({ method: 'GET', path: `/apps/${app.id}/channels`, params: {} });
    const answer = await fetch(`${base}/channels?${query}`);
    assert.deepEqual([answer.status, allowed(answer), answer.headers.get('content-type')], [200, '*', 'application/json']);
    const preflight = await fetch(`${base}/events`, { method: 'OPTIONS', headers: { origin: 'https://a.example', 'access-control-request-method': 'POST' } });
    assert.equal(allowed(preflight), '*');
    assert.match(preflight.headers.get('access-control-allow-methods'), /POST/);
  });
}

function limits(on) {
  const status = (promise) => promise.then((response) => response.status, (error) => error.status);

  test('100 channels per trigger pass, 101 are refused; a batch of 10 passes, 11 are refused; 10 KB pass, one byte more does not', async () => {
    const app = await on.make();
    const server = on.sdk(app);
    const inbox = await on.tab(app).subscribed('public-many-99');
    const names = (count) => Array.from({ length: count }, (_, n) => `public-many-${n}`);
    const post = (channels) => status(server.post({ path: '/events', body: { name: 'e', data: '{}', channels } }));
    assert.equal(await post(names(100)), 200);
    await inbox.next(is('e'), 'the hundredth channel');
    assert.equal(await post(names(101)), 400);
    const batch = (count) => status(server.triggerBatch(Array.from({ length: count }, () => ({ channel: 'public-x', name: 'e', data: 'x' }))));
    assert.deepEqual([await batch(10), await batch(11)], [200, 400]);
    assert.equal(await status(server.trigger('public-x', 'e', 'x'.repeat(10_240))), 200);
    await assert.rejects(server.trigger('public-x', 'e', 'x'.repeat(10_241)), (error) => error.status === 413 && /10240 bytes/.test(error.body));
  });

  test('limits change while the app runs: data, client events, members, connections', async () => {
    const app = await on.make({ presence_clients: 2, event_bytes: 100 });
    const server = on.sdk(app);
    assert.equal(await status(server.trigger('public-x', 'e', 'x'.repeat(101))), 413);
    const room = fresh('presence-small');
    for (const id of ['a', 'b']) await on.tab(app, { member: { user_id: id } }).subscribed(room);
    const full = await on.tab(app, { member: { user_id: 'c' } }).refused(room);
    assert.deepEqual([full.type, full.status], ['LimitReached', 4100]);
    await on.tab(app, { member: { user_id: 'a' } }).subscribed(room);
    const talk = fresh('private-limit');
    const [one, two] = [on.tab(app), on.tab(app)];
    const [mine, theirs] = [await one.subscribed(talk), await two.subscribed(talk)];
    await set(on, app, { presence_clients: 3, event_bytes: 200, client_events: false });
    assert.equal(await status(server.trigger('public-x', 'e', 'x'.repeat(101))), 200);
    await on.tab(app, { member: { user_id: 'c' } }).subscribed(room);
    mine.channel.trigger('client-no', {});
    await one.errors.next((error) => /client events/i.test(error.message), 'client events are off');
    assert.equal(theirs.all((each) => each.event === 'client-no').length, 0);
    await set(on, app, { connections_per_node: 1 });
    const over = await RawSocket.open(on.url(), `/app/${app.key}?protocol=7&client=js&version=8.6.0`);
    assert.equal((await over.end()).code, 4004);
  });
}

function families(on) {
  const subscribe = (app, socket, channel, channel_data) => ({
    auth: sign(app, ...[socket.socketId, channel, channel_data].filter((part) => part !== undefined)),
    ...(channel_data === undefined ? {} : { channel_data }),
    channel,
  });
  /** The frames as they came, not parsed further. */
  const frames = (socket, name) => socket.events.all((each) => each.event === name);
  const checkAll = (socket) => {
    for (const each of socket.events.items) {
      assert.equal(typeof each.event, 'string');
      assert.ok('data' in each, `no data in ${JSON.stringify(each)}`);
      const wanted = each.event === 'pusher:error' ? 'object' : 'string';
      assert.equal(typeof each.data, wanted, `${each.event}: ${JSON.stringify(each)}`);
    }
  };

  test("Java's frames: protocol 5, data as a string holding JSON, every frame with data", async () => {
    const app = await on.make({ subscription_count: true });
    const socket = await rawPusher(on.url(), app.key, 'client=java-client&protocol=5&version=2.4.4');
    const [room, talk] = [fresh('presence-java'), fresh('private-java')];
    const channel_data = JSON.stringify({ user_id: 7, user_info: { name: 'J' } });
    socket.send({ event: 'pusher:subscribe', data: JSON.stringify(subscribe(app, socket, room, channel_data)) });
    const { data } = await socket.event('pusher_internal:subscription_succeeded');
    assert.deepEqual(data, { presence: { ids: ['7'], hash: { 7: { name: 'J' } }, count: 1 } });
    socket.send({ event: 'pusher:subscribe', data: subscribe(app, socket, talk) });
    await socket.events.count((each) => each.event === 'pusher_internal:subscription_succeeded', 2, 'the second');
    socket.send({ event: 'pusher:subscribe', data: { channel: 'private-nope', auth: 'x' } });
    await socket.event('pusher:error');
    const other = on.tab(app, { member: { user_id: 'b' } });
    await other.subscribed(room);
    await other.subscribed(talk);
    await socket.event('pusher_internal:member_added');
    other.pusher.channel(talk).trigger('client-obj', { n: 1 });
    await socket.event('client-obj');
    await on.sdk(app).trigger(talk, 'text', 'plain');
    await socket.events.next((each) => each.event === 'text', 'the text');
    socket.send({ event: 'pusher:unsubscribe', data: { channel: talk } });
    socket.send({ event: 'pusher:ping', data: '' });
    await socket.event('pusher:pong');
    other.close();
    const removed = await socket.event('pusher_internal:member_removed');
    assert.deepEqual(removed.data, { user_id: 'b' });
    checkAll(socket);
    assert.ok(frames(socket, 'pusher_internal:subscription_count').every((each) => each.channel === talk));
    socket.close();
  });

  test("Swift's frames: the subprotocol comes back, client data as text, user_id as a string", async () => {
    const app = await on.make();
    const socket = await RawSocket.open(on.url(), `/app/${app.key}?client=pusher-websocket-swift&version=10.1.5&protocol=7`, {
      headers: 'Sec-WebSocket-Protocol: pusher-channels-protocol-7\r\n',
    });
    assert.match(socket.head, /\r\nsec-websocket-protocol: pusher-channels-protocol-7\r\n/i);
    socket.socketId = (await socket.event('pusher:connection_established')).data.socket_id;
    const room = fresh('presence-swift');
    socket.send({ event: 'pusher:subscribe', data: subscribe(app, socket, room, '{"user_id":"s"}') });
    const { data } = await socket.event('pusher_internal:subscription_succeeded');
    assert.deepEqual(data.presence, { ids: ['s'], hash: { s: null }, count: 1 });
    const other = await rawPusher(on.url(), app.key);
    other.send({ event: 'pusher:subscribe', data: subscribe(app, other, room, '{"user_id":12}') });
    await other.event('pusher_internal:subscription_succeeded');
    other.send({ event: 'client-obj', channel: room, data: { deep: [1] } });
    await socket.event('client-obj');
    const [frame] = frames(socket, 'client-obj');
    assert.deepEqual([frame.data, frame.user_id], ['{"deep":[1]}', '12']);
    checkAll(socket);
    checkAll(other);
    for (const each of [socket, other]) each.close();
  });

  test(".NET's frames: data as an object, unknown members, a sign-in with user_info", async () => {
    const app = await on.make();
    const socket = await rawPusher(on.url(), app.key, 'protocol=5&client=pusher-dotnet-client&version=2.2.0');
    const user_data = JSON.stringify({ id: 'net', user_info: { a: 1 } });
    socket.send({ event: 'pusher:signin', data: { auth: `${app.key}:${sign(app, `${socket.socketId}::user::${user_data}`).split(':')[1]}`, user_data }, extra: 1 });
    const signed = await socket.event('pusher:signin_success');
    assert.equal(signed.data.user_data, user_data, 'byte for byte');
    socket.send({ event: 'pusher:subscribe', data: { auth: '', channel: '#server-to-user-net', more: {} } });
    await socket.event('pusher_internal:subscription_succeeded');
    await on.sdk(app).sendToUser('net', 'letter', { n: 1 });
    const letter = await socket.event('letter');
    assert.deepEqual([letter.channel, letter.data], ['#server-to-user-net', { n: 1 }]);
    const second = JSON.stringify({ id: 'other' });
    socket.send({ event: 'pusher:signin', data: { auth: sign(app, `${socket.socketId}::user::${second}`), user_data: second } });
    const error = await socket.event('pusher:error');
    assert.match(error.data.message, /another user/);
    checkAll(socket);
    socket.close();
  });
}
