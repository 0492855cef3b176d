// Ably's REST API: how each of its calls is made, under a key or under tokens of every kind.

import assert from 'node:assert/strict';
import { jwt as signed } from '../lib/ably.mjs';
import { asked, keys } from './credentials.mjs';
import { MEMBER, ROOM } from './world.mjs';

const base64 = (text) => Buffer.from(text).toString('base64');
const basic = (text) => ({ authorization: `Basic ${base64(text)}` });
const bearer = (text) => ({ authorization: `Bearer ${base64(text)}` });
const to = (more) => async (world, call) => ({ method: call.method, path: call.path.replace('{channel}', ROOM), ...(await more?.(world, call)) });
const reads = (more) => to((world, call) => ({ reads: true, ...more?.(world, call) }));

export const recipes = {
  'GET /time': reads(),
  'GET /stats': reads(),
  'POST /keys/{key}/requestToken': reads(() => ({ path: '/keys/{own}/requestToken', body: {}, marker: '"token"' })),
  'POST /keys/{key}/revokeTokens': to(async (world) => {
    const person = await world.person();
    const targets = [{ resource: 'user', pattern: person.user }];
    return { ...person, targets, path: '/keys/{own}/revokeTokens', body: { targets: [`clientId:${person.user}`] } };
  }),
  'POST /messages': to((world) => ({ batch: true, body: { channels: [ROOM], messages: [{ name: 'said', data: world.fresh('said') }] } })),
  'GET /presence': reads(() => ({ batch: true, path: `/presence?channels=${ROOM}`, marker: MEMBER })),
  'GET /channels': reads(() => ({ marker: ROOM })),
  'POST /channels/{channel}/messages': to((world) => ({ body: { name: 'said', data: world.fresh('said') } })),
  'GET /channels/{channel}/messages': reads(() => ({ marker: '"sentinel-' })),
  'GET /channels/{channel}/history': reads(() => ({ marker: '"sentinel-' })),
  'GET /channels/{channel}/presence': reads(() => ({ marker: MEMBER })),
  'GET /channels/{channel}/presence/history': reads(() => ({ marker: MEMBER })),
  'GET /channels/{channel}': reads(() => ({ marker: '"presenceMembers":1' })),
};

/** What a token has to name for an operation; of several, any. */
const NAMES = { metadata: ['channel-metadata'], 'presence-read': ['presence', 'subscribe'] };
const ALL = ['subscribe', 'publish', 'presence', 'history', 'channel-metadata', 'stats', 'push-subscribe'];
const named = (operation) => NAMES[operation] ?? [operation];

/** JWTs and tokens of ours: with the right alone, without it, of a key without it, over, of nobody here. */
async function tokens(world, call, instance, client) {
  const token = (name, text, more) => ({ name, kind: 'token', proven: true, own: true, holds: true, headers: bearer(text), raw: { accessToken: text }, ...more });
  const jwt = (app, claims) => signed(app, { ...client, ...claims });
  const capability = (lines) => ({ 'x-ably-capability': JSON.stringify(lines) });
  const full = jwt(world.app, {});
  const all = [
    token('a JWT with everything', full),
    token('a JWT that is over', jwt(world.app, { iat: 1, exp: 2 }), { proven: false }),
    token('a JWT of a wrong secret', jwt({ ...world.app, secret: 'x'.repeat(32) }, {}), { proven: false }),
    token('a JWT of a disabled key', jwt(world.off, {}), { proven: false }),
    token('a JWT of a deleted key', jwt(world.gone, {}), { proven: false }),
    token("another app's JWT", jwt(world.other, {}), { own: false }),
    token("another app's JWT in this app's name", jwt({ ...world.other, id: world.app.id }, {}), { proven: false }),
  ];
  const [operation] = call.needs.any[0];
  if (call.who === 'key' || !operation) return all;
  const narrow = asked(call, instance)[0];
  const place = narrow[0].pattern === '*' ? '*' : narrow[0].pattern;
  const only = { [place]: named(operation).slice(0, 1) };
  const less = { '*': ALL.filter((one) => !named(operation).includes(one)) };
  const lacking = (await keys(world, call, instance)).filter(({ lines, holds }) => lines && !holds);
  const issued = async (lines) => {
    const path = `/keys/${world.app.id}.${world.app.key}/requestToken`;
    const body = JSON.stringify({ capability: JSON.stringify(lines), clientId: client['x-ably-clientId'] });
    const headers = { ...basic(`${world.app.id}.${world.app.key}:${world.app.secret}`), 'content-type': 'application/json' };
    return (await (await fetch(world.url() + path, { method: 'POST', headers, body })).json()).token;
  };
  return [
    ...all,
    token('a JWT with nothing but it', jwt(world.app, capability(only))),
    token('a JWT with all but it', jwt(world.app, capability(less)), { holds: false }),
    token('a JWT with it elsewhere', jwt(world.app, capability({ elsewhere: named(operation) })), { holds: false }),
    token('a token with nothing but it', await issued(only)),
    token('a token with all but it', await issued(less), { holds: false }),
    ...lacking.map((key) => token(`a JWT of ${key.name}`, jwt(key.app, {}), { holds: false })),
  ];
}

