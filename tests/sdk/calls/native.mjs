// `/v1`: how each of its calls is made, and its credentials: a key on the public port, the admin token on the internal one.

import assert from 'node:assert/strict';
import { jwt } from '../lib/ably.mjs';
import { keys } from './credentials.mjs';
import { MEMBER, OPEN, ROOM } from './world.mjs';

const WRONG = { pattern: ROOM, operations: ['subscribe'] };

/** What makes a provider whose tokens may subscribe to the room. */
async function providerIn(world) {
  const ceiling = await world.admin().call('POST', `${world.root}/keys`, { name: 'ceiling', capability: [WRONG] });
  const id = world.fresh('provider');
  const key = { kty: 'OKP', crv: 'Ed25519', kid: 'k', x: '11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo' };
  return { id, issuer: `https://${id}.test`, audiences: [id], algorithms: ['EdDSA'], keys: { keys: [key] }, ceiling: ceiling.key.id };
}

async function providerOf(world) {
  const body = await providerIn(world);
  await world.admin().call('POST', `${world.root}/providers`, body);
  return body;
}

/** A recipe: everything of a request but its credential, made anew for each call that may change something. */
const to = (more) => async (world, call) => ({
  path: call.path.replace('{app}', world.app.id),
  method: call.method,
  ...(await more?.(world, call)),
});
const reads = (more) => to(async (world, call) => ({ reads: true, ...(await more?.(world, call)) }));
const at = (path, world, parts) =>
  Object.entries({ app: world.app.id, ...parts }).reduce((text, [name, value]) => text.replace(`{${name}}`, encodeURIComponent(value)), path);

const ofKey = (more) =>
  to(async (world, call) => {
    const victim = await world.admin().call('POST', `${world.root}/keys`, { name: 'victim', capability: [WRONG] });
    return { path: at(call.path, world, { key: victim.key.id }), gives: ['subscribe'], ...more?.(world) };
  });
const ofUser = (more) =>
  to(async (world, call) => {
    const person = await world.person();
    return { ...person, path: at(call.path, world, { user: person.user }), ...more?.(world, person) };
  });
/** A group with a grant, and somebody in it who is connected. */
const ofGroup = (more, { alone = false } = {}) =>
  to(async (world, call) => {
    const group = world.fresh('group');
    const person = alone ? { user: world.fresh('user') } : await world.person();
    await world.admin().grant(world.app.id, { group }, [{ pattern: ROOM, operations: ['history'] }]);
    await world.admin().call('POST', `${world.root}/groups/${group}/members`, { add: [{ user: person.user }] });
    return { ...(alone ? {} : person), group, path: at(call.path, world, { group }), ...more?.(world, group, person) };
  });
const ofNode = (node, more) =>
  to(async (world, call) => ({ path: at(call.path, world, { node }), harmless: true, answers: [200, 201, 400, 404, 409], ...more }));
const grants = (more) =>
  to(async (world) => {
    const subject = { user: world.fresh('granted') };
    await world.admin().grant(world.app.id, subject, [{ pattern: ROOM, operations: ['history'] }]);
    return { body: { subject, ...more }, gives: ['subscribe', ...(more.replaces ?? [])] };
  });

const secrets = reads((world, call) => ({ path: `${at(call.path, world, {})}?secrets=true`, marker: `"${world.app.secret}"` }));

/** Asked of the key's own app; an operator, who has none, names it. */
const evaluates = reads((world, call) => ({
  internal: `${call.path}?app=${world.app.id}`,
  body: { subject: { type: 'everyone' }, action: { name: 'subscribe' }, resource: { type: 'channel', id: OPEN.replace('*', '1') } },
  marker: '"decision":true',
}));

