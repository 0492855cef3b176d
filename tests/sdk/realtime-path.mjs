// Realtime.co's main path under the two unmodified npm SDKs, as one suite that runs over any number of nodes: whatever a
// client does through one node is seen through the others, so over one node and over three it reads the same.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { after, afterEach, before, describe, test } from 'node:test';
import { Cluster } from './lib/cluster.mjs';
import { Tab, closeTabs, serverSdk } from './lib/client.mjs';
import { AppServer, Client, closeClients } from './lib/realtime.mjs';
import { RawHixie, RawSocket, frame } from './lib/raw.mjs';
import { until } from './lib/wait.mjs';

let unique = 0;
const fresh = (prefix) => `${prefix}${(unique += 1)}`;
const KINDS = ['node', 'browser'];

/** An app of this dialect with its application key. */
async function realtimeApp(cluster, { authentication = false, protocols = ['realtime'], open = [], ...spec } = {}) {
  const made = await cluster.createApp({ protocols, open, settings: { realtime_authentication: authentication }, ...spec });
  const { app } = await cluster.admin().call('GET', `/v1/apps/${made.id}`);
  return { ...made, application: app.aliases['realtime-application'] };
}

/** Defines the suite over a cluster of this many nodes. */
export function realtimePath(nodes) {
  describe(`Realtime.co over ${nodes === 1 ? 'one node' : `${nodes} nodes`}`, () => {
    const on = {};
    let turn = 0;
    // Each call picks the next node.
    on.url = () => on.cluster.urls[(turn += 1) % nodes];
    on.client = (kind, options) => new Client(kind, on.url(), options);
    on.server = (app) => new AppServer(on.url(), app);

    before(async () => {
      on.cluster = await Cluster.start({ nodes });
      on.open = await realtimeApp(on.cluster);
      on.closed = await realtimeApp(on.cluster, { authentication: true });
    });
    afterEach(() => {
      closeClients();
      closeTabs();
    });
    after(() => on.cluster?.stop());

    discovery(on);
    messages(on);
    authentication(on, nodes);
    presence(on);
    across(on);
    rawFrames(on);
    drafts(on);
    if (nodes > 1) nodeLoss(on);
  });
}

function discovery(on) {
  test('the balancer answers byte for byte, with and without slash', async () => {
    const url = on.url();
    for (const path of ['/server/2.1', '/server/2.1/', '/server/2.1?appkey=x', '/server/2.1/?guid=1&appkey=x']) {
      const response = await fetch(url + path);
      assert.equal(response.status, 200);
      assert.match(response.headers.get('content-type'), /javascript/);
      assert.equal(await response.text(), `var SOCKET_SERVER = "${url}";`);
    }
    const tls = await (await fetch(`${url}/server/ssl/2.1/`)).text();
    assert.equal(tls, 'var SOCKET_SERVER = "https://127.0.0.1:443";');
  });

  test('the browser SDK connects through the balancer', async () => {
    await on.client('browser', { cluster: true }).connected(on.open);
  });
}

