// Realtime.co on a connection, by hand: each command under tokens, and the one that takes a private key. Every answer is told
// as `{status: 'yes' | 'no', text}`.

import assert from 'node:assert/strict';
import { RawSocket } from '../lib/raw.mjs';
import * as rest from './realtime.mjs';
import { ROOM } from './world.mjs';

const ERROR = /ortc-error|\\"err\\"/;

const says = (socket, command) => socket.send(JSON.stringify(command));

/** The first frame that says yes, or that it is refused. */
async function answer(socket, yes) {
  const found = await socket.events.next((text) => yes.test(text) || ERROR.test(text), `${yes}`);
  return { status: ERROR.test(found) ? 'no' : 'yes', text: found };
}

/** A command that is answered. */
const asks = (command, yes) => async (world) => ({
  reads: true,
  does: (socket, credential) => {
    says(socket, command(world.app.application, credential, world));
    return answer(socket, yes);
  },
});

/** A command whose message arrives in the room, or is refused. */
const sends = (command) => async (world) => {
  const id = world.fresh('said');
  return {
    does: (socket, credential) => {
      says(socket, command(world.app.application, credential, `${id}_1-1_${id}`));
      const heard = world.heard.next(({ data }) => String(data).includes(id), id);
      const refused = socket.events.next((text) => ERROR.test(text), 'a refusal');
      return Promise.any([heard.then(() => ({ status: 'yes', text: id })), refused.then((text) => ({ status: 'no', text }))]);
    },
  };
};

/** What is taken without a word, before a subscription that is refused: the connection lives. */
const taken = (command) => async (world) => ({
  reads: true,
  does: async (socket) => {
    if (command) says(socket, command(world.app.application));
    says(socket, `subscribe;${world.app.application};t;taken;`);
    const found = await socket.events.next((text) => /taken/.test(text), 'an answer');
    return { status: 'yes', text: found };
  },
});

export const recipes = {
  'FRAME connect': taken(),
  'FRAME validate': taken(),
  'FRAME subscribe': asks((key, { token }) => `subscribe;${key};${token};${ROOM};`, /ortc-subscribed/),
  'FRAME subscribefilter': asks((key, { token }) => `subscribefilter;${key};${token};${ROOM};;message.a = 1`, /ortc-subscribed/),
  'FRAME subscribeoptions': asks((key, { token }) => `subscribeoptions;${key};${token};${ROOM};place;;;;`, /ortc-subscribed/),
  'FRAME unsubscribe': taken((key) => `unsubscribe;${key};${ROOM}`),
  'FRAME send': sends((key, { token }, text) => `send;${key};${token};${ROOM};;${text}`),
  'FRAME batchSend': sends((key, { token }, text) => `batchSend;${key};${token};["${ROOM}"];;${text}`),
  'FRAME publish': sends((key, { token }, text) => `publish;${key};${token};${ROOM};60;;${text}`),
  'FRAME sendproxy': sends((key, { secret = '' }, text) => `sendproxy;${key};${secret};${ROOM};${text}`),
  'FRAME ack': taken((key) => `ack;${key};${ROOM};id;1;1`),
  'FRAME b': taken(() => 'b'),
};

export async function credentials(world, call, instance) {
  if (call.who === 'anybody') return [{ name: 'nothing', kind: 'nothing', proven: false }];
  return rest.credentials(world, call, { ...instance, form: {} });
}

export async function send(world, instance, credential) {
  const socket = await RawSocket.open(world.url(), '/broadcast/1/benbenbe/websocket', { parse: (text) => text });
  try {
    says(socket, `validate;${world.app.application};${credential.token ?? 'nobody'};;;`);
    const let_in = await answer(socket, /ortc-validated/);
    return let_in.status === 'no' ? let_in : await instance.does(socket, credential);
  } finally {
    socket.close();
  }
}

export const refused = ({ status }) => assert.equal(status, 'no');
export const allowed = ({ status }) => assert.equal(status, 'yes');
