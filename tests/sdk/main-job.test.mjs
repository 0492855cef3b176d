// The main job of Gatecast on a three-node cluster, with the unmodified npm SDKs.

import { after, before, test } from 'node:test';
import { Cluster } from './lib/cluster.mjs';
import { closeTabs } from './lib/client.mjs';
import { Story } from './story.mjs';

let cluster;
let story;

before(async () => {
  cluster = await Cluster.start();
  cluster.start = (node) => cluster.startNode(node);
  story = new Story(cluster, (line) => console.log(`# ${line}`));
});

after(async () => {
  closeTabs();
  await cluster?.stop();
});

test('1. granted through node 1, signed in at node 2, triggered at node 3: arrives once', () => story.grantAndReceive());
test('2. a change through node 2 changes what a client connected to node 3 may do', () => story.changeLive());
test('3. terminate closes her everywhere with 4009; a block keeps her out until it ends', () => story.terminateAndBlock());
test('4. kill -9 of the leader: delivery goes on, grants come back, the node returns and agrees', () => story.loseTheLeader());