function messages(on) {
  const TEXT = 'hello "q" \\ \n é 😀;x';
  for (const kind of KINDS) {
    test(`${kind}: connect, subscribe, send, receive at every client`, async () => {
      const channel = fresh('ch');
      const [one, two] = [await on.client(kind).connected(on.open), await on.client('node').connected(on.open)];
      await Promise.all([one.subscribed(channel), two.subscribed(channel)]);
      one.send(channel, TEXT);
      await Promise.all([one.message(channel, TEXT), two.message(channel, TEXT)]);
      two.send(channel, 'back');
      await one.message(channel, 'back');
      one.ortc.unsubscribe(channel);
      await one.event(`unsubscribed ${channel}`);
    });

    test(`${kind}: long messages arrive whole, also with a character cut in half`, async () => {
      const channel = fresh('long');
      const client = await on.client(kind).connected(on.open);
      await client.subscribed(channel);
      for (const long of ['x'.repeat(2000), `${'x'.repeat(799 - channel.length)}${'😀'.repeat(900)}`]) {
        client.send(channel, long);
        await client.message(channel, long);
      }
    });

    test(`${kind}: filters`, async () => {
      const channel = fresh('filter');
      const client = await on.client(kind).connected(on.open);
      await client.filtered(channel, "message.city = 'London' and message.temperature > 77");
      const sender = await on.client('node').connected(on.open);
      const says = (city, temperature) => JSON.stringify({ city, temperature });
      sender.send(channel, says('Paris', 80));
      sender.send(channel, says('London', 70));
      sender.send(channel, says('London', 80));
      const got = await client.message(channel, says('London', 80));
      assert.equal(got.filtered, true);
      assert.equal(client.messages.items.length, 1);
      sender.send(channel, 'no JSON');
      assert.equal((await client.message(channel, 'no JSON')).filtered, false);
    });

    test(`${kind}: publish is acknowledged, and waits for a subscriber that was away`, async () => {
      const channel = fresh('buf');
      const subscriber = `sub-${kind}`;
      const publisher = await on.client(kind).connected(on.open);
      let reader = await on.client(kind).connected(on.open);
      await reader.buffered(channel, subscriber);
      assert.ok(await publisher.publish(channel, 'one'));
      assert.equal(typeof (await reader.message(channel, 'one')).sequence, 'string');
      // The place moves with the acknowledgement, which the SDK sends on its own.
      reader.close();
      const long = 'y'.repeat(1900);
      await publisher.publish(channel, 'two');
      await publisher.publish(channel, long);
      publisher.send(channel, 'not kept');
      reader = await on.client(kind).connected(on.open);
      await reader.buffered(channel, subscriber);
      await reader.message(channel, 'two');
      await reader.message(channel, long);
      assert.equal(reader.messages.all((one) => one.message === 'not kept').length, 0);
    });
  }

  test('a connection that sends too fast is told so and stays; another is not slowed', async () => {
    const slow = await realtimeApp(on.cluster, { settings: { realtime_messages_per_second: 3 } });
    const channel = fresh('pace');
    const sender = await on.client('node').connected(slow);
    const reader = await on.client('node').connected(slow);
    await reader.subscribed(channel);
    for (let n = 0; n < 30; n += 1) sender.send(channel, `${n}`);
    assert.match(await sender.error(/realtime_messages_per_second/), /try again in \d+ ms/);
    reader.send(channel, 'mine');
    await reader.message(channel, 'mine');
    await until(() => {
      sender.send(channel, 'again');
      return reader.messages.items.some(({ message }) => message === 'again');
    }, 'it may send again');
    assert.deepEqual(sender.events.items, ['Connected']);
  });

  test('node: sendproxy with the private key, and not with another', async () => {
    const channel = fresh('proxy');
    const reader = await on.client('node').connected(on.open);
    await reader.subscribed(channel);
    const sender = await on.client('node').connected(on.open);
    sender.ortc.sendProxy(on.open.application, on.open.secret, channel, 'by key');
    await reader.message(channel, 'by key');
    sender.ortc.sendProxy(on.open.application, 'wrong', channel, 'x');
    await sender.error(/Invalid private key/);
  });

  test('browser: batchSend', async () => {
    const channels = [fresh('batch'), fresh('batch')];
    const client = await on.client('browser').connected(on.open);
    for (const channel of channels) await client.subscribed(channel);
    client.ortc.batchSend(channels.join(','), 'to both');
    for (const channel of channels) await client.message(channel, 'to both');
  });

  test('announcements say who came, subscribed and went', async () => {
    const watcher = await on.client('node').connected(on.open);
    for (const what of ['Connected', 'Subscribed', 'Unsubscribed', 'Disconnected']) {
      await watcher.subscribed(`ortcClient${what}:team`);
    }
    const channel = fresh('seen');
    const guest = await on.client('node', { metadata: 'bob', announcements: 'team' }).connected(on.open);
    await watcher.message('ortcClientConnected:team', '{"cm":"bob"}');
    await guest.subscribed(channel);
    await watcher.message('ortcClientSubscribed:team', `{"cm":"bob","ch":"${channel}"}`);
    guest.ortc.unsubscribe(channel);
    await watcher.message('ortcClientUnsubscribed:team', `{"cm":"bob","ch":"${channel}"}`);
    guest.close();
    await watcher.message('ortcClientDisconnected:team', '{"cm":"bob"}');
    watcher.send('ortcClientConnected:team', '{"cm":"forged"}');
    await watcher.error(/Only the server/);
  });
}

