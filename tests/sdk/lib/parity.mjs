// One driver per dialect, all with the same few verbs, so that one suite can put the same case to each of them.
// `who` is `{user, token}`: the same person, named by her id where a dialect verifies one (Pusher, Ably), by her token
// where it knows tokens only (PubNub's auth key, Realtime.co).

import assert from 'node:assert/strict';
import { Client as Ably, jwt } from './ably.mjs';
import { Tab } from './client.mjs';
import { Client as Ortc } from './realtime.mjs';
import { Client as PubNub, text as textOf } from './pubnub.mjs';
import { Inbox, within } from './wait.mjs';

/** What a message says, whether its dialect shows it parsed or not. */
const plain = (data) => (typeof data === 'string' ? data : JSON.stringify(data));

class Pusher {
  static dialect = 'pusher';
  /** Not to the one who sent it. */
  static echoes = false;

  static async open(url, app, who) {
    const made = new Pusher();
    made.tab = new Tab(url, app, { user: who.user, sign: 'grants' });
    await made.tab.signedIn();
    return made;
  }
  async hear(channel) {
    const inbox = new Inbox(`pusher ${channel}`);
    const all = await this.tab.subscribed(channel);
    all.channel.bind_global((event, data) => {
      if (!event.startsWith('pusher:')) inbox.push(plain(data));
    });
    return inbox;
  }
  async publish(channel, text) {
    // Client events go only where one is subscribed.
    if (!this.tab.inboxes.has(channel)) await this.tab.subscribed(channel);
    assert.ok(this.tab.pusher.channel(channel).trigger('client-say', text));
  }
  async mayNotHear(channel) {
    const error = await this.tab.refused(channel);
    assert.equal(error.type, 'AuthError', JSON.stringify(error));
    assert.equal(error.status, 403, JSON.stringify(error));
    this.tab.pusher.unsubscribe(channel);
    this.tab.inboxes.delete(channel);
  }
  async mayNotPublish(channel) {
    this.tab.errors.items.length = 0;
    if (!this.tab.inboxes.has(channel)) await this.tab.subscribed(channel);
    this.tab.pusher.channel(channel).trigger('client-say', 'forbidden');
    const error = await this.tab.errors.next(() => true, 'a refusal');
    assert.equal(error.code, null, 'the connection stays');
    assert.match(error.message, /client event/i);
  }
  /** The subscription ended while the connection goes on. */
  async lost(channel) {
    await this.tab.inboxes.get(channel).next(({ event }) => event === 'pusher:subscription_error', `the end of ${channel}`);
    assert.equal(this.tab.state, 'connected');
  }
  revoked = () => this.tab.error(4009);
  blocked = () => this.tab.error(4009);
  terminated = () => this.tab.error(4009);
  disabled = () => this.tab.error(4003);
  close = () => this.tab.close();
}

class AblyDriver {
  static dialect = 'ably';
  static echoes = true;

  static async open(url, app, who) {
    const made = new AblyDriver();
    // The token itself opens next to nothing: what it can do beyond is granted to its client.
    const token = jwt(app, { 'x-ably-clientId': who.user, 'x-ably-capability': '{"its-own":["subscribe"]}' });
    made.client = await new Ably(url, { token }).connected();
    return made;
  }
  async hear(channel) {
    const inbox = new Inbox(`ably ${channel}`);
    this.heard = await this.client.subscribed(channel);
    await this.heard.channel.subscribe((message) => inbox.push(plain(message.data)));
    return inbox;
  }
  publish = (channel, text) => within(this.client.sdk.channels.get(channel).publish('client-say', text), `published to ${channel}`);
  async mayNotHear(channel) {
    const made = this.client.sdk.channels.get(channel);
    await assert.rejects(within(made.attach(), 'an answer'), (error) => error.code === 40160 && error.statusCode === 401);
    assert.equal(made.state, 'failed');
    await this.client.sdk.channels.release(channel);
  }
  mayNotPublish = (channel) =>
    assert.rejects(this.publish(channel, 'forbidden'), (error) => error.code === 40160 && error.statusCode === 401);
  async lost(channel) {
    await this.heard.states.next((change) => change.state === 'failed' && change.code === 40160, `the end of ${channel}`);
    assert.equal(this.client.sdk.connection.state, 'connected');
  }
  revoked = () => this.client.state('disconnected', 40141);
  blocked = () => this.client.state('failed', 40300);
  /** Not for good: it comes back by itself. */
  terminated = () => this.client.state('disconnected', 80003);
  disabled = () => this.client.state('failed', 40131);
  close = () => this.client.close();
}

