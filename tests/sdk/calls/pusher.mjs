// Pusher's HTTP API: how each of its calls is made. A request is signed by a key; nothing else is a credential there.

import assert from 'node:assert/strict';
import { createHash, createHmac } from 'node:crypto';
import { jwt } from '../lib/ably.mjs';
import { keys } from './credentials.mjs';
import { MEMBER, ROOM } from './world.mjs';

const to = (more) => async (world, call) => ({ method: call.method, path: call.path.replace('{app}', world.app.id).replace('{channel}', ROOM), ...more?.(world, call) });
const reads = (more) => to((world, call) => ({ reads: true, ...more?.(world, call) }));
const event = (world) => ({ name: 'said', channel: ROOM, data: world.fresh('said') });
const ends = async (world, call) => {
  const person = await world.person();
  return { ...person, method: call.method, path: call.path.replace('{app}', world.app.id).replace('{user}', person.user), body: {} };
};

export const recipes = {
  'POST /apps/{app}/events': to((world) => ({ body: event(world) })),
  'POST /apps/{app}/batch_events': to((world) => ({ body: { batch: [event(world), event(world)] } })),
  'GET /apps/{app}/channels': reads(() => ({ marker: ROOM })),
  'GET /apps/{app}/channels/{channel}': reads(() => ({ marker: '"occupied":true' })),
  'GET /apps/{app}/channels/{channel}/users': reads(() => ({ marker: MEMBER })),
  'POST /apps/{app}/users/{user}/terminate_connections': ends,
  'POST /users/{user}/terminate_connections': ends,
};

export async function credentials(world, call, instance) {
  const made = await keys(world, call, instance);
  const spoilt = (name, more) => ({ kind: 'key', proven: false, app: world.app, name, ...more });
  return [
    ...made,
    { kind: 'nothing', proven: false, name: 'nothing' },
    { kind: 'nothing', proven: false, name: 'a token of Ably', headers: { authorization: `Bearer ${jwt(world.app, {})}` } },
    { kind: 'nothing', proven: false, name: 'the admin token', headers: { authorization: `Bearer ${world.cluster.adminToken}` } },
    spoilt('a key with the admin token for its secret', { app: { ...world.app, secret: world.cluster.adminToken } }),
    spoilt('a signature of eleven minutes ago', { ago: 660 }),
    spoilt('a signature of another path', { signs: '/apps/1/events' }),
    spoilt('a signature of another method', { by: call.method === 'GET' ? 'POST' : 'GET' }),
    spoilt('a signature of another body', { over: '{"name":"x"}' }),
  ];
}

/** The query of a signed request. */
function signed(instance, { app, tamper, ago = 0, signs = instance.path, by = instance.method, over }) {
  const query = { auth_key: app.key, auth_timestamp: Math.floor(Date.now() / 1000) - ago, auth_version: '1.0' };
  const body = over ?? (instance.body ? JSON.stringify(instance.body) : undefined);
  if (body) query.body_md5 = createHash('md5').update(body).digest('hex');
  const text = Object.keys(query).sort().map((name) => `${name}=${query[name]}`).join('&');
  if (tamper === 'no secret') return text;
  const secret = tamper === 'wrong secret' ? 'x'.repeat(32) : app.secret;
  const mac = createHmac('sha256', secret).update(`${by}\n${signs}\n${text}`).digest('hex');
  return `${text}&auth_signature=${mac}`;
}

export async function send(world, instance, credential) {
  const query = credential.app ? `?${signed(instance, credential)}` : '';
  const answer = await fetch(world.url() + instance.path + query, {
    method: instance.method,
    headers: { 'content-type': 'application/json', ...credential.headers },
    body: instance.body && JSON.stringify(instance.body),
  });
  return { status: answer.status, text: await answer.text() };
}

const WHY = { unknown: [401, /auth|signature|body_md5|Timestamp/i], forbidden: [403, /./], 'wrong app': [401, /Unknown auth_key/] };

export function refused({ status, text }, why) {
  assert.equal(status, WHY[why][0]);
  assert.match(text, WHY[why][1]);
}

export function allowed({ status }) {
  assert.equal(status, 200);
}