function authentication(on, nodes) {
  test('a token works at every node as soon as it is authenticated, and only for its channels', async () => {
    for (const kind of KINDS) {
      const token = fresh('tok');
      const [node1, node3] = [on.cluster.urls[0], on.cluster.urls[nodes - 1]];
      const server = new AppServer(node1, on.closed);
      assert.deepEqual(await server.authenticate(token, { rd: 'r', wr: 'w', 'main:*': 'w' }), [null, true]);
      const client = await new Client(kind, node3).connected(on.closed, token);
      await client.subscribed('rd');
      await client.subscribed('wr');
      await client.subscribed('main:a');
      client.send('wr', `${token} may`);
      await client.message('wr', `${token} may`);
      client.send('main:a', 'sub-channel');
      await client.message('main:a', 'sub-channel');
      client.send('rd', 'may not');
      await client.error(/No permission to publish/);
      // Both SDKs hold back what `up` does not name.
      client.ortc.subscribe('other', true, () => {});
      await client.error(/No permission|not allowed|permission/i);
    }
  });

  test('an unknown token gets the documented exception, a wrong private key 401', async () => {
    for (const kind of KINDS) {
      const client = on.client(kind).connect(on.closed, 'nobody');
      await client.error(/Invalid connection\./);
    }
    const [error, success] = await on.server(on.closed).authenticate('x', { a: 'r' }, { key: 'wrong' });
    assert.deepEqual([error, success], ['Invalid private key', false]);
  });

  test('re-authentication and expiry leave a connection alone; the next one gets the new set', async () => {
    const token = fresh('tok');
    const server = on.server(on.closed);
    await server.authenticate(token, { old: 'w' });
    const client = await on.client('node').connected(on.closed, token);
    await client.subscribed('old');
    await server.authenticate(token, { new: 'w' }, { ttl: 1 });
    client.send('old', 'still');
    await client.message('old', 'still');
    const next = await on.client('node').connected(on.closed, token);
    await next.subscribed('new');
    next.ortc.subscribe('old', true, () => {});
    await next.error(/permission/i);
    await until(async () => {
      const late = on.client('node').connect(on.closed, token);
      const refused = await late.errors.next((error) => /Invalid connection\./.test(error), 'refused', 500).catch(() => null);
      late.close();
      return refused;
    }, 'the token expires');
    client.send('old', 'past its time');
    await client.message('old', 'past its time');
  });

  test('a revoke through Gatecast cuts the connection at once, wherever it is', async () => {
    const token = fresh('tok');
    await on.server(on.closed).authenticate(token, { ch: 'w' });
    const client = await new Client('node', on.cluster.urls[nodes - 1]).connected(on.closed, token);
    await client.subscribed('ch');
    await on.cluster.server(1, on.closed).call('POST', `/v1/apps/${on.closed.id}/revoke`, { target: { token } });
    await client.error(/Invalid connection\./);
    await client.event('Disconnected');
    const again = on.client('node').connect(on.closed, token);
    await again.error(/Invalid connection\./);
  });

  test('what /v1 takes from a token closes its open connection at another node, which comes back with the rest', async () => {
    for (const kind of KINDS) {
      const [token, keep, gone] = [fresh('tok'), fresh('keep'), fresh('gone')];
      const far = on.cluster.urls[nodes - 1];
      await on.server(on.closed).authenticate(token, { [keep]: 'w', [gone]: 'w' });
      const other = fresh('tok');
      await on.server(on.closed).authenticate(other, { [keep]: 'w', [gone]: 'w' });
      const witness = await new Client('node', on.cluster.urls[0]).connected(on.closed, other);
      await witness.subscribed(gone);
      const client = await new Client(kind, far).connected(on.closed, token);
      await client.subscribed(keep);
      await client.subscribed(gone);
      const answer = await on.cluster.server(1, on.closed).deleteGrants(on.closed.id, { token }, [gone]);
      assert.deepEqual([answer.enforced.length, answer.fenced, answer.pending, answer.closed], [nodes, [], [], 1]);
      // What a connection may keep, and against whom, is said there and then.
      assert.match(answer.exception, /\/authenticate/);
      witness.send(gone, 'secret');
      await witness.message(gone, 'secret');
      await client.event('Reconnected');
      await client.event(`subscribed ${keep}`, 2);
      witness.send(keep, 'the rest');
      await client.message(keep, 'the rest');
      client.ortc.subscribe(gone, true, () => {});
      await client.error(/permission/i);
      assert.deepEqual(client.messages.all(({ channel }) => channel === gone), []);
      client.close();
      witness.close();
    }
  });

  test('an app that wants longer tokens refuses those that can be guessed, and says so', async () => {
    const app = await realtimeApp(on.cluster, { authentication: true });
    assert.deepEqual(await on.server(app).authenticate('1', { a: 'r' }), [null, true]);
    await on.cluster.admin().patchApp(app.id, { settings: { shortest_token_bytes: 16 } });
    const [error, success] = await on.server(app).authenticate('2', { a: 'r' });
    assert.match(error, /at least 16 bytes/);
    assert.equal(success, false);
    await assert.rejects(on.cluster.server(1, app).grant(app.id, { token: '2' }, [{ pattern: 'a', operations: ['subscribe'] }]), (why) => why.status === 400);
    assert.deepEqual(await on.server(app).authenticate('sixteen-letters-', { a: 'r' }), [null, true]);
  });

  test('a hundred entries are taken, one more is refused with a reason', async () => {
    const server = on.server(on.closed);
    const entries = (n) => Object.fromEntries(Array.from({ length: n }, (_, at) => [`c${at}`, 'r']));
    assert.deepEqual(await server.authenticate('many', entries(100)), [null, true]);
    assert.deepEqual(await server.authenticate('many', entries(101)), ['A token has at most 100 channels', false]);
  });

  test('the bodies of other SDKs: no content type, fields in any order, wildcards as they are', async () => {
    const server = on.server(on.closed);
    const { application, secret } = on.closed;
    const body = `AT=jtok&AK=${application}&PK=${secret}&TTL=1400&TP=2&PVT=1&jm:*=r&jw=wp`;
    assert.equal((await server.post('/authenticate', new TextEncoder().encode(body), null)).status, 201);
    // The PHP SDK's own sample says a time where the private flag is.
    assert.equal((await server.post('/authenticate', body.replace('PVT=1', 'PVT=180000'))).status, 201);
    const client = await on.client('node').connected(on.closed, 'jtok');
    await client.subscribed('jm:x');
    assert.equal((await server.post('/authenticate', `AT=a&AK=${application}&PK=${secret}&TTL=x`)).status, 400);
  });

  test('authentication is off by default, is shown, and closes what was open when it is switched on', async () => {
    const app = await realtimeApp(on.cluster, { settings: {} });
    const shown = await on.cluster.admin().call('GET', `/v1/apps/${app.id}`);
    assert.equal(shown.effective_settings.realtime_authentication, false);
    const client = await on.client('node').connected(app);
    await client.subscribed('c');
    await on.cluster.admin().patchApp(app.id, { settings: { realtime_authentication: true } });
    await client.event('unsubscribed c');
    const other = on.client('node').connect(app, 'any');
    await other.error(/Invalid connection\./);
  });
}

