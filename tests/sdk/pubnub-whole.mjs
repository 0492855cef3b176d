// PubNub beyond its main path, as one suite over any number of nodes: every level of grants, their precedence, signatures and their
// window, wildcards, intervals, the old subscribe, packed bodies, limits, what browsers ask first, and other dialects beside it.

import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { after, afterEach, before, describe, test } from 'node:test';
import { deflateSync, gzipSync } from 'node:zlib';
import { Cluster } from './lib/cluster.mjs';
import { Client, AppServer, closeClients } from './lib/realtime.mjs';
import { until, within } from './lib/wait.mjs';
import { client, closeAll, keyset, listen, refused } from './pubnub-path.mjs';

let unique = 0;
const fresh = (prefix) => `${prefix}-${(unique += 1)}`;
const seconds = () => Math.floor(Date.now() / 1000);

/** A call without an SDK: status, headers, and the body parsed. */
async function raw(url, path, query = {}, { method = 'GET', body, headers } = {}) {
  const search = new URLSearchParams({ uuid: 'raw', ...query }).toString().replaceAll('+', '%20');
  const response = await fetch(`${url}${path}?${search}`, { method, body, headers });
  const text = await response.text();
  return { status: response.status, headers: response.headers, text, json: text === '' ? undefined : JSON.parse(text) };
}

