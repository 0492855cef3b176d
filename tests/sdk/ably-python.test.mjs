// The official Python SDK over one node and over three: REST and realtime in both wire forms, by key and by JWT, and its
// errors.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { jwt, keyOf } from './lib/ably.mjs';
import { Cluster } from './lib/cluster.mjs';

const HERE = join(dirname(fileURLToPath(import.meta.url)), 'python');

for (const nodes of [1, 3]) {
  test(`publish, history, tokens, realtime, presence and refusals over ${nodes} node${nodes > 1 ? 's' : ''}`, async () => {
    const cluster = await Cluster.start({ nodes });
    try {
      await story(cluster);
    } finally {
      await cluster.stop();
    }
  });
}

async function story(cluster) {
  const program = process.env.GATECAST_TEST_PYTHON ?? join(HERE, '.venv', 'bin', 'python');
  if (!existsSync(program)) throw new Error(`no Python with the SDK at ${program}: run scripts/test once`);
  const token = jwt(cluster.app, { 'x-ably-clientId': 'pia' });
  const script = join(HERE, 'ably_sdk.py');
  const { stdout } = await promisify(execFile)(program, [script, cluster.urls[0], cluster.urls.at(-1), keyOf(cluster.app), token], { timeout: 90_000 });
  const steps = stdout.trim().split('\n').map((line) => JSON.parse(line));
  const of = (step) => steps.filter((one) => one.step === step);
  for (const one of of('rest')) {
    assert.deepEqual(one.data, [[0, 255], { a: 'ü' }]);
    assert.deepEqual(one.capability, { py: ['subscribe'] });
    assert.ok(Math.abs(one.time - Date.now()) < 60_000);
  }
  assert.deepEqual(of('rest').map((one) => one.binary), [false, true]);
  assert.deepEqual(of('realtime').map((one) => [one.data, one.client]), [[{ n: 1 }, 'pia'], [{ n: 1 }, 'pia']]);
  assert.deepEqual(of('presence').map((one) => one.members), [[['pia', 'here']], [['pia', 'here']]]);
  assert.deepEqual(of('refused').map((one) => one.code), [40101, 40005]);
  assert.equal(steps.at(-1).step, 'done');
}
