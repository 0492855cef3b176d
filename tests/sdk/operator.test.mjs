// What an operator meets: modes of the data folder, a log that stays readable whatever fails, an orderly stop without a
// complaint, and a public `/up` that a balancer can believe.

import assert from 'node:assert/strict';
import { execFile, spawnSync } from 'node:child_process';
import { chmodSync, lstatSync, readdirSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { once } from 'node:events';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { BINARY, Cluster } from './lib/cluster.mjs';
import { until, within } from './lib/wait.mjs';

const run = promisify(execFile);
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
const lines = (cluster, id) => cluster.log(id).split('\n').filter(Boolean);
const loud = (cluster, id) => lines(cluster, id).filter((line) => /"level":"(WARN|ERROR)"/.test(line));
const status = async (url) => (await fetch(url)).status;

/** Whatever in a folder somebody else than its owner may do anything with. */
function open(folder) {
  const own = lstatSync(folder).mode & 0o077 ? [folder] : [];
  if (!lstatSync(folder).isDirectory()) return own;
  return [...own, ...readdirSync(folder).flatMap((name) => open(join(folder, name)))];
}

test('with umask 000 the data folder and all in it are their owner’s alone; an open folder is closed and that is said', async () => {
  const before = process.umask(0);
  const cluster = await Cluster.start({ nodes: 1 }).finally(() => process.umask(before));
  const folder = join(cluster.folder, 'node-1');
  try {
    assert.deepEqual(open(folder), []);
    await cluster.kill(1);
    chmodSync(folder, 0o755);
    chmodSync(join(folder, 'sled', 'db'), 0o644);
    await cluster.startNode(1);
    assert.deepEqual(open(folder), []);
    assert.equal(loud(cluster, 1).filter((line) => line.includes('open to other users')).length, 1);
    const file = join(cluster.folder, 'afile');
    writeFileSync(file, '');
    const { status: code, stderr } = spawnSync(BINARY, ['serve', '--data', file, '--public', '127.0.0.1:0', '--internal', '127.0.0.1:0', '--peer', '127.0.0.1:0'], { encoding: 'utf8' });
    assert.equal(code, 1);
    assert.match(stderr, /is a file: `data` names the folder/);
  } finally {
    await cluster.stop();
  }
});

test('dead peers cost a few lines, `/up` says 503 where the node may not serve, and a stop in order complains of nothing', async () => {
  // So few connections that no limit of open files is too low for them.
  const cluster = await Cluster.start({ args: ['--max-connections', '200'] });
  try {
    for (const id of [1, 2, 3]) assert.deepEqual(loud(cluster, id), [], `a healthy start of node ${id}`);
    for (const id of [1, 2, 3]) {
      const all = lines(cluster, id).map((line) => JSON.parse(line));
      assert.ok(all.every((line) => line.this_node === id && /^\d+\.\d+\.\d+$/.test(line.version)), 'every line says whose it is');
      const [start, ...more] = all.filter(({ message }) => message === 'this node starts');
      assert.deepEqual(more, []);
      assert.equal(start.public, `127.0.0.1:${cluster.node(id).public}`);
      assert.equal(start.data, cluster.data(id));
      await until(() => lines(cluster, id).some((line) => /"leader":[123],"term":\d+/.test(line)), 'it says who leads');
    }
    for (const url of cluster.urls) assert.equal(await status(`${url}/up`), 200);
    const counted = async (id, ms) => {
      const before = lines(cluster, id).length;
      await sleep(ms);
      return lines(cluster, id).slice(before);
    };
    const leader = Number(await cluster.leader(1));
    const [stays, goes] = [leader, (leader % 3) + 1];
    const last = 6 - stays - goes;
    await cluster.kill(goes);
    await until(() => loud(cluster, stays).some((line) => line.includes('a node is unreachable')), 'it is said');
    const one = await counted(stays, 20_000);
    assert.ok(one.length <= 5, `with one dead peer: ${one.join('\n')}`);
    assert.equal(await status(`${cluster.urls[stays - 1]}/up`), 200);
    await cluster.kill(last);
    const stale = async () => (await status(`${cluster.urls[stays - 1]}/up`)) === 503;
    await until(stale, '`/up` follows the lease', 10_000);
    assert.doesNotMatch(await (await fetch(`${cluster.urls[stays - 1]}/up`)).text(), /stale|majority/);
    assert.equal(await status(`${cluster.adminUrls[stays - 1]}/health`), 200);
    await sleep(5_000);
    const two = await counted(stays, 20_000);
    assert.ok(two.length <= 5, `with two dead peers: ${two.join('\n')}`);
    await Promise.all([cluster.startNode(goes), cluster.startNode(last)]);
    await until(() => cluster.log(stays).includes('a node is reachable again'), 'its return is said');
    const before = [1, 2, 3].map((id) => loud(cluster, id).length);
    for (const id of [1, 2, 3]) cluster.node(id).child.kill('SIGTERM');
    for (const id of [1, 2, 3]) assert.deepEqual(await within(cluster.node(id).ended, 'it stops', 30_000), { code: 0, signal: null });
    for (const id of [1, 2, 3]) assert.deepEqual(loud(cluster, id).slice(before[id - 1]), [], `the stop of node ${id}`);
  } finally {
    await cluster.stop();
  }
});

/** What the socket answers to these bytes, until it closes. */
async function raw(port, text) {
  const socket = connect(port, '127.0.0.1');
  let said = '';
  socket.on('data', (bytes) => (said += bytes));
  socket.end(text);
  await within(once(socket, 'close'), 'the answer');
  return said;
}

test('HEAD is answered as GET is on the internal port, and nothing follows its head', async () => {
  const cluster = await Cluster.start({ nodes: 1 });
  try {
    const authorization = `Bearer ${cluster.adminToken}`;
    const ask = async (method, url, headers) => {
      const answer = await fetch(url, { method, headers });
      const body = await answer.text();
      return { status: answer.status, type: answer.headers.get('content-type'), body };
    };
    const [internal] = cluster.adminUrls;
    const paths = ['/health', '/up', '/ready', '/metrics', '/v1/apps', `/v1/apps/${cluster.app.id}`, '/v1/cluster', '/v1/nothing', '/nothing'];
    for (const url of [...paths.map((path) => internal + path), `${cluster.urls[0]}/up`]) {
      for (const headers of [{ authorization }, {}]) {
        const [get, head] = [await ask('GET', url, headers), await ask('HEAD', url, headers)];
        assert.deepEqual({ ...head, body: get.body }, get, url);
        assert.equal(head.body, '');
        assert.ok(get.status < 405, `${url}: ${get.status}`);
      }
    }
    for (const path of ['/metrics', '/ready', '/v1/cluster']) {
      const asked = `HEAD ${path} HTTP/1.1\r\nHost: x\r\nAuthorization: ${authorization}\r\nConnection: close\r\n\r\n`;
      assert.match(await raw(cluster.node(1).internal, asked), /^HTTP\/1\.1 200 OK\r\n[^]*?\r\n\r\n$/, path);
    }
  } finally {
    await cluster.stop();
  }
});

test('`cluster status` tells through any node how far each has got, and calls no dead leader the leader', async () => {
  const cluster = await Cluster.start();
  const table = async (id) => {
    const asked = ['--server', cluster.adminUrls[id - 1], '--token', cluster.adminToken, 'cluster', 'status'];
    const { stdout } = await run(BINARY, asked);
    const [head, ...rows] = stdout.split('\n').map((line) => line.split(/ {2,}/));
    const named = (row) => Object.fromEntries(row.map((cell, at) => [head[at], cell]));
    const field = (name) => rows.find(([found]) => found === name)?.[1];
    return { nodes: rows.slice(0, 3).map(named), leader: field('leader'), last: field('last_leader') };
  };
  try {
    const leader = Number(await cluster.leader(1));
    const followers = [1, 2, 3].filter((id) => id !== leader);
    for (const id of [1, 2, 3]) {
      const told = await until(async () => {
        const seen = await table(id);
        return seen.nodes.every((one) => /^\d+$/.test(one.MATCHED)) && seen;
      }, `node ${id} tells how far each has got`);
      assert.equal(told.leader, String(leader));
      assert.equal(told.last, '-');
      assert.deepEqual(told.nodes.map((one) => one.LEADS), [1, 2, 3].map((node) => String(node === leader)));
      assert.deepEqual(told.nodes.map((one) => one.REACHABLE), ['true', 'true', 'true']);
    }
    const [goes, stays] = followers;
    await cluster.kill(goes);
    await cluster.kill(leader);
    const told = await until(async () => {
      const seen = await table(stays);
      return seen.leader === '-' && seen.nodes.filter((one) => one.REACHABLE === 'true').length === 1 && seen;
    }, 'nobody leads');
    assert.equal(told.last, String(leader));
    assert.deepEqual(told.nodes.map((one) => one.LEADS), ['false', 'false', 'false']);
    assert.deepEqual(told.nodes.map((one) => one.REACHABLE), [1, 2, 3].map((node) => String(node === stays)));
  } finally {
    await cluster.stop();
  }
});

test('bad requests of strangers write a bounded number of lines, each with an address, and none above INFO', async () => {
  const cluster = await Cluster.start({ nodes: 1, args: ['--max-connections', '200'] });
  try {
    const before = lines(cluster, 1).length;
    const ports = new Set();
    for (let n = 0; n < 200; n += 1) {
      const socket = connect(cluster.node(1).public, '127.0.0.1');
      socket.on('error', () => {});
      socket.on('connect', () => ports.add(`127.0.0.1:${socket.localPort}`));
      socket.resume();
      socket.end('\x16\x03\x01 nonsense\r\n\r\n');
      await once(socket, 'close');
    }
    const said = lines(cluster, 1).slice(before);
    assert.ok(said.length <= 25, `${said.length} lines`);
    const unread = said.filter((line) => line.includes('could not be read'));
    assert.ok(unread.length > 0, 'the first ones are said');
    for (const line of unread) assert.ok(ports.has(JSON.parse(line).addr), line);
    assert.deepEqual(loud(cluster, 1), []);
  } finally {
    await cluster.stop();
  }
});

test('a wrong cluster secret is named on both sides, with number and address', async () => {
  const cluster = await Cluster.start();
  try {
    await cluster.kill(2);
    const right = cluster.secret;
    cluster.secret = 'another-secret-than-theirs';
    const started = cluster.startNode(2).catch(() => {});
    await until(() => /node [13] ended the connection.*secrets differ/.test(cluster.log(2)), 'the one with the wrong secret says so');
    await until(() => /"addr":"127\.0\.0\.1:\d+".*does not know this node's cluster secret|does not know this node's cluster secret.*"addr":"127/.test(cluster.log(1)), 'so do the others');
    cluster.secret = right;
    cluster.node(2).child.kill('SIGKILL');
    await started;
  } finally {
    await cluster.stop();
  }
});

test('clients cannot use up the descriptors that the node needs itself', async () => {
  const cluster = await Cluster.start({ nodes: 1, limit: 256 });
  const sockets = [];
  try {
    assert.match(cluster.log(1), /"open_files":256/);
    assert.match(cluster.log(1), /LimitNOFILE/);
    for (let n = 0; n < 400; n += 1) {
      const socket = connect(cluster.node(1).public, '127.0.0.1');
      socket.on('error', () => {});
      sockets.push(socket);
    }
    await sleep(500);
    assert.equal(await status(`${cluster.adminUrls[0]}/ready`), 200);
    await cluster.admin().grant(cluster.app.id, { user: 'ana' }, [{ pattern: 'private-x', operations: ['subscribe'] }]);
    assert.doesNotMatch(cluster.log(1), /Too many open files/);
  } finally {
    for (const socket of sockets) socket.destroy();
    await cluster.stop();
  }
});
