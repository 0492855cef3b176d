// Presence obeys rights: who is told where a client is, who may take a member out, who may speak for her. Raw requests
// under every kind of credential over two nodes; the members are those of three dialects.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Client as Ably, closeClients as closeAbly, keyOf } from './lib/ably.mjs';
import { Cluster, appOf } from './lib/cluster.mjs';
import { Client as PubNub, closeClients } from './lib/pubnub.mjs';
import { rawPusher, sign } from './lib/raw.mjs';
import { until } from './lib/wait.mjs';

let cluster;
let app;
let unique = 0;
const fresh = (prefix) => `${prefix}-${(unique += 1)}`;
const url = (n) => cluster.urls[n % 2];

before(async () => {
  cluster = await Cluster.start({ nodes: 2 });
  const made = await cluster.admin(1).createApp({
    name: 'presence',
    protocols: ['pusher', 'ably', 'pubnub', 'realtime'],
    settings: { client_events: true, user_sign_in: true, grants_open_channels: true },
    keys: [{ name: 'server' }],
  });
  app = appOf(made);
});
after(async () => {
  closeAbly();
  closeClients();
  await cluster?.stop();
});

/** A presence call; `with_` is `{uuid, auth}` or nothing. */
async function call(node, path, with_ = {}) {
  const query = new URLSearchParams(with_);
  const answer = await fetch(`${url(node)}/v2/presence/sub-key/${app.subscribeKey}/${path}?${query}`);
  const text = await answer.text();
  return { status: answer.status, body: text.startsWith('{') ? JSON.parse(text) : text };
}

const READ = ['subscribe', 'presence', 'presence-read', 'history'];
const grant = (token, channel, operations = READ) => cluster.server(1, app).grant(app.id, { token }, [{ pattern: channel, operations }]);

/** A token by the app's server that names its user. */
async function token(uuid, channels) {
  const server = new PubNub(url(0), app, { uuid: 'server', server: true });
  const resources = { channels: Object.fromEntries(channels.map((name) => [name, { read: true }])) };
  return server.sdk.grantToken({ ttl: 5, authorized_uuid: uuid, resources });
}

/** The members that the operator sees there. */
async function members(channel) {
  const { members: all } = await cluster.admin(1).call('GET', `/v1/apps/${app.id}/channels/${encodeURIComponent(channel)}/members`);
  return all.map((one) => one.client).sort();
}

const enters = async (node, channel, who) => {
  assert.equal((await call(node, `channel/${channel}/heartbeat`, { ...who, heartbeat: 300 })).status, 200);
  await until(async () => (await members(channel)).includes(who.uuid), `${who.uuid} is on ${channel}`);
};

test('where a client is is told to whom her channels are open, whatever dialect she speaks', async () => {
  const [board, vote, desk] = [fresh('board'), fresh('presence-vote'), fresh('desk')];
  const boss = new Ably(url(0), { key: keyOf(app), clientId: 'boss' });
  await boss.sdk.channels.get(board).presence.enter('here');
  const pusher = await rawPusher(url(1), app.key);
  const data = JSON.stringify({ user_id: 'boss' });
  pusher.send({ event: 'pusher:subscribe', data: { channel: vote, auth: sign(app, pusher.socketId, vote, data), channel_data: data } });
  await pusher.event('pusher_internal:subscription_succeeded');
  const hers = fresh('k');
  await grant(hers, desk);
  await enters(0, desk, { uuid: 'boss', auth: hers });
  await until(async () => (await members(board)).length === 1 && (await members(vote)).length === 1, 'she is everywhere');

  const where = async (node, with_) => {
    const { status, body } = await call(node, 'uuid/boss', with_);
    assert.equal(status, 200, JSON.stringify(body));
    return body.payload.channels.sort();
  };
  for (const node of [0, 1]) {
    assert.deepEqual(await where(node, { uuid: 'anyone' }), [], 'nobody in particular');
    assert.deepEqual(await where(node, { uuid: 'boss' }), [], 'her name alone proves nothing');
    assert.deepEqual(await where(node, { uuid: 'x', auth: fresh('k') }), [], 'an auth key without a right');
  }
  const looker = fresh('k');
  await grant(looker, board, ['presence-read']);
  assert.deepEqual(await where(1, { uuid: 'x', auth: looker }), [board], 'granted a moment ago through the other node');
  const writer = fresh('k');
  await grant(writer, board, ['publish', 'subscribe']);
  assert.deepEqual(await where(0, { uuid: 'x', auth: writer }), [], 'subscribing is not seeing who is there');
  // Her own token tells where it has entered her itself; what its key did not open stays closed.
  const own = await token('boss', [desk]);
  assert.deepEqual(await where(0, { uuid: 'boss', auth: own }), [desk]);
  const other = await token('eve', [board]);
  assert.deepEqual(await where(0, { uuid: 'eve', auth: other }), [board], 'a token of another uuid sees what it may read');
  const stranger = await call(0, 'uuid/boss', { uuid: 'boss', auth: other });
  assert.equal(stranger.status, 403, 'a token of another uuid in her name');
  boss.close();
  pusher.close();
});