export const recipes = {
  'GET /v1/apps': reads(() => ({ marker: OPEN })),
  'POST /v1/apps': to((world) => ({ body: { name: world.fresh('made') } })),
  'GET /v1/apps/{app}': reads(() => ({ marker: OPEN })),
  'GET /v1/apps/{app} secrets': secrets,
  'PATCH /v1/apps/{app}': to(async (world) => {
    const { open } = (await world.admin().call('GET', world.root)).app;
    return { body: { open: [...open.slice(0, 1), { pattern: world.fresh('opened'), operations: ['subscribe'] }] } };
  }),
  'DELETE /v1/apps/{app}': to(async (world, call) => {
    const app = await world.newApp(world.fresh('victim'));
    return { path: at(call.path, world, { app: app.id }), app };
  }),
  'GET /v1/apps/{app}/keys': reads(() => ({ marker: 'marker-key' })),
  'GET /v1/apps/{app}/keys secrets': secrets,
  'POST /v1/apps/{app}/keys': to(() => ({ body: { name: 'new', capability: [WRONG] }, gives: ['subscribe'] })),
  'PATCH /v1/apps/{app}/keys/{key}': ofKey(() => ({ body: { capability: [{ pattern: ROOM, operations: ['subscribe'] }], name: 'renamed' } })),
  'DELETE /v1/apps/{app}/keys/{key}': ofKey(),
  'POST /v1/apps/{app}/keys/{key}/rotate': ofKey(() => ({ body: { overlap_ms: 0 } })),
  'GET /v1/apps/{app}/providers': reads(async (world) => ({ marker: (await providerOf(world)).id })),
  'POST /v1/apps/{app}/providers': to(async (world) => {
    const { id, ...body } = await providerIn(world);
    return { body: { id, ...body }, gives: ['subscribe'] };
  }),
  'GET /v1/apps/{app}/providers/{provider}': reads(async (world, call) => {
    const { id } = await providerOf(world);
    return { path: at(call.path, world, { provider: id }), marker: id };
  }),
  'PATCH /v1/apps/{app}/providers/{provider}': to(async (world, call) => {
    const { id } = await providerOf(world);
    return { path: at(call.path, world, { provider: id }), body: { leeway_ms: 1_234 }, gives: ['subscribe'] };
  }),
  'DELETE /v1/apps/{app}/providers/{provider}': to(async (world, call) => {
    const { id } = await providerOf(world);
    return { path: at(call.path, world, { provider: id }) };
  }),
  'POST /v1/apps/{app}/providers/{provider}/refresh': to(async (world, call) => {
    const { id } = await providerOf(world);
    // Its keys are given: whoever may ask is told so.
    return { path: at(call.path, world, { provider: id }), harmless: true, answers: [400] };
  }),
  'POST /v1/apps/{app}/providers/{provider}/logout': to((world, call) => ({
    path: at(call.path, world, { provider: 'nobody' }),
    harmless: true,
    answers: [400],
  })),
  'POST /v1/apps/{app}/providers/{provider}/events': to((world, call) => ({
    path: at(call.path, world, { provider: 'nobody' }),
    harmless: true,
    answers: [400],
  })),
  'GET /v1/apps/{app}/providers/{provider}/signals': reads(async (world, call) => {
    const { id } = await providerOf(world);
    const marker = world.fresh('audience');
    await world.admin().call('PUT', `${world.root}/providers/${id}/signals`, { audiences: [marker] });
    return { path: at(call.path, world, { provider: id }), marker };
  }),
  'PUT /v1/apps/{app}/providers/{provider}/signals': to(async (world, call) => {
    const { id } = await providerOf(world);
    return { path: at(call.path, world, { provider: id }), body: { audiences: ['another'] } };
  }),
  'POST /v1/apps/{app}/providers/{provider}/signals/verify': to(async (world, call) => {
    const { id } = await providerOf(world);
    // It has no stream: whoever may ask is told so.
    return { path: at(call.path, world, { provider: id }), harmless: true, answers: [404] };
  }),
  'DELETE /v1/apps/{app}/providers/{provider}/signals': to(async (world, call) => {
    const { id } = await providerOf(world);
    await world.admin().call('PUT', `${world.root}/providers/${id}/signals`, {});
    return { path: at(call.path, world, { provider: id }) };
  }),
  'GET /v1/apps/{app}/grants': reads(async (world) => {
    await world.admin().grant(world.app.id, { user: MEMBER }, [{ pattern: ROOM, operations: ['history'] }]);
    return { marker: MEMBER };
  }),
  'POST /v1/apps/{app}/grants': grants({ grants: [WRONG] }),
  'PUT /v1/apps/{app}/grants': grants({ grants: [WRONG] }),
  'DELETE /v1/apps/{app}/grants': grants({ patterns: [ROOM] }),
  'POST /v1/apps/{app}/revoke channel': to(async (world) => {
    const person = await world.person();
    const targets = [{ resource: 'channel', pattern: person.channel }];
    return { ...person, targets, body: { target: { channel: person.channel } } };
  }),
  'POST /v1/apps/{app}/revoke user': to(async (world) => {
    const person = await world.person();
    return { ...person, body: { target: { user: person.user } } };
  }),
  'POST /v1/apps/{app}/revoke token': to(async (world) => {
    const person = await world.person();
    return { ...person, body: { target: { token: person.token } } };
  }),
  'POST /v1/apps/{app}/revoke group': ofGroup((world, group) => ({ body: { target: { group } } })),
  'POST /v1/apps/{app}/revoke app': to(async (world, call) => {
    const apart = await world.apart();
    const person = await apart.person();
    return { ...person, world: apart, path: at(call.path, apart, {}), body: { target: 'app' } };
  }),
  'POST /v1/apps/{app}/revoke key': to(async (world) => {
    const voucher = await world.admin().call('POST', `${world.root}/keys`, { name: 'voucher' });
    const person = await world.person({ ...world.app, key: voucher.key.id, secret: voucher.key.secret });
    return { ...person, body: { target: { key: voucher.key.id } } };
  }),
  'GET /v1/apps/{app}/groups': reads(async (world) => {
    await world.admin().call('POST', `${world.root}/groups/marker-group/members`, { add: [{ user: MEMBER }] });
    return { marker: 'marker-group' };
  }),
  'GET /v1/apps/{app}/groups/{group}': reads((world, call) => ({ path: at(call.path, world, { group: 'g' }), marker: '"members_below"' })),
  'DELETE /v1/apps/{app}/groups/{group}': ofGroup(() => ({}), { alone: true }),
  'GET /v1/apps/{app}/groups/{group}/members': reads(async (world, call) => {
    await world.admin().call('POST', `${world.root}/groups/marker-group/members`, { add: [{ user: MEMBER }] });
    return { path: at(call.path, world, { group: 'marker-group' }), marker: MEMBER };
  }),
  'POST /v1/apps/{app}/groups/{group}/members add': ofGroup(
    (world) => ({ body: { add: [{ user: world.fresh('added') }] }, gives: ['history'] }),
    { alone: true },
  ),
  'POST /v1/apps/{app}/groups/{group}/members remove': ofGroup((_, group, { user }) => ({ body: { remove: [{ user }] } }), { alone: true }),
  'POST /v1/apps/{app}/groups/{group}/disconnect': ofGroup(() => ({ body: {} })),
  'POST /v1/apps/{app}/groups/{group}/block': ofGroup(() => ({ body: { reason: 'tried' } })),
  'DELETE /v1/apps/{app}/groups/{group}/block': to(async (world, call) => {
    const group = world.fresh('blocked');
    await world.admin().call('POST', `${world.root}/groups/${group}/block`, {});
    return { group, path: at(call.path, world, { group }) };
  }),
  'GET /v1/apps/{app}/users/{user}': reads((world, call) => ({ user: MEMBER, path: at(call.path, world, { user: MEMBER }), marker: '"groups"' })),
  'POST /v1/apps/{app}/users/{user}/disconnect': ofUser(() => ({ body: {} })),
  'POST /v1/apps/{app}/users/{user}/block': ofUser(() => ({ body: { reason: 'tried' } })),
  'GET /v1/apps/{app}/users/{user}/block': reads(async (world, call) => {
    const user = 'marker-blocked';
    await world.admin().block(world.app.id, user, { reason: 'marker-reason' });
    return { user, path: at(call.path, world, { user }), marker: 'marker-reason' };
  }),
  'DELETE /v1/apps/{app}/users/{user}/block': to(async (world, call) => {
    const user = world.fresh('blocked');
    await world.admin().block(world.app.id, user);
    return { user, path: at(call.path, world, { user }) };
  }),
  'POST /v1/apps/{app}/publish': to((world) => ({ body: { channel: ROOM, name: 'said', data: world.fresh('said') } })),
  'GET /v1/apps/{app}/channels': reads((world, call) => ({
    path: `${at(call.path, world, {})}?prefix=presence-`,
    targets: [{ resource: 'channel', pattern: 'presence-*' }],
    marker: ROOM,
  })),
  'GET /v1/apps/{app}/channels/{channel}': reads((world, call) => ({ path: at(call.path, world, { channel: ROOM }), marker: '"subscribers"' })),
  'GET /v1/apps/{app}/channels/{channel}/members': reads((world, call) => ({ path: at(call.path, world, { channel: ROOM }), marker: MEMBER })),
  'GET /v1/apps/{app}/connections': reads(() => ({ marker: MEMBER })),
  'GET /v1/apps/{app}/webhooks/deliveries': reads(() => ({ marker: '"deliveries"' })),
  'GET /v1/apps/{app}/refusals': reads(() => ({ marker: '"refusals"' })),
  'GET /v1/refusals': reads(() => ({ marker: '"refusals"' })),
  'GET /v1/audit': reads(() => ({ marker: '"prev_hash"' })),
  'PATCH /v1/audit': to(() => ({ body: {}, harmless: true })),
  'GET /v1/audit/heads': reads(() => ({ marker: '"nodes"' })),
  'GET /v1/audit/proofs': reads(async (world, call) => {
    const { records } = await world.admin().call('GET', '/v1/audit?limit=1');
    return { path: `${call.path}?revision=${records[0].revision}`, marker: '"way"' };
  }),
  'GET /v1/apps/{app}/audit': reads(() => ({ marker: '"subjects"' })),
  'GET /v1/apps/{app}/webhooks/dead': reads(() => ({ marker: '"dead_letters"' })),
  'POST /v1/apps/{app}/webhooks/replay': to(() => ({ body: {}, harmless: true })),
  'POST /v1/apps/{app}/explain': reads(() => ({ body: { user: MEMBER, channel: ROOM, operations: ['publish'] }, marker: '"allowed"' })),
  'POST /access/v1/evaluation': evaluates,
  'POST /access/v1/evaluations': evaluates,
  'GET /.well-known/authzen-configuration': reads(() => ({ marker: '/access/v1/evaluation' })),
  'POST /oauth/introspect': reads(async (world, call) => {
    const person = await world.once('introspected', () => world.person());
    return { form: { token: person.token }, internal: `${call.path}?app=${world.app.id}`, marker: '"active":true' };
  }),
  'POST /oauth/revoke': to(async (world, call) => {
    const person = await world.person();
    return { ...person, form: { token: person.token }, internal: `${call.path}?app=${world.app.id}` };
  }),
  'GET /v1/operations/{operation}': reads((world, call) => ({ path: at(call.path, world, { operation: '0'.repeat(32) }), answers: [404] })),
  'GET /v1/cluster': reads(() => ({ marker: '"nodes"' })),
  'POST /v1/cluster/nodes': ofNode(0, { body: { node: 0, peer_addr: '127.0.0.1:1' } }),
  'DELETE /v1/cluster/nodes/{node}': ofNode(99),
  'POST /v1/cluster/nodes/{node}/promote': ofNode(99),
  'POST /v1/cluster/nodes/{node}/demote': ofNode(99),
  'POST /v1/cluster/nodes/{node}/drain': ofNode(99),
  'POST /v1/cluster/nodes/{node}/replace': ofNode(99, { body: { node: 99, peer_addr: '127.0.0.1:1' } }),
  'GET /v1/cluster/backup': reads(() => ({})),
};

