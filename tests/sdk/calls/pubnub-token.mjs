// A token of PubNub's Access Manager v3 as this broker signs it, made here so that it can be one that is over, of a key
// that is no more, or of rights that its key never had.

import { createHmac } from 'node:crypto';

const KINDS = ['chan', 'grp', 'spc', 'usr', 'uuid'];

function head(major, number) {
  if (number < 24) return Buffer.of((major << 5) | number);
  if (number < 256) return Buffer.of((major << 5) | 24, number);
  if (number < 65536) return Buffer.of((major << 5) | 25, number >> 8, number & 255);
  const long = Buffer.alloc(5);
  long[0] = (major << 5) | 26;
  long.writeUInt32BE(number, 1);
  return long;
}

const key = (name) => Buffer.concat([head(2, name.length), Buffer.from(name)]);
const text = (value) => Buffer.concat([head(3, Buffer.byteLength(value)), Buffer.from(value)]);
const map = (pairs) => Buffer.concat([head(5, pairs.length), ...pairs.flat()]);
const names = (entries = {}) => map(Object.entries(entries).map(([name, mask]) => [text(name), head(0, mask)]));
const side = (given = {}) => map(KINDS.map((kind) => [key(kind), names(given[kind])]));

let count = 0;

/** `res` and `pat` are masks by name and kind; `t` is the second of issue. */
export function signToken(app, { res, pat, uuid, t = Math.floor(Date.now() / 1000) - 1, ttl = 60 }) {
  const pairs = [
    [key('v'), head(0, 2)],
    [key('t'), head(0, t)],
    [key('ttl'), head(0, ttl)],
    [key('res'), side(res)],
    [key('pat'), side(pat)],
    [key('meta'), map([])],
    ...(uuid ? [[key('uuid'), text(uuid)]] : []),
  ];
  const number = Buffer.alloc(8);
  number.writeBigUInt64BE(BigInt(app.id));
  const derived = createHmac('sha256', app.secret).update('gatecast pubnub v3 token\n').update(number).digest();
  // The millisecond, which makes each token another one.
  const within = Buffer.of(0, (count += 1) % 250);
  const tag = createHmac('sha256', derived).update(map(pairs)).update(within).digest();
  const sig = Buffer.concat([tag, within]);
  const whole = map([...pairs, [key('sig'), Buffer.concat([head(2, sig.length), sig])]]);
  return whole.toString('base64').replaceAll('+', '-').replaceAll('/', '_');
}
