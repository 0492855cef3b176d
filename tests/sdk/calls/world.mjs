// What the calls are made against: three nodes, an app with four protocols in which somebody is there to be seen and something
// to be changed, another app beside it, and a way to say all of the app's state, so that "nothing changed" can be seen.

import { Client as Ably, closeClients, jwt, keyOf } from '../lib/ably.mjs';
import { Cluster, appOf } from '../lib/cluster.mjs';
import { until } from '../lib/wait.mjs';

/** A name that is good in every dialect, of a channel that has members in all of them. */
export const ROOM = 'presence-room';
/** Who is on it. */
export const MEMBER = 'marker-member';
/** A pattern that the app declares open, and that only who may look at its settings is shown. */
export const OPEN = 'marker-open-*';
const PROTOCOLS = ['pusher', 'ably', 'pubnub', 'realtime'];

export class World {
  static async open() {
    const world = new World();
    world.cluster = await Cluster.start({ nodes: 3 });
    world.count = 0;
    world.other = await world.newApp('other', { open: [] });
    await world.furnish('calls');
    await world.admin().call('POST', `${world.root}/keys`, { name: 'marker-key' });
    world.listener = new Ably(world.cluster.urls[2], { key: keyOf(world.app), clientId: MEMBER });
    world.heard = await world.listener.subscribed(ROOM);
    await world.heard.channel.presence.enter('here');
    return world;
  }

  /** Makes its app, with a key that is deleted and one that is disabled. */
  async furnish(name) {
    this.made = new Map();
    this.app = await this.newApp(name);
    this.gone = await this.key();
    this.off = await this.key();
    await this.admin().call('DELETE', `${this.root}/keys/${this.gone.key}`);
    await this.admin().call('PATCH', `${this.root}/keys/${this.off.key}`, { enabled: false });
  }

  /** The same cluster and another app, for calls after which an app is not the same. */
  async apart() {
    const world = Object.assign(Object.create(World.prototype), this, { heardAt: this.heardAt ?? this.root });
    world.count = this.count + 1_000_000;
    await world.furnish(this.fresh('apart'));
    return world;
  }

  /** An app with every protocol, as an SDK would be set up with it. */
  async newApp(name, more = {}) {
    const made = await this.admin().createApp({
      name,
      protocols: PROTOCOLS,
      open: [{ pattern: OPEN, operations: ['subscribe'] }],
      settings: { client_events: true, user_sign_in: true, grants_open_channels: true },
      keys: [{ name: 'full' }],
      ...more,
    });
    return appOf(made);
  }

  get root() {
    return `/v1/apps/${this.app.id}`;
  }

  admin(node = 1) {
    return this.cluster.admin(node);
  }

  fresh(prefix) {
    this.count += 1;
    return `${prefix}-${this.count}`;
  }

  /** Another node each time: what one of them lets through is found with any of them. */
  url() {
    this.count += 1;
    return this.cluster.urls[this.count % 3];
  }

  /** What is made once for the app, by a name. */
  once(name, make) {
    if (!this.made.has(name)) this.made.set(name, make());
    return this.made.get(name);
  }

  /** A key of the app with this capability; the same one for the same. */
  async key(capability) {
    const make = async () => {
      const { key } = await this.admin().call('POST', `${this.root}/keys`, { name: 'made', capability });
      return { ...this.app, key: key.id, secret: key.secret };
    };
    return capability ? this.once(JSON.stringify(capability), make) : make();
  }

  /** Somebody connected, and attached to a channel of her own, whom a call can end. */
  async person(voucher = this.app) {
    const user = this.fresh('user');
    const channel = `of-${user}`;
    const token = jwt(voucher, { 'x-ably-clientId': user, 'x-ably-capability': JSON.stringify({ [channel]: ['subscribe'] }) });
    const client = await new Ably(this.cluster.urls[1], { token }).connected();
    const states = (await client.subscribed(channel)).states;
    const listed = async () => (await this.admin().connections(this.app.id, user)).connections.length;
    await until(async () => (await listed()) === 1, `${user} is connected`);
    return { user, token, channel, probe: () => states.items.map(({ state }) => state) };
  }

  /** What was sent to the room before now, on another node than any that is asked to send. */
  async said() {
    const mark = this.fresh('sentinel');
    await this.admin(1).call('POST', `${this.heardAt ?? this.root}/publish`, { channel: ROOM, name: 'mark', data: mark });
    await this.heard.next(({ data }) => data === mark, mark);
    return this.heard.all(({ data }) => !String(data).startsWith('sentinel-')).map(({ name, data }) => [name, data]);
  }

  /** Everything that a call may change, as one text. `touched` is what the call at hand is about. */
  async state({ user, group, probe } = {}) {
    const applied = await Promise.all([1, 2, 3].map(async (node) => (await this.admin(node).cluster()).applied));
    const ask = async (path) => {
      const join = path.includes('?') ? '&' : '?';
      return this.admin(1)
        .call('GET', `${path}${join}at_least=${Math.max(...applied)}`)
        .then(({ revision: _, ...rest }) => rest, ({ status, code }) => `${status} ${code}`);
    };
    const nodes = (await this.admin(1).cluster()).nodes.map(({ node, role }) => `${node} ${role}`);
    const parts = await Promise.all([
      ask('/v1/apps?limit=1000'),
      ask(`${this.root}?secrets=true`),
      ask(`/v1/apps/${this.other.id}?secrets=true`),
      ask(`${this.root}/grants?limit=10000`),
      ask(`${this.root}/providers`),
      ask(`${this.root}/groups?limit=10000`),
      group ? ask(`${this.root}/groups/${group}`) : null,
      user ? ask(`${this.root}/users/${user}/block`) : null,
      user ? ask(`${this.root}/connections?user=${user}`).then(({ connections }) => connections.map((one) => [one.id, one.subscriptions])) : null,
      probe ? probe() : null,
      this.said(),
    ]);
    return JSON.stringify([nodes, ...parts], null, 1);
  }

  async close() {
    closeClients();
    await this.cluster?.stop();
  }
}
