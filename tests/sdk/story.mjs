// The main job, told step by step. `scripts/demo` prints it against the cluster of `scripts/cluster`;
// `main-job.test.mjs` repeats it against one of its own. Every `check` is an assertion in both.

import assert from 'node:assert/strict';
import { Native } from './lib/native.mjs';
import { Tab, is, serverSdk } from './lib/client.mjs';
import { until } from './lib/wait.mjs';

const ROOM = 'private-orders';
const LOBBY = 'presence-orders';
const EVERYTHING = ['subscribe', 'publish', 'presence', 'presence-read', 'history'];

/** Ana's rights: both channels, with these operations. */
const rights = (operations) => [ROOM, LOBBY].map((pattern) => ({ pattern, operations }));

/** A narrowing that was answered is finished: each node has enforced it, or provably serves nothing. */
function finished(answer) {
  assert.deepEqual(answer.pending, [], JSON.stringify(answer));
  assert.deepEqual([...answer.enforced, ...answer.fenced].sort(), [1, 2, 3], JSON.stringify(answer));
}

/** A cluster as the story needs it, its say, and what passes between its chapters. */
export class Story {
  /**
   * `cluster`: `{urls, adminUrls, adminToken, app: {id, key, secret}, kill(n), start(n)}`, nodes counted from 1.
   * `say` is given one line at a time.
   */
  constructor(cluster, say = () => {}) {
    this.cluster = cluster;
    this.say = say;
    this.ana = `ana-${Math.random().toString(36).slice(2, 8)}`;
    this.tabs = [];
  }

  appServer(node) {
    return Native.appServer(this.cluster.urls[node - 1], this.cluster.app);
  }
  operator(node) {
    return new Native(this.cluster.adminUrls[node - 1], this.cluster.adminToken);
  }
  sdk(node) {
    return serverSdk(this.cluster.urls[node - 1], this.cluster.app);
  }

  /** Ana on some node: she signs in, and her stored grants open her channels, no signature per channel. */
  anaOn(node) {
    return this.tab(node, { user: this.ana, info: { name: 'Ana' }, sign: 'grants' });
  }
  tab(node, options) {
    const tab = new Tab(this.cluster.urls[node - 1], this.cluster.app, options);
    this.tabs.push(tab);
    return tab;
  }

  close() {
    for (const tab of this.tabs) tab.close();
  }

  /** 1. Grant through node 1, client at node 2, message from node 3. */
  async grantAndReceive() {
    const { id } = this.cluster.app;
    const granted = await this.appServer(1).grant(id, { user: this.ana }, rights(EVERYTHING));
    assert.ok(granted.revision > 0, 'a write answers its revision');
    this.say(`node 1: granted ${this.ana} ${ROOM} and ${LOBBY} (revision ${granted.revision})`);

    const tab = await this.anaOn(2).signedIn();
    const room = await tab.subscribed(ROOM);
    const lobby = await tab.subscribed(LOBBY);
    assert.equal(lobby.channel.members.me.id, this.ana, 'presence knows her by her sign-in');
    assert.equal(lobby.channel.members.count, 1);
    this.say('node 2: her client signed in and joined both channels on her stored grants alone');

    const refusal = await tab.refused('private-payroll');
    this.say(`node 2: private-payroll refused (${JSON.stringify(refusal)})`);

    const server = this.sdk(3);
    await server.trigger(ROOM, 'order', { n: 1 });
    await server.trigger(ROOM, 'last', {});
    await room.next(is('last'), 'the last message triggered at node 3');
    assert.equal(room.all(is('order', { n: 1 })).length, 1, 'the message arrived exactly once');
    this.say('node 3: triggered a message; it arrived at node 2 once');
  }

