// A real cluster for a test: one process per node on free loopback ports, each with a data folder of its own,
// ended by process id. Nothing here is shared with a cluster that `scripts/cluster` may be running.

import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, existsSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { dirname, join, resolve } from 'node:path';
import { randomBytes } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { Native } from './native.mjs';
import { until, within } from './wait.mjs';

export const ROOT = resolve(dirname(fileURLToPath(import.meta.url)), '../../..');
export const TARGET = process.env.CARGO_TARGET_DIR ? resolve(ROOT, process.env.CARGO_TARGET_DIR) : join(ROOT, 'target');

/** The binary under test. */
export const BINARY = process.env.GATECAST_BIN ?? join(TARGET, 'debug', 'gatecast');

/** What the tests' app has switched on; a test passes others to `createApp`. */
export const APP_SETTINGS = { client_events: true, user_sign_in: true, grants_open_channels: true };

const running = new Set();
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});

export async function freePorts(count) {
  const servers = await Promise.all(
    Array.from({ length: count }, async () => {
      const server = createServer();
      server.listen(0, '127.0.0.1');
      await once(server, 'listening');
      return server;
    }),
  );
  const ports = servers.map((server) => server.address().port);
  await Promise.all(servers.map((server) => new Promise((done) => server.close(done))));
  return ports;
}

/** An app that was just made, with what its clients and app servers need in each protocol. */
export function appOf({ app, keys: [key], env, revision }) {
  return {
    id: String(app.id),
    key: key.id,
    secret: key.secret,
    revision,
    publishKey: env.PUBNUB_PUBLISH_KEY,
    subscribeKey: env.PUBNUB_SUBSCRIBE_KEY,
    secretKey: env.PUBNUB_SECRET_KEY,
    application: env.REALTIME_APPLICATION_KEY,
  };
}

export class Cluster {
  /** Starts `nodes` nodes and waits until every one is ready; then makes the tests' app. */
  static async start({ nodes = 3, app = {}, args = [], limit } = {}) {
    if (!existsSync(BINARY)) throw new Error(`no binary at ${BINARY}: run cargo build first`);
    const cluster = new Cluster();
    cluster.args = args;
    cluster.limit = limit;
    mkdirSync(join(TARGET, 'sdk'), { recursive: true });
    cluster.folder = mkdtempSync(join(TARGET, 'sdk', 'cluster-'));
    cluster.adminToken = randomBytes(24).toString('hex');
    cluster.secret = randomBytes(24).toString('hex');
    const ports = await freePorts(nodes * 3);
    cluster.nodes = Array.from({ length: nodes }, (_, index) => ({
      id: index + 1,
      public: ports[index * 3],
      internal: ports[index * 3 + 1],
      peer: ports[index * 3 + 2],
    }));
    cluster.urls = cluster.nodes.map((node) => `http://127.0.0.1:${node.public}`);
    cluster.adminUrls = cluster.nodes.map((node) => `http://127.0.0.1:${node.internal}`);
    try {
      await Promise.all(cluster.nodes.map((node) => cluster.startNode(node.id)));
      cluster.app = await cluster.createApp(app);
    } catch (error) {
      const logs = cluster.nodes.map((node) => cluster.log(node.id).slice(-1500)).join('\n---\n');
      await cluster.stop({ check: false });
      throw new Error(`the cluster did not start: ${error.message}\n${logs}`);
    }
    return cluster;
  }

  node(id) {
    return this.nodes[id - 1];
  }

  /** Starts node `id` (1-based) and waits for its `ready` line. */
  async startNode(id) {
    const node = this.node(id);
    const args = ['serve', '--node', String(id), '--data', join(this.folder, `node-${id}`)];
    args.push('--public', `127.0.0.1:${node.public}`, '--internal', `127.0.0.1:${node.internal}`);
    args.push('--peer', `127.0.0.1:${node.peer}`, ...this.args);
    if (node.join) {
      args.push('--join', node.join);
    } else if (this.nodes.length > 1 && !node.alone) {
      args.push('--cluster', this.nodes.map((each) => `${each.id}=127.0.0.1:${each.peer}`).join(','));
    }
    const log = openSync(join(this.folder, `node-${id}.log`), 'a');
    // `limit` bounds the process's open files, for good.
    const [command, ...before] = this.limit ? ['sh', '-c', `ulimit -n ${this.limit}; exec "$0" "$@"`, BINARY] : [BINARY];
    const child = spawn(command, [...before, ...args], {
      stdio: ['ignore', 'pipe', log],
      env: {
        ...process.env,
        GATECAST_CLUSTER_SECRET: this.secret,
        GATECAST_ADMIN_TOKEN: this.adminToken,
        RUST_BACKTRACE: '1',
        RUST_LOG: process.env.RUST_LOG ?? 'info',
      },
    });
    closeSync(log);
    running.add(child);
    node.child = child;
    node.ended = once(child, 'exit').then(([code, signal]) => {
      running.delete(child);
      return { code, signal };
    });
    const ready = new Promise((resolve) => {
      let seen = '';
      child.stdout.on('data', (bytes) => {
        seen += bytes;
        if (/^ready node=/m.test(seen)) resolve();
      });
    });
    const died = node.ended.then(({ code, signal }) => {
      throw new Error(`node ${id} ended while starting (${signal ?? code}): ${this.log(id).slice(-1500)}`);
    });
    died.catch(() => {});
    await within(Promise.race([ready, died]), `node ${id} is ready`, 60_000);
  }

