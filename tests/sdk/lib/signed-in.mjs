// Clients of the four SDKs that sign in with a token of an identity provider, unmodified, each in its own way.

import { Client as Ably, closeClients as closeAbly } from './ably.mjs';
import { Tab, closeTabs } from './client.mjs';
import { Client as PubNub, closeClients as closePubNub } from './pubnub.mjs';
import { Client as Ortc, closeClients as closeRealtime } from './realtime.mjs';
import { until } from './wait.mjs';

/**
 * A client of each SDK with a token: connected, and heard on a channel. `over()` waits until it was told that it is out.
 * `world()` says which app, and the URL of a node, when a client is made.
 */
export function signedIn(world) {
  return {
    async pusher(n, token, channel, user) {
      const { app, url } = world();
      const tab = new Tab(url(n), app, { user, sign: () => ({ auth: token }) });
      await tab.connected();
      const inbox = await tab.subscribed(channel);
      return { heard: (text) => inbox.all(({ data }) => data === text), over: () => until(() => tab.state !== 'connected', 'the tab is cut') };
    },
    async ably(n, token, channel) {
      const client = new Ably(world().url(n), { token });
      await client.connected();
      const inbox = await client.subscribed(channel);
      return { heard: (text) => inbox.all(({ data }) => data === text), over: () => client.state('failed').catch(() => client.state('disconnected')) };
    },
    async pubnub(n, token, channel, user) {
      const { app, url } = world();
      const client = new PubNub(url(n), app, { uuid: user });
      client.sdk.setToken(token);
      const inbox = await client.hear(channel);
      return { heard: (text) => inbox.all((one) => one === text), over: () => client.denied() };
    },
    async realtime(n, token, channel) {
      const { app, url } = world();
      const client = await new Ortc('node', url(n)).connected(app, token);
      await client.subscribed(channel);
      return {
        heard: (text) => client.messages.all(({ message }) => message === text),
        over: () => client.events.next((event) => /Disconnected|Reconnecting/.test(event), 'the client is cut'),
      };
    },
  };
}

export function closeAll() {
  closeAbly();
  closeTabs();
  closePubNub();
  closeRealtime();
}
