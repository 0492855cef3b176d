// Every call of `docs/calls.md` under every kind of credential, over three nodes: who is refused is told so in the dialect's
// words and has changed nothing, and who has the right, and nothing else, is let in. The page is the table; what has to
// come of a cell follows from its columns (`calls/rules.mjs`), and only how a call is written is said here
// (`calls/native.mjs` and its neighbours).

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import * as ably from './calls/ably.mjs';
import * as house from './calls/console.mjs';
import * as native from './calls/native.mjs';
import * as pubnub from './calls/pubnub.mjs';
import * as pusher from './calls/pusher.mjs';
import * as realtime from './calls/realtime.mjs';
import { put } from './calls/rules.mjs';
import { calls } from './calls/table.mjs';
import { World } from './calls/world.mjs';

const SECTIONS = { 'Native API': native, Pusher: pusher, Ably: ably, PubNub: pubnub, 'Realtime.co': realtime, Console: house };
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

for (const [section, dialect] of Object.entries(SECTIONS)) {
  const rows = calls().filter((call) => call.section === section);

  test(`${section}: every row can be called, and nothing else is`, () => {
    assert.deepEqual(rows.map(({ name }) => name).sort(), Object.keys(dialect.recipes).sort());
  });

  for (const call of rows) {
    test(call.name, async () => put(world, call, dialect.recipes[call.name], dialect, tally));
  }
}
