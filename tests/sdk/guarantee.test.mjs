// What docs/guarantees.md promises, with real processes: a revoke is finished when it returns, a node without a majority
// closes, an unknown outcome can be looked up, a drain drops its own clients and nobody else's.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Cluster } from './lib/cluster.mjs';
import { RawSocket, rawPusher, sign } from './lib/raw.mjs';
import { until, within } from './lib/wait.mjs';

const ROUNDS = Number(process.env.GATECAST_TEST_ROUNDS ?? 24);
const LEASE_MS = 3_000;

let cluster;
before(async () => {
  cluster = await Cluster.start();
});
after(() => cluster?.stop());

async function signedIn(url, app, user) {
  const socket = await rawPusher(url, app.key);
  const user_data = JSON.stringify({ id: user });
  const auth = sign(app, `${socket.socketId}::user::${user_data}`);
  socket.send({ event: 'pusher:signin', data: { auth, user_data } });
  await socket.event('pusher:signin_success');
  return socket;
}

async function inside(socket, channel) {
  socket.send({ event: 'pusher:subscribe', data: { channel, auth: '' } });
  const answer = await socket.events.next(
    (event) => /subscription_succeeded|error$/.test(event.event) && (event.channel ?? channel) === channel,
    'an answer to the subscription',
  );
  assert.equal(answer.event, 'pusher_internal:subscription_succeeded', JSON.stringify(answer));
  return socket;
}

const publish = (node, channel, data) =>
  cluster.server(node).call('POST', `/v1/apps/${cluster.app.id}/publish`, { channel, name: 'm', data });

const ids = (socket) => socket.events.all((event) => event.event === 'm').map((event) => JSON.stringify(event.data));

async function ready(node) {
  const response = await fetch(`${cluster.adminUrls[node - 1]}/ready`, { signal: AbortSignal.timeout(5_000) });
  return { ...(await response.json()), status: response.status };
}

const pause = (node) => process.kill(cluster.pid(node), 'SIGSTOP');
const resume = (node) => process.kill(cluster.pid(node), 'SIGCONT');

test(`S1: ${ROUNDS} revokes while messages flow through three nodes: none published after the return is received`, async () => {
  const { app } = cluster;
  const took = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    const [user, channel] = [`ana-${round}`, `private-s1-${round}`];
    const may = [{ pattern: channel, operations: ['subscribe'] }];
    await Promise.all([1, 2, 3].map((node) => cluster.server(node).grant(app.id, { user: `bo-${round}` }, may)));
    await cluster.server((round % 3) + 1).grant(app.id, { user }, may);
    const anas = await Promise.all(cluster.urls.map((url) => signedIn(url, app, user).then((one) => inside(one, channel))));
    const bos = await Promise.all(
      cluster.urls.map((url) => signedIn(url, app, `bo-${round}`).then((one) => inside(one, channel))),
    );
    let revoked = false;
    // Messages on their way all the time, so that the revoke meets some.
    const stream = (async () => {
      for (let n = 0; !revoked; n += 1) await publish((n % 3) + 1, channel, `before-${round}-${n}`);
    })();
    await bos[0].events.next((event) => event.event === 'm', 'the stream runs');
    const kinds = [
      () => cluster.server((round % 3) + 1).call('POST', `/v1/apps/${app.id}/revoke`, { target: { user } }),
      () => cluster.server((round % 3) + 1).block(app.id, user),
      () => cluster.server((round % 3) + 1).deleteGrants(app.id, { user }, [channel]),
      () => cluster.server((round % 3) + 1).replaceGrants(app.id, { user }, []),
      // A merge that takes the right away is a narrowing as well.
      () => cluster.server((round % 3) + 1).grant(app.id, { user }, [{ pattern: channel, operations: ['history'] }]),
    ];
    const report = await kinds[round % kinds.length]();
    took.push(report.took_ms);
    assert.deepEqual(report.enforced, [1, 2, 3], JSON.stringify(report));
    assert.deepEqual([report.fenced, report.pending], [[], []]);
    if (round % kinds.length < 2) assert.equal(report.closed, 3);
    const late = [1, 2, 3].map((node) => `after-${round}-${node}`);
    await Promise.all(late.map((data, at) => publish(at + 1, channel, data)));
    revoked = true;
    await stream;
    // Whoever still may gets all of them, on every node: then they have passed everywhere.
    for (const bo of bos) {
      for (const data of late) {
        await bo.events.next((event) => event.event === 'm' && JSON.stringify(event.data).includes(data), data);
      }
    }
    for (const ana of anas) {
      const leaked = ids(ana).filter((data) => data.includes(`after-${round}-`));
      assert.deepEqual(leaked, [], `round ${round}`);
    }
    for (const socket of [...anas, ...bos]) socket.close();
  }
  took.sort((a, b) => a - b);
  console.log(`revoke: p50 ${took[took.length >> 1]} ms, max ${took.at(-1)} ms`);
});