const bearer = (text) => ({ authorization: `Bearer ${text}` });

export async function credentials(world, call, instance) {
  const made = (await keys(world, call, instance)).map((one) => ({
    ...one,
    headers: bearer(`${one.app.key}:${{ 'no secret': '', 'wrong secret': 'x'.repeat(32) }[one.tamper] ?? one.app.secret}`),
  }));
  if (call.detail) made.push(...(await lookers(world)));
  const none = { kind: 'nothing', proven: false };
  const admin = world.cluster.adminToken;
  const full = `${world.app.key}:${world.app.secret}`;
  return [
    ...made,
    { ...none, name: 'nothing', headers: {} },
    { ...none, name: 'a token of Ably', headers: bearer(jwt(world.app, {})) },
    { ...none, name: 'the admin token on the public port', headers: bearer(admin) },
    { ...none, name: 'the admin token as a secret', headers: bearer(`${world.app.key}:${admin}`) },
    { ...none, name: 'nothing on the internal port', headers: {}, internal: true },
    { ...none, name: 'the full key on the internal port', headers: bearer(full), internal: true },
    { ...none, name: 'another admin token', headers: bearer('0'.repeat(48)), internal: true },
    { kind: 'operator', proven: true, name: 'the admin token', headers: bearer(admin), internal: true },
  ];
}