const strict = (text) => encodeURIComponent(text).replace(/[!'()*~]/g, (one) => `%${one.charCodeAt(0).toString(16).toUpperCase()}`);

/** The query with a v2 signature over it, as an app server sends it. */
function signed(keys, path, query, { method = 'GET', body = '', secret = keys.secretKey } = {}) {
  const all = { uuid: 'raw', timestamp: seconds(), ...query };
  const canonical = Object.keys(all)
    .sort()
    .map((name) => `${name}=${strict(String(all[name]))}`)
    .join('&');
  const text = [method, keys.publishKey, path, canonical, body].join('\n');
  return { ...all, signature: `v2.${createHmac('sha256', secret).update(text).digest('base64url')}` };
}

/** Defines the suite over a cluster of this many nodes. */
export function pubnubWhole(nodes) {
  describe(`PubNub, whole, over ${nodes === 1 ? 'one node' : `${nodes} nodes`}`, () => {
    let cluster;
    let keys;
    let turn = 0;
    const url = () => cluster.urls[(turn += 1) % nodes];
    before(async () => {
      cluster = await Cluster.start({ nodes });
      keys = await keyset(cluster, { protocols: ['pusher', 'pubnub', 'realtime'] });
    });
    afterEach(() => {
      closeAll();
      closeClients();
    });
    after(() => cluster?.stop());

    const admin = (more) => client(url(), keys, { uuid: 'admin', server: true, ...more });
    const on = {
      url,
      nodes,
      admin,
      cluster: () => cluster,
      keys: () => keys,
      user: (auth, more) => client(url(), keys, { authKey: auth, ...more }),
      grant: (auth, channels, flags = {}) => admin().grant({ channels, authKeys: auth ? [auth] : [], ttl: 5, read: true, write: true, ...flags }),
    };
    levels(on);
    tokens(on);
    signatures(on);
    ends(on);
    wildcards(on);
    presence(on);
    wire(on);
    limits(on);
    dialects(on);
  });
}

function levels({ admin, user, grant, url, keys }) {
  /** A grant whose answer counts: the JavaScript SDK drops it. */
  const given = async (flags) => {
    const path = `/v2/auth/grant/sub-key/${keys().subscribeKey}`;
    const { status, json } = await raw(url(), path, signed(keys(), path, { r: 0, w: 0, m: 0, d: 0, g: 0, u: 0, j: 0, ...flags }));
    assert.deepEqual([status, json.message, json.payload.subscribe_key], [200, 'Success', keys().subscribeKey]);
    return json.payload;
  };
  const says = async (pubnub, channel) => (await refused(pubnub.publish({ channel, message: 1 }))).status;

  test('a grant to the whole keyset opens every channel, and ends for all', async () => {
    const [channel, pubnub] = [fresh('any'), user(fresh('k'))];
    assert.equal(await says(pubnub, channel), 403);
    try {
      const { level, r, w, m, ttl } = await given({ r: 1, w: 1, ttl: 7 });
      assert.deepEqual([level, r, w, m, ttl], ['subkey', 1, 1, 0, 7]);
      assert.equal(await says(pubnub, channel), 200);
      assert.equal((await admin().audit({})).level, 'subkey');
    } finally {
      await admin().grant({ ttl: 1 });
    }
    assert.equal(await says(pubnub, channel), 403);
    assert.equal((await given({ ttl: 99 })).ttl, 1, 'a grant of nothing says one minute, whatever was asked');
  });

  test('the wider grant decides: a channel open to everyone stays open to an auth key that lost its own', async () => {
    const [channel, auth] = [fresh('wide'), fresh('k')];
    await grant(auth, [channel]);
    await grant(undefined, [channel], { read: false });
    await grant(auth, [channel], { read: false, write: false });
    assert.equal(await says(user(auth), channel), 200);
    await grant(undefined, [channel], { read: false, write: false });
    assert.equal(await says(user(auth), channel), 403);
  });

  test('one channel and one key, several of each: the answer names what was granted, and a new grant replaces the old', async () => {
    const [one, two] = [fresh('c'), fresh('c')];
    const [k1, k2] = [fresh('k'), fresh('k')];
    const single = await given({ channel: one, auth: `${k1},${k2}`, r: 1, m: 1, ttl: 3 });
    assert.equal(single.level, 'user');
    assert.equal(single.channel, one);
    assert.deepEqual(single.auths[k1], { r: 1, w: 0, m: 1, d: 0, g: 0, u: 0, j: 0 });
    const several = await given({ channel: `${one},${two}`, auth: k1, w: 1, ttl: 3 });
    assert.equal(several.level, 'user');
    const open = await given({ channel: fresh('c'), w: 1, ttl: 3 });
    assert.equal(open.level, 'channel');
    assert.equal(several.channels[two].auths[k1].w, 1);
    const audit = await admin().audit({ channel: one, authKeys: [k1] });
    assert.deepEqual([audit.auths[k1].r, audit.auths[k1].w, audit.auths[k1].m], [0, 1, 0]);
    const whole = await admin().audit({ channel: one });
    assert.equal(whole.level, 'channel');
    assert.equal(whole.channels[one].auths[k2].r, 1);
    await admin().grant({ channels: [one], authKeys: [k1, k2], ttl: 3 });
    assert.equal(await says(user(k1), one), 403);
    assert.equal(await says(user(k1), two), 200);
  });

  test('groups have grants of their own; a group opens its channels for reading', async () => {
    const [group, channel, auth] = [fresh('g'), fresh('c'), fresh('k')];
    const payload = await given({ 'channel-group': group, auth, m: 1, ttl: 5 });
    assert.equal(payload.level, 'channel-group+auth');
    assert.equal(payload['channel-groups'], group);
    assert.equal((await given({ 'channel-group': fresh('g'), r: 1 })).level, 'channel-group');
    const pubnub = user(auth);
    await pubnub.channelGroups.addChannels({ channelGroup: group, channels: [channel] });
    const unread = await refused(pubnub.channelGroups.listChannels({ channelGroup: group }));
    assert.equal(unread.status, 403);
    await admin().grant({ channelGroups: [group], authKeys: [auth], read: true, ttl: 5 });
    assert.deepEqual((await user(auth).channelGroups.listChannels({ channelGroup: group })).channels, [channel]);
    assert.equal((await refused(user(auth).channelGroups.addChannels({ channelGroup: group, channels: ['x'] }))).status, 403);
    const audit = await admin().audit({ channelGroup: group, authKeys: [auth] });
    assert.equal(audit.level, 'channel-group+auth');
    assert.equal(audit['channel-group'], group);
    assert.equal(audit.auths[auth].r, 1);
    const heard = await listen(user(auth), [], { groups: [group] });
    await heard.is('PNConnectedCategory');
    await admin().publish({ channel, message: 'through' });
    await heard.message((event) => event.message === 'through');
  });

  test('uuid grants need an auth key and stand alone', async () => {
    const auth = fresh('k');
    await admin().grant({ uuids: ['u1'], authKeys: [auth], get: true, update: true, ttl: 5 });
    const { level, uuids } = await given({ 'target-uuid': 'u1', auth, g: 1, u: 1, ttl: 5 });
    assert.equal(level, 'uuid');
    assert.deepEqual([uuids.u1.auths[auth].g, uuids.u1.auths[auth].u], [1, 1]);
    const path = `/v2/auth/grant/sub-key/${keys().subscribeKey}`;
    for (const [query, why] of [[{ auth }, /Auth-only/], [{ 'target-uuid': 'u1' }, /auth/], [{ 'target-uuid': 'u1', auth, channel: 'c' }, /alone/]]) {
      const { status, json } = await raw(url(), path, signed(keys(), path, { ...query, r: 1, ttl: 5 }));
      assert.equal(status, 400);
      assert.match(json.message, why);
    }
  });

  test('a wildcard grant is one level and everything below it', async () => {
    const [root, auth] = [fresh('w'), fresh('k')];
    await grant(auth, [`${root}.*`]);
    const pubnub = user(auth);
    assert.equal(await says(pubnub, `${root}.a`), 200);
    assert.equal(await says(pubnub, `${root}.a.b`), 200);
    assert.equal(await says(pubnub, root), 403);
    assert.equal(await says(pubnub, `${root}x`), 403);
    await grant(auth, [`${root}.*`], { read: false, write: false });
    assert.equal(await says(pubnub, `${root}.a`), 403);
  });
}

function tokens({ admin, url, keys }) {
  const wrong = async (body) => {
    const path = `/v3/pam/${keys().subscribeKey}/grant`;
    const text = JSON.stringify(body);
    const query = signed(keys(), path, {}, { method: 'POST', body: text });
    const { status, json } = await raw(url(), path, query, { method: 'POST', body: text });
    assert.equal(json.status, status);
    assert.equal(json.error.source, 'grant');
    const [{ message, location, locationType }] = json.error.details;
    return [status, json.error.message, message, location, locationType];
  };
  const permissions = (uuids, patterns = {}) => ({ resources: { channels: {}, groups: {}, uuids }, patterns: { channels: {}, groups: {}, uuids: patterns }, meta: {} });

  test('what is wrong with a token request is said in the words of v3', async () => {
    const RANGE = 'Range should be 1 to 43200 minute(s).';
    for (const ttl of [0, 43_201, 'x']) {
      assert.deepEqual(await wrong({ ttl, permissions: permissions({ u: 1 }) }), [400, 'Invalid ttl', RANGE, 'ttl', 'body']);
    }
    const at = 'permissions.resources.uuids.uuid-1';
    const negative = `Unexpected value: \`${at}\` must be positive and non-zero.`;
    assert.deepEqual(await wrong({ ttl: 1, permissions: permissions({ 'uuid-1': -1 }) }), [400, 'Invalid permissions', negative, at, 'body']);
    const repeat = await wrong({ ttl: 1, permissions: permissions({}, { '!<[^>]+>++': 1 }) });
    assert.deepEqual([repeat[0], repeat[1], repeat[3]], [400, 'Invalid RegExp', 'permissions.patterns.uuids.!<[^>]+>++']);
    const capture = 'Only non-capturing groups are allowed. Try replacing `(` with `(?:`.';
    const pattern = '(!<[^>]+>)+';
    assert.deepEqual(await wrong({ ttl: 1, permissions: permissions({}, { [pattern]: 1 }) }), [400, 'Invalid RegExp', capture, `permissions.patterns.uuids.${pattern}`, 'body']);
    assert.deepEqual(await wrong({ ttl: 1, permissions: permissions({}) }), [400, 'This grant contains no permissions', 'What are you granting?', 'permissions', 'body']);
  });

  test('a token that is none cannot be revoked, and a stranger revokes nothing', async () => {
    const none = await refused(admin().revokeToken('not-a-token'));
    assert.equal(none.status, 400);
    const token = await admin().grantToken({ ttl: 1, resources: { channels: { a: { read: true } } } });
    const path = `/v3/pam/${keys().subscribeKey}/grant/${strict(token)}`;
    const query = signed(keys(), path, {}, { method: 'DELETE', secret: 'sec-of-somebody-else' });
    const { status, json } = await raw(url(), path, query, { method: 'DELETE' });
    assert.equal(status, 403);
    assert.equal(json.error.source, 'revoke');
    assert.equal(json.error.message, 'Invalid signature');
  });

  test('a revoked token is told that it is revoked; an unreadable one that it is invalid', async () => {
    const token = await admin().grantToken({ ttl: 1, resources: { channels: { vault: { read: true, write: true } } } });
    await admin().revokeToken(token);
    const { subscribeKey, publishKey } = keys();
    const { status, json } = await raw(url(), `/publish/${publishKey}/${subscribeKey}/0/vault/0/1`, { auth: token });
    assert.equal(status, 403);
    assert.deepEqual(json, { error: true, status: 403, service: 'Access Manager', message: 'Token is revoked' });
    const mine = Buffer.from(token, 'base64url');
    mine[mine.length - 1] ^= 1;
    const forged = await raw(url(), `/publish/${publishKey}/${subscribeKey}/0/vault/0/1`, { auth: mine.toString('base64url') });
    assert.equal(forged.status, 403);
  });
}

function signatures({ url, keys, user, grant }) {
  const path = () => `/v2/auth/grant/sub-key/${keys().subscribeKey}`;
  const flags = { r: 1, w: 1, m: 0, d: 0, g: 0, u: 0, j: 0, ttl: 5 };

  test('a signature counts within sixty seconds of the cluster clock', async () => {
    const base = { ...flags, channel: fresh('time'), auth: 'k' };
    for (const [offset, wanted] of [[-75, 400], [75, 400], [-45, 200], [45, 200]]) {
      const { status, json } = await raw(url(), path(), signed(keys(), path(), { ...base, timestamp: seconds() + offset }));
      assert.equal(status, wanted, `${offset} s`);
      if (wanted === 400) assert.deepEqual(json, { message: 'Invalid Timestamp', error: true, service: 'Access Manager', status: 400 });
    }
    const { timestamp, ...untimed } = signed(keys(), path(), base);
    assert.equal((await raw(url(), path(), untimed)).status, 400, `without ${timestamp}`);
  });

  test('a wrong secret, a changed parameter and no signature are refused', async () => {
    const base = { ...flags, channel: fresh('sig'), auth: 'k' };
    const invalid = { message: 'Invalid Signature', error: true, service: 'Access Manager', status: 403 };
    const guess = await raw(url(), path(), signed(keys(), path(), base, { secret: 'guess' }));
    assert.deepEqual(guess.json, invalid);
    const changed = await raw(url(), path(), { ...signed(keys(), path(), base), channel: 'another' });
    assert.deepEqual(changed.json, invalid);
    assert.equal((await raw(url(), path(), base)).status, 403);
  });

  test('a grant that is sent again after its revoke does not bring it back', async () => {
    const [channel, auth] = [fresh('again'), fresh('k')];
    const query = signed(keys(), path(), { ...flags, channel, auth });
    assert.equal((await raw(url(), path(), query)).status, 200);
    await user(auth).publish({ channel, message: 1 });
    await grant(auth, [channel], { read: false, write: false });
    assert.equal((await raw(url(), path(), query)).status, 403, 'the same signed request');
    assert.equal((await refused(user(auth).publish({ channel, message: 1 }))).status, 403);
  });
}

function ends({ url, keys, user, grant }) {
  test('a signed publish that is sent again, even with another body, delivers nothing', async () => {
    const [channel, auth] = [fresh('twice'), fresh('k')];
    await grant(auth, [channel]);
    const heard = await listen(user(auth), [channel]);
    await heard.is('PNConnectedCategory');
    const path = `/publish/${keys().publishKey}/${keys().subscribeKey}/0/${channel}/0`;
    // As the SDKs sign a POST: like a GET without a body.
    const query = signed(keys(), path, { requestid: fresh('r') });
    const first = await raw(url(), path, query, { method: 'POST', body: '"first"' });
    const again = await raw(url(), path, query, { method: 'POST', body: '"forged"' });
    assert.deepEqual([again.status, again.json], [200, first.json], 'the answer to the first');
    await user(auth).publish({ channel, message: 'last' });
    await heard.message((event) => event.message === 'last');
    assert.deepEqual(heard.messages.map((event) => event.message), ['first', 'last']);
  });

  test('a signed change of a group counts once', async () => {
    const path = `/v1/channel-registration/sub-key/${keys().subscribeKey}/channel-group/${fresh('once')}`;
    const add = signed(keys(), path, { add: 'a', requestid: fresh('r') });
    assert.equal((await raw(url(), path, add)).status, 200);
    const remove = signed(keys(), path, { remove: 'a', requestid: fresh('r') });
    assert.equal((await raw(url(), path, remove)).status, 200);
    assert.equal((await raw(url(), path, add)).status, 403);
    assert.deepEqual((await raw(url(), path, signed(keys(), path, {}))).json.payload.channels, []);
  });

  test('an open poll is answered 403 with the name, by the revoke itself', async () => {
    const [channel, auth] = [fresh('poll'), fresh('k')];
    await grant(auth, [channel]);
    const path = `/v2/subscribe/${keys().subscribeKey}/${channel}/0`;
    const first = await raw(url(), path, { auth, tt: 0 });
    const { t, r } = first.json.t;
    assert.ok(r > 0);
    const poll = raw(url(), path, { auth, tt: t, tr: r });
    let over = false;
    poll.then(() => (over = true));
    // The poll is there once its client counts as present.
    await until(async () => (await user(undefined, { secretKey: keys().secretKey }).hereNow({ channels: [channel] })).totalOccupancy === 1, 'the poll');
    assert.equal(over, false);
    await grant(auth, [channel], { read: false, write: false });
    const { status, json } = await within(poll, 'the end of the poll', 2_000);
    assert.equal(status, 403);
    assert.deepEqual(json, { message: 'Forbidden', payload: { channels: [channel] }, error: true, service: 'Access Manager', status: 403 });
    assert.equal((await poll).headers.get('x-pn-cause'), '9999');
  });

  test('of several names only those refused are named', async () => {
    const [mine, group, auth] = [fresh('mine'), fresh('g'), fresh('k')];
    await grant(auth, [mine]);
    const { status, json } = await raw(url(), `/v2/subscribe/${keys().subscribeKey}/${mine},other,${mine}-pnpres/0`, { auth, tt: 0, 'channel-group': group });
    assert.equal(status, 403);
    assert.deepEqual(json.payload, { channels: ['other', `${mine}-pnpres`], 'channel-groups': [`:${group}`] });
  });
}

function wildcards({ nodes, url, keys, admin, user, grant, cluster }) {
  const wild = async (names, { withPresence = false } = {}) => {
    const auth = fresh('k');
    await grant(auth, [...names, ...names.map((name) => `${name}-pnpres`)]);
    const pubnub = user(auth, { uuid: auth });
    const heard = await listen(pubnub, names, { withPresence });
    await heard.is('PNConnectedCategory');
    return Object.assign(heard, { auth, pubnub });
  };

  test('`a.*` hears everything below it, from every node, once and in order', async () => {
    const root = fresh('city');
    const heard = await wild([`${root}.*`]);
    for (let n = 0; n < 12; n += 1) await admin().publish({ channel: `${root}.${n % 3}${n % 2 ? '.deep' : ''}`, message: n + 1, meta: { n } });
    await admin().publish({ channel: `${root}x.1`, message: 'not below' });
    await admin().publish({ channel: root, message: 'not below' });
    const told = await admin().publish({ channel: `${root}.0`, message: 'last' });
    const last = await heard.message((event) => event.message === 'last');
    assert.deepEqual(heard.messages.map((event) => event.message), [...Array.from({ length: 12 }, (_, n) => n + 1), 'last']);
    assert.equal(last.channel, `${root}.0`);
    assert.equal(last.subscription, `${root}.*`);
    assert.equal(last.publisher, 'admin');
    assert.equal(last.timetoken, told.timetoken, 'the timetoken that its publisher got');
    assert.deepEqual(heard.messages[3].userMetadata, { n: 3 });
  });

  test('signals and what others publish come through too; what is subscribed to by name comes once', async () => {
    const root = fresh('mix');
    const heard = await wild([`${root}.*`, `${root}.a.*`, `${root}.a.b`]);
    await admin().signal({ channel: `${root}.z`, message: 'sig' });
    await until(() => heard.signals.some((event) => event.message === 'sig'), 'the signal');
    await admin().publish({ channel: `${root}.a.b`, message: 'named' });
    await admin().publish({ channel: `${root}.a.c`, message: 'nearer' });
    await admin().publish({ channel: `${root}.b`, message: 'end' });
    await heard.message((event) => event.message === 'end');
    const told = heard.messages.map(({ message, subscription }) => [message, subscription ?? undefined]);
    const nearest = told.find(([message]) => message === 'nearer');
    assert.equal(told.length, 3, JSON.stringify(told));
    assert.equal(nearest[1], `${root}.a.*`);
  });

  test('what was missed below a wildcard is caught up, at another node too', async () => {
    const root = fresh('gap');
    const heard = await wild([`${root}.*`]);
    const { timetoken } = await admin().publish({ channel: `${root}.a`, message: 0 + 1 });
    await heard.message((event) => event.message === 1);
    heard.pubnub.stop();
    for (const n of [2, 3, 4]) await admin().publish({ channel: `${root}.${n}`, message: n });
    const again = await listen(user(heard.auth, { uuid: heard.auth }), [`${root}.*`], { timetoken });
    await again.message((event) => event.message === 4);
    const got = again.messages.map((event) => event.message).filter((n) => n > 1);
    assert.deepEqual(got, [2, 3, 4]);
  });

  test('a right to the wildcard is needed, judged again when it ends, and opens no channel by itself', async () => {
    const [root, auth] = [fresh('deny'), fresh('k')];
    const denied = await raw(url(), `/v2/subscribe/${keys().subscribeKey}/${root}.*/0`, { auth, tt: 0 });
    assert.equal(denied.status, 403);
    assert.deepEqual(denied.json.payload.channels, [`${root}.*`]);
    // An expression that finds the wildcard's own name and one channel below it, and not the other.
    const token = await admin().grantToken({ ttl: 5, patterns: { channels: { [`^${root}\\.(?:\\*|seen)$`]: { read: true } } } });
    const pubnub = user(undefined, { uuid: 'regex' });
    pubnub.setToken(token);
    const heard = await listen(pubnub, [`${root}.*`]);
    await heard.is('PNConnectedCategory');
    await admin().publish({ channel: `${root}.secret`, message: 'secret' });
    await admin().publish({ channel: `${root}.seen`, message: 'seen' });
    await heard.message((event) => event.message === 'seen');
    assert.deepEqual(heard.messages.map((event) => event.message), ['seen']);
    await admin().revokeToken(token);
    await heard.is('PNAccessDeniedCategory');
  });

  test('presence of a wildcard: its own subscribers, and those of the channels below', async () => {
    const root = fresh('hall');
    const heard = await wild([`${root}.*`], { withPresence: true });
    const event = (channel, action, uuid) =>
      until(() => heard.presence.find((one) => one.channel === channel && one.action === action && one.uuid === uuid), `${action} of ${uuid} in ${channel}`);
    await event(`${root}.*`, 'join', heard.auth);
    const here = await admin().hereNow({ channels: [`${root}.*`] });
    assert.deepEqual(here.channels[`${root}.*`].occupants.map((one) => one.uuid), [heard.auth]);
    const auth = fresh('k');
    await grant(auth, [`${root}.a`]);
    const ben = user(auth, { uuid: 'ben' });
    await (await listen(ben, [`${root}.a`])).is('PNConnectedCategory');
    await event(`${root}.a`, 'join', 'ben');
    await ben.setState({ channels: [`${root}.a`], state: { mood: 'ok' } });
    const change = await until(() => heard.presence.find((one) => one.action === 'state-change'), 'the state change');
    assert.deepEqual([change.channel, change.state], [`${root}.a`, { mood: 'ok' }]);
    ben.unsubscribe({ channels: [`${root}.a`] });
    await event(`${root}.a`, 'leave', 'ben');
  });

  test('an app can switch wildcards off', async () => {
    const off = await keyset(cluster(), { protocols: ['pubnub'], settings: { wildcards: false, pubnub_access_manager: false } });
    const { status } = await raw(url(), `/v2/subscribe/${off.subscribeKey}/a.*/0`, { tt: 0 });
    assert.equal(status, 400);
    for (const name of ['a.b.c.*', '*', 'a*', '.*']) {
      assert.equal((await raw(url(), `/v2/subscribe/${keys().subscribeKey}/${name}/0`, { tt: 0 })).status, 400, `${name} over ${nodes}`);
    }
  });
}

function presence({ url, keys, user, grant, cluster }) {
  test('a client that falls silent times out; its state and its heartbeat keep it', async () => {
    const [channel, auth] = [fresh('quiet'), fresh('k')];
    await grant(auth, [channel, `${channel}-pnpres`]);
    const heard = await listen(user(auth, { uuid: 'watch' }), [channel], { withPresence: true });
    await heard.is('PNConnectedCategory');
    const beat = (state) =>
      raw(url(), `/v2/presence/sub-key/${keys().subscribeKey}/channel/${channel}/heartbeat`, { auth, uuid: 'ghost', heartbeat: 5, ...(state ? { state: JSON.stringify(state) } : {}) });
    const event = (action) => until(() => heard.presence.find((one) => one.action === action && one.uuid === 'ghost'), `${action} of the ghost`);
    assert.equal((await beat({ [channel]: { mood: 'pale' } })).status, 200);
    assert.deepEqual((await event('join')).state, { mood: 'pale' });
    assert.equal((await beat({ [channel]: { mood: 'gone' } })).status, 200);
    assert.deepEqual((await event('state-change')).state, { mood: 'gone' });
    const began = performance.now();
    await event('timeout');
    const lasted = performance.now() - began;
    assert.ok(lasted > 3_500 && lasted < 12_000, `${lasted} ms`);
    const here = await user(auth).hereNow({ channels: [channel], includeState: true });
    assert.deepEqual(here.channels[channel].occupants.map((one) => one.uuid), ['watch']);
  });

  test('a crowded channel tells joins and leaves together', async () => {
    const made = await keyset(cluster(), { protocols: ['pubnub'], settings: { pubnub_announce_max: 3, pubnub_presence_interval_ms: 1000, pubnub_access_manager: false } });
    const watch = client(url(), made, { uuid: 'u0' });
    const heard = await listen(watch, ['crowd'], { withPresence: true });
    await until(() => heard.presence.some((one) => one.action === 'join' && one.uuid === 'u0'), 'her own join');
    const beat = (uuid) => raw(url(), `/v2/presence/sub-key/${made.subscribeKey}/channel/crowd/heartbeat`, { uuid, heartbeat: 300 });
    for (let n = 1; n <= 8; n += 1) await beat(`u${n}`);
    const intervals = () => heard.presence.filter((one) => one.action === 'interval');
    const joined = () => heard.presence.flatMap((one) => (one.action === 'join' ? [one.uuid] : one.join ?? [])).sort();
    await until(() => joined().length === 9, 'all nine');
    assert.deepEqual(joined(), Array.from({ length: 9 }, (_, n) => `u${n}`));
    assert.ok(heard.presence.filter((one) => one.action === 'join').length <= 3);
    assert.ok(intervals().length >= 1 && intervals().length <= 4, `${intervals().length} intervals`);
    assert.equal(intervals().at(-1).occupancy, 9);
    await raw(url(), `/v2/presence/sub-key/${made.subscribeKey}/channel/crowd/leave`, { uuid: 'u8' });
    const left = await until(() => intervals().find((one) => one.leave?.length), 'the leave');
    assert.deepEqual([left.leave, left.occupancy], [['u8'], 8]);
    assert.equal(heard.presence.some((one) => one.action === 'leave'), false);
  });
}

function wire({ url, keys, user, grant, admin }) {
  test('the old subscribe: a cursor, bare payloads, their channels', async () => {
    const [one, two, auth] = [fresh('old'), fresh('old'), fresh('k')];
    await grant(auth, [one, two]);
    const at = (channels, timetoken) => raw(url(), `/subscribe/${keys().subscribeKey}/${channels}/0/${timetoken}`, { auth });
    const first = await at(one, 0);
    assert.equal(first.json.length, 2);
    assert.deepEqual(first.json[0], []);
    const poll = at(one, first.json[1]);
    await user(auth).publish({ channel: one, message: { n: 1 } });
    const [messages, cursor, ...rest] = (await poll).json;
    assert.deepEqual([messages, rest], [[{ n: 1 }], []]);
    await user(auth).publish({ channel: two, message: 'x' });
    const both = (await at(`${one},${two}`, cursor)).json;
    assert.deepEqual([both[0], both[2], both[3]], [['x'], two, two]);
    assert.equal((await at('nobodys', 0)).status, 403);
  });

  test('packed bodies, whatever their label says', async () => {
    const [channel, auth] = [fresh('packed'), fresh('k')];
    await grant(auth, [channel]);
    const path = `/publish/${keys().publishKey}/${keys().subscribeKey}/0/${channel}/0`;
    const { json } = await raw(url(), path, { auth }, { method: 'POST', body: '{"n":0}' });
    assert.equal(json[1], 'Sent');
    for (const [n, pack, label] of [[1, deflateSync, 'deflate'], [2, gzipSync, 'deflate'], [3, deflateSync, 'gzip'], [4, gzipSync, 'gzip']]) {
      const headers = { 'content-encoding': label, 'content-type': 'application/json' };
      const { status } = await raw(url(), path, { auth }, { method: 'POST', body: pack(`{"n":${n}}`), headers });
      assert.equal(status, 200, `${n}`);
    }
    const page = await user(auth).fetchMessages({ channels: [channel], count: 25 });
    assert.deepEqual(page.channels[channel].map((one) => one.message.n), [0, 1, 2, 3, 4]);
    // What unpacks to more than a message may be is not unpacked to its end.
    const bomb = await raw(url(), path, { auth }, { method: 'POST', body: deflateSync(Buffer.alloc(50 << 20)) });
    assert.equal(bomb.status, 413);
    const broken = await raw(url(), path, { auth }, { method: 'POST', body: Buffer.from([0x78, 0x9c, 1, 2, 3]) });
    assert.equal(broken.status, 400);
  });

  test('a browser may ask first, and reads every answer', async () => {
    for (const path of [`/v2/subscribe/x/y/0`, `/publish/p/s/0/c/0`, `/v3/pam/s/grant`, `/v2/presence/sub-key/s/channel/c/leave`]) {
      const headers = { origin: 'http://page.example', 'access-control-request-method': 'POST', 'access-control-request-headers': 'content-encoding,content-type' };
      const asked = await fetch(`${url()}${path}`, { method: 'OPTIONS', headers });
      assert.equal(asked.status, 200, path);
      assert.equal(asked.headers.get('access-control-allow-origin'), '*');
      for (const method of ['GET', 'POST', 'DELETE', 'PATCH']) assert.ok(asked.headers.get('access-control-allow-methods').includes(method));
      assert.match(asked.headers.get('access-control-allow-headers'), /Content-Encoding/);
    }
    for (const path of ['/time/0', '/publish/p/s/0/c/0/1', '/v2/nothing', `/v2/subscribe/${keys().subscribeKey}/denied/0`]) {
      const answer = await raw(url(), path).catch(() => undefined);
      if (path === '/v2/nothing') continue;
      assert.equal(answer.headers.get('access-control-allow-origin'), '*', path);
      assert.match(answer.headers.get('content-type'), /javascript|json/, path);
    }
  });

  test('fire is allowed or refused and heard by nobody; a stored message outlives no delete', async () => {
    const [channel, auth] = [fresh('fire'), fresh('k')];
    await grant(auth, [channel]);
    const heard = await listen(user(auth), [channel]);
    await heard.is('PNConnectedCategory');
    await user(auth).fire({ channel, message: 'fired' });
    await user(auth).publish({ channel, message: 'published' });
    await heard.message((event) => event.message === 'published');
    assert.equal(heard.messages.length, 1);
    assert.equal((await refused(user('nobody').fire({ channel, message: 1 }))).status, 403);
    assert.equal((await refused(user(auth).deleteMessages({ channel }))).status, 403);
    await admin().deleteMessages({ channel });
    assert.deepEqual((await user(auth).fetchMessages({ channels: [channel], count: 1 })).channels, {});
  });
}

function limits({ url, keys, user, grant }) {
  test('messages, signals and names have their sizes', async () => {
    const [channel, auth] = [fresh('size'), fresh('k')];
    await grant(auth, [channel, 'x'.repeat(92), 'x'.repeat(93)]);
    const pubnub = user(auth);
    const sized = (bytes) => 'x'.repeat(bytes - 2);
    const post = (message) => refused(pubnub.publish({ channel, message, sendByPost: true }));
    assert.equal((await post(sized(32_768))).status, 200);
    const large = await post(sized(32_769));
    assert.deepEqual([large.status, JSON.stringify(large.data).includes('Message Too Large')], [400, true]);
    assert.equal((await refused(pubnub.publish({ channel, message: sized(30_000) }))).status, 200);
    assert.equal((await refused(pubnub.publish({ channel, message: sized(33_000) }))).status, 400);
    assert.equal((await refused(pubnub.signal({ channel, message: sized(64) }))).status, 200);
    const signal = await refused(pubnub.signal({ channel, message: sized(65) }));
    assert.deepEqual([signal.status, JSON.stringify(signal.data).includes('Signal size too large')], [400, true]);
    assert.equal((await refused(pubnub.publish({ channel: 'x'.repeat(92), message: 1 }))).status, 200);
    assert.equal((await refused(pubnub.publish({ channel: 'x'.repeat(93), message: 1 }))).status, 400);
    const huge = await raw(url(), `/publish/${keys().publishKey}/${keys().subscribeKey}/0/${channel}/0`, { auth }, { method: 'POST', body: Buffer.alloc(300 << 10, 32) });
    assert.equal(huge.status, 413);
    for (const name of ['a,b', 'a:b', 'a*b', 'a/b', 'a\\b', 'a b', 'a\u0001']) {
      const { status, json } = await raw(url(), `/publish/${keys().publishKey}/${keys().subscribeKey}/0/${strict(name)}/0/1`, { auth });
      assert.deepEqual([status, json[1]], [400, 'Invalid Character in Channel Name'], name);
    }
  });

  test('what is no keyset, no key and no JSON is told apart', async () => {
    const { publishKey, subscribeKey } = keys();
    const subscribe = await raw(url(), '/v2/subscribe/sub-c-none/a/0', { tt: 0 });
    assert.deepEqual([subscribe.status, subscribe.json.message], [400, 'Invalid Subscribe Key']);
    const key = await raw(url(), `/publish/pub-c-none/${subscribeKey}/0/a/0/1`);
    assert.deepEqual([key.status, key.json.slice(0, 2)], [400, [0, 'Invalid Key']]);
    const auth = fresh('k');
    await grant(auth, ['a']);
    const json = await raw(url(), `/publish/${publishKey}/${subscribeKey}/0/a/0/{`, { auth });
    assert.deepEqual([json.status, json.json.slice(0, 2)], [400, [0, 'Invalid JSON']]);
    assert.equal((await raw(url(), `/v2/subscribe/${subscribeKey}/a/0`, { auth, tt: 0, uuid: 'u'.repeat(93) })).status, 400);
    const many = Array.from({ length: 501 }, (_, n) => `c${n}`).join(',');
    assert.equal((await raw(url(), `/v2/subscribe/${subscribeKey}/${many}/0`, { auth, tt: 0 })).status, 400);
    assert.equal((await raw(url(), `/v2/subscribe/${subscribeKey}/a/0`, { auth, tt: 0, 'filter-expr': '((' })).status, 400);
  });
}

function dialects({ url, keys, admin, grant, cluster }) {
  test('an auth key is a token of Realtime.co: one grant governs both clients, and so does its revoke', async () => {
    const [channel, auth] = [fresh('shared'), fresh('token')];
    const app = keys();
    const shown = await cluster().admin().call('GET', `/v1/apps/${app.id}`);
    const ortc = { ...app, application: shown.app.aliases['realtime-application'] };
    await cluster().admin().patchApp(app.id, { settings: { realtime_authentication: true } });
    const early = await refused(client(url(), app, { authKey: auth }).publish({ channel, message: 'early' }));
    assert.equal(early.status, 403);

    // Granted in PubNub's words at one node, used in both dialects at others.
    const tail = fresh('tail');
    await grant(auth, [channel, tail]);
    const pubnub = client(url(), app, { authKey: auth, uuid: 'pn' });
    const heard = await listen(pubnub, [channel]);
    await heard.is('PNConnectedCategory');
    const realtime = await new Client('node', url()).connected(ortc, auth);
    await realtime.subscribed(channel);
    await realtime.subscribed(tail);
    await pubnub.publish({ channel, message: 'from pubnub' });
    await realtime.message(channel, 'from pubnub');
    realtime.send(channel, 'from realtime');
    await heard.message((event) => event.message === 'from realtime');
    // Another channel, which the grant does not name, is neither's.
    assert.equal((await refused(pubnub.publish({ channel: 'another', message: 1 }))).status, 403);

    // Taken away in PubNub's words: the long poll ends at once, and a new connection of the other dialect gets nothing. One that is open
    // keeps what its token could do when it connected: that is Realtime.co's own rule (docs/realtime.md), until an explicit revoke.
    await grant(auth, [channel], { read: false, write: false });
    await heard.is('PNAccessDeniedCategory');
    assert.equal((await refused(pubnub.publish({ channel, message: 'late' }))).status, 403);
    await admin().publish({ channel, message: 'after' });
    assert.equal(heard.messages.some((event) => event.message === 'after'), false);
    const late = await new Client('node', url()).connected(ortc, auth);
    await late.subscribed(tail);
    late.ortc.subscribe(channel, true, () => {});
    await late.error(/permission/i);

    // Given in Realtime.co's words, used in PubNub's.
    const [error] = await new AppServer(url(), ortc).authenticate(auth, { [channel]: 'w' });
    assert.equal(error, null);
    const back = client(url(), app, { authKey: auth });
    assert.equal((await refused(back.publish({ channel, message: 'again' }))).status, 200);
    await cluster().server(1, app).call('POST', `/v1/apps/${app.id}/revoke`, { target: { token: auth } });
    assert.equal((await refused(back.publish({ channel, message: 'over' }))).status, 403);
    for (const one of [realtime, late]) await one.error(/Invalid connection/);
  });
}
