// A disk whose sync fails: the node acknowledges nothing more, ends by itself with exit code 1 and says why, and what was
// acknowledged before is there when it is started again. And backups, through the command line.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { Cluster, TARGET } from './lib/cluster.mjs';
import { within } from './lib/wait.mjs';

const may = [{ pattern: 'private-x', operations: ['subscribe'] }];

const SHIM = `
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>
static int synced(int fd, const char *name) {
  const char *when = getenv("FAIL_SYNC");
  if (when && access(when, F_OK) == 0) { errno = EIO; return -1; }
  return ((int (*)(int))dlsym(RTLD_NEXT, name))(fd);
}
int fsync(int fd) { return synced(fd, "fsync"); }
int fdatasync(int fd) { return synced(fd, "fdatasync"); }
`;

test('a failed sync ends the node with code 1 and its reason; nothing acknowledged is lost', async (t) => {
  const folder = join(TARGET, 'sdk', 'shim');
  mkdirSync(folder, { recursive: true });
  const [source, library, trigger] = ['shim.c', 'shim.so', 'fail'].map((name) => join(folder, name));
  writeFileSync(source, SHIM);
  const built = spawnSync('cc', ['-shared', '-fPIC', '-o', library, source, '-ldl']);
  if (built.status !== 0) return t.skip('no C compiler here to build the failing fdatasync with');
  rmSync(trigger, { force: true });
  Object.assign(process.env, { LD_PRELOAD: library, FAIL_SYNC: trigger });
  const cluster = await Cluster.start({ nodes: 1 });
  delete process.env.LD_PRELOAD;
  try {
    await cluster.admin().grant(cluster.app.id, { user: 'before' }, may);
    writeFileSync(trigger, '');
    const refused = await cluster.admin().grant(cluster.app.id, { user: 'during' }, may).then(
      () => 'acknowledged',
      () => 'not acknowledged',
    );
    assert.equal(refused, 'not acknowledged');
    const { code, signal } = await within(cluster.node(1).ended, 'the node ends by itself');
    assert.deepEqual([code, signal], [1, null]);
    assert.match(cluster.log(1), /could not be made durable/);
    assert.doesNotMatch(cluster.log(1), /panicked/);
    rmSync(trigger);
    await cluster.startNode(1);
    const { grants } = await cluster.admin().grantsOf(cluster.app.id, 'before');
    assert.equal(grants.length, 1);
  } finally {
    rmSync(trigger, { force: true });
    await cluster.stop();
  }
});

test('a database that was cut short while its node was down is refused in words', async () => {
  const cluster = await Cluster.start({ nodes: 1 });
  for (let n = 0; n < 40; n += 1) {
    await Promise.all(Array.from({ length: 64 }, (_, at) => cluster.admin().grant(cluster.app.id, { user: `u${n}-${at}` }, may)));
  }
  await cluster.kill(1);
  const database = join(cluster.folder, 'node-1', 'sled', 'db');
  truncateSync(database, Math.floor(statSync(database).size / 2));
  const started = await cluster.startNode(1).then(
    () => 'started',
    (error) => error.message,
  );
  assert.match(started, /ended while starting \(1\)/);
  assert.match(cluster.log(1), /does not open|damaged/);
  rmSync(cluster.folder, { recursive: true, force: true });
});

test('backup create, verify and restore through the command line', async () => {
  const cluster = await Cluster.start({ nodes: 3 });
  const file = join(cluster.folder, 'gatecast.backup');
  const cli = (...args) => cluster.cli(2, ...args);
  try {
    await cluster.admin(1).grant(cluster.app.id, { user: 'kept' }, may);
    assert.match(await cli('backup', 'create', file), /^whole\n/);
    assert.equal(statSync(file).mode & 0o777, 0o600);
    await assert.rejects(cli('backup', 'create', file), /exists already/);
    assert.match(await cli('backup', 'verify', file), /grants 1\n/);
    for (const node of [1, 2, 3]) await cluster.kill(node);
    const data = join(cluster.folder, 'restored', 'node-1');
    const said = await cli('backup', 'restore', file, '--data', data, '--peer-addr', `127.0.0.1:${cluster.node(1).peer}`);
    assert.match(said, /no token issued before the restore is honoured/);
    cluster.folder = join(cluster.folder, 'restored');
    cluster.nodes.length = 1;
    await cluster.startNode(1);
    const { grants } = await cluster.admin(1).grantsOf(cluster.app.id, 'kept');
    assert.equal(grants.length, 1);
    truncateSync(file, statSync(file).size - 1);
    await assert.rejects(cli('backup', 'verify', file), /damaged/);
  } finally {
    await cluster.stop();
  }
});
