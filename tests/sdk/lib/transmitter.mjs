// A transmitter of security events for tests (Shared Signals 1.0), over HTTP on loopback: its metadata, access tokens for one
// client, a stream, its verification, and polling (RFC 8936). What is not acknowledged is told again.

import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';

const PUSH = 'urn:ietf:rfc:8935';
const VERIFICATION = 'https://schemas.openid.net/secevent/ssf/event-type/verification';

export class Transmitter {
  /** For a provider, whose issuer it becomes. */
  static async start(provider) {
    const one = new Transmitter();
    one.provider = provider;
    one.client = { id: 'gatecast', secret: randomUUID() };
    one.tokens = new Set();
    /** Scopes that tokens were asked for, and who polled in what way. */
    one.scopes = [];
    one.polls = [];
    one.stream = undefined;
    /** Not acknowledged yet: id and token, in their order. */
    one.pending = new Map();
    one.acknowledged = new Set();
    one.refused = new Map();
    /** Status of the next answers to polls; 200 once they are used up. */
    one.answers = [];
    one.most = Infinity;
    one.waiting = 0;
    const server = createServer((request, response) => {
      const parts = [];
      request.on('data', (part) => parts.push(part));
      request.on('end', () => one.take(request, Buffer.concat(parts).toString('utf8'), response));
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    one.url = `http://127.0.0.1:${server.address().port}`;
    provider.issuer = one.url;
    one.close = () => {
      server.close();
      server.closeAllConnections();
    };
    return one;
  }

  /** Puts an event into the stream; its id. */
  tell(kind, subject, more = {}) {
    const jti = randomUUID();
    this.put(jti, this.provider.event(kind, subject, { jti, aud: this.audience, ...more }));
    return jti;
  }

  put(jti, set) {
    this.pending.set(jti, set);
    this.wake?.();
  }

  async take(request, body, response) {
    const { pathname, searchParams } = new URL(request.url, this.url);
    const answer = (status, json) => {
      response.writeHead(status, { 'content-type': 'application/json' });
      response.end(json && JSON.stringify(json));
    };
    if (pathname === '/.well-known/ssf-configuration') return answer(200, this.metadata());
    if (pathname === '/.well-known/openid-configuration') return answer(200, { issuer: this.url, token_endpoint: `${this.url}/token` });
    if (pathname === '/token') return this.grant(request, new URLSearchParams(body), answer);
    const token = /^Bearer (.+)$/.exec(request.headers.authorization ?? '')?.[1];
    if (!this.tokens.has(token)) return answer(401, { error: 'invalid_token' });
    if (pathname === '/streams' && request.method === 'POST') return this.create(JSON.parse(body), answer);
    if (pathname === '/streams' && request.method === 'DELETE') {
      if (searchParams.get('stream_id') === this.stream?.stream_id) this.stream = undefined;
      return answer(204);
    }
    if (pathname === '/verify') return this.verify(JSON.parse(body), answer);
    if (pathname === '/poll') return this.poll(JSON.parse(body), answer);
    return answer(404, {});
  }

  metadata() {
    return {
      spec_version: '1_0',
      issuer: this.url,
      jwks_uri: `${this.url}/keys`,
      delivery_methods_supported: [PUSH, 'urn:ietf:rfc:8936'],
      configuration_endpoint: `${this.url}/streams`,
      verification_endpoint: `${this.url}/verify`,
      authorization_schemes: [{ spec_urn: 'urn:ietf:rfc:6749' }],
      default_subjects: 'ALL',
    };
  }

  grant(request, form, answer) {
    const [id, secret] = Buffer.from((request.headers.authorization ?? '').slice(6), 'base64').toString().split(':');
    const known = id === this.client.id && secret === this.client.secret && form.get('grant_type') === 'client_credentials';
    if (!known) return answer(401, { error: 'invalid_client' });
    this.scopes.push(form.get('scope'));
    const token = randomUUID();
    this.tokens.add(token);
    return answer(200, { access_token: token, token_type: 'Bearer', expires_in: 60 });
  }

  create(asked, answer) {
    if (this.stream) return answer(409, {});
    this.audience = `${this.url}/for/${randomUUID()}`;
    const delivery = asked.delivery.method === PUSH ? asked.delivery : { ...asked.delivery, endpoint_url: `${this.url}/poll` };
    this.stream = { stream_id: randomUUID(), iss: this.url, aud: this.audience, delivery, events_delivered: asked.events_requested };
    return answer(201, this.stream);
  }

  async verify({ stream_id, state }, answer) {
    if (stream_id !== this.stream?.stream_id) return answer(404, {});
    const jti = randomUUID();
    const said = { jti, aud: this.audience, fields: { state, reason_admin: undefined } };
    const set = this.provider.event(VERIFICATION, { format: 'opaque', id: stream_id }, said);
    answer(204);
    return this.stream.delivery.method === PUSH ? this.push(set) : this.put(jti, set);
  }

  /** Sends an event as the stream says; its answer. */
  async push(set) {
    const { endpoint_url, authorization_header } = this.stream.delivery;
    const headers = { 'content-type': 'application/secevent+jwt', authorization: authorization_header };
    return fetch(endpoint_url, { method: 'POST', headers, body: set, signal: AbortSignal.timeout(20_000) });
  }

  async poll(asked, answer) {
    this.polls.push(asked);
    for (const jti of asked.ack ?? []) {
      this.acknowledged.add(jti);
      this.pending.delete(jti);
    }
    for (const [jti, why] of Object.entries(asked.setErrs ?? {})) {
      this.refused.set(jti, why);
      this.pending.delete(jti);
    }
    const status = this.answers.shift();
    if (status) return answer(status, {});
    if (this.pending.size === 0 && !asked.returnImmediately) {
      this.waiting += 1;
      await Promise.race([new Promise((resolve) => { this.wake = resolve; }), new Promise((resolve) => setTimeout(resolve, 5_000).unref())]);
      this.waiting -= 1;
    }
    const count = Math.min(asked.maxEvents, this.most);
    const sets = Object.fromEntries([...this.pending].slice(0, count));
    return answer(200, { sets, moreAvailable: this.pending.size > count });
  }
}
