// The official `pubnub` SDK, unmodified, with what it does written down so that tests can await it.

import assert from 'node:assert/strict';
import PubNubModule from 'pubnub';
import { Inbox } from './wait.mjs';

const PubNub = PubNubModule.default ?? PubNubModule;
const live = new Set();

/** JSON where a text is JSON: this SDK publishes values. */
export function text(value) {
  try {
    return JSON.parse(value);
  } catch {
    return value;
  }
}

/** One client; `keys` are those of `env` in the answer that made the app. `server: true` holds the secret. */
export class Client {
  constructor(url, keys, { uuid = 'someone', server = false, ...more } = {}) {
    this.sdk = new PubNub({
      publishKey: keys.publishKey,
      subscribeKey: keys.subscribeKey,
      ...(server ? { secretKey: keys.secretKey } : {}),
      userId: uuid,
      origin: new URL(url).host,
      ssl: false,
      keepAlive: false,
      ...more,
    });
    const name = `pubnub@${new URL(url).port}`;
    for (const what of ['messages', 'presence', 'statuses']) this[what] = new Inbox(`${name} ${what}`);
    this.sdk.addListener({
      message: (event) => this.messages.push(event),
      presence: (event) => this.presence.push(event),
      status: (event) => this.statuses.push(event),
    });
    live.add(this);
  }

  status(category) {
    return this.statuses.next((one) => one.category === category, category);
  }

  /** Subscribed; its messages are in the inbox, as text. */
  async hear(channel, options = {}) {
    const inbox = new Inbox(`pubnub ${channel}`);
    const say = (message) => inbox.push(typeof message === 'string' ? message : JSON.stringify(message));
    this.sdk.addListener({ message: (event) => event.channel === channel && say(event.message) });
    this.statuses.items.length = 0;
    this.sdk.subscribe({ channels: [channel], ...options });
    const status = await this.statuses.next((one) => one.error || /Connected|Changed/.test(one.category ?? ''), `an answer on ${channel}`);
    if (status.error) throw new Error(`may not subscribe ${channel}: ${JSON.stringify(status.category)}`);
    return inbox;
  }

  /** Subscribes and is refused by 403 with the channel's name. */
  async mayNotHear(channel) {
    this.statuses.items.length = 0;
    this.sdk.subscribe({ channels: [channel] });
    await this.denied(channel);
    this.sdk.unsubscribe({ channels: [channel] });
  }

  async denied(channel) {
    // What was refused before may be told again meanwhile.
    const names = (one) => !channel || one.errorData?.payload?.channels?.includes(channel);
    const status = await this.statuses.next((one) => one.category === 'PNAccessDeniedCategory' && names(one), 'access denied');
    assert.equal(status.statusCode, 403);
    if (channel) assert.deepEqual(status.errorData?.payload?.channels, [channel]);
  }

  close() {
    live.delete(this);
    this.sdk.stop?.();
  }
}

export function closeClients() {
  for (const client of [...live]) client.close();
}
