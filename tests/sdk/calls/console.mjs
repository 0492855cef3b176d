// The console: what whoever reaches the internal port may ask, and of it what the public one answers.

import assert from 'node:assert/strict';

const reads = async (world, call) => ({ reads: true, method: call.method, path: call.path });

export const recipes = { 'GET /health': reads, 'GET /up': reads, 'GET /ready': reads, 'GET /metrics': reads };

/** "who reaches the port" does not reach it from outside. */
export async function credentials(world, call) {
  const one = (name, more) => ({ name, kind: 'nothing', proven: false, ...more });
  const outside = call.who === 'anybody' ? [one('nothing on the public port', { outside: true })] : [];
  return [one('nothing'), one('a wrong token', { headers: { authorization: 'Bearer x' } }), ...outside];
}

export async function send(world, instance, { headers, outside }) {
  const url = outside ? world.url() : world.cluster.adminUrls[world.count % 3];
  const answer = await fetch(url + instance.path, { headers });
  const text = await answer.text();
  if (!outside && instance.path !== '/up') {
    const refusal = await fetch(world.url() + instance.path);
    assert.equal(refusal.status, 404, `${instance.path} on the public port: ${await refusal.text()}`);
  }
  return { status: answer.status, text };
}

export function refused() {
  assert.fail('the console refuses nobody');
}

export function allowed({ status }) {
  assert.equal(status, 200);
}