/** `client` is what JWTs are to say beside. */
export async function credentials(world, call, instance, client = {}) {
  const made = (await keys(world, call, instance)).map((one) => {
    const secret = { 'no secret': '', 'wrong secret': 'x'.repeat(32) }[one.tamper] ?? one.app.secret;
    const named = one.stranger || !one.own ? world.app : one.app;
    const text = `${one.app.id}.${one.app.key}:${secret}`;
    return { ...one, headers: basic(text), raw: { key: text }, names: `${named.id}.${named.key}` };
  });
  const none = { kind: 'nothing', proven: false };
  return [
    ...made,
    ...(await tokens(world, call, instance, client)),
    { ...none, name: 'nothing', headers: {} },
    { ...none, name: "the key's name as a token", headers: bearer(`${world.app.id}.${world.app.key}`) },
    { ...none, name: 'a key without its app', headers: basic(`${world.app.key}:${world.app.secret}`) },
    { ...none, name: "another app's number with the key", headers: basic(`${world.other.id}.${world.app.key}:${world.app.secret}`) },
    { ...none, name: 'the admin token', headers: bearer(world.cluster.adminToken) },
    { ...none, name: 'the admin token as a secret', headers: basic(`${world.app.id}.${world.app.key}:${world.cluster.adminToken}`) },
  ];
}

export async function send(world, instance, credential) {
  const own = credential.names ?? `${world.app.id}.${world.app.key}`;
  const answer = await fetch(world.url() + instance.path.replace('{own}', own), {
    method: instance.method,
    headers: { 'content-type': 'application/json', 'x-ably-version': '3', ...credential.headers },
    body: instance.body && JSON.stringify(instance.body),
  });
  const text = await answer.text();
  return { status: answer.status, text, code: Number(answer.headers.get('x-ably-errorcode')) };
}

/** What a batch says of its one channel stands in its body. */
export function refused({ status, code, text }, why, instance) {
  if (instance.batch && why === 'forbidden') {
    const { failureCount, results } = JSON.parse(text);
    assert.deepEqual([failureCount, results[0].error.statusCode], [1, 401]);
    assert.equal(results[0].error.code, 40160);
    return;
  }
  // What is no credential at all is a bad request, and a key that is not there is not found: so the protocol says.
  const other = { 400: 40005, 404: 40400 }[status];
  if (other && why === 'unknown') return assert.equal(code, other);
  assert.equal(status, 401);
  const codes = { unknown: /^401(01|3[1-3]|4[0-4]|62)$|^40400$/, forbidden: /^401(33|60)$|^40101$/, 'wrong app': /^401/ };
  assert.match(String(code), codes[why]);
}

export function allowed({ status, text }, instance) {
  assert.ok(status === 200 || status === 201, `${status}`);
  if (instance.batch) assert.equal(JSON.parse(text).failureCount, 0);
}
