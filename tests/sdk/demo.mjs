// Prints the main job against a running cluster. Argument: the env file that `scripts/cluster up` wrote.

import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Story } from './story.mjs';

const root = join(dirname(fileURLToPath(import.meta.url)), '../..');
const env = Object.fromEntries(
  readFileSync(process.argv[2], 'utf8')
    .split('\n')
    .filter((line) => /^[A-Z_]+=/.test(line))
    .map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]),
);
const node = (verb) => (n) => execFileSync(join(root, 'scripts/cluster'), [verb, String(n)], { stdio: 'ignore' });
const cluster = {
  urls: env.GATECAST_URLS.split(','),
  adminUrls: env.GATECAST_ADMIN_URLS.split(','),
  adminToken: env.GATECAST_ADMIN_TOKEN,
  app: { id: env.PUSHER_APP_ID, key: env.PUSHER_APP_KEY, secret: env.PUSHER_APP_SECRET },
  kill: node('kill'),
  start: node('start'),
};
if (cluster.urls.length < 3) {
  console.error('the story needs three nodes: scripts/cluster up --nodes 3');
  process.exit(1);
}

const story = new Story(cluster, (line) => console.log(`   ${line}`));
const chapters = [
  ['A grant through node 1 opens a client at node 2', () => story.grantAndReceive()],
  ['A change through node 2 reaches a client at node 3, live', () => story.changeLive()],
  ['Terminate, block, unblock', () => story.terminateAndBlock()],
  ['The leader is killed', () => story.loseTheLeader()],
];
let failed = 0;
for (const [number, [title, tell]] of chapters.entries()) {
  console.log(`${number + 1}. ${title}`);
  try {
    await tell();
  } catch (error) {
    failed += 1;
    console.log(`   FAILED: ${error.message}`);
  }
}
story.close();
console.log(failed === 0 ? 'All of it holds.' : `${failed} of ${chapters.length} chapters failed.`);
process.exit(failed === 0 ? 0 : 1);
