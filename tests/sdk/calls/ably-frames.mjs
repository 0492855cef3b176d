// Ably on a connection, by hand: each frame under the credentials of the REST API. Every answer is told as
// `{status: 'yes' | 'no', text}`.

import assert from 'node:assert/strict';
import { jwt } from '../lib/ably.mjs';
import { RawSocket } from '../lib/raw.mjs';
import * as rest from './ably.mjs';
import { MEMBER, ROOM } from './world.mjs';

const WHO = 'caller';
const MODE = { presence: 1 << 16, publish: 1 << 17, subscribe: 1 << 18, seeing: 1 << 19 };

/** A connection and its first frame. */
async function open(world, raw) {
  const params = new URLSearchParams({ format: 'json', v: '6', clientId: WHO, ...raw });
  const socket = await RawSocket.open(world.url(), `/?${params}`);
  return { socket, first: await next(socket, ({ action }) => [4, 6, 9].includes(action)) };
}

const next = (socket, matches) => socket.events.next(matches, 'an answer');
const told = (frame, yes) => ({ status: yes ? 'yes' : 'no', text: JSON.stringify(frame) });

async function attach(socket, flags, channel = ROOM) {
  socket.send({ action: 10, channel, flags });
  const found = await next(socket, (frame) => frame.channel === channel && [9, 11, 13].includes(frame.action));
  return { ...told(found, found.action === 11 && (found.flags & flags) === flags), flags: found.flags };
}

/** An acknowledgement or its refusal. */
async function acknowledged(socket, frame) {
  socket.send({ ...frame, msgSerial: 0 });
  const found = await next(socket, ({ action }) => action === 1 || action === 2);
  return told(found, found.action === 1);
}

/** What has no answer of its own is followed by a heartbeat, which has. */
async function beat(socket, frame) {
  if (frame) socket.send(frame);
  socket.send({ action: 0, id: 'beat' });
  const found = await next(socket, ({ action, id }) => action === 0 && id === 'beat');
  return told(found, true);
}

const to = (does) => async () => ({ reads: true, does });
const attaches = (flags) => to((socket) => attach(socket, flags));

export const recipes = {
  'FRAME connect': to((_, { first }) => told(first, first.action === 4)),
  'FRAME HEARTBEAT': to((socket) => beat(socket)),
  'FRAME ATTACH subscribe': attaches(MODE.subscribe),
  'FRAME ATTACH publish': attaches(MODE.publish),
  'FRAME ATTACH presence': attaches(MODE.presence),
  'FRAME DETACH': to((socket) => beat(socket, { action: 12, channel: ROOM })),
  'FRAME MESSAGE': async (world) => {
    const messages = [{ name: 'said', data: world.fresh('said') }];
    return { does: (socket) => acknowledged(socket, { action: 15, channel: ROOM, messages }) };
  },
  'FRAME PRESENCE': to(async (socket) => {
    const attached = await attach(socket, MODE.presence);
    if (attached.status === 'no') return attached;
    return acknowledged(socket, { action: 14, channel: ROOM, presence: [{ action: 2, data: 'x' }] });
  }),
  'FRAME SYNC': async () => ({
    reads: true,
    marker: MEMBER,
    does: async (socket) => {
      const attached = await attach(socket, MODE.subscribe | MODE.seeing);
      socket.send({ action: 16, channel: ROOM });
      await beat(socket);
      const seen = socket.events.all(({ action }) => action === 16);
      // One who may not see is sent nothing, which is no answer that could be waited for.
      if (attached.status === 'yes') seen.push(await next(socket, ({ action }) => action === 16));
      return told([attached, seen], attached.status === 'yes');
    },
  }),
  'FRAME AUTH': async () => ({ reads: true, renews: true }),
  'FRAME CLOSE': to(async (socket) => {
    socket.send({ action: 7 });
    return told(await next(socket, ({ action }) => action === 8), true);
  }),
  'FRAME DISCONNECT': to((socket) => beat(socket, { action: 5 })),
  'FRAME OBJECT': to((socket) => acknowledged(socket, { action: 19, channel: ROOM })),
  'FRAME OBJECT_SYNC': to(async (socket) => {
    await beat(socket, { action: 20, channel: ROOM, msgSerial: 0 });
    return told(null, socket.events.all(({ action }) => action === 1).length > 0);
  }),
  'FRAME ANNOTATION': to((socket) => acknowledged(socket, { action: 21, channel: ROOM })),
};

export async function credentials(world, call, instance) {
  const raw = { key: `${world.app.id}.${world.app.key}:${world.app.secret}` };
  if (call.who === 'anybody' || call.who === 'nobody') return [{ name: 'a full key', kind: 'nothing', proven: false, raw }];
  const made = (await rest.credentials(world, call, instance, { 'x-ably-clientId': WHO })).filter((one) => one.raw || one.name === 'nothing');
  if (!instance.renews) return made;
  const stranger = await world.key([{ pattern: '*', operations: ['*'] }]);
  const other = (name, text) => ({ name, kind: 'token', proven: true, own: true, holds: false, raw: { accessToken: text } });
  return [
    ...made,
    other('a JWT of another key', jwt(stranger, { 'x-ably-clientId': WHO })),
    other('a JWT of another client', jwt(world.app, { 'x-ably-clientId': 'stranger' })),
  ];
}

/** A connection's own token is renewed by another one; everything else is done under the credential itself. */
export async function send(world, instance, { raw = {} }) {
  const own = { accessToken: jwt(world.app, { 'x-ably-clientId': WHO }) };
  const { socket, first } = await open(world, instance.renews ? own : raw);
  try {
    if (!instance.renews) return first.action === 4 ? await instance.does(socket, { first }) : told(first, false);
    socket.events.items.length = 0;
    socket.send({ action: 17, auth: { accessToken: raw.accessToken ?? raw.key ?? '' } });
    const found = await next(socket, ({ action }) => [4, 6, 9].includes(action));
    return told(found, found.action === 4);
  } finally {
    socket.close();
  }
}

export const refused = ({ status }) => assert.equal(status, 'no');
export const allowed = ({ status }) => assert.equal(status, 'yes');