/** Of a row that shows more to whom may look: a key with each of both rights. */
async function lookers(world) {
  const made = ['admin', 'inspect'].map(async (right) => {
    const app = await world.key([{ pattern: '*', operations: [right] }]);
    const looks = { name: `a key with ${right}`, kind: 'key', proven: true, own: true, holds: true, looks: true };
    return { ...looks, headers: bearer(`${app.key}:${app.secret}`) };
  });
  return Promise.all(made);
}

export async function send(world, instance, { headers, internal }) {
  const url = internal ? world.cluster.adminUrls[world.count % 3] : world.url();
  const path = (internal && instance.internal) || instance.path;
  const answer = await fetch(url + path, {
    method: instance.method,
    headers: { ...headers, 'content-type': instance.form ? 'application/x-www-form-urlencoded' : 'application/json' },
    body: instance.form ? new URLSearchParams(instance.form).toString() : instance.body && JSON.stringify(instance.body),
  });
  const text = await answer.text();
  return { status: answer.status, text, body: text.startsWith('{') ? JSON.parse(text) : undefined };
}

// The second words are OAuth's.
const WHY = {
  unknown: [401, /^(unauthenticated|bad_credential|invalid_client)$/],
  forbidden: [403, /^(not_allowed|denied|operator_only|access_denied)$/],
  'wrong app': [403, /^(wrong_app|access_denied)$/],
};

export function refused({ status, body }, why) {
  assert.equal(status, WHY[why][0]);
  assert.match(body.error.code ?? body.error, WHY[why][1]);
}

export function allowed({ status }, { answers = [200, 201] }) {
  assert.ok(answers.includes(status), `${status} is none of ${answers}`);
}