test('wait=strict says pending with 202 where wait=all would rely on a lease, and wait=none only commits', async () => {
  const { app } = cluster;
  const leader = await cluster.leader();
  const frozen = [1, 2, 3].find((node) => node !== leader);
  const through = [1, 2, 3].find((node) => node !== frozen);
  pause(frozen);
  try {
    const began = performance.now();
    const revoke = (user, wait) =>
      cluster.server(through).call('POST', `/v1/apps/${app.id}/revoke`, { target: { user }, wait });
    const none = await revoke('x', 'none');
    assert.deepEqual([none.enforced, none.fenced, none.pending], [[], [], []]);
    const strictly = fetch(`${cluster.urls[through - 1]}/v1/apps/${app.id}/revoke`, {
      method: 'POST',
      headers: { authorization: `Bearer ${app.key}:${app.secret}`, 'content-type': 'application/json' },
      body: JSON.stringify({ target: { user: 'y' }, wait: 'strict' }),
      signal: AbortSignal.timeout(20_000),
    }).then(async (response) => ({ status: response.status, ...(await response.json()) }));
    const [strict, all] = await Promise.all([strictly, revoke('z', 'all')]);
    assert.equal(strict.status, 202);
    assert.deepEqual([strict.pending, strict.fenced], [[frozen], []], JSON.stringify(strict));
    assert.deepEqual([all.pending, all.fenced], [[], [frozen]], JSON.stringify(all));
    const took = performance.now() - began;
    assert.ok(took < LEASE_MS + 2_500, `${took} ms: a lease and what a busy machine adds`);
  } finally {
    resume(frozen);
  }
  await until(async () => (await ready(frozen)).status === 200, 'the frozen node is ready again');
});

test('S1: a right taken and given back while a node was away does not bring what was published in between', async () => {
  const { app } = cluster;
  const leader = await cluster.leader();
  const [away, through] = [1, 2, 3].filter((node) => node !== leader);
  // Some of them have their home on the node that goes away, and cannot be published to meanwhile.
  const channels = [1, 2, 3, 4, 5, 6, 7, 8].map((n) => `private-away-${n}`);
  const may = (channel) => [{ pattern: channel, operations: ['subscribe'] }];
  const pairs = await Promise.all(
    channels.map(async (channel) => {
      const seat = async (user) => {
        await cluster.server(away).grant(app.id, { user }, may(channel));
        return inside(await signedIn(cluster.urls[away - 1], app, user), channel);
      };
      return { channel, ana: await seat(`ana-${channel}`), bo: await seat(`bo-${channel}`) };
    }),
  );
  const say = ({ channel }, data) =>
    within(publish(through, channel, data), data, 1_000).then(
      () => true,
      () => false,
    );
  const heard = (socket, data) =>
    socket.events.next((event) => event.event === 'm' && JSON.stringify(event.data).includes(data), data);
  // Where two homes ordered while the node was away, what came in between is not sent late: the client is told to
  // come back (S10), and that is all that it sees of the connection from before.
  const told = ({ event, data }) => event === 'pusher:error' && data.code === 4200;
  pause(away);
  let dark;
  try {
    const reports = await Promise.all(
      pairs.map(({ channel }) => cluster.server(through).deleteGrants(app.id, { user: `ana-${channel}` }, [channel])),
    );
    for (const report of reports) assert.deepEqual(report.fenced, [away], JSON.stringify(report));
    const said = await Promise.all(pairs.map((pair) => say(pair, 'dark')));
    dark = pairs.filter((_, at) => said[at]);
    assert.ok(dark.length > 0, 'a channel whose home is not away');
    await Promise.all(
      pairs.map(({ channel }) => cluster.server(through).grant(app.id, { user: `ana-${channel}` }, may(channel))),
    );
  } finally {
    resume(away);
  }
  // Who kept the right gets it late: it has passed through that node then. Or she is told.
  for (const { bo } of dark) {
    await bo.events.next((event) => told(event) || (event.event === 'm' && JSON.stringify(event.data).includes('dark')), 'dark');
  }
  for (const pair of dark) {
    const { channel } = pair;
    const lost = await pair.ana.events.next((event) => told(event) || event.event === 'pusher:subscription_error', 'the end');
    const before = pair.ana;
    if (told(lost)) {
      pair.ana = await inside(await signedIn(cluster.urls[away - 1], app, `ana-${channel}`), channel);
    } else {
      assert.equal(lost.channel, channel);
      // The right stands: she only has to ask.
      pair.ana.send({ event: 'pusher:subscribe', data: { channel, auth: '' } });
      await pair.ana.events.count((event) => event.event === 'pusher_internal:subscription_succeeded', 2, 'subscribed again');
    }
    await until(() => say(pair, 'light'), 'a message after the grant');
    await heard(pair.ana, 'light');
    for (const socket of [before, pair.ana]) {
      assert.deepEqual(
        ids(socket).filter((data) => data.includes('dark')),
        [],
        channel,
      );
    }
  }
  for (const { ana, bo } of pairs) {
    ana.close();
    bo.close();
  }
});

