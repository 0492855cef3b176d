// Realtime.co's HTTP API: how each of its calls is made, with a private key in the form or a token in the path.

import assert from 'node:assert/strict';
import { jwt } from '../lib/ably.mjs';
import { until } from '../lib/wait.mjs';
import { asked, keys } from './credentials.mjs';
import { ROOM } from './world.mjs';

const to = (more) => async (world, call) => ({ method: call.method, path: call.path, ...(await more?.(world, call)) });
const reads = (more) => to(async (world, call) => ({ reads: true, ...(await more?.(world, call)) }));
const says = to((world) => ({ form: { C: ROOM, M: `${world.fresh('id')}_1-1_said` } }));

/** Switches the counting of the room with the full key. */
async function turn(world, on) {
  const form = new URLSearchParams({ privatekey: world.app.secret });
  const path = `/presence/${on ? 'enable' : 'disable'}/${world.app.application}/${ROOM}`;
  const answer = await fetch(world.cluster.urls[0] + path, { method: 'POST', body: form });
  assert.equal(answer.status, 200, await answer.text());
}
const counted = (world, token) => async () => {
  const answer = await fetch(`${world.url()}/presence/${world.app.application}/${token}/${ROOM}`);
  return (await answer.text()).replace(/\d+/g, 'n');
};

/** A token that may look at the room. */
async function reader(world) {
  const subject = { token: 'realtime-reader' };
  const lines = [{ pattern: ROOM, operations: ['presence-read'] }];
  await world.once(subject.token, () => world.admin().grant(world.app.id, subject, lines));
  return subject.token;
}

export const recipes = {
  'GET /server/2.1': reads(),
  'GET /server/2.1/': reads(),
  'GET /server/ssl/2.1': reads(),
  'GET /server/ssl/2.1/': reads(),
  'POST /authenticate': to((world) => ({ form: { AT: world.fresh('token'), PVT: '0', TTL: '1400', TP: '1', [ROOM]: 'r' }, gives: ['subscribe'] })),
  'POST /send': says,
  'POST /send/': says,
  'POST /presence/{switch:enable|disable}/{key}/{channel:.*}': to(async (world) => {
    await turn(world, false);
    return { path: `/presence/enable/${world.app.application}/${ROOM}`, form: {}, field: 'privatekey', probe: counted(world, await reader(world)) };
  }),
  'GET /presence/{key}/{token}/{channel:.*}': reads(async (world) => {
    await turn(world, true);
    return { path: `/presence/${world.app.application}/{token}/${ROOM}`, marker: '"subscriptions"' };
  }),
};

/** This token once every node says that nothing is granted to it: a right ends within a second of its time, not at it. */
async function over(world, token) {
  const listed = (node) => world.admin(node).call('GET', `${world.root}/grants?token=${token}`);
  for (const node of [1, 2, 3]) await until(async () => (await listed(node)).grants.length === 0, `what ${token} had is over at node ${node}`);
  return token;
}

/** Tokens, which are what was granted to their text. */
async function tokens(world, call, instance) {
  const token = (name, text, more) => ({ name, kind: 'token', proven: true, own: true, holds: false, token: text, ...more });
  const [lines] = asked(call, instance);
  const lacking = (await keys(world, call, instance)).filter((one) => one.lines && !one.holds);
  const granted = async (name, given, more = {}) => {
    const grants = given.map((line) => ({ ...line, ...more }));
    await world.admin().call('POST', `${world.root}/grants`, { subject: { token: `realtime-${name}` }, grants });
    return `realtime-${name}`;
  };
  const other = { subject: { token: 'realtime-other' }, grants: [{ pattern: '*', operations: ['*'] }] };
  await world.admin().call('POST', `/v1/apps/${world.other.id}/grants`, other);
  return [
    token('a token without a grant', 'realtime-no-grant'),
    token('a token with nothing but it', await granted('only', lines), { holds: true }),
    token('a token with all but it', await granted('less', lacking[0].lines)),
    token('a token with it elsewhere', await granted('elsewhere', lacking.find((one) => one.elsewhere).lines)),
    token('a token that is over', await over(world, await granted('over', lines, { ttl_ms: 1 }))),
    token("another app's token", 'realtime-other'),
    token('the admin token', world.cluster.adminToken),
    token("a key's secret", world.app.secret),
    token("a key's public id", world.app.key),
    token('a JWT of Ably', jwt(world.app, {})),
  ];
}

export async function credentials(world, call, instance) {
  if (call.who === 'token') return tokens(world, call, instance);
  const none = { kind: 'nothing', proven: false };
  if (!instance.form) return [{ ...none, name: 'nothing' }];
  const made = (await keys(world, call, instance)).map((one) => ({
    ...one,
    secret: { 'no secret': one.app.key, 'wrong secret': 'x'.repeat(32) }[one.tamper] ?? one.app.secret,
  }));
  return [
    ...made,
    { ...none, name: 'nothing' },
    { ...none, name: 'an empty secret', secret: '' },
    { ...none, name: 'a token', secret: await reader(world) },
    { ...none, name: 'the admin token', secret: world.cluster.adminToken },
    { ...none, name: 'a JWT of Ably', secret: jwt(world.app, {}) },
  ];
}

export async function send(world, instance, { secret, token }) {
  const form = instance.form && { AK: world.app.application, ...instance.form };
  if (form && secret !== undefined) form[instance.field ?? 'PK'] = secret;
  const body = form && Object.entries(form).map(([name, value]) => `${name}=${value}`).join('&');
  const answer = await fetch(world.url() + instance.path.replace('{token}', token), { method: instance.method, body });
  return { status: answer.status, text: await answer.text() };
}

/** A form without its private key is no form. */
export function refused({ status, text }, why) {
  if (status === 400 && why === 'unknown') return assert.match(text, /PK|privatekey/);
  assert.equal(status, 401);
  assert.ok(text.length > 0);
}

export function allowed({ status }) {
  assert.ok(status === 200 || status === 201, `${status}`);
}