class PubNubDriver {
  static dialect = 'pubnub';
  static echoes = true;

  static async open(url, app, who) {
    const made = new PubNubDriver();
    made.client = new PubNub(url, app, { uuid: who.user, authKey: who.token });
    if (who.pubnubToken) made.client.sdk.setToken(who.pubnubToken);
    return made;
  }
  hear = (channel) => this.client.hear(channel);
  publish = (channel, text) => this.client.sdk.publish({ channel, message: textOf(text), customMessageType: 'client-say' });
  mayNotHear = (channel) => this.client.mayNotHear(channel);
  async mayNotPublish(channel) {
    await assert.rejects(this.publish(channel, 'forbidden'), (error) => {
      assert.equal(error.status?.statusCode, 403);
      assert.equal(error.status?.category, 'PNAccessDeniedCategory');
      assert.deepEqual(error.status?.errorData?.payload?.channels, [channel]);
      return true;
    });
  }
  lost = () => this.client.denied();
  revoked = () => this.client.denied();
  blocked = () => this.client.denied();
  /** Its open request is answered and the SDK asks the next: there is no connection to be seen ending. */
  terminated = async () => {};
  disabled = () => this.client.denied();
  close = () => this.client.close();
}

const NO_PERMISSION = /No permission/;

class Realtime {
  static dialect = 'realtime';
  static echoes = true;

  static async open(url, app, who) {
    const made = new Realtime();
    Object.assign(made, { url, app, who });
    // Where authentication is on, only a token that has been registered connects.
    await app.register?.(who);
    made.client = await new Ortc('node', url).connected(app, who.token);
    return made;
  }
  async hear(channel) {
    const inbox = new Inbox(`realtime ${channel}`);
    const ask = async () => {
      this.client.ortc.subscribe(channel, true, (_, name, message) => inbox.push(message));
      const { events, errors } = this.client;
      const refused = errors.next((error) => NO_PERMISSION.test(error), `subscribed ${channel}`).then(() => false);
      const heard = events.next((event) => event === `subscribed ${channel}`, `subscribed ${channel}`).then(() => true);
      // The other one goes on waiting and times out.
      for (const one of [refused, heard]) one.catch(() => {});
      return Promise.race([refused, heard]);
    };
    if (await ask()) return inbox;
    assert.ok(this.app.register, `may subscribe to ${channel}`);
    // This SDK asks for nothing that its token could not do when it connected: what was granted since is for its next connection.
    this.client.close();
    this.client = await new Ortc('node', this.url).connected(this.app, this.who.token);
    assert.ok(await ask(), `may subscribe to ${channel} once it has come back`);
    return inbox;
  }
  async publish(channel, text) {
    this.client.send(channel, text);
  }
  async refused(verb, act) {
    this.client.errors.items.length = 0;
    act();
    const error = await this.client.errors.next(() => true, `may not ${verb}`);
    // Said by the server in these words, unless the SDK knows it by what it was told when it connected.
    assert.match(error, this.app.register ? NO_PERMISSION : new RegExp(`No permission to ${verb}`));
  }
  mayNotHear = (channel) => this.refused('subscribe', () => this.client.ortc.subscribe(channel, true, () => {}));
  mayNotPublish = (channel) => this.refused('publish', () => this.client.send(channel, 'forbidden'));
  /** The subscription ends; or, where its connection holds a copy of its token's rights, the connection. */
  async lost(channel) {
    const ends = [`unsubscribed ${channel}`, ...(this.app.register ? ['Reconnecting', 'Disconnected'] : [])];
    await this.client.events.next((event) => ends.includes(event), `the end of ${channel}`);
  }
  async ended() {
    await this.client.error(/Invalid connection\./);
    await this.client.event('Disconnected');
  }
  revoked = () => this.ended();
  blocked = () => this.ended();
  terminated = () => this.client.event('Reconnecting');
  disabled = () => this.ended();
  close = () => this.client.close();
}

/** All four. */
export const DIALECTS = [Pusher, AblyDriver, PubNubDriver, Realtime];

