// What deploy/ has for operators, in a real Prometheus that asks three real nodes: every expression of the alerts and of the
// dashboard is asked there, every name in them is a metric that Gatecast has, and a node that is killed is an alert.

import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { Cluster, ROOT, TARGET, freePorts } from './lib/cluster.mjs';
import { RawSocket, rawPusher } from './lib/raw.mjs';
import { until, within } from './lib/wait.mjs';

const read = (path) => readFileSync(join(ROOT, path), 'utf8');
const RULES = read('deploy/prometheus/alerts.yml');
const DASHBOARD = JSON.parse(read('deploy/grafana/gatecast.json'));
const PANELS = DASHBOARD.panels.filter((panel) => panel.type !== 'row');

/** Each alert: its name, its expression, and how long it waits. */
const ALERTS = [...RULES.matchAll(/- alert: (\w+)\n\s+expr: (.+)\n(?:\s+for: (\w+)\n)?/g)].map(([, name, expr, wait = '0s']) => ({ name, expr, wait }));
/** What the panels ask, with the dashboard's variables set to everything. */
const QUERIES = PANELS.flatMap((panel) => panel.targets.map((target) => ({ title: panel.title, expr: asked(target.expr) })));

function asked(expr) {
  return expr.replaceAll('$job', 'gatecast').replaceAll('$node', '.*').replaceAll('$app', '.*').replaceAll('$__rate_interval', '10s');
}

// Debian's package has both.
const missing = ['prometheus', 'promtool'].find((program) => spawnSync(program, ['--version']).error !== undefined);
const options = { skip: missing && `${missing} is not installed (Debian: prometheus)` };

let cluster;
let prometheus;
let base;
let folder;

async function startPrometheus() {
  mkdirSync(join(TARGET, 'sdk'), { recursive: true });
  folder = mkdtempSync(join(TARGET, 'sdk', 'prometheus-'));
  const targets = cluster.nodes.map((node) => `          - 127.0.0.1:${node.internal}`).join('\n');
  // The file as it stands, but for whom it asks and how often.
  const config = read('deploy/prometheus/prometheus.yml').replaceAll('_interval: 15s', '_interval: 1s').replace(/^ {10}- node-1[^]*?node-3.*$/m, targets);
  assert.match(config, /127\.0\.0\.1/);
  writeFileSync(join(folder, 'prometheus.yml'), config);
  writeFileSync(join(folder, 'alerts.yml'), RULES);
  const [port] = await freePorts(1);
  base = `http://127.0.0.1:${port}`;
  const args = [`--config.file=${folder}/prometheus.yml`, `--storage.tsdb.path=${folder}/data`, `--web.listen-address=127.0.0.1:${port}`, '--log.level=warn'];
  prometheus = spawn('prometheus', args, { stdio: ['ignore', 'ignore', 'inherit'] });
  await until(async () => (await fetch(`${base}/-/ready`)).ok, 'Prometheus is ready');
}

async function api(path, params = {}) {
  const answer = await fetch(`${base}/api/v1/${path}?${new URLSearchParams(params)}`);
  const { status, data, error } = await answer.json();
  assert.equal(status, 'success', error);
  return data;
}

const query = async (expr) => (await api('query', { query: expr })).result;

before(async () => {
  if (missing) return;
  cluster = await Cluster.start({ nodes: 3, app: { open: [{ pattern: 'room', operations: ['subscribe'] }] } });
  await startPrometheus();
});
after(async () => {
  if (prometheus) {
    prometheus.kill('SIGTERM');
    await within(once(prometheus, 'exit'), 'Prometheus ends');
  }
  await cluster?.stop();
});

