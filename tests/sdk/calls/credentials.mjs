// Every kind of credential, relative to one call: what it proves, and whether it holds what the call needs. How a dialect
// writes it down is that dialect's file.

import { ROOM } from './world.mjs';

/** All operations that a capability can name. */
export const OPERATIONS = [
  ...['subscribe', 'publish', 'presence', 'presence-read', 'history', 'manage', 'delete', 'get', 'update', 'join', 'create'],
  ...['metadata', 'stats', 'grant', 'revoke', 'admin', 'inspect'],
];
const RESOURCES = ['channel', 'group', 'user'];
const everywhere = (operations) => RESOURCES.map((resource) => ({ resource, pattern: '*', operations }));

/** What has to be had, in each of the ways in which the row says it can be: the lines of a capability. */
export function asked(call, instance) {
  const given = call.needs.given ? (instance.gives ?? ['subscribe']) : [];
  const targets = instance.targets ?? [{ resource: 'channel', pattern: ROOM }];
  const lines = (operations) => {
    const app = [{ resource: 'channel', pattern: '*', operations }];
    switch (call.scope) {
      case 'app':
        return [app];
      case 'user':
        return [app, [{ resource: 'user', pattern: instance.user, operations }]];
      default:
        return [targets.map((target) => ({ operations, ...target }))];
    }
  };
  return call.needs.any.flatMap((operations) => lines([...new Set([...operations, ...given])]));
}

/** Capabilities that lack just enough: `{name, lines, had}`, where `had` is that a part of it is had somewhere. */
function lacking(call, instance) {
  const all = [];
  const without = (left) => everywhere(OPERATIONS.filter((one) => !left.includes(one)));
  const given = call.needs.given ? (instance.gives ?? ['subscribe']) : [];
  if (call.needs.any.length > 1) {
    const left = call.needs.any.flat();
    all.push({ name: `all but ${left.join(' and ')}`, lines: without(left) });
  } else {
    for (const left of new Set([...call.needs.any[0], ...given])) {
      all.push({ name: `all but ${left}`, lines: without([left]), lacksGiven: !call.needs.any[0].includes(left) });
    }
  }
  for (const operations of call.needs.any) {
    const elsewhere = RESOURCES.map((resource) => ({ resource, pattern: 'elsewhere', operations: [...operations, ...given] }));
    all.push({ name: `${operations} elsewhere`, lines: elsewhere, elsewhere: true });
    if (call.scope === 'app') {
      const below = RESOURCES.map((resource) => ({ resource, pattern: 'presence-*', operations: [...operations, ...given] }));
      all.push({ name: `${operations} on a part of the app`, lines: below, elsewhere: true });
    }
  }
  return all;
}

/**
 * Keys: `{name, kind: 'key', proven, live, own, holds, app, tamper}`. `proven` = its secret is shown; `holds` = it has what
 * the call needs.
 */
export async function keys(world, call, instance) {
  const key = (name, app, more) => ({ name, kind: 'key', proven: true, own: true, holds: true, app, ...more });
  const full = instance.holder ?? world.app;
  const all = [
    key('the full key', full),
    key('a public key id', full, { proven: false, tamper: 'no secret' }),
    key('a wrong secret', full, { proven: false, tamper: 'wrong secret' }),
    key('a disabled key', world.off, { proven: false }),
    key('a deleted key', world.gone, { proven: false }),
    key("another app's key", world.other, { own: false, holds: false }),
  ];
  if (call.needs.self) {
    all.push(key('another key of the app', await world.key(everywhere(OPERATIONS)), { holds: false, stranger: true }));
    if (call.needs.any[0].length === 0) return all;
  }
  if (call.needs.any[0].length === 0) {
    all.push(key('a key without a right', await world.key([{ pattern: 'elsewhere', operations: ['subscribe'] }]), { holds: true, bare: true }));
    return all;
  }
  const narrow = [
    ...asked(call, instance).map((lines) => ({ name: `only ${lines[0].operations} on ${lines[0].pattern}`, lines, holds: true })),
    ...lacking(call, instance).map((one) => ({ ...one, holds: false })),
  ];
  const made = narrow.map(async ({ name, lines, ...more }) => key(`a key with ${name}`, await world.key(lines), { ...more, lines }));
  return [...all, ...(await Promise.all(made))];
}
