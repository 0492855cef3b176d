// A WebSocket client that may be as rude as a test needs: raw frames over a plain socket.

import { createHmac, randomBytes } from 'node:crypto';
import { connect } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { once } from 'node:events';
import { Inbox, PATIENCE_MS, within } from './wait.mjs';

/** One client frame. `payload` is a Buffer or text; `mask: false` and odd opcodes are the caller's right. */
export function frame(opcode, payload = '', { fin = true, mask = true, length, reserved = 0 } = {}) {
  const body = Buffer.from(payload);
  const claimed = length ?? body.length;
  const head = [(fin ? 0x80 : 0) | (reserved << 4) | opcode];
  const flag = mask ? 0x80 : 0;
  if (claimed < 126) head.push(flag | claimed);
  else if (claimed < 65536) head.push(flag | 126, claimed >> 8, claimed & 255);
  else {
    const long = Buffer.alloc(8);
    long.writeBigUInt64BE(BigInt(claimed));
    head.push(flag | 127, ...long);
  }
  if (!mask) return Buffer.concat([Buffer.from(head), body]);
  const key = randomBytes(4);
  const masked = Buffer.from(body.map((byte, at) => byte ^ key[at & 3]));
  return Buffer.concat([Buffer.from(head), key, masked]);
}

/** A raw connection: `events` holds parsed text frames, `closed` the close frame or the end of the socket. */
export class RawSocket {
  static async open(url, path, { headers = '', parse = JSON.parse } = {}) {
    const { hostname, port, protocol } = new URL(url);
    const raw = new RawSocket();
    raw.parse = parse;
    const secure = protocol === 'https:';
    const to = { host: hostname, port: Number(port), rejectUnauthorized: false };
    raw.socket = secure ? connectTls(to) : connect(to);
    raw.socket.setNoDelay(true);
    await within(once(raw.socket, secure ? 'secureConnect' : 'connect'), 'the connection');
    raw.events = new Inbox(`raw ${path}`);
    raw.ends = new Inbox(`raw ${path} end`);
    raw.bytes = Buffer.alloc(0);
    raw.upgraded = new Inbox(`raw ${path} handshake`);
    raw.socket.on('error', () => {});
    raw.socket.on('data', (bytes) => raw.take(bytes));
    raw.socket.on('close', () => {
      if (raw.upgraded.items.length === 0) raw.upgraded.push(0);
      raw.ends.push({ code: 1006, text: 'socket closed' });
    });
    raw.socket.write(
      `GET ${path} HTTP/1.1\r\nHost: ${hostname}:${port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n` +
        `Sec-WebSocket-Key: ${randomBytes(16).toString('base64')}\r\nSec-WebSocket-Version: 13\r\n${headers}\r\n`,
    );
    const status = await raw.upgraded.next(() => true, 'an answer to the handshake');
    raw.status = status;
    return raw;
  }

  take(bytes) {
    this.bytes = Buffer.concat([this.bytes, bytes]);
    if (this.upgraded.items.length === 0) {
      const end = this.bytes.indexOf('\r\n\r\n');
      if (end < 0) return;
      this.head = this.bytes.subarray(0, end + 2).toString('latin1');
      this.upgraded.push(Number(/^HTTP\/1\.1 (\d+)/.exec(this.bytes.toString('latin1'))?.[1]));
      this.bytes = this.bytes.subarray(end + 4);
    }
    for (let one = this.cut(); one; one = this.cut()) {
      if (one.opcode === 1) this.events.push(this.parse(one.body.toString('utf8')));
      if (one.opcode === 8) {
        const code = one.body.length >= 2 ? one.body.readUInt16BE(0) : 1005;
        this.ends.push({ code, text: one.body.subarray(2).toString('utf8') });
      }
    }
  }

  /** Cuts the next whole frame off what has arrived. */
  cut() {
    if (this.bytes.length < 2) return undefined;
    let [length, at] = [this.bytes[1] & 0x7f, 2];
    if (length === 126) {
      if (this.bytes.length < 4) return undefined;
      [length, at] = [this.bytes.readUInt16BE(2), 4];
    } else if (length === 127) {
      if (this.bytes.length < 10) return undefined;
      [length, at] = [Number(this.bytes.readBigUInt64BE(2)), 10];
    }
    if (this.bytes.length < at + length) return undefined;
    const one = { opcode: this.bytes[0] & 15, body: this.bytes.subarray(at, at + length) };
    this.bytes = this.bytes.subarray(at + length);
    return one;
  }

  send(value) {
    this.socket.write(frame(1, typeof value === 'string' ? value : JSON.stringify(value)));
  }
  write(bytes) {
    this.socket.write(bytes);
  }