function presence(on) {
  test('enable, count across nodes, disable; with metadata and without', async () => {
    const channel = fresh('pres');
    const server = on.server(on.open);
    const [error, text] = await server.presence('enable', channel);
    assert.equal(error, null);
    assert.match(String(text), /enabled/);
    const clients = [];
    for (const metadata of ['ann', 'bob', 'bob']) {
      clients.push(await (await on.client('node', { metadata }).connected(on.open)).subscribed(channel));
    }
    clients.push(await (await on.client('browser', { metadata: 'web' }).connected(on.open)).subscribed(channel));
    const wanted = { subscriptions: 4, metadata: { ann: 1, bob: 2, web: 1 } };
    for (const asker of [clients[0], clients[3]]) {
      await until(async () => {
        const found = await asker.presence(channel);
        return found?.subscriptions === 4 && Object.keys(found.metadata).length === 3;
      }, 'everyone is counted');
      const found = await asker.presence(channel);
      assert.equal(JSON.stringify(Object.entries(found.metadata).sort()), JSON.stringify(Object.entries(wanted.metadata)));
    }
    clients[1].close();
    await until(async () => (await clients[0].presence(channel)).metadata.bob === 1, 'one bob has left');
    await server.presence('disable', channel);
    assert.equal(await clients[0].presence(channel), null);
    await server.presence('enable', channel, { metadata: false });
    assert.deepEqual(JSON.parse(JSON.stringify(await clients[0].presence(channel))), { subscriptions: 3, metadata: {} });
    const [refused] = await server.presence('enable', channel, { key: 'wrong' });
    assert.match(String(refused), /Invalid private key/);
  });

  test('a JSON body is taken, JSONP is answered, and reading needs `p` where tokens count', async () => {
    const server = on.server(on.closed);
    const { application, secret } = on.closed;
    const body = JSON.stringify({ privatekey: secret, metadata: 1 });
    assert.equal((await server.post(`/presence/enable/${application}/room:a`, body, 'application/json')).status, 200);
    await server.authenticate('watch', { 'room:a': 'rp' });
    await server.authenticate('blind', { 'room:a': 'r' });
    const get = (token, query = '') => fetch(`${on.url()}/presence/${application}/${token}/room:a${query}`);
    assert.equal(await (await get('watch')).text(), 'null');
    assert.equal((await get('blind')).status, 401);
    assert.equal(await (await get('watch', '?callback=ortcJsonp1')).text(), 'ortcJsonp1({"content":null});');
    const refused = await get('blind', '?callback=ortcJsonp2');
    assert.equal(refused.status, 200);
    assert.match(await refused.text(), /^ortcJsonp2\(\{"error":"No permission to presence-read"\}\);$/);
    const reader = await (await on.client('node').connected(on.closed, 'watch')).subscribed('room:a');
    assert.equal((await reader.presence('room:a')).subscriptions, 1);
  });
}

