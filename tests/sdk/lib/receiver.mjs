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
    /** Statuses of the next answers; `otherwise` once they are used up. */
    receiver.answers = [];
    receiver.otherwise = 200;
    const take = (request, response) => {
      const parts = [];
      request.on('data', (part) => parts.push(part));
      request.on('end', () => {
        const body = Buffer.concat(parts).toString('utf8');
        const answer = receiver.answers.shift() ?? receiver.otherwise;
        const valid = receiver.sdk.webhook({ rawBody: body, headers: request.headers }).isValid();
        const names = request.rawHeaders.filter((_, at) => at % 2 === 0);
        const one = { path: request.url, method: request.method, body, valid, answer, names, headers: request.headers };
        one.json = JSON.parse(body);
        receiver.requests.push(one);
        const { status, headers } = typeof answer === 'number' ? { status: answer } : answer;
        response.writeHead(status, headers).end('thank you');
        const ids = request.headers['x-gatecast-event-ids'].split(',');
        for (const [at, event] of one.json.events.entries()) {
          event.path = request.url;
          // No part of what Pusher says: not compared with it.
          Object.defineProperty(event, 'id', { value: ids[at] });
        }
        if (status < 300) for (const event of one.json.events) receiver.events.push(event);
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

  /** The same without what came again under the same id: whoever was killed may have delivered it already. */
  once(name, channel) {
    return [...new Map(this.all(name, channel).map((one) => [one.id, one])).values()];
  }

  stop() {
    open.delete(this);
    this.server.closeAllConnections();
    this.server.close();
  }
}

/** What each event means for whom: [which of them, whether there]. */
const ENDS = {
  channel_occupied: (one) => [one.channel, true],
  channel_vacated: (one) => [one.channel, false],
  member_added: (one) => [`${one.user_id} in ${one.channel}`, true],
  member_removed: (one) => [`${one.user_id} in ${one.channel}`, false],
};

/**
 * What is wrong with events as they were received, without what came again under the same id: in the order of their ids they
 * alternate for each channel and each member, and where `truth` is given, those who are there now are those in it
 * (`channel` and `user in channel`).
 */
export function judge(events, truth) {
  const wrong = [];
  const byId = new Map(events.filter((one) => one.name in ENDS).map((one) => [one.id, one]));
  const there = new Map();
  for (const [id, one] of [...byId].sort(([a], [b]) => (a < b ? -1 : 1))) {
    const [whose, now] = ENDS[one.name](one);
    if ((there.get(whose) ?? false) === now) wrong.push(`${one.name} of ${whose} twice in a row (${id})`);
    there.set(whose, now);
  }
  if (truth) {
    const left = [...there].filter(([, now]) => now).map(([whose]) => whose);
    wrong.push(...left.filter((whose) => !truth.has(whose)).map((whose) => `${whose} was never told to be gone`));
    wrong.push(...[...truth].filter((whose) => !there.get(whose)).map((whose) => `${whose} was never told to be there`));
  }
  return wrong;
}

const open = new Set();

/** Stops every receiver a test left open. */
export function stopReceivers() {
  for (const receiver of [...open]) receiver.stop();
}