/** A little of everything that has a series only once it has happened. */
async function load() {
  const { app } = cluster;
  const raw = await rawPusher(cluster.urls[0], app.key);
  raw.send({ event: 'pusher:subscribe', data: { channel: 'room' } });
  await raw.event('pusher_internal:subscription_succeeded');
  await cluster.server(2).call('POST', `/v1/apps/${app.id}/publish`, { channel: 'room', name: 'n', data: 'x' });
  raw.close();
  const nobody = await RawSocket.open(cluster.urls[0], '/app/nobodys?protocol=7&client=js&version=8.6.0');
  await nobody.end();
  nobody.close();
}

test('every alert says how bad it is and what to do, and its rule is one', options, () => {
  assert.ok(ALERTS.length >= 15, `${ALERTS.length} alerts`);
  const blocks = RULES.split('- alert: ').slice(1);
  assert.equal(blocks.length, ALERTS.length, 'every alert was read');
  for (const block of blocks) {
    assert.match(block, /severity: (page|ticket) \}\n/, block);
    assert.match(block, /\n\s+summary: .+\n\s+do: .+\n/, block);
  }
  const checked = spawnSync('promtool', ['check', 'rules', join(ROOT, 'deploy/prometheus/alerts.yml')], { encoding: 'utf8' });
  assert.equal(checked.status, 0, checked.stdout + checked.stderr);
});

/** What each alert is made of: two minutes of a cluster that is well, then ten of one that is not. */
const SICK = {
  GatecastNodeDown: ['up{instance="b"}', '1x8 0x52'],
  GatecastNoLeader: ['gatecast_raft_leader{instance="a"}', '1x8 0x52'],
  GatecastNotServing: ['gatecast_view_fresh{instance="a"}', '1x8 0x52'],
  GatecastFailed: ['gatecast_failed{instance="a"}', '0x8 1x52'],
  GatecastDiskShort: ['gatecast_disk_short{instance="a"}', '0x8 1x52'],
  GatecastClock: ['gatecast_clock_alarm{instance="a"}', '0x8 1x52'],
  GatecastElections: ['gatecast_raft_term{instance="a"}', '1x8 1+1x52'],
  GatecastLinkMissing: ['gatecast_peer_links{instance="a"}', '2x8 1x52', { 'gatecast_members{instance="a"}': '3x60' }],
  GatecastBehind: ['gatecast_enforced_index{instance="a"}', '9000x8 5000x52', { 'gatecast_raft_log_index{instance="b"}': '9000x60' }],
  GatecastUnreplicated: ['gatecast_channels_unreplicated{instance="a"}', '0x8 3x52'],
  GatecastSlowRevokes: ['gatecast_revoke_barrier_seconds_bucket{instance="a", le="+Inf"}', '0+1x60', {
    'gatecast_revoke_barrier_seconds_bucket{instance="a", le="4.096"}': '0+1x60', 'gatecast_revoke_barrier_seconds_bucket{instance="a", le="2.048"}': '0+1x8 8x52',
  }],
  GatecastSlowDelivery: ['gatecast_delivery_lag_seconds_bucket{instance="a", le="+Inf"}', '0+1x60', {
    'gatecast_delivery_lag_seconds_bucket{instance="a", le="4.0"}': '0+1x60', 'gatecast_delivery_lag_seconds_bucket{instance="a", le="1.0"}': '0+1x8 8x52',
  }],
  GatecastSlowConsumers: ['gatecast_slow_consumer_closed_total{instance="a", dialect="ably"}', '0x8 0+60x72'],
  GatecastRefusals: ['gatecast_refusals_total{instance="a", dialect="ably", rule="no_right"}', '0x8 0+600x72'],
  GatecastWebhooksGivenUp: ['gatecast_webhook_dead_total{instance="a"}', '0x8 0+1x72'],
  GatecastEventsUnasked: ['gatecast_provider_polls_failed_total{instance="a"}', '0x8 0+4x52'],
  GatecastProvidersFailing: ['gatecast_providers_failing{instance="a"}', '0x8 1x72'],
  GatecastDescriptors: ['process_open_fds{instance="a"}', '100x8 900x52', { 'process_max_fds{instance="a"}': '1000x80' }],
};