test('a member goes by the credential that entered her, through any node, and by nobody else', async () => {
  const channel = fresh('room');
  const [hers, his] = [fresh('k'), fresh('k')];
  await grant(hers, channel);
  await grant(his, channel);
  await enters(0, channel, { uuid: 'victim', auth: hers });
  const leave = (node, with_) => call(node, `channel/${channel}/leave`, with_);
  for (const node of [0, 1]) {
    assert.equal((await leave(node, { uuid: 'victim' })).status, 403, 'nobody');
    assert.equal((await leave(node, { uuid: 'victim', auth: fresh('k') })).status, 403, 'no right');
    assert.equal((await leave(node, { uuid: 'victim', auth: await token('eve', [channel]) })).status, 403, 'the token of another');
    assert.equal((await leave(node, { uuid: 'victim', auth: his })).status, 200, 'he lets go of what he entered: nothing');
    assert.deepEqual(await members(channel), ['victim']);
  }
  assert.equal((await leave(1, { uuid: 'victim', auth: hers })).status, 200);
  assert.deepEqual(await members(channel), []);

  // Entered under a token that names her; a token of another uuid and an auth key with the right fail the same way.
  const own = await token('victim', [channel]);
  await enters(1, channel, { uuid: 'victim', auth: own });
  await leave(0, { uuid: 'victim', auth: his });
  assert.deepEqual(await members(channel), ['victim']);
  const renewed = await token('victim', [channel, fresh('another')]);
  assert.equal((await leave(0, { uuid: 'victim', auth: renewed })).status, 200, 'her renewed token is still hers');
  assert.deepEqual(await members(channel), []);

  // A right that has ended does not keep her there.
  await enters(1, channel, { uuid: 'victim', auth: hers });
  await cluster.server(1, app).deleteGrants(app.id, { token: hers });
  assert.equal((await leave(1, { uuid: 'victim', auth: hers })).status, 200);
  assert.deepEqual(await members(channel), []);
  assert.equal((await leave(1, { uuid: 'victim', auth: hers })).status, 403);
});

test('a token that names its user enters, and speaks for, no other', async () => {
  const channel = fresh('room');
  const hers = await token('victim', [channel]);
  await enters(0, channel, { uuid: 'victim', auth: hers });
  const say = (node, path, state, with_) => call(node, `channel/${channel}/uuid/${path}/data`, { ...with_, state: JSON.stringify(state) });
  assert.equal((await say(0, 'victim', { mood: 'fine' }, { uuid: 'victim', auth: hers })).status, 200);
  const bob = await token('bob', [channel]);
  for (const node of [0, 1]) {
    for (const name of ['ceo', 'victim']) {
      assert.equal((await say(node, name, { mood: 'forged' }, { uuid: 'bob', auth: bob })).status, 403, name);
      assert.equal((await say(node, name, { mood: 'forged' }, { uuid: name, auth: bob })).status, 403, name);
    }
    assert.equal((await say(node, 'victim', { mood: 'forged' }, { uuid: 'victim' })).status, 403, 'nobody');
    assert.equal((await call(node, `channel/${channel}/heartbeat`, { uuid: 'ceo', auth: bob })).status, 403);
  }
  assert.deepEqual(await members(channel), ['victim']);
  const reads = (with_) => call(1, `channel/${channel}/uuid/victim`, with_);
  assert.deepEqual((await reads({ uuid: 'bob', auth: bob })).body.payload, { mood: 'fine' });
  assert.equal((await reads({ uuid: 'x' })).status, 403);
  // An auth key is no name: what it says of itself stands behind what her token says of her.
  const key = fresh('k');
  await grant(key, channel);
  assert.equal((await say(1, 'victim', { mood: 'forged' }, { uuid: 'victim', auth: key })).status, 200);
  assert.deepEqual((await reads({ uuid: 'bob', auth: bob })).body.payload, { mood: 'fine' });
});

test('the SDK leaves by itself what it entered', async () => {
  const channel = fresh('room');
  const own = await token('ann', [channel]);
  const ann = new PubNub(url(0), app, { uuid: 'ann' });
  ann.sdk.setToken(own);
  await ann.hear(channel);
  await until(async () => (await members(channel)).includes('ann'), 'ann is there');
  assert.deepEqual((await ann.sdk.whereNow({ uuid: 'ann' })).channels, [channel]);
  ann.sdk.setToken(await token('ann', [channel]));
  ann.sdk.unsubscribe({ channels: [channel] });
  await until(async () => !(await members(channel)).includes('ann'), 'ann is gone');
});

test('a listing of channels leaves out those that the key may not see', async () => {
  const [flat, below] = [fresh('flat'), `${fresh('space')}:room`];
  const client = new Ably(url(0), { key: keyOf(app), clientId: 'ann' });
  for (const name of [flat, below]) await client.sdk.channels.get(name).presence.enter();
  const of = async (pattern) => {
    const capability = [{ pattern, operations: ['metadata'] }];
    const { key } = await cluster.admin(1).call('POST', `/v1/apps/${app.id}/keys`, { capability });
    const authorization = `Basic ${Buffer.from(`${app.id}.${key.id}:${key.secret}`).toString('base64')}`;
    const answer = await fetch(`${url(1)}/channels?by=id&limit=1000`, { headers: { authorization } });
    const body = await answer.json();
    return Array.isArray(body) ? body.filter((name) => [flat, below].includes(name)).sort() : body.error.code;
  };
  await until(async () => (await of('*')).length === 2, 'both are occupied');
  // It covers the name that stands for all when the listing is asked for, and still not all of them.
  assert.deepEqual(await of('/^[^:]+$/'), [flat]);
  assert.equal(await of(flat), 40160, 'who may see single channels lists none');
  client.close();
});