  /** 2. The grant holds at every node at once; changing it through node 2 changes what is connected at node 3. */
  async changeLive() {
    const { id } = this.cluster.app;
    const nurse = `nurse-${this.ana}`;
    const grants = [{ pattern: 'private-ward', operations: EVERYTHING }];
    await this.appServer(1).grant(id, { user: nurse }, grants);
    const question = { user: nurse, channel: 'private-ward', operations: ['subscribe'] };
    const answers = await Promise.all([1, 2, 3].map((node) => this.operator(node).explain(id, question)));
    for (const answer of answers) assert.equal(answer.allowed, true, JSON.stringify(answer));
    this.say(`every node allows a grant made a moment ago at node 1: ${JSON.stringify(answers[0].rule)}`);

    const bea = this.tab(1, { name: 'bea' });
    const heard = await bea.subscribed(ROOM);
    const ana = await this.anaOn(3).signedIn();
    const room = await ana.subscribed(ROOM);
    assert.ok(room.channel.trigger('client-typing', { n: 1 }));
    await heard.next(is('client-typing', { n: 1 }), "Ana's client event");
    this.say('node 3: Ana sends a client event; Bea hears it at node 1');

    const narrowed = await this.appServer(2).replaceGrants(id, { user: this.ana }, rights(['subscribe']));
    finished(narrowed);
    this.say(`node 2: narrowed her to reading (revision ${narrowed.revision}, enforced on ${narrowed.enforced}, ${narrowed.took_ms} ms)`);
    ana.errors.items.length = 0;
    room.channel.trigger('client-typing', { n: 2 });
    const refusal = await ana.errors.next(() => true, 'the refusal of her client event');
    await this.sdk(3).trigger(ROOM, 'fence', { n: 1 });
    await heard.next(is('fence', { n: 1 }), 'the fence');
    await room.next(is('fence', { n: 1 }), 'what she may still read');
    assert.equal(heard.all(is('client-typing', { n: 2 })).length, 0, 'nobody heard the refused event');
    this.say(`node 3: her next client event is refused (${refusal.message}); she still reads`);

    const ended = room.items.length;
    const taken = await this.appServer(2).deleteGrants(id, { user: this.ana });
    finished(taken);
    await this.sdk(1).trigger(ROOM, 'secret', {});
    await heard.next(is('secret'), 'the message Ana must not see');
    await until(
      () => room.items.slice(ended).some((item) => item.event === 'pusher:subscription_error') || ana.state !== 'connected',
      'her client is told that the subscription ended',
    );
    assert.equal(room.all(is('secret')).length, 0, 'nothing published after the answer reached her');
    this.say(`node 2: took the grant away; her subscription at node 3 ended and the next message passed her by (${taken.took_ms} ms)`);
    bea.close();
    ana.close();
    await this.appServer(1).grant(id, { user: this.ana }, rights(EVERYTHING));
  }

  /** 3. Terminate and block through node 1's admin port. */
  async terminateAndBlock() {
    const { id } = this.cluster.app;
    for (const tab of this.tabs) tab.close();
    const anas = await Promise.all([1, 2, 3].map((node) => this.anaOn(node).signedIn()));
    const bystander = await this.tab(2, { name: 'bea' }).connected();
    const ended = await this.operator(1).disconnect(id, this.ana);
    finished(ended);
    for (const tab of anas) await tab.error(4009);
    for (const tab of anas) await until(() => tab.state === 'disconnected', 'she stays disconnected');
    this.say(`node 1: terminated her; 4009 at nodes 1, 2 and 3 (closed ${ended.closed}, ${ended.took_ms} ms)`);
    const again = await this.anaOn(3).signedIn();
    for (const tab of anas) assert.equal(tab.state, 'disconnected', 'pusher-js does not return by itself');
    assert.equal(bystander.state, 'connected', 'nobody else was touched');
    this.say('node 3: she may sign in again when she asks to: no block was set');

    await this.operator(1).disconnect(id, this.ana, { block: { for_ms: 600_000, reason: 'demo' } });
    await again.error(4009);
    for (const node of [1, 2, 3]) await this.shutOut(node);
    this.say('node 1: terminated with a block; nodes 1, 2 and 3 refuse her sign-in');
    await this.operator(2).unblock(id, this.ana);
    for (const node of [3, 1, 2]) (await this.anaOn(node).signedIn()).close();
    this.say('node 2: block lifted; she is back at every node at once');

    const lasts = 1_500;
    const began = performance.now();
    await this.operator(1).disconnect(id, this.ana, { block: { for_ms: lasts } });
    await this.shutOut(3);
    await until(() => this.getsIn(3), 'the block ends by itself');
    const took = Math.round(performance.now() - began);
    assert.ok(took >= lasts - 100, `the block ended after ${took} ms, ${lasts} were asked for`);
    this.say(`a block for ${lasts} ms ended by itself after ${took} ms`);
    bystander.close();
  }

