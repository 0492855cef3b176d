// The official `ably` SDK, unmodified, with what it does written down so that tests can await it.

import { createHmac } from 'node:crypto';
import Ably from 'ably';
import { Inbox, within } from './wait.mjs';

const live = new Set();

/** Options that point the SDK at one node. */
export function at(url, options = {}) {
  const { hostname, port } = new URL(url);
  return {
    endpoint: hostname,
    port: Number(port),
    tls: false,
    disableConnectivityCheck: true,
    logLevel: 0,
    disconnectedRetryTimeout: 500,
    ...options,
  };
}

/** `appId.keyId:secret` of an app made by `Cluster.createApp`. */
export const keyOf = (app) => `${app.id}.${app.key}:${app.secret}`;

/** A REST client. */
export const rest = (url, options) => new Ably.Rest(at(url, options));

/** A realtime client: `states` and `channel(name)` can be awaited. */
export class Client {
  constructor(url, options) {
    this.sdk = new Ably.Realtime(at(url, options));
    this.states = new Inbox(`ably@${new URL(url).port} states`);
    this.sdk.connection.on((change) =>
      this.states.push({ state: change.current, update: change.current === change.previous, code: change.reason?.code, id: this.sdk.connection.id }),
    );
    live.add(this);
  }

  get id() {
    return this.sdk.connection.id;
  }

  async connected() {
    await this.states.next((one) => one.state === 'connected', 'connects');
    return this;
  }

  state(name, code) {
    return this.states.next((one) => one.state === name && (code === undefined || one.code === code), `${name} ${code ?? ''}`);
  }

  /** Attached and subscribed; its messages are in the inbox. */
  async subscribed(name, options) {
    const channel = this.sdk.channels.get(name, options);
    const inbox = new Inbox(`ably ${name}`);
    inbox.channel = channel;
    inbox.states = new Inbox(`ably ${name} states`);
    channel.on((change) => inbox.states.push({ state: change.current, resumed: change.resumed, code: change.reason?.code }));
    await within(channel.subscribe((message) => inbox.push(message)), `${name} attaches`);
    return inbox;
  }

  /** Cuts the socket under the SDK's feet. */
  cut() {
    this.sdk.connection.connectionManager.activeProtocol.getTransport().webSocketConnection?.terminate?.();
    this.sdk.connection.connectionManager.activeProtocol?.getTransport()?.dispose?.();
  }

  close() {
    live.delete(this);
    this.sdk.close();
  }
}

export function closeClients() {
  for (const client of [...live]) client.close();
}

const b64 = (value) => Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url');

/** A JWT as an app server signs it. */
export function jwt(app, claims, { ttl = 60 } = {}) {
  const now = Date.now() / 1000;
  const head = b64({ typ: 'JWT', alg: 'HS256', kid: `${app.id}.${app.key}` });
  const body = b64({ iat: now, exp: now + ttl, ...claims });
  const mac = createHmac('sha256', app.secret).update(`${head}.${body}`).digest('base64url');
  return `${head}.${body}.${mac}`;
}
