// An app server that takes webhooks: a real HTTP server on loopback, judged by the official SDK's own check.

import { createServer } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { once } from 'node:events';
import { Inbox } from './wait.mjs';

export class Receiver {
  /** `sdk` is the server SDK whose `webhook()` says whether a request is valid. */
  static async start(sdk, name = 'receiver', tls) {
    const receiver = new Receiver();
    receiver.sdk = sdk;
    receiver.requests = new Inbox(`${name} requests`);
    receiver.events = new Inbox(`${name} events`);
    /** Statuses of the next answers; 200 once they are used up. */
    receiver.answers = [];
    const take = (request, response) => {
      const parts = [];
      request.on('data', (part) => parts.push(part));
      request.on('end', () => {
        const body = Buffer.concat(parts).toString('utf8');
        const answer = receiver.answers.shift() ?? 200;
        const valid = receiver.sdk.webhook({ rawBody: body, headers: request.headers }).isValid();
        const names = request.rawHeaders.filter((_, at) => at % 2 === 0);
        const one = { path: request.url, method: request.method, body, valid, answer, names, headers: request.headers };
        one.json = JSON.parse(body);
        receiver.requests.push(one);
        const { status, headers } = typeof answer === 'number' ? { status: answer } : answer;
        response.writeHead(status, headers).end('thank you');
        if (status < 300) for (const event of one.json.events) receiver.events.push({ ...event, path: request.url });
      });
    };
    receiver.server = tls ? createTlsServer(tls, take) : createServer(take);
    receiver.server.listen(0, '127.0.0.1');
    await once(receiver.server, 'listening');
    receiver.url = `${tls ? 'https' : 'http'}://127.0.0.1:${receiver.server.address().port}`;
    open.add(receiver);
    return receiver;
  }

  /** The next event of that name and channel. */
  next(name, channel, ms) {
    return this.events.next((one) => one.name === name && one.channel === channel, `${name} of ${channel}`, ms);
  }

  all(name, channel) {
    return this.events.all((one) => one.name === name && one.channel === channel);
  }

  stop() {
    open.delete(this);
    this.server.closeAllConnections();
    this.server.close();
  }
}

const open = new Set();

/** Stops every receiver a test left open. */
export function stopReceivers() {
  for (const receiver of [...open]) receiver.stop();
}
