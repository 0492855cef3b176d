// Every call of `docs/calls.md` under every kind of credential, over three nodes: who is refused is told so in the dialect's
// words and has changed nothing, and who has the right, and nothing else, is let in. The page is the table; what has to
// come of a cell follows from its columns (`calls/rules.mjs`), and only how a call is written is said here
// (`calls/native.mjs` and its neighbours).

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import * as ably from './calls/ably.mjs';
import * as ablyFrames from './calls/ably-frames.mjs';
import * as house from './calls/console.mjs';
import * as native from './calls/native.mjs';
import * as pubnub from './calls/pubnub.mjs';
import * as pusher from './calls/pusher.mjs';
import * as pusherFrames from './calls/pusher-frames.mjs';
import * as realtime from './calls/realtime.mjs';
import * as realtimeFrames from './calls/realtime-frames.mjs';
import { put } from './calls/rules.mjs';
import { calls } from './calls/table.mjs';
import { World } from './calls/world.mjs';

/** Of each section of the page, who makes its calls over HTTP and its frames. */
const SECTIONS = {
  'Native API': [native],
  Pusher: [pusher, pusherFrames],
  Ably: [ably, ablyFrames],
  PubNub: [pubnub],
  'Realtime.co': [realtime, realtimeFrames],
  Console: [house],
};
const tally = { cells: 0 };
let world;

before(async () => {
  world = await World.open();
});
after(async () => {
  console.log(`${tally.cells} cells`);
  await world?.close();
});

test('every section of the page has its recipes', () => {
  assert.deepEqual([...new Set(calls().map(({ section }) => section))].sort(), Object.keys(SECTIONS).sort());
});

for (const [section, dialects] of Object.entries(SECTIONS)) {
  const rows = calls().filter((call) => call.section === section);
  const recipes = Object.assign({}, ...dialects.map((dialect) => dialect.recipes));

  test(`${section}: every row can be called, and nothing else is`, () => {
    assert.deepEqual(rows.map(({ name }) => name).sort(), Object.keys(recipes).sort());
  });

  for (const call of rows) {
    const dialect = dialects[call.method === 'FRAME' ? 1 : 0];
    test(`${section}: ${call.name}`, async () => put(world, call, recipes[call.name], dialect, tally));
  }
}
