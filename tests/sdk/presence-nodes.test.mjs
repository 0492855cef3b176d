// A PubNub client behind a balancer: what she says of herself reaches a node, and the next time another one. She enters
// through one, leaves through another and is back at the first: every node tells the same of her, at once.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Cluster } from './lib/cluster.mjs';
import { until } from './lib/wait.mjs';

// Entries are told to a channel's home again after thirty seconds: whatever comes true by that alone comes too late.
const SOON_MS = 10_000;

let cluster;
let keys;
before(async () => {
  cluster = await Cluster.start();
  const made = await cluster.admin().createApp({ name: 'presence', protocols: ['pubnub'] });
  keys = made.env;
});
after(() => cluster?.stop());

const grant = (auth, channel) =>
  cluster.admin().grant(keys.GATECAST_APP_ID, { token: auth }, [{ pattern: channel, operations: ['subscribe', 'presence', 'presence-read'] }]);

async function ask(node, path, query) {
  const answer = await fetch(`${cluster.urls[node - 1]}${path}?${new URLSearchParams(query)}`);
  assert.equal(answer.status, 200, `node ${node}: ${path}`);
  return answer.json();
}

const sub = () => keys.PUBNUB_SUBSCRIBE_KEY;
const presence = (node, channel, verb, query) => ask(node, `/v2/presence/sub-key/${sub()}/channel/${channel}/${verb}`, query);

/** The ways in which a client says that she is there. */
const ENTERING = {
  heartbeat: (node, channel, who) => presence(node, channel, 'heartbeat', { ...who, heartbeat: 300 }),
  subscribe: (node, channel, who) => ask(node, `/v2/subscribe/${sub()}/${channel}/0`, { ...who, tt: 0, heartbeat: 300 }),
  state: (node, channel, who) => presence(node, channel, `uuid/${who.uuid}/data`, { ...who, state: '{"mood":"fine"}' }),
};

for (const [how, enter] of Object.entries(ENTERING)) {
  test(`entered by ${how}, left through another node, back at the first: seen from everywhere at once`, async () => {
    let n = 0;
    for (const [first, second] of [[1, 2], [2, 3], [3, 1]]) {
      const channel = `${how}-${(n += 1)}`;
      const who = { uuid: 'ana', auth: `key-${channel}` };
      await grant(who.auth, channel);
      const seen = (there) =>
        until(async () => {
          const told = await Promise.all([1, 2, 3].map((node) => ask(node, `/v2/presence/sub-key/${sub()}/channel/${channel}`, { ...who, uuid: 'looker' })));
          return told.every((one) => one.uuids.includes('ana') === there);
        }, `she is ${there ? 'there' : 'gone'}: ${channel}`, SOON_MS);
      await enter(first, channel, who);
      await seen(true);
      for (let again = 0; again < 2; again += 1) {
        await presence(second, channel, 'leave', who);
        await seen(false);
        await enter(first, channel, who);
        await seen(true);
      }
    }
  });
}