  async shutOut(node) {
    const tab = this.anaOn(node);
    await tab.connected();
    tab.pusher.signin();
    const outcome = await Promise.race([
      tab.errors.next(() => true, 'the refusal'),
      tab.messages.next((message) => message.event === 'pusher:signin_success', 'a sign-in').then(() => 'in'),
    ]);
    tab.close();
    assert.notEqual(outcome, 'in', `a blocked user signed in at node ${node}`);
    return outcome;
  }

  async getsIn(node) {
    try {
      await this.shutOut(node);
      return false;
    } catch (error) {
      if (error.code === 'ERR_ASSERTION') return true;
      throw error;
    }
  }

  /** 4. kill -9 of the leader under load; grants work again through both others; the dead node returns and agrees. */
  async loseTheLeader() {
    const { id } = this.cluster.app;
    const leader = await until(async () => (await this.operator(1).cluster()).leader, 'a leader');
    const others = [1, 2, 3].filter((node) => node !== leader);
    // Twelve channels, so that some have their home on the node that dies.
    const channels = Array.from({ length: 12 }, (_, index) => `private-stream-${index}`);
    const readers = others.map((node) => this.tab(node, { name: 'reader' }));
    const inboxes = [];
    for (const reader of readers) {
      await reader.connected();
      for (const channel of channels) inboxes.push(await reader.subscribed(channel));
    }
    const acknowledged = [];
    const publisher = this.publish(others, channels, acknowledged);
    await until(() => acknowledged.length >= 24, 'messages flow');

    const killed = performance.now();
    const sent = acknowledged.length;
    await this.cluster.kill(leader);
    this.say(`killed node ${leader}, the leader, with SIGKILL`);
    for (const node of others) {
      const grants = [{ pattern: `private-after-${node}`, operations: ['subscribe'] }];
      await until(
        () => this.appServer(node).grant(id, { user: this.ana }, grants).then(() => true),
        `a grant through node ${node}`,
        15_000,
      );
      this.say(`node ${node}: a grant works again ${Math.round(performance.now() - killed)} ms after the kill`);
    }
    await until(() => channels.every((channel) => acknowledged.slice(sent).some((each) => each.channel === channel)), 'every channel takes messages again');
    publisher.stop();
    await publisher.ended;
    for (const inbox of inboxes) {
      const mine = acknowledged.filter((each) => inbox.channel.name === each.channel);
      for (const { n } of mine) await inbox.next(is('tick', { n }), `message ${n}`);
      for (const { n } of mine) assert.equal(inbox.all(is('tick', { n })).length, 1, `message ${n} arrived more than once`);
    }
    for (const reader of readers) {
      assert.equal(reader.state, 'connected');
      assert.equal(reader.states.all((state) => state === 'connected').length, 1, 'a survivor dropped its client');
    }
    this.say(`nodes ${others.join(' and ')}: ${acknowledged.length} acknowledged messages each arrived once; no client was dropped`);

    await this.cluster.start(leader);
    for (const node of others) {
      const question = { user: this.ana, channel: `private-after-${node}`, operations: ['subscribe'] };
      const answer = await this.operator(leader).explain(id, question);
      assert.equal(answer.allowed, true, `the returned node does not know the grant: ${JSON.stringify(answer)}`);
    }
    const back = await this.anaOn(leader).signedIn();
    for (const node of others) await back.subscribed(`private-after-${node}`);
    this.say(`node ${leader}: back, and serves the grants that were made while it was away`);
  }

  /** Triggers through these nodes in turn until stopped; keeps what was acknowledged. */
  publish(nodes, channels, acknowledged) {
    const servers = nodes.map((node) => this.sdk(node));
    let on = true;
    const run = async () => {
      for (let n = 0; on; n += 1) {
        const channel = channels[n % channels.length];
        try {
          await servers[n % servers.length].trigger(channel, 'tick', { n });
          acknowledged.push({ channel, n });
        } catch {
          // Refused or unanswered while the cluster finds itself: not acknowledged, so nothing is promised.
        }
      }
    };
    return { stop: () => (on = false), ended: run() };
  }
}