test('S5, S13: a node without a majority closes what is protected, says why, and knows later what became of a write', async () => {
  const { app } = cluster;
  const lenient = await cluster.createApp({ settings: { open_while_stale: true } });
  await cluster.server(1).grant(app.id, { user: 'cut' }, [{ pattern: 'private-cut', operations: ['subscribe'] }]);
  const leader = await cluster.leader();
  const rest = [1, 2, 3].filter((node) => node !== leader);
  const url = cluster.urls[leader - 1];
  const closed = await signedIn(url, app, 'cut').then((socket) => inside(socket, 'private-cut'));
  const open = await rawPusher(url, lenient.key).then((socket) => inside(socket, 'public-news'));
  rest.forEach(pause);
  const began = performance.now();
  let unknown;
  try {
    const write = cluster.admin(leader).call(
      'POST',
      `/v1/apps/${app.id}/grants`,
      { subject: { user: 'maybe' }, grants: [{ pattern: 'private-maybe', operations: ['subscribe'] }] },
      { 'idempotency-key': 'guarantee-maybe' },
    );
    const outcome = write.then(
      () => assert.fail('committed without a majority'),
      (error) => error,
    );
    const { code } = await closed.end(2 * LEASE_MS + 3_000);
    const took = performance.now() - began;
    assert.equal(code, 4200, 'the dialect\'s "reconnect"');
    assert.ok(took < 2 * LEASE_MS + 1_000, `closed after ${took} ms`);
    const why = await ready(leader);
    assert.equal(why.status, 503);
    assert.match(why.reasons.join(), /stale/);
    assert.equal(open.ends.items.length, 0, 'an open channel of an app that asked for it stays');
    const late = await RawSocket.open(url, `/app/${app.key}?protocol=7&client=js&version=8.6.0`);
    const told = await late.events.next(() => true, 'an answer to a newcomer');
    assert.equal(told.event, 'pusher:error', 'no newcomer is let in');
    late.close();
    // A key that is not known here may be known elsewhere: nobody is told for good that it does not exist.
    const stranger = await RawSocket.open(url, '/app/unknown?protocol=7&client=js&version=8.6.0');
    const unsure = await stranger.events.next(() => true, 'an answer to an unknown key');
    assert.equal(unsure.data.code, 4100, JSON.stringify(unsure));
    stranger.close();
    const authorization = `Basic ${Buffer.from(`${app.id}.unknown:secret`).toString('base64')}`;
    const ably = await fetch(`${url}/channels/x/messages`, { headers: { authorization } });
    assert.deepEqual([ably.status, (await ably.json()).error.code], [503, 50003]);
    unknown = await outcome;
  } finally {
    rest.forEach(resume);
  }
  assert.equal(unknown.status, 504, unknown.message);
  const { operation } = unknown.body.error;
  await until(async () => (await ready(leader)).status === 200, 'it serves again by itself', 30_000);
  // Once more under the same key: applied once, whatever became of the first.
  const body = { subject: { user: 'maybe' }, grants: [{ pattern: 'private-maybe', operations: ['subscribe'] }] };
  const key = { 'idempotency-key': 'guarantee-maybe' };
  const first = await cluster.admin(leader).call('POST', `/v1/apps/${app.id}/grants`, body, key);
  const again = await cluster.admin(rest[0]).call('POST', `/v1/apps/${app.id}/grants`, body, key);
  assert.equal(again.revision, first.revision);
  const known = await cluster.admin(rest[1]).call('GET', `/v1/operations/${operation}`);
  assert.deepEqual([known.state, known.revision], ['applied', first.revision]);
  open.close();
});