  /** Starts a node that joins through the others, or through `peers`; `started` resolves when it is ready. */
  async joinNode(peers = this.nodes) {
    const [publicPort, internal, peer] = await freePorts(3);
    const join = peers.map((node) => `127.0.0.1:${node.peer}`).join(',');
    const node = { id: this.nodes.length + 1, public: publicPort, internal, peer, join };
    this.nodes.push(node);
    this.urls.push(`http://127.0.0.1:${publicPort}`);
    this.adminUrls.push(`http://127.0.0.1:${internal}`);
    return { node, started: this.startNode(node.id) };
  }

  /** kill -9. */
  async kill(id) {
    this.node(id).child.kill('SIGKILL');
    await within(this.node(id).ended, `node ${id} has ended`);
  }

  /** Where node `id` keeps its data. */
  data(id) {
    return join(this.folder, `node-${id}`);
  }

  pid(id) {
    return this.node(id).child.pid;
  }

  /** Resident memory of a node in bytes. */
  resident(id) {
    const status = readFileSync(`/proc/${this.pid(id)}/status`, 'utf8');
    return Number(/^VmRSS:\s+(\d+) kB/m.exec(status)[1]) * 1024;
  }

  log(id) {
    try {
      return readFileSync(join(this.folder, `node-${id}.log`), 'utf8');
    } catch {
      return '';
    }
  }

  /** The operator's API of node `id`. */
  admin(id = 1) {
    return new Native(this.adminUrls[id - 1], this.adminToken);
  }

  /** The app server's API through node `id`. */
  server(id = 1, app = this.app) {
    return Native.appServer(this.urls[id - 1], app);
  }

  /** What the command line says, asked through node `id` as its operator; it throws with `code` and `stderr` when it fails. */
  async cli(id, ...args) {
    const { stdout } = await promisify(execFile)(BINARY, ['--server', this.adminUrls[id - 1], '--token', this.adminToken, ...args]);
    return stdout;
  }

  /** Makes an app; what the caller does not say is as in the demo app. */
  async createApp({ settings = {}, ...spec } = {}) {
    const made = await this.admin(1).createApp({
      name: 'tests',
      protocols: ['pusher', 'ably', 'pubnub', 'realtime'],
      open: [{ pattern: 'public-*', operations: ['subscribe'] }],
      settings: { ...APP_SETTINGS, ...settings },
      keys: [{ name: 'server' }],
      ...spec,
    });
    return appOf(made);
  }

  /** The node that leads, as node `asked` sees it. */
  async leader(asked = 1) {
    return until(async () => (await this.admin(asked).cluster()).leader, 'the cluster has a leader');
  }

  /** Ends every node in order and looks into their logs: a panic anywhere fails the suite that started them. */
  async stop({ check = true } = {}) {
    const alive = this.nodes.filter((node) => node.child && running.has(node.child));
    for (const node of alive) node.child.kill('SIGTERM');
    for (const node of alive) {
      try {
        await within(node.ended, `node ${node.id} stops on SIGTERM`, 15_000);
      } catch (error) {
        node.child.kill('SIGKILL');
        await node.ended;
        if (check) throw error;
      }
    }
    const panics = this.nodes.flatMap((node) =>
      this.log(node.id)
        .split('\n')
        .filter((line) => line.includes('panicked at')),
    );
    if (check && panics.length > 0) throw new Error(`a node panicked: ${panics.join('\n')}`);
    if (check) rmSync(this.folder, { recursive: true, force: true });
  }
}
