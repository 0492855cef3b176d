// Pusher on a connection: what a key signs, what is stored for a user who has signed in, and what needs nothing. Every answer
// is told as `{status: 'yes' | 'no', text}`.

import assert from 'node:assert/strict';
import { rawPusher, sign } from '../lib/raw.mjs';
import { asked, keys } from './credentials.mjs';
import { MEMBER, ROOM } from './world.mjs';

const PRIVATE = 'private-frames';
const WHO = 'caller';

/** The signature that a credential puts on these parts. */
function signature({ app, tamper }, ...parts) {
  if (tamper === 'no secret') return `${app.key}:`;
  return sign(tamper === 'wrong secret' ? { ...app, secret: 'x'.repeat(32) } : app, ...parts);
}

async function signIn(socket, credential, user) {
  const user_data = JSON.stringify({ id: user });
  const auth = signature(credential, socket.socketId, '', 'user', '', user_data);
  socket.send({ event: 'pusher:signin', data: { user_data, auth } });
  return answer(socket, ({ event }) => event === 'pusher:signin_success');
}

/** The first of what says yes, and of what says no. */
async function answer(socket, yes) {
  const no = ({ event }) => event === 'pusher:error' || event === 'pusher:subscription_error';
  const found = await socket.events.next((event) => yes(event) || no(event), 'an answer');
  return { status: yes(found) ? 'yes' : 'no', text: JSON.stringify(found) };
}

async function subscribe(socket, channel, credential) {
  const data = channel === ROOM && !credential.user ? JSON.stringify({ user_id: WHO }) : undefined;
  const auth = credential.user ? '' : signature(credential, socket.socketId, channel, ...(data ? [data] : []));
  socket.send({ event: 'pusher:subscribe', data: { channel, auth, ...(data ? { channel_data: data } : {}) } });
  return answer(socket, (event) => event.event === 'pusher_internal:subscription_succeeded' && event.channel === channel);
}

/** Somebody at another node who hears what is said on the private channel. */
const listener = (world) =>
  world.once('pusher listener', async () => {
    const socket = await rawPusher(world.cluster.urls[0], world.app.key);
    assert.equal((await subscribe(socket, PRIVATE, { app: world.app })).status, 'yes');
    return socket;
  });

const to = (channel, does, more) => async () => ({ reads: true, does, channel, targets: [{ resource: 'channel', pattern: channel }], ...more });
const subscribes = (channel, more) => to(channel, (socket, _, credential) => subscribe(socket, channel, credential), more);
/** What is taken without a word is followed by a ping, which is answered. */
const taken = (frame) =>
  to(PRIVATE, (socket) => {
    if (frame) socket.send(frame);
    socket.send({ event: 'pusher:ping', data: {} });
    return answer(socket, ({ event }) => event === 'pusher:pong');
  });

export const recipes = {
  'FRAME connect': taken(),
  'FRAME pusher:subscribe private': subscribes(PRIVATE),
  'FRAME pusher:subscribe presence': subscribes(ROOM, { marker: MEMBER }),
  'FRAME pusher:unsubscribe': to(PRIVATE, async (socket, world) => {
    assert.equal((await subscribe(socket, PRIVATE, { app: world.app })).status, 'yes');
    socket.send({ event: 'pusher:unsubscribe', data: { channel: PRIVATE } });
    socket.send({ event: 'pusher:ping', data: {} });
    return answer(socket, ({ event }) => event === 'pusher:pong');
  }),
  'FRAME pusher:signin': to(PRIVATE, (socket, _, credential) => signIn(socket, credential, WHO)),
  'FRAME client-…': to(PRIVATE, async (socket, world, credential) => {
    const other = await listener(world);
    const subscribed = await subscribe(socket, PRIVATE, credential);
    if (subscribed.status === 'no') return subscribed;
    const data = world.fresh('said');
    socket.send({ event: 'client-say', channel: PRIVATE, data });
    const heard = other.events.next((event) => event.event === 'client-say' && event.data === data, data);
    const refused = answer(socket, () => false);
    return Promise.any([heard.then((event) => ({ status: 'yes', text: JSON.stringify(event) })), refused]);
  }),
  'FRAME pusher:ping': taken(),
  'FRAME pusher:pong': taken({ event: 'pusher:pong', data: {} }),
};

/** Users who are signed in by a key, with what is stored for them. */
async function users(world, call, instance, made) {
  const [lines] = asked(call, instance);
  const lacking = made.filter((one) => one.lines && !one.holds);
  const granted = async (what, given) => {
    const user = `user-${what}-${instance.channel}-${lines[0].operations.length}`;
    const write = () => world.admin().call('POST', `${world.root}/grants`, { subject: { user }, grants: given });
    await world.once(user, write);
    return user;
  };
  const user = (name, of, more) => ({ name, kind: 'user', proven: true, own: true, holds: false, app: world.app, user: of, ...more });
  const all = await granted('all', [{ pattern: '*', operations: ['*'] }]);
  return [
    user('a user without a grant', 'user-none'),
    user('a user with nothing but it', await granted('only', lines), { holds: true }),
    user('a user with all but it', await granted('less', lacking[0].lines)),
    user('a user with it elsewhere', await granted('elsewhere', lacking.find((one) => one.elsewhere).lines)),
    user('a user with everything', all, { holds: true }),
    user('a user with everything whom nobody signed for', all, { proven: false, tamper: 'wrong secret' }),
    user("a user with everything whom another app's key signed for", all, { own: false, app: world.other }),
    ...lacking.map((one) => user(`a user with everything, by ${one.name}`, all, { app: one.app })),
  ];
}

export async function credentials(world, call, instance) {
  if (call.who === 'anybody') return [{ name: 'nothing', kind: 'nothing', proven: false }];
  // Whichever key of the app signs a user in is hers.
  const made = (await keys(world, call, instance)).filter((one) => !one.stranger);
  const none = { name: 'nothing', kind: 'key', proven: false, app: world.app, tamper: 'no secret' };
  if (!call.who.includes('user')) return [...made, none];
  return [...made, none, ...(await users(world, call, instance, made))];
}

export async function send(world, instance, credential) {
  const socket = await rawPusher(world.url(), world.app.key);
  try {
    if (credential.user) {
      const signed = await signIn(socket, credential, credential.user);
      if (signed.status === 'no') return signed;
    }
    return await instance.does(socket, world, credential);
  } finally {
    socket.close();
  }
}

export const refused = ({ status }) => assert.equal(status, 'no');
export const allowed = ({ status }) => assert.equal(status, 'yes');