function across(on) {
  test('REST send: whole parts and bare texts', async () => {
    const channel = fresh('rest');
    const client = await (await on.client('node').connected(on.open)).subscribed(channel);
    const server = on.server(on.open);
    const { application, secret } = on.open;
    const send = (path, message, key = secret) =>
      server.post(path, `AK=${application}&PK=${key}&AT=t&C=${channel}&M=${encodeURIComponent(message)}`);
    assert.equal((await send('/send/', '12345678_1-1_from php')).status, 201);
    await client.message(channel, 'from php');
    assert.equal((await send('/send', 'from .NET')).status, 201);
    await client.message(channel, 'from .NET');
    assert.equal((await send('/send', 'x', 'wrong')).status, 401);
  });

  test('one app, two dialects: what a grant allows in one reaches the other, and nothing else is open', async () => {
    const app = await realtimeApp(on.cluster, { protocols: ['realtime', 'pusher'], authentication: true });
    await on.server(app).authenticate('tok', { 'private-x': 'w' });
    const client = await (await on.client('node').connected(app, 'tok')).subscribed('private-x');
    const tab = await new Tab(on.url(), app).subscribed('private-x');
    client.send('private-x', 'from ortc');
    const got = await tab.next((item) => item.data === 'from ortc', 'the message');
    assert.equal(got.event, 'message');
    await serverSdk(on.url(), app).trigger('private-x', 'e', { n: 1 });
    await client.message('private-x', '{"n":1}');
    const open = await realtimeApp(on.cluster, { protocols: ['realtime', 'pusher'] });
    const guest = await on.client('node').connected(open);
    guest.ortc.subscribe('private-x', true, () => {});
    await guest.error(/No permission to subscribe/);
  });
}

