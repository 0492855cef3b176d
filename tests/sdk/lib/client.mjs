// pusher-js and the `pusher` server SDK, unmodified, with what they do written down so that tests can await it.

import PusherClient from 'pusher-js';
import PusherServer from 'pusher';
import { Inbox, PATIENCE_MS } from './wait.mjs';

/** The app server's SDK, talking to one node. */
export function serverSdk(url, app, more = {}) {
  const { hostname, port } = new URL(url);
  return new PusherServer({
    appId: app.id,
    key: app.key,
    secret: app.secret,
    host: hostname,
    port,
    useTLS: false,
    timeout: 15_000,
    cluster: 'local',
    ...more,
  });
}

/**
 * One browser tab. `user` is who the app server says it is on sign-in; `sign` says how private and presence
 * channels are authorised: `'grants'` sends no signature (the user's stored grants must do), a function
 * `(socketId, channel) => auth` is an app server's signature.
 */
export class Tab {
  constructor(url, app, { user, info, watchlist, sdk: given, sign = 'signature', member, name = user ?? 'tab', options = {} } = {}) {
    const { hostname, port } = new URL(url);
    const sdk = given ?? serverSdk(url, app);
    this.name = `${name}@${port}`;
    this.errors = new Inbox(`${this.name} errors`);
    this.states = new Inbox(`${this.name} states`);
    this.messages = new Inbox(this.name);
    this.inboxes = new Map();
    const authorize = (socketId, channel) => {
      if (sign === 'grants') return { auth: '' };
      if (typeof sign === 'function') return sign(socketId, channel);
      return sdk.authorizeChannel(socketId, channel, channel.startsWith('presence-') ? member : undefined);
    };
    this.pusher = new PusherClient(app.key, {
      cluster: 'local',
      wsHost: hostname,
      wsPort: Number(port),
      forceTLS: false,
      enabledTransports: ['ws'],
      enableStats: false,
      channelAuthorization: {
        customHandler: ({ socketId, channelName }, callback) => {
          Promise.resolve()
            .then(() => authorize(socketId, channelName))
            .then((auth) => callback(null, auth), (error) => callback(error, null));
        },
      },
      userAuthentication: {
        customHandler: ({ socketId }, callback) => {
          callback(null, sdk.authenticateUser(socketId, {
            id: user,
            ...(info ? { user_info: info } : {}),
            ...(watchlist ? { watchlist } : {}),
          }));
        },
      },
      ...options,
    });
    const connection = this.pusher.connection;
    connection.bind('error', (error) => this.errors.push(plainError(error)));
    connection.bind('state_change', ({ current }) => this.states.push(current));
    connection.bind('message', (message) => this.messages.push(message));
    live.add(this);
  }

  get state() {
    return this.pusher.connection.state;
  }

  get socketId() {
    return this.pusher.connection.socket_id;
  }

  async connected() {
    await this.states.next((state) => state === 'connected', 'connects');
    return this;
  }

  /** Signs in and waits for the server's word. */
  async signedIn() {
    await this.connected();
    this.pusher.signin();
    await this.messages.next((message) => message.event === 'pusher:signin_success', 'signs in');
    return this;
  }

  /** Subscribes and returns the channel's inbox without waiting. */
  follow(channel) {
    const inbox = new Inbox(`${this.name} ${channel}`);
    this.inboxes.set(channel, inbox);
    const subscription = this.pusher.subscribe(channel);
    subscription.bind_global((event, data) => inbox.push({ event, data }));
    inbox.channel = subscription;
    return inbox;
  }

  /** Subscribes and waits until the server said yes. */
  async subscribed(channel) {
    const inbox = this.follow(channel);
    const answer = await inbox.next(
      ({ event }) => /subscription_(succeeded|error)$/.test(event),
      'an answer to the subscription',
    );
    if (answer.event !== 'pusher:subscription_succeeded') {
      throw new Error(`${this.name} may not subscribe ${channel}: ${JSON.stringify(answer.data)}`);
    }
    return inbox;
  }

  /** Subscribes and waits for the server's no, which it returns. */
  async refused(channel) {
    const inbox = this.follow(channel);
    const answer = await inbox.next(
      ({ event }) => /subscription_(succeeded|error)$/.test(event),
      'an answer to the subscription',
    );
    if (answer.event !== 'pusher:subscription_error') throw new Error(`${this.name} got into ${channel}`);
    return answer.data;
  }

  /** The `pusher:error` or close with this code. `null` is the code of errors that keep the socket open. */
  error(code, ms = PATIENCE_MS) {
    return this.errors.next((error) => error.code === code, `an error ${code}`, ms);
  }

  close() {
    live.delete(this);
    this.pusher.disconnect();
  }
}

const live = new Set();

/** Closes every tab a test left open. */
export function closeTabs() {
  for (const tab of [...live]) tab.close();
}

/** pusher-js wraps errors up to two deep; this is the code and the text inside. */
function plainError(error) {
  const inner = error?.error?.data ?? error?.data ?? error?.error ?? error;
  return { code: inner?.code ?? null, message: inner?.message ?? String(inner?.type ?? ''), type: error?.type };
}

/** Events of that name with that data. */
export const is = (event, data) => (item) =>
  item.event === event && (data === undefined || JSON.stringify(item.data) === JSON.stringify(data));