  /** The next event of that name, its `data` parsed when it is a JSON string. */
  async event(name, ms) {
    const found = await this.events.next((event) => event.event === name, name, ms);
    const data = typeof found.data === 'string' ? JSON.parse(found.data) : found.data;
    return { ...found, data };
  }

  /** Waits for the end: the close frame's code and text, or 1006 when the socket just ended. */
  end(ms) {
    return this.ends.next(() => true, 'the end of the connection', ms);
  }

  close() {
    this.socket.destroy();
  }
}

/** A Pusher connection on a raw socket, established. Told to come again (4100 to 4199), it does, as every SDK would. */
export async function rawPusher(url, key, query = 'protocol=7&client=js&version=8.6.0') {
  const end = performance.now() + PATIENCE_MS;
  for (;;) {
    const raw = await RawSocket.open(url, `/app/${key}?${query}`);
    if (raw.status !== 101) {
      raw.close();
      throw new Error(`the handshake was answered with ${raw.status}`);
    }
    const answers = ({ event, data }) => event === 'pusher:connection_established' || (event === 'pusher:error' && again(data));
    const first = await raw.events.next(answers, 'pusher:connection_established');
    if (first.event === 'pusher:connection_established') {
      raw.established = typeof first.data === 'string' ? JSON.parse(first.data) : first.data;
      raw.socketId = raw.established.socket_id;
      return raw;
    }
    raw.close();
    if (performance.now() > end) throw new Error(`told to come again for too long: ${JSON.stringify(first.data)}`);
    await new Promise((resolve) => setTimeout(resolve, 250));
  }
}

const again = (data) => data?.code >= 4100 && data.code < 4200;

/** `key:hex` over the parts joined by `:`, as an app server signs. */
export function sign(app, ...parts) {
  return `${app.key}:${createHmac('sha256', app.secret).update(parts.join(':')).digest('hex')}`;
}

/** A client of the WebSocket drafts, byte by byte as the Java SDK writes it: bare line feeds, two Connection lines, zero challenge. */
export class RawHixie {
  static async open(url, path, { lines, challenge = Buffer.alloc(8), cut = false } = {}) {
    const { hostname, port } = new URL(url);
    const raw = new RawHixie();
    raw.socket = connect({ host: hostname, port: Number(port) });
    raw.socket.setNoDelay(true);
    await within(once(raw.socket, 'connect'), 'the connection');
    raw.frames = new Inbox(`hixie ${path}`);
    raw.ends = new Inbox(`hixie ${path} end`);
    raw.heads = new Inbox(`hixie ${path} handshake`);
    raw.bytes = Buffer.alloc(0);
    raw.digestBytes = challenge.length ? 16 : 0;
    raw.socket.on('error', () => {});
    raw.socket.on('data', (bytes) => raw.take(bytes));
    raw.socket.on('close', () => raw.ends.push('socket'));
    const head = Buffer.from([`GET ${path} HTTP/1.1`, `Host: ${hostname}`, ...lines, '', ''].join('\n'));
    raw.socket.write(head);
    // The challenge may come in a packet of its own.
    if (cut) await new Promise((resolve) => setTimeout(resolve, 100));
    raw.socket.write(challenge);
    return raw;
  }

  take(bytes) {
    this.bytes = Buffer.concat([this.bytes, bytes]);
    if (this.heads.items.length === 0) {
      const end = this.bytes.indexOf('\r\n\r\n');
      if (end < 0 || this.bytes.length < end + 4 + this.digestBytes) return;
      const body = end + 4 + this.digestBytes;
      this.heads.push({ head: this.bytes.subarray(0, end + 4).toString('latin1'), digest: this.bytes.subarray(end + 4, body) });
      this.bytes = this.bytes.subarray(body);
    }
    for (;;) {
      if (this.bytes.length >= 2 && this.bytes[0] === 0xff) {
        this.ends.push(this.bytes.subarray(0, 2).toString('hex'));
        this.bytes = this.bytes.subarray(2);
        continue;
      }
      const end = this.bytes.indexOf(0xff);
      if (end < 0) return;
      if (this.bytes[0] !== 0) throw new Error(`no text frame: ${this.bytes.toString('hex')}`);
      this.frames.push(this.bytes.subarray(1, end).toString('utf8'));
      this.bytes = this.bytes.subarray(end + 1);
    }
  }

  send(text) {
    this.socket.write(Buffer.concat([Buffer.of(0), Buffer.from(text), Buffer.of(0xff)]));
  }

  close() {
    this.socket.destroy();
  }
}
