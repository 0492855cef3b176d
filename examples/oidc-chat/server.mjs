// A private chat of a static page, an identity provider and a broker: nobody here signs, grants or judges anything for a client. The
// page logs in at the provider (npm's `oidc-provider`; yours is Keycloak, Auth0, …) and shows the broker its ID token. Beside the
// page and the provider this program only tells the broker about the provider, once, as an operator would.
//
//   GATECAST_URLS, GATECAST_APP_ID, GATECAST_KEY, PUSHER_APP_KEY   from `target/cluster/env`
//   PORT                                                          where to listen (8080)

import { generateKeyPairSync } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';

const { GATECAST_APP_ID: app, GATECAST_KEY: server, PUSHER_APP_KEY: key, PORT = '8080' } = process.env;
const brokers = process.env.GATECAST_URLS?.split(',') ?? [];
if (!app || !server || !key || brokers.length === 0) {
  console.error('first: set -a; . target/cluster/env; set +a');
  process.exit(2);
}
const require = createRequire(new URL('../../tests/sdk/package.json', import.meta.url));
const { Provider } = await import(require.resolve('oidc-provider'));
const page = readFileSync(new URL('page.html', import.meta.url));
const sdk = readFileSync(require.resolve('pusher-js/dist/web/pusher.min.js'));
const ID = 'oidc-chat';

async function v1(method, path, body, expected = [200, 201]) {
  const answer = await fetch(`${brokers[0]}/v1/apps/${app}${path}`, {
    method,
    headers: { authorization: `Bearer ${server}`, 'content-type': 'application/json' },
    body: body && JSON.stringify(body),
  });
  const text = await answer.text();
  if (!expected.includes(answer.status)) throw new Error(`${method} ${path}: the broker says ${answer.status}: ${text}`);
  return JSON.parse(text);
}

/** Tells the broker whose tokens to take, and that they open `presence-chat-*` at most. */
async function introduce(issuer, jwk) {
  const operations = ['subscribe', 'publish', 'presence', 'presence-read'];
  const ceiling = await v1('POST', '/keys', { name: ID, capability: [{ pattern: 'presence-chat-*', operations }] });
  await v1('DELETE', `/providers/${ID}`, undefined, [200, 404]);
  const { kty, crv, x, y, kid, alg } = jwk;
  const keys = { keys: [{ kty, crv, x, y, kid, alg, use: 'sig' }] };
  await v1('POST', '/providers', { id: ID, issuer, audiences: [ID], algorithms: ['ES256'], keys, ceiling: ceiling.key.id, claims: { rights: 'ceiling' } });
}

function provider(origin, jwk) {
  const made = new Provider(origin, {
    jwks: { keys: [jwk] },
    clients: [
      {
        client_id: ID,
        token_endpoint_auth_method: 'none',
        id_token_signed_response_alg: 'ES256',
        redirect_uris: [`${origin}/`],
        post_logout_redirect_uris: [`${origin}/`],
        // This line is all that logging out takes: the provider's own logout page returns when every node is silent.
        backchannel_logout_uri: `${brokers.at(-1)}/v1/apps/${app}/providers/${ID}/logout`,
        backchannel_logout_session_required: true,
      },
    ],
    cookies: { keys: [generateKeyPairSync('ed25519').publicKey.export({ format: 'jwk' }).x] },
    features: { backchannelLogout: { enabled: true } },
    // It reaches no address of this machine by itself, and the brokers are at such ones here.
    fetch: (url, { dispatcher: _, ...options }) => fetch(url, options),
    // Whoever says who she is, is: this provider is for trying out.
    findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
  });
  made.on('backchannel.error', (_, error) => console.error(`not logged out at the broker: ${error.message}`));
  return made;
}

const http = createServer();
http.listen(Number(PORT), '127.0.0.1', async () => {
  const origin = `http://127.0.0.1:${http.address().port}`;
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const jwk = { ...privateKey.export({ format: 'jwk' }), kid: 'chat', alg: 'ES256', use: 'sig' };
  await introduce(origin, jwk);
  const oidc = provider(origin, jwk).callback();
  const settings = JSON.stringify({ client: ID, key, brokers: brokers.map((url) => new URL(url)).map(({ hostname, port }) => ({ hostname, port: Number(port) })) });
  const files = { '/': ['text/html; charset=utf-8', page], '/pusher.js': ['text/javascript', sdk], '/settings': ['application/json', settings] };
  http.on('request', (request, response) => {
    const [type, body] = files[request.url.split('?')[0]] ?? [];
    if (!type) return oidc(request, response);
    return response.writeHead(200, { 'content-type': type }).end(body);
  });
  console.log(`chat at ${origin}/`);
});
