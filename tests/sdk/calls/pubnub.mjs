// PubNub: how each of its calls is made, under auth keys, tokens of every kind, and signatures.

import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { jwt } from '../lib/ably.mjs';
import { asked, keys } from './credentials.mjs';
import { signToken } from './pubnub-token.mjs';
import { MEMBER, ROOM } from './world.mjs';

const GROUP = 'marker-group';
const INSIDE = 'marker-inside';
const WHO = 'caller';
const READ = ['subscribe', 'presence', 'presence-read', 'history'];
const strict = (text) => encodeURIComponent(text).replace(/[!'()*~]/g, (one) => `%${one.charCodeAt(0).toString(16).toUpperCase()}`);
const at = (world, text) => text.replace('{sub}', world.app.subscribeKey).replace('{pub}', world.app.publishKey);

/** A call by its path below the keys; `more` makes the rest of it. */
const to = (path, more) => async (world, call) => {
  const { query, ...rest } = (await more?.(world, call)) ?? {};
  return { method: call.method, query: { uuid: WHO, ...query }, ...rest, path: at(world, rest.path ?? path) };
};
const reads = (path, more) => to(path, async (world, call) => ({ reads: true, ...(await more?.(world, call)) }));

/** A signed call by the full key, for what a recipe needs beforehand. */
async function does(world, path, query = {}, method = 'GET') {
  const key = { kind: 'key', app: world.app };
  const answer = await send(world, { method, path: at(world, path), query: { uuid: 'server', ...query } }, key);
  assert.equal(answer.status, 200, answer.text);
  return answer;
}
const registry = '/v1/channel-registration/sub-key/{sub}/channel-group';
const seen = (channel, world) => () => world.admin().call('GET', `${world.root}/channels/${channel}/members`).then(({ members }) => members.map(({ client }) => client));

/** The group that is there to be seen. */
async function grouped(world) {
  await world.once(GROUP, () => does(world, `${registry}/${GROUP}`, { add: INSIDE }));
}
const both = async (world) => {
  await grouped(world);
  return { query: { 'channel-group': GROUP }, targets: [{ resource: 'channel', pattern: ROOM }, { resource: 'group', pattern: GROUP }] };
};
const said = (start) => to(start, (world, { method }) => {
  const text = JSON.stringify(world.fresh('said'));
  return method === 'POST' ? { body: text } : { path: `${start}/${strict(text)}` };
});
const changed = (query, before) => async (world) => {
  const group = world.fresh('group');
  if (before) await does(world, `${registry}/${group}`, { add: ROOM });
  const probe = async () => (await does(world, `${registry}/${group}`)).text;
  const hears = { resource: 'channel', pattern: ROOM, operations: ['subscribe'] };
  return { path: `${registry}/${group}`, query, probe, targets: [{ resource: 'group', pattern: group }, ...(before ? [] : [hears])] };
};
const grants = (path) => to(path, (world) => ({ query: { channel: ROOM, auth: world.fresh('granted'), r: '1', ttl: '5' }, gives: READ }));

export const recipes = {
  'GET /time/{callback}': reads('/time/0'),
  'GET /publish/{tail:.*}': said(`/publish/{pub}/{sub}/0/${ROOM}/0`),
  'POST /publish/{tail:.*}': said(`/publish/{pub}/{sub}/0/${ROOM}/0`),
  'GET /signal/{tail:.*}': said(`/signal/{pub}/{sub}/0/${ROOM}/0`),
  'POST /signal/{tail:.*}': said(`/signal/{pub}/{sub}/0/${ROOM}/0`),
  'GET /subscribe/{tail:.*}': reads(`/subscribe/{sub}/${ROOM}/0/0`, both),
  'GET /v2/subscribe/{tail:.*}': reads(`/v2/subscribe/{sub}/${ROOM}/0`, both),
  'GET /v2/presence/{tail:.*} heartbeat': to('', async (world) => {
    const channel = world.fresh('beat');
    const targets = [{ resource: 'channel', pattern: channel }];
    return { path: `/v2/presence/sub-key/{sub}/channel/${channel}/heartbeat`, targets, probe: seen(channel, world), harmless: true };
  }),
  // Of a channel of its own: those who polled the room leave it by themselves, in the middle of this.
  'GET /v2/presence/{tail:.*} leave': to('', async (world) => {
    await grouped(world);
    const channel = world.fresh('left');
    const channels = `/v2/presence/sub-key/{sub}/channel/${channel}`;
    await does(world, `${channels}/heartbeat`, { uuid: WHO });
    const targets = [{ resource: 'channel', pattern: channel }, { resource: 'group', pattern: GROUP }];
    return { path: `${channels}/leave`, query: { 'channel-group': GROUP }, targets, probe: seen(channel, world), harmless: true };
  }),
  'GET /v2/presence/{tail:.*} set state': to('', (world) => {
    const channel = world.fresh('state');
    const path = `/v2/presence/sub-key/{sub}/channel/${channel}/uuid/${WHO}/data`;
    return { path, query: { state: '{"a":1}' }, targets: [{ resource: 'channel', pattern: channel }], probe: seen(channel, world), harmless: true };
  }),
  'GET /v2/presence/{tail:.*} here now': reads(`/v2/presence/sub-key/{sub}/channel/${ROOM}`, async (world) => ({ ...(await both(world)), marker: MEMBER })),
  'GET /v2/presence/{tail:.*} state': reads(`/v2/presence/sub-key/{sub}/channel/${ROOM}/uuid/${MEMBER}`, async (world) => ({ ...(await both(world)), marker: MEMBER })),
  'GET /v2/presence/{tail:.*} here now everywhere': reads('/v2/presence/sub-key/{sub}', () => ({ marker: ROOM })),
  'GET /v2/presence/{tail:.*} where now': reads(`/v2/presence/sub-key/{sub}/uuid/${MEMBER}`, () => ({ marker: ROOM })),
  'GET /v1/channel-registration/{tail:.*} groups': reads(registry, async (world) => ({ ...(await both(world)), query: {}, marker: GROUP })),
  'GET /v1/channel-registration/{tail:.*} channels': reads(`${registry}/${GROUP}`, async (world) => {
    await grouped(world);
    return { targets: [{ resource: 'group', pattern: GROUP }], marker: INSIDE };
  }),
  'GET /v1/channel-registration/{tail:.*} add': to('', changed({ add: ROOM })),
  'GET /v1/channel-registration/{tail:.*} remove': to('', changed({ remove: ROOM }, true)),
  'GET /v1/auth/{tail:.*} grant': grants('/v1/auth/grant/sub-key/{sub}'),
  'GET /v2/auth/{tail:.*} grant': grants('/v2/auth/grant/sub-key/{sub}'),
  'GET /v2/auth/{tail:.*} audit': reads('/v2/auth/audit/sub-key/{sub}', () => ({ query: { channel: ROOM }, marker: '"Success"' })),
  'POST /v3/pam/{tail:.*} grant': reads('/v3/pam/{sub}/grant', () => ({
    body: JSON.stringify({ ttl: 5, permissions: { resources: { channels: { [ROOM]: 1 } }, patterns: {}, meta: {} } }),
    marker: '"token":"',
  })),
  'DELETE /v3/pam/{tail:.*} revoke': to('', (world) => {
    const token = signToken(world.app, { res: { chan: { [ROOM]: 1 } } });
    const history = at(world, `/v2/history/sub-key/{sub}/channel/${ROOM}`);
    const probe = async () => (await send(world, { method: 'GET', path: history, query: { uuid: WHO } }, { auth: token })).status;
    return { path: `/v3/pam/{sub}/grant/${strict(token)}`, probe };
  }),
  'GET /v2/history/{tail:.*}': reads(`/v2/history/sub-key/{sub}/channel/${ROOM}`, () => ({ marker: 'sentinel-' })),
  'GET /v3/history/{tail:.*}': reads(`/v3/history/sub-key/{sub}/channel/${ROOM}`, () => ({ marker: 'sentinel-' })),
  'GET /v3/history/{tail:.*} counts': reads(`/v3/history/sub-key/{sub}/message-counts/${ROOM}`, () => ({ query: { timetoken: '1' }, marker: `"${ROOM}":` })),
  'DELETE /v3/history/{tail:.*}': to('', async (world) => {
    const channel = world.fresh('kept');
    await world.admin().call('POST', `${world.root}/publish`, { channel, name: 'kept', data: 'kept' });
    const probe = async () => (await does(world, `/v2/history/sub-key/{sub}/channel/${channel}`)).text;
    return { path: `/v3/history/sub-key/{sub}/channel/${channel}`, targets: [{ resource: 'channel', pattern: channel }], probe };
  }),
  'GET /v3/history-with-actions/{tail:.*}': reads(`/v3/history-with-actions/sub-key/{sub}/channel/${ROOM}`, () => ({ marker: 'sentinel-' })),
};

/** The bit of a token's mask that opens an operation. */
const BITS = { publish: 2, manage: 4, delete: 8, ...Object.fromEntries(READ.map((name) => [name, 1])) };
const KINDS = { channel: 'chan', group: 'grp', user: 'uuid' };

/** What `auth` can be: keys of the old access manager and tokens of the new one, with the right, without it, elsewhere. */
async function auths(world, call, instance) {
  const auth = (name, text, more) => ({ name, kind: 'auth', proven: true, own: true, holds: false, auth: text, ...more });
  const everything = { pat: { chan: { '.*': 255 }, grp: { '.*': 255 } } };
  const all = [
    auth('nobody', undefined),
    auth('an auth key without a grant', 'no-grant'),
    auth('a token of everything', signToken(world.app, everything), { holds: true }),
    auth('a token that is over', signToken(world.app, { ...everything, t: 1 }), { proven: false }),
    auth('a token of a wrong secret', signToken({ ...world.app, secret: 'x'.repeat(32) }, everything), { proven: false }),
    auth('a token of a disabled key', signToken(world.off, everything), { proven: false }),
    auth('a token of a deleted key', signToken(world.gone, everything), { proven: false }),
    auth("another app's token", signToken(world.other, everything), { own: false }),
    auth('a token of another user', signToken(world.app, { ...everything, uuid: 'stranger' }), { proven: false }),
    auth('a JWT of Ably', jwt(world.app, {})),
    auth('the admin token', world.cluster.adminToken),
    auth("a key's secret", world.app.secret),
  ];
  const [operation] = call.needs.any[0];
  if (!BITS[operation]) return all;
  const [lines] = asked(call, instance);
  const masks = (more) => {
    const made = {};
    for (const { resource, pattern, operations } of lines) {
      made[KINDS[resource]] = { ...made[KINDS[resource]], [pattern]: operations.reduce((mask, one) => mask | BITS[one], 0) };
    }
    return { res: made, ...more };
  };
  const less = 255 - BITS[operation];
  const granted = async (name, given) => {
    const text = `auth-${name.replaceAll(/[^a-z]/g, '-')}-${lines.map(({ pattern }) => pattern).join('-')}-${operation}`;
    const body = { subject: { token: text }, grants: given };
    await world.once(text, () => world.admin().call('POST', `${world.root}/grants`, body));
    return text;
  };
  const narrow = (await keys(world, call, instance)).filter((one) => one.lines);
  const lacking = narrow.filter((one) => !one.holds);
  return [
    ...all,
    auth('an auth key with nothing but it', await granted('only', lines), { holds: true }),
    auth('an auth key with all but it', await granted('less', lacking[0].lines)),
    auth('an auth key with it elsewhere', await granted('elsewhere', lacking.find((one) => one.elsewhere).lines)),
    auth('a token with nothing but it', signToken(world.app, masks()), { holds: true }),
    auth('a token with all but it', signToken(world.app, { pat: { chan: { '.*': less }, grp: { '.*': less } } })),
    auth('a token with it elsewhere', signToken(world.app, { res: { chan: { elsewhere: 255 }, grp: { elsewhere: 255 } } })),
    ...lacking.map((one) => auth(`a token of everything of ${one.name}`, signToken(one.app, everything))),
  ];
}

export async function credentials(world, call, instance) {
  const signed = (await keys(world, call, instance)).map((one) => ({ ...one, name: `a signature of ${one.name}` }));
  const spoilt = (name, more) => ({ kind: 'key', proven: false, app: world.app, name, ...more });
  return [
    ...signed,
    ...(await auths(world, call, instance)),
    spoilt('a signature of two minutes ago', { ago: 120, status: 400 }),
    spoilt('a signature of another path', { signs: '/time/0' }),
    spoilt('a signature of another method', { by: 'PATCH' }),
  ];
}

export async function send(world, instance, { app, auth, tamper, ago = 0, signs = instance.path, by = instance.method }) {
  const query = { ...instance.query };
  if (app) query.timestamp = Math.floor(Date.now() / 1000) - ago;
  else if (auth !== undefined) query.auth = auth;
  else delete query.auth;
  let text = Object.keys(query).sort().map((name) => `${name}=${strict(query[name])}`).join('&');
  if (app) {
    const secret = { 'no secret': '', 'wrong secret': 'x'.repeat(32) }[tamper] ?? app.secret;
    // Of another app's key everything is that app's but the path.
    const whole = `${by}\n${world.app.publishKey}\n${signs}\n${text}\n${instance.method === 'POST' ? (instance.body ?? '') : ''}`;
    text += `&signature=v2.${createHmac('sha256', secret).update(whole).digest('base64url')}`;
  }
  const answer = await fetch(`${world.url()}${instance.path}?${text}`, { method: instance.method, body: instance.body });
  return { status: answer.status, text: await answer.text() };
}

export function refused({ status, text }, why) {
  if (status === 400) return assert.match(text, /Invalid Timestamp/);
  assert.equal(status, 403, why);
  assert.match(text, /"Access Manager"/);
}

export function allowed({ status }) {
  assert.equal(status, 200);
}