test('every alert fires when it should, and not before', options, () => {
  assert.deepEqual(Object.keys(SICK).sort(), ALERTS.map(({ name }) => name).sort(), 'each alert has a story');
  const withJob = (series) => series.replace('{', '{job="gatecast", ');
  const tests = Object.entries(SICK).map(([name, [series, values, others = {}]]) => ({
    interval: '15s',
    input_series: Object.entries({ [series]: values, ...others }).map(([one, of]) => ({ series: withJob(one), values: of })),
    // How often each fires is counted, so that no text is written twice.
    promql_expr_test: [['2m', 0], ['18m', 1]].map(([at, count]) => ({
      expr: `count(ALERTS{alertname="${name}", alertstate="firing"}) or vector(0)`,
      eval_time: at,
      exp_samples: [{ labels: '{}', value: count }],
    })),
  }));
  // JSON is YAML.
  const file = join(folder, 'alerts.test.yml');
  writeFileSync(file, JSON.stringify({ rule_files: [join(ROOT, 'deploy/prometheus/alerts.yml')], evaluation_interval: '15s', tests }));
  const checked = spawnSync('promtool', ['test', 'rules', file], { encoding: 'utf8' });
  assert.equal(checked.status, 0, checked.stdout + checked.stderr);
});

test('every name in an alert or a panel is a metric that there is', options, async () => {
  const scraped = await (await fetch(`${cluster.adminUrls[0]}/metrics`)).text();
  const known = new Set([...scraped.matchAll(/^# TYPE (\S+)/gm)].map(([, name]) => name));
  // What has no series before it happens is in the page of metrics, without the prefix that the page tells of.
  const page = read('docs/operate.md').split('\n## Metrics\n')[1].split('\n## ')[0];
  for (const [, name] of page.matchAll(/`([a-z_]+)`/g)) known.add(`gatecast_${name}`);
  const unknown = [...ALERTS, ...QUERIES].flatMap(({ expr }) => [...expr.matchAll(/\b(?:gatecast|process)_[a-z_]+/g)].map(([name]) => name.replace(/_bucket$/, '')).filter((name) => !known.has(name)));
  assert.deepEqual(unknown, []);
});

test('Prometheus answers every alert and every panel, and panels have something to show', options, async () => {
  await until(async () => (await query('sum(up{job="gatecast"})'))[0]?.value[1] === '3', 'all three nodes are asked');
  for (const { expr } of ALERTS) await query(expr);
  const mayBeEmpty = new Set(['Too fast, or not reading']);
  for (const { title, expr } of QUERIES) {
    const shown = async () => {
      if ((await query(expr)).length > 0) return true;
      await load();
      return mayBeEmpty.has(title);
    };
    await until(shown, `${title}: ${expr}`, 60_000, 500);
  }
});

test('panels lie beside each other, and each says what it shows', () => {
  const cells = new Map();
  for (const panel of DASHBOARD.panels) {
    const { x, y, w, h } = panel.gridPos;
    assert.ok(x + w <= 24, panel.title);
    for (let at = 0; at < w * h; at += 1) {
      const cell = `${x + (at % w)},${y + Math.floor(at / w)}`;
      assert.equal(cells.get(cell), undefined, `${panel.title} lies on ${cells.get(cell)}`);
      cells.set(cell, panel.title);
    }
  }
  assert.equal(new Set(DASHBOARD.panels.map((panel) => panel.id)).size, DASHBOARD.panels.length);
  for (const panel of PANELS) assert.ok(panel.description.length > 5, panel.title);
});

test('a node that is killed is an alert', options, async () => {
  await cluster.kill(3);
  const raised = async () => (await api('alerts')).alerts.some(({ labels, state }) => labels.alertname === 'GatecastNodeDown' && ['pending', 'firing'].includes(state) && labels.instance.endsWith(`:${cluster.node(3).internal}`));
  await until(raised, 'GatecastNodeDown', 60_000, 250);
});