function rawFrames(on) {
  const raw = (prefix = '') => RawSocket.open(on.url(), `${prefix}/broadcast/042/abcd_123/websocket`, { parse: (text) => text });
  const told = (socket, text) => socket.events.next((one) => one === text, text);

  test('the handshake and every frame are the bytes that regex clients match', async () => {
    const socket = await raw('/server/2.1');
    assert.equal(socket.status, 101);
    assert.match(socket.head, /\r\nUpgrade: websocket/i);
    assert.ok(/\r\nUpgrade: /.test(socket.head) && /\r\nConnection: Upgrade(\r|$)/.test(socket.head), socket.head);
    await told(socket, 'o');
    const { application } = on.open;
    const channel = fresh('raw');
    // Python: a bare string, a semicolon behind the metadata.
    socket.send(JSON.stringify(`validate;${application};pt;;VMxsF6gT0ebeZLA3;py;meta;`));
    await told(socket, String.raw`a["{\"op\":\"ortc-validated\",\"up\":null,\"set\":30}"]`);
    socket.send(JSON.stringify([`subscribe;${application};pt;${channel};`]));
    await told(socket, String.raw`a["{\"op\":\"ortc-subscribed\",\"ch\":\"${channel}\"}"]`);
    socket.send(JSON.stringify(`send;${application};pt;${channel};;69981d4a_1-1_hello "q" \\ \n é 😀;x`));
    await told(socket, String.raw`a["{\"ch\":\"${channel}\",\"m\":\"69981d4a_1-1_hello \\\"q\\\" \\\\ \\n é 😀;x\"}"]`);
    socket.write(frame(1, `"send;${application};pt;${channel};;aaaaaaaa_1-2_x\\ud83d"`));
    await told(socket, String.raw`a["{\"ch\":\"${channel}\",\"m\":\"aaaaaaaa_1-2_x\\ud83d\"}"]`);
    socket.send(JSON.stringify(`subscribefilter;${application};pt;f${channel};;message.a ~ 1`));
    const refused = await socket.events.next((one) => one.includes('Invalid filter'), 'a refusal');
    assert.ok(refused.startsWith(String.raw`a["{\"op\":\"ortc-error\",\"ex\":{\"op\":\"subscribe\",\"ch\":\"f${channel}\",\"ex\":\"`));
    socket.send(JSON.stringify(`unsubscribe;${application};${channel}`));
    await told(socket, String.raw`a["{\"op\":\"ortc-unsubscribed\",\"ch\":\"${channel}\"}"]`);
    socket.close();
  });

  // What each SDK that is not run writes, in its own frames and fields; all match the same bytes in return.
  const FAMILIES = {
    Android: { validate: 'jt;;;meta;15;3;', subscribe: 'null', options: 'SID;;H;', heartbeat: 'b' },
    Python: { validate: 'jt;;VMxsF6gT0ebeZLA3;py;meta;', subscribe: '' },
    Go: { validate: 'jt;;;go', subscribe: '' },
    C: { validate: 'jt;;;meta;15;3;', subscribe: '', heartbeat: 'b' },
    '.NET': { validate: 'jt;;;meta;15;3', subscribe: '', heartbeat: 'b' },
    '.NET Core': { validate: 'jt;;;meta;15;3', options: ';;;H;', heartbeat: 'b' },
    iOS: { validate: 'jt;;;meta;15;3;', subscribe: '(null)', options: 'SID;TOKEN;Apns;H;', heartbeat: 'b' },
    Ruby: { validate: 'jt;;;rb', subscribe: '' },
    'push notifications': { validate: 'jt;;;x', subscribe: 'null;REGID;GCM' },
  };
  for (const [family, { validate, subscribe, options, heartbeat }] of Object.entries(FAMILIES)) {
    test(`${family}: its commands, and the bytes it matches`, async () => {
      const socket = await raw();
      const { application } = on.open;
      const channel = fresh('golden');
      const say = (command) => socket.send(`"${command}"`);
      await told(socket, 'o');
      say(`validate;${application};${validate}`);
      await told(socket, String.raw`a["{\"op\":\"ortc-validated\",\"up\":null,\"set\":30}"]`);
      if (heartbeat) say(heartbeat);
      if (subscribe !== undefined) {
        say(`subscribe;${application};jt;${channel};${subscribe}`);
        await told(socket, String.raw`a["{\"op\":\"ortc-subscribed\",\"ch\":\"${channel}\"}"]`);
        say(`send;${application};jt;${channel};${subscribe.split(';')[0]};0a1b2c3d_1-1_é 😀`);
        await told(socket, String.raw`a["{\"ch\":\"${channel}\",\"m\":\"0a1b2c3d_1-1_é 😀\"}"]`);
        say(`unsubscribe;${application};${channel}`);
        await told(socket, String.raw`a["{\"op\":\"ortc-unsubscribed\",\"ch\":\"${channel}\"}"]`);
        // Some put a filter in without escaping its quotes.
        say(`subscribefilter;${application};jt;f${channel};${subscribe.split(';')[0]};message.a = "x"`);
        await told(socket, String.raw`a["{\"op\":\"ortc-subscribed\",\"ch\":\"f${channel}\"}"]`);
        say(`send;${application};jt;f${channel};;0a1b2c3d_1-1_{\\"a\\":\\"x\\"}`);
        await told(socket, String.raw`a["{\"ch\":\"f${channel}\",\"f\":true,\"m\":\"0a1b2c3d_1-1_{\\\"a\\\":\\\"x\\\"}\"}"]`);
      }
      if (options) {
        say(`subscribeoptions;${application};jt;o${channel};${options}`);
        await told(socket, String.raw`a["{\"op\":\"ortc-subscribed\",\"ch\":\"o${channel}\"}"]`);
        say(`publish;${application};jt;o${channel};0;H;0a1b2c3e_1-1_kept`);
        const ack = await socket.events.next((one) => one.includes('ortc-ack'), 'the acknowledgement');
        assert.match(ack, /^a\["\{\\"op\\":\\"ortc-ack\\",\\"m\\":\\"0a1b2c3e\\",\\"p\\":1,\\"seq\\":\\"\d+\\"\}"\]$/);
        const got = await socket.events.next((one) => one.includes('_1-1_kept'), 'the message');
        const bare = String.raw`a["{\"ch\":\"o${channel}\",\"m\":\"0a1b2c3e_1-1_kept\"}"]`;
        // With a subscriber's id a place is kept, and each message has its number, as a string.
        if (options.startsWith('SID')) assert.match(got, /,\\"s\\":\\"\d+\\"\}"\]$/);
        else assert.equal(got, bare);
      }
      socket.close();
    });
  }

  test('a refused connection is told why and closed', async () => {
    const socket = await raw();
    socket.send(JSON.stringify(`validate;${on.closed.application};nobody;;;`));
    await told(socket, String.raw`a["{\"op\":\"ortc-error\",\"ex\":{\"op\":\"validate\",\"ex\":\"Invalid connection.\"}}"]`);
    assert.equal((await socket.end()).code, 1008);
    socket.close();
  });

  test('rubbish, at any time, keeps the node', async () => {
    for (const bytes of ['', '"', '[[[[', '"validate"', '"validate;;;;;"', '["send;a"]', '\u0000', `"${'x'.repeat(10_000)}"`]) {
      const socket = await raw();
      socket.send(bytes);
      socket.close();
    }
    await on.client('node').connected(on.open);
  });
}

