// The two npm SDKs of Realtime.co, unmodified, with what they do written down so that tests can await it.

import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { JSDOM, VirtualConsole } from 'jsdom';
import { Inbox } from './wait.mjs';

const require = createRequire(import.meta.url);
const { IbtRealTimeSJNode } = require('ibtrealtimesjnode');
const BROWSER = readFileSync(require.resolve('realtime-messaging/dist/ortc-umd-min.js'), 'utf8');

const live = new Set();

/** Closes every client a test left open. */
export function closeClients() {
  for (const client of [...live]) client.close();
}

/** One client of either SDK: `kind` is `node` or `browser`. */
export class Client {
  constructor(kind, url, { metadata, cluster = false, announcements, protocol } = {}) {
    this.kind = kind;
    this.name = `${kind}@${new URL(url).port}`;
    for (const what of ['events', 'errors', 'messages']) this[what] = new Inbox(`${this.name} ${what}`);
    this.ortc = kind === 'node' ? new IbtRealTimeSJNode() : this.browser(url);
    const { ortc } = this;
    if (cluster) ortc.setClusterUrl(`${url}/server/2.1`);
    else ortc.setUrl(url);
    if (metadata !== undefined) ortc.setConnectionMetadata(metadata);
    if (announcements) ortc.setAnnouncementSubChannel(announcements);
    if (protocol) ortc.setProtocol(protocol);
    for (const event of ['Connected', 'Disconnected', 'Reconnecting', 'Reconnected']) {
      ortc[`on${event}`] = () => this.events.push(event);
    }
    ortc.onSubscribed = (_, channel) => this.events.push(`subscribed ${channel}`);
    ortc.onUnsubscribed = (_, channel) => this.events.push(`unsubscribed ${channel}`);
    ortc.onException = (_, error) => this.errors.push(String(error));
    live.add(this);
  }

  /** The browser's SDK in a window of its own. */
  browser(url) {
    const quiet = new VirtualConsole();
    this.dom = new JSDOM('<!doctype html><html><head></head><body></body></html>', {
      url: `${url}/page`,
      runScripts: 'dangerously',
      resources: 'usable',
      pretendToBeVisual: true,
      virtualConsole: quiet,
    });
    const { window } = this.dom;
    Object.defineProperty(window.document, 'domain', { value: new URL(url).hostname, configurable: true });
    window.eval(BROWSER);
    return window['ortc-umd'].createClient();
  }

  connect(app, token = 'anytoken') {
    this.app = app;
    this.ortc.connect(app.application, token);
    return this;
  }

  async connected(app, token) {
    this.connect(app, token);
    await this.event('Connected');
    return this;
  }

  event(name, n = 1) {
    return this.events.count((event) => event === name, n, name);
  }

  error(pattern) {
    return this.errors.next((error) => pattern.test(error), `an error like ${pattern}`);
  }

  async subscribed(channel) {
    this.ortc.subscribe(channel, true, (_, name, message) => this.messages.push({ channel: name, message }));
    await this.event(`subscribed ${channel}`);
    return this;
  }

  async filtered(channel, filter) {
    this.ortc.subscribeWithFilter(channel, true, filter, (_, name, filtered, message) =>
      this.messages.push({ channel: name, filtered, message }),
    );
    await this.event(`subscribed ${channel}`);
    return this;
  }

  async buffered(channel, subscriber) {
    this.ortc.subscribeWithBuffer(channel, subscriber, (_, name, sequence, message) =>
      this.messages.push({ channel: name, sequence, message }),
    );
    await this.event(`subscribed ${channel}`);
    return this;
  }

  send(channel, message) {
    this.ortc.send(channel, message);
  }

  publish(channel, message, ttl = 0) {
    return new Promise((resolve, reject) => {
      this.ortc.publish(channel, message, ttl, (error, sequence) => (error ? reject(new Error(error)) : resolve(sequence)));
    });
  }

  /** The message with this text. */
  message(channel, text) {
    return this.messages.next((one) => one.channel === channel && one.message === text, `${text.slice(0, 40)} on ${channel}`);
  }

  presence(channel) {
    return new Promise((resolve, reject) => {
      this.ortc.presence({ channel }, (error, result) => (error ? reject(new Error(String(error))) : resolve(result)));
    });
  }

  close() {
    live.delete(this);
    try {
      this.ortc.disconnect();
    } catch {
      // It was not connected.
    }
    // The window goes once the SDK has said goodbye.
    if (this.dom) setTimeout(() => this.dom.window.close(), 50);
  }
}

/** An app server with the Node SDK's REST calls. */
export class AppServer {
  constructor(url, app) {
    this.url = url;
    this.app = app;
    this.ortc = new IbtRealTimeSJNode();
  }

  /** `[error, success]` of `saveAuthentication`. */
  authenticate(token, permissions, { ttl = 1400, key = this.app.secret } = {}) {
    return new Promise((resolve) => {
      const done = (error, success) => resolve([error, success]);
      this.ortc.saveAuthentication(this.url, false, token, 0, this.app.application, ttl, key, permissions, done);
    });
  }

  presence(method, channel, { metadata = true, key = this.app.secret } = {}) {
    return new Promise((resolve) => {
      const call = { url: this.url, isCluster: false, applicationKey: this.app.application, privateKey: key, channel, metadata };
      this.ortc[`${method}Presence`](call, (error, text) => resolve([error, text]));
    });
  }

  post(path, body, type = 'application/x-www-form-urlencoded') {
    return fetch(this.url + path, { method: 'POST', body, headers: type ? { 'content-type': type } : {} });
  }
}
