// AuthZEN decisions on three nodes: what a grant or a revoke that was answered at one node says, every node's next decision
// says too, for whoever bears a token of whichever dialect.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { jwt } from './lib/ably.mjs';
import { Cluster, appOf } from './lib/cluster.mjs';

const ROUNDS = 40;
let cluster;
let app;
let root;

before(async () => {
  cluster = await Cluster.start({ nodes: 3 });
  app = appOf(await cluster.admin(1).createApp({ name: 'routes', protocols: ['ably'], keys: [{ name: 'server' }] }));
  root = `/v1/apps/${app.id}`;
});
after(() => cluster?.stop());

/** What a node answers to one path of the API, in the name of the app's server. */
async function asked(node, path, body, headers = {}) {
  const answer = await fetch(`${cluster.urls[node % 3]}/access/v1/${path}`, {
    method: 'POST',
    headers: { authorization: `Bearer ${app.key}:${app.secret}`, 'content-type': 'application/json', ...headers },
    body: JSON.stringify(body),
  });
  return { status: answer.status, id: answer.headers.get('x-request-id'), ...(await answer.json()) };
}
const question = (subject, document) => ({ subject, action: { name: 'subscribe' }, resource: { type: 'channel', id: document } });
const decisions = async (subject, document) => {
  const answers = await Promise.all([0, 1, 2].map((node) => asked(node, 'evaluation', question(subject, document))));
  assert.deepEqual(answers.map(({ status }) => status), [200, 200, 200]);
  return answers.map(({ decision }) => decision);
};

test('a grant is a yes and a revoke a no at every node, from the moment they are answered', async () => {
  const server = (node) => cluster.server(1 + (node % 3), app);
  for (let round = 0; round < ROUNDS; round += 1) {
    const document = `document-${round % 4}`;
    const subject = { type: 'user', id: 'ana' };
    const grants = [{ pattern: document, operations: ['subscribe'] }];
    await server(round).call('POST', `${root}/grants`, { subject: { user: 'ana' }, grants });
    assert.deepEqual(await decisions(subject, document), [true, true, true], `granted in round ${round}`);
    await server(round + 1).call('POST', `${root}/revoke`, { target: { user: 'ana' } });
    assert.deepEqual(await decisions(subject, document), [false, false, false], `revoked in round ${round}`);
  }
});

test('a token that a dialect signs is judged by what it says and by the key that signed it', async () => {
  const { key } = await cluster.admin(1).call('POST', `${root}/keys`, { name: 'signs', capability: [{ pattern: 'mine', operations: ['subscribe'] }] });
  const signer = { ...app, key: key.id, secret: key.secret };
  const subject = { type: 'token', id: jwt(signer, { 'x-ably-clientId': 'bob', 'x-ably-capability': '{"*":["*"]}' }) };
  assert.deepEqual(await decisions(subject, 'mine'), [true, true, true]);
  assert.deepEqual(await decisions(subject, 'yours'), [false, false, false]);
  await cluster.admin(2).call('PATCH', `${root}/keys/${key.id}`, { enabled: false });
  assert.deepEqual(await decisions(subject, 'mine'), [false, false, false]);
});

test('every answer has the id of its request, and the paths are found by their document', async () => {
  const ids = { 'x-request-id': 'bfe9eb29' };
  const body = question({ type: 'user', id: 'ana' }, 'document-1');
  for (const [what, headers, status] of [
    [body, ids, 200],
    [{ ...body, action: undefined }, ids, 400],
    [body, { ...ids, authorization: 'Bearer x:y' }, 401],
    [{ ...body, context: { at_least: 'soon' } }, ids, 400],
  ]) {
    for (const path of ['evaluation', 'evaluations']) {
      const answer = await asked(1, path, what, headers);
      assert.deepEqual([answer.status, answer.id], [status, 'bfe9eb29'], JSON.stringify(answer));
    }
  }
  for (const url of cluster.urls) {
    const answer = await fetch(`${url}/.well-known/authzen-configuration`);
    assert.deepEqual([answer.status, answer.headers.get('cache-control')], [200, 'no-store']);
    const told = await answer.json();
    assert.equal(told.policy_decision_point, url);
    const [authorization, type] = [`Bearer ${app.key}:${app.secret}`, 'application/json'];
    const found = await fetch(told.access_evaluation_endpoint, { method: 'POST', headers: { authorization, 'content-type': type }, body: JSON.stringify(body) });
    assert.equal(found.status, 200);
  }
});

test('several questions at once, and a request id that comes back', async () => {
  const { revision } = await cluster.admin(1).grant(app.id, { user: 'eva' }, [{ pattern: 'read-*', operations: ['subscribe'] }]);
  const answer = await asked(
    2,
    'evaluations',
    {
      ...question({ type: 'user', id: 'eva' }, 'read-1'),
      context: { at_least: revision },
      evaluations: [{}, { resource: { type: 'channel', id: 'write-1' } }, { action: { name: 'publish' } }],
    },
    { 'x-request-id': 'bfe9eb29' },
  );
  assert.equal(answer.id, 'bfe9eb29');
  assert.deepEqual(answer.evaluations.map(({ decision }) => decision), [true, false, false]);
  assert.equal(answer.evaluations[0].context.rule.pattern, 'read-*');
  assert.equal(answer.evaluations[2].context.reason.code, 'not_granted');
});