function drafts(on) {
  const PATH = '/broadcast/7/0a1b2c3d/websocket';
  const JAVA = [
    'Upgrade: WebSocket',
    'Connection: Upgrade',
    'Connection: keep-alive',
    'Origin: http://127.0.0.1',
    'Sec-WebSocket-Key1: 4 @1  46546xW%0l 1 5',
    'Sec-WebSocket-Key2: 12998 5 Y3 1  .P00',
  ];
  const told = (client, text) => client.frames.next((one) => one === text, text);

  test('hixie-76, as the Java SDK speaks it: the handshake and the frames, byte for byte', async () => {
    const client = await RawHixie.open(on.url(), PATH, { lines: JAVA });
    const { head, digest } = await client.heads.next(() => true, 'the answer');
    assert.equal(
      head,
      'HTTP/1.1 101 WebSocket Protocol Handshake\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\n' +
        `Sec-WebSocket-Origin: http://127.0.0.1\r\nSec-WebSocket-Location: ws://127.0.0.1${PATH}\r\n\r\n`,
    );
    const numbers = Buffer.alloc(16);
    numbers.writeUInt32BE(829309203, 0);
    numbers.writeUInt32BE(259970620, 4);
    assert.equal(digest.toString('hex'), createHash('md5').update(numbers).digest('hex'));
    await told(client, 'o');
    const { application } = on.open;
    const channel = fresh('java');
    client.send(`"validate;${application};jt;;;{\\"u\\":\\"ja\\"}"`);
    await told(client, String.raw`a["{\"op\":\"ortc-validated\",\"up\":null,\"set\":30}"]`);
    client.send(`"subscribe;${application};jt;${channel};null"`);
    await told(client, String.raw`a["{\"op\":\"ortc-subscribed\",\"ch\":\"${channel}\"}"]`);
    client.send(`"send;${application};jt;${channel};null;0a1b2c3d_1-1_é 😀 \\"q\\""`);
    await told(client, String.raw`a["{\"ch\":\"${channel}\",\"m\":\"0a1b2c3d_1-1_é 😀 \\\"q\\\"\"}"]`);
    // What others send reaches it in its framing, and what it sends reaches them.
    const other = await on.client('node').connected(on.open);
    await other.subscribed(channel);
    other.send(channel, 'from node');
    await client.frames.next((one) => one.includes('from node'), 'from node');
    client.send(`"send;${application};jt;${channel};null;0a1b2c3e_1-1_from java"`);
    await other.message(channel, 'from java');
    client.socket.write(Buffer.of(0xff, 0x00));
    assert.equal(await client.ends.next(() => true, 'the close'), 'ff00');
  });

  test('hixie-76: a challenge that comes late, a refusal, and rubbish', async () => {
    const late = await RawHixie.open(on.url(), PATH, { lines: JAVA, cut: true });
    await told(late, 'o');
    late.send(`"validate;${on.closed.application};nobody;;;"`);
    await told(late, String.raw`a["{\"op\":\"ortc-error\",\"ex\":{\"op\":\"validate\",\"ex\":\"Invalid connection.\"}}"]`);
    await late.ends.next((end) => end === 'ff00', 'the close');
    const rude = await RawHixie.open(on.url(), PATH, { lines: JAVA });
    await told(rude, 'o');
    rude.socket.write(Buffer.from([0x80, 0x05, 1, 2]));
    await rude.ends.next(() => true, 'the end');
  });

  test('hixie-75, as the Lua SDK reads it: six lines in their order', async () => {
    const lines = ['Upgrade: WebSocket', 'Connection: Upgrade', 'Origin: http://127.0.0.1'];
    const client = await RawHixie.open(on.url(), PATH, { lines, challenge: Buffer.alloc(0) });
    const { head } = await client.heads.next(() => true, 'the answer');
    assert.deepEqual(head.split('\r\n').slice(1, -1), [
      'Upgrade: WebSocket',
      'Connection: Upgrade',
      'WebSocket-Origin: http://127.0.0.1',
      `WebSocket-Location: ws://127.0.0.1${PATH}`,
      '',
    ]);
    await told(client, 'o');
    client.close();
  });
}

