// A grant that was answered works at once at every node: no client is ever told "not yet".

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { serverSdk } from './lib/client.mjs';
import { Cluster } from './lib/cluster.mjs';
import { rawPusher, sign } from './lib/raw.mjs';

const ROUNDS = Number(process.env.GATECAST_TEST_ROUNDS ?? 200);

let cluster;
before(async () => {
  cluster = await Cluster.start();
});
after(() => cluster?.stop());

/** Signs the user in on an open connection, as the app server would. */
async function signIn(socket, user) {
  const user_data = JSON.stringify({ id: user });
  const auth = sign(cluster.app, `${socket.socketId}::user::${user_data}`);
  socket.send({ event: 'pusher:signin', data: { auth, user_data } });
  const answer = await socket.events.next(
    (event) => ['pusher:signin_success', 'pusher:error'].includes(event.event),
    'an answer to the sign-in',
  );
  assert.equal(answer.event, 'pusher:signin_success', JSON.stringify(answer));
}

/** Asks for the channel with no signature: only a stored grant opens it. */
async function ask(socket, channel) {
  socket.send({ event: 'pusher:subscribe', data: { channel, auth: '' } });
  const answer = await socket.events.next(
    (event) => /subscription_succeeded|error$/.test(event.event) && (event.channel ?? channel) === channel,
    'an answer to the subscription',
  );
  return answer.event === 'pusher_internal:subscription_succeeded' ? 'in' : JSON.stringify(answer);
}

test(`${ROUNDS} grants through changing nodes: connected clients of the others get in at once`, async () => {
  const { app } = cluster;
  const user = 'ana';
  const sockets = await Promise.all(cluster.urls.map((url) => rawPusher(url, app.key)));
  for (const socket of sockets) await signIn(socket, user);
  for (let round = 0; round < ROUNDS; round += 1) {
    const channel = `private-round-${round}`;
    const by = round % 3;
    await cluster.server(by + 1).grant(app.id, { user }, [{ pattern: channel, operations: ['subscribe'] }]);
    const answers = await Promise.all(sockets.map((socket) => ask(socket, channel)));
    assert.deepEqual(answers, ['in', 'in', 'in'], `round ${round}, granted through node ${by + 1}`);
  }
  for (const socket of sockets) socket.close();
});

test('a fresh user, granted through one node, connects and gets in through the others', async () => {
  const { app } = cluster;
  for (let round = 0; round < Math.min(ROUNDS, 60); round += 1) {
    const [user, by] = [`new-${round}`, round % 3];
    await cluster.server(by + 1).grant(app.id, { user }, [{ pattern: 'private-hall', operations: ['subscribe'] }]);
    for (const step of [1, 2]) {
      const socket = await rawPusher(cluster.urls[(by + step) % 3], app.key);
      await signIn(socket, user);
      assert.equal(await ask(socket, 'private-hall'), 'in', `round ${round}`);
      socket.close();
    }
  }
});

test('an app and its key work at every node as soon as they are made', async () => {
  for (let round = 0; round < 20; round += 1) {
    const app = await cluster.createApp({ name: `app-${round}` });
    const seen = await Promise.all(
      cluster.urls.map(async (url) => {
        const socket = await rawPusher(url, app.key);
        socket.close();
        return socket.socketId;
      }),
    );
    assert.equal(seen.length, 3);
    for (const node of [1, 2, 3]) await cluster.server(node, app).grantsOf(app.id, 'nobody');
  }
});

test('a revoke that returned holds at every node: no later subscription passes', async () => {
  const { app } = cluster;
  for (let round = 0; round < Math.min(ROUNDS, 60); round += 1) {
    const [user, channel] = ['rev', `private-rev-${round}`];
    const sockets = await Promise.all(cluster.urls.map((url) => rawPusher(url, app.key)));
    for (const socket of sockets) await signIn(socket, user);
    await cluster.server(1).grant(app.id, { user }, [{ pattern: channel, operations: ['subscribe'] }]);
    await cluster.server((round % 3) + 1).deleteGrants(app.id, { user }, [channel]);
    const answers = await Promise.all(sockets.map((socket) => ask(socket, channel)));
    assert.ok(!answers.includes('in'), `round ${round}: ${answers}`);
    for (const socket of sockets) socket.close();
  }
});

test('nothing published after a revoke was answered reaches a connection that held the right, at any node', async () => {
  const { app } = cluster;
  const user = 'listener';
  const sockets = await Promise.all(cluster.urls.map((url) => rawPusher(url, app.key)));
  for (const socket of sockets) await signIn(socket, user);
  const servers = cluster.urls.map((url) => serverSdk(url, app));
  for (let round = 0; round < Math.min(ROUNDS, 60); round += 1) {
    const channel = `private-s1-${round}`;
    const publisher = servers[round % 3];
    await cluster.server(1).grant(app.id, { user }, [{ pattern: channel, operations: ['subscribe'] }]);
    assert.deepEqual(await Promise.all(sockets.map((socket) => ask(socket, channel))), ['in', 'in', 'in']);
    await publisher.trigger(channel, 'before', {});
    for (const socket of sockets) await socket.events.next((event) => event.event === 'before' && event.channel === channel, 'the message before');
    await cluster.server(((round + 1) % 3) + 1).deleteGrants(app.id, { user }, [channel]);
    await publisher.trigger(channel, 'after', {});
    // What was on its way arrives before the answer to a later ping, or in one of the following rounds.
    for (const socket of sockets) socket.send({ event: 'pusher:ping', data: {} });
    for (const socket of sockets) await socket.events.count((event) => event.event === 'pusher:pong', round + 1, 'the pong');
  }
  for (const socket of sockets) {
    assert.deepEqual(socket.events.all((event) => event.event === 'after'), []);
    socket.close();
  }
});
