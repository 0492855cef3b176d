// An identity provider for tests: keys of several kinds, tokens, logout tokens and security events signed with them, and its calls.

import { constants, generateKeyPairSync, randomUUID, sign } from 'node:crypto';

const b64 = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
const pss = { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 };

/** How each algorithm makes its keys and signs. */
const KINDS = {
  RS256: [() => generateKeyPairSync('rsa', { modulusLength: 2048 }), (text, key) => sign('sha256', text, key)],
  PS256: [() => generateKeyPairSync('rsa', { modulusLength: 2048 }), (text, key) => sign('sha256', text, { key, ...pss })],
  ES256: [() => generateKeyPairSync('ec', { namedCurve: 'P-256' }), (text, key) => sign('sha256', text, { key, dsaEncoding: 'ieee-p1363' })],
  ES384: [() => generateKeyPairSync('ec', { namedCurve: 'P-384' }), (text, key) => sign('sha384', text, { key, dsaEncoding: 'ieee-p1363' })],
  EdDSA: [() => generateKeyPairSync('ed25519'), (text, key) => sign(null, text, key)],
};

const CAEP = 'https://schemas.openid.net/secevent/caep/event-type/';
const EVENT = 'http://schemas.openid.net/event/backchannel-logout';

export class Provider {
  constructor(id, { audience = `app-of-${id}` } = {}) {
    this.id = id;
    this.issuer = `https://${id}.test`;
    this.audience = audience;
    this.keys = new Map(Object.keys(KINDS).map((algorithm) => [algorithm, { kid: randomUUID(), ...KINDS[algorithm][0]() }]));
  }

  /** The key set, of all algorithms or of these. */
  jwks(algorithms = Object.keys(KINDS)) {
    const keys = algorithms.map((alg) => {
      const { kid, publicKey } = this.keys.get(alg);
      return { ...publicKey.export({ format: 'jwk' }), kid, alg, use: 'sig' };
    });
    return { keys };
  }

  /** What `POST /v1/apps/{app}/providers` takes. */
  record(ceiling, more = {}) {
    return {
      id: this.id,
      issuer: this.issuer,
      audiences: [this.audience],
      algorithms: Object.keys(KINDS),
      keys: this.jwks(),
      ceiling,
      ...more,
    };
  }

  sign(claims, algorithm = 'RS256', header = {}) {
    const { kid, privateKey } = this.keys.get(algorithm);
    const text = `${b64({ alg: algorithm, kid, typ: 'JWT', ...header })}.${b64(claims)}`;
    return `${text}.${KINDS[algorithm][1](Buffer.from(text), privateKey).toString('base64url')}`;
  }

  /** A token of a user in a session. */
  token(user, sid, { algorithm, ttl = 300, ...more } = {}) {
    const now = Math.floor(Date.now() / 1000);
    return this.sign({ iss: this.issuer, aud: this.audience, sub: user, sid, iat: now, exp: now + ttl, ...more }, algorithm);
  }

  /** A logout token for what is given: `sub`, `sid` or both. */
  logoutToken(what, more = {}) {
    const now = Math.floor(Date.now() / 1000);
    const said = { iss: this.issuer, aud: this.audience, iat: now, exp: now + 120, jti: randomUUID(), events: { [EVENT]: {} } };
    return this.sign({ ...said, ...what, ...more }, 'RS256', { typ: 'logout+jwt' });
  }

  /** A security event about a subject: one of CAEP's kinds, or the URI of another. */
  event(kind, subject, { fields = {}, header = {}, ...more } = {}) {
    const now = Math.floor(Date.now() / 1000);
    const uri = kind.includes(':') ? kind : CAEP + kind;
    const said = { iss: this.issuer, aud: this.audience, iat: now, jti: randomUUID(), sub_id: subject, events: { [uri]: { reason_admin: { en: 'a test' }, ...fields } } };
    return this.sign({ ...said, ...more }, 'RS256', { typ: 'secevent+jwt', ...header });
  }

  /** A user of this provider, as events name her. */
  subject(user) {
    return { format: 'iss_sub', iss: this.issuer, sub: user };
  }

  /** Sends an event to a node as RFC 8935 says; its answer. */
  async tell(url, app, event, headers = {}) {
    const answer = await fetch(`${url}/v1/apps/${app}/providers/${this.id}/events`, {
      method: 'POST',
      headers: { 'content-type': 'application/secevent+jwt', accept: 'application/json', ...headers },
      body: event,
      signal: AbortSignal.timeout(20_000),
    });
    const text = await answer.text();
    return { status: answer.status, revision: answer.headers.get('gatecast-revision'), body: text && JSON.parse(text) };
  }

  /** Calls a node's logout as a provider does; its answer. */
  async logout(url, app, token) {
    const answer = await fetch(`${url}/v1/apps/${app}/providers/${this.id}/logout`, {
      method: 'POST',
      body: new URLSearchParams({ logout_token: token }),
      signal: AbortSignal.timeout(20_000),
    });
    return { status: answer.status, cache: answer.headers.get('cache-control'), body: await answer.json() };
  }
}