function nodeLoss(on) {
  test('a node without its majority turns clients away at their own pace, and not for good', async () => {
    // After `Server is too busy` the Node SDK comes back without a pause; after a bare close the browser's goes over to TLS for good.
    const attempts = [];
    const said = [];
    const gate = createServer((socket) => {
      const onward = connect(Number(new URL(on.cluster.urls[0]).port), '127.0.0.1');
      for (const [from, to] of [[socket, onward], [onward, socket]]) from.on('error', () => to.destroy()).pipe(to);
      socket.once('data', (head) => /^GET .*websocket/.test(head.toString('latin1')) && attempts.push(Date.now()));
      onward.on('data', (bytes) => said.push(bytes.toString('latin1')));
    });
    gate.listen(0, '127.0.0.1');
    await once(gate, 'listening');
    const url = `http://127.0.0.1:${gate.address().port}`;
    const server = new AppServer(on.cluster.urls[0], on.closed);
    await server.authenticate('patient', { ch: 'w' });
    await Promise.all([on.cluster.kill(2), on.cluster.kill(3)]);
    let clients = [];
    try {
      await until(async () => (await fetch(`${on.cluster.adminUrls[0]}/ready`)).status === 503, 'node 1 knows that it is alone');
      clients = KINDS.flatMap((kind) => [on.open, on.closed].map((app) => new Client(kind, url).connect(app, 'patient')));
      await new Promise((resolve) => setTimeout(resolve, 12_000));
      assert.ok(attempts.length >= clients.length && attempts.length <= 4 * clients.length, `${attempts.length} attempts of ${clients.length} clients`);
      assert.ok(clients.every((client) => client.events.all((event) => event === 'Connected').length === 0));
    } finally {
      await Promise.all([on.cluster.startNode(2), on.cluster.startNode(3)]);
    }
    for (const client of clients) {
      await client.events.next((event) => /^(C|Rec)onnected$/.test(event), `${client.name} gets in`, 60_000);
    }
    assert.doesNotMatch(said.join(''), /Unable to connect|Invalid connection/);
    assert.match(said.join(''), /Server is too busy/);
    const told = clients.filter((client) => client.errors.all((error) => error.includes('too busy')).length > 0);
    assert.deepEqual([...new Set(told.map((client) => client.kind))], ['browser']);
    closeClients();
    gate.close();
  });

  test('a place outlives the node its subscriber was at, and the messages their home', async () => {
    const channel = fresh('loss');
    const away = await new Client('node', on.cluster.urls[2]).connected(on.open);
    await away.buffered(channel, 'survivor');
    const publisher = await new Client('node', on.cluster.urls[0]).connected(on.open);
    await publisher.publish(channel, 'first');
    await away.message(channel, 'first');
    away.close();
    await publisher.publish(channel, 'while away');
    await on.cluster.kill(3);
    try {
      const back = await new Client('node', on.cluster.urls[1]).connected(on.open);
      await back.buffered(channel, 'survivor');
      await back.message(channel, 'while away');
    } finally {
      await on.cluster.startNode(3);
    }
  });
}