test('L7: a drained node sends its clients away once, hands over leading, and comes back up when it is started again', async () => {
  const { app } = cluster;
  for (const node of [1, 2, 3]) await until(async () => (await ready(node)).status === 200, `node ${node} serves`);
  const leader = await cluster.leader();
  const sockets = await Promise.all(cluster.urls.map((url) => rawPusher(url, app.key)));
  const other = (leader % 3) + 1;
  await cluster.admin(other).call('POST', `/v1/cluster/nodes/${leader}/drain`);
  assert.equal((await sockets[leader - 1].end()).code, 4200);
  const now = await until(async () => {
    const seen = (await cluster.admin(other).cluster()).leader;
    return seen && seen !== leader && seen;
  }, 'another leads');
  assert.notEqual(now, leader);
  const why = await ready(leader);
  assert.match(why.reasons.join(), /draining/);
  // It is still there and takes nobody: a newcomer learns that at once instead of waiting in a queue.
  const newcomer = await RawSocket.open(cluster.urls[leader - 1], `/app/${app.key}?protocol=7&client=js&version=8.6.0`);
  assert.equal(newcomer.status, 503);
  newcomer.close();
  const call = await fetch(`${cluster.urls[leader - 1]}/up`, { signal: AbortSignal.timeout(5_000) });
  assert.deepEqual([call.status, call.headers.get('retry-after')], [503, '1']);
  assert.equal((await call.json()).error.code, 'stopping');
  for (const node of [1, 2, 3].filter((node) => node !== leader)) {
    assert.equal(sockets[node - 1].ends.items.length, 0, `node ${node} keeps its clients`);
  }
  cluster.node(leader).child.kill('SIGTERM');
  const { code } = await within(cluster.node(leader).ended, 'it stops in order');
  assert.equal(code, 0);
  await cluster.startNode(leader);
  await until(async () => (await ready(leader)).status === 200, 'it is ready');
  sockets.forEach((socket) => socket.close());
});

test('a rolling restart of all three nodes drops each client once and loses no acknowledged change', async () => {
  const { app } = cluster;
  const [opens, ends] = [
    [0, 0, 0],
    [0, 0, 0],
  ];
  const stay = async (at) => {
    while (!done) {
      let socket;
      try {
        socket = await rawPusher(cluster.urls[at], app.key);
      } catch {
        await new Promise((resolve) => setTimeout(resolve, 50));
        continue;
      }
      opens[at] += 1;
      await Promise.race([socket.end(120_000), finished]);
      if (!done) ends[at] += 1;
      socket.close();
    }
  };
  let done = false;
  let finish;
  const finished = new Promise((resolve) => {
    finish = resolve;
  });
  const clients = [0, 1, 2].map(stay);
  const acknowledged = [];
  const writer = (async () => {
    for (let n = 0; !done; n += 1) {
      const user = `roll-${n}`;
      try {
        await cluster.admin((n % 3) + 1).grant(app.id, { user }, [{ pattern: 'private-roll', operations: ['subscribe'] }]);
        acknowledged.push(user);
      } catch {
        // A node that is down or on its way out refuses; nothing was acknowledged.
      }
    }
  })();
  await until(() => opens.every((count) => count === 1), 'every client is connected');
  for (const node of [1, 2, 3]) {
    cluster.node(node).child.kill('SIGTERM');
    await within(cluster.node(node).ended, `node ${node} stops in order`);
    await cluster.startNode(node);
    await until(async () => (await ready(node)).status === 200, `node ${node} is ready`);
  }
  await until(() => opens.every((count) => count === 2), 'every client is back');
  done = true;
  finish();
  await Promise.all([writer, ...clients]);
  assert.deepEqual(ends, [1, 1, 1], 'drops per client');
  assert.ok(acknowledged.length > 0);
  for (const node of [1, 2, 3]) {
    for (const user of acknowledged.filter((_, at) => at % 7 === 0 || at > acknowledged.length - 20)) {
      const { grants } = await cluster.admin(node).grantsOf(app.id, user);
      assert.equal(grants.length, 1, `${user} at node ${node}`);
    }
  }
  console.log(`${acknowledged.length} acknowledged grants, drops per client ${ends}`);
});
