// The app server of a small chat, as Realtime.co's guide builds it: people log in here, their token is registered at the broker
// with what they may do, and their browser connects with it. Needs Node 20 and nothing from npm.
//
//   REALTIME_URL, REALTIME_APPLICATION_KEY, REALTIME_PRIVATE_KEY   from `target/cluster/env`
//   PORT                                                           where to listen (8080)

import { createServer } from 'node:http';
import { randomBytes, timingSafeEqual } from 'node:crypto';
import { readFileSync } from 'node:fs';

const { REALTIME_APPLICATION_KEY: application, REALTIME_PRIVATE_KEY: privateKey, PORT = '8080' } = process.env;
const broker = process.env.REALTIME_URL ?? process.env.GATECAST_URLS?.split(',')[0];
if (!application || !privateKey || !broker) {
  console.error('first: set -a; . target/cluster/env; set +a');
  process.exit(2);
}

// `r` may receive, `w` may send and receive; `chat:*` is every channel below `chat:`. Who has no entry for a channel may nothing there.
const PEOPLE = {
  ana: { password: 'ana-secret', permissions: { 'chat:*': 'w', notices: 'w', staff: 'w' } },
  ben: { password: 'ben-secret', permissions: { 'chat:*': 'w', notices: 'r' } },
};
const TOKEN_SECONDS = 1800;

const file = (path) => readFileSync(new URL(path, import.meta.url));
const page = file('page.html');
const sdk = file('../../tests/sdk/node_modules/realtime-messaging/dist/ortc-umd-min.js');

/** Sessions by the cookie that names them. */
const sessions = new Map();

/** Registers a token with everything it may do. It works at every node once this has answered. */
async function authenticate(token, permissions) {
  const body = new URLSearchParams({ AT: token, PVT: '0', AK: application, TTL: TOKEN_SECONDS, PK: privateKey, TP: Object.keys(permissions).length });
  for (const [channel, letters] of Object.entries(permissions)) body.append(channel, letters);
  const answer = await fetch(`${broker}/authenticate`, { method: 'POST', body });
  if (answer.status !== 201) throw new Error(`the broker says ${answer.status}: ${await answer.text()}`);
}

function knows(name, password) {
  const [given, right] = [password, PEOPLE[name]?.password].map((text) => Buffer.from(String(text).padEnd(64).slice(0, 64)));
  return Object.hasOwn(PEOPLE, name) && timingSafeEqual(given, right);
}

async function read(request) {
  let body = '';
  for await (const part of request) if ((body += part).length > 4096) throw new Error('too long');
  return new URLSearchParams(body);
}

async function login(request, response) {
  const form = await read(request);
  const name = form.get('name') ?? '';
  if (!knows(name, form.get('password'))) return response.writeHead(403).end('wrong name or password');
  const [cookie, token] = [randomBytes(16).toString('hex'), randomBytes(16).toString('hex')];
  await authenticate(token, PEOPLE[name].permissions);
  sessions.set(cookie, { name, token });
  response.writeHead(303, { location: '/', 'set-cookie': `session=${cookie}; HttpOnly; SameSite=Strict; Path=/` }).end();
}

const server = createServer((request, response) => {
  const cookie = /(?:^|; )session=([0-9a-f]{32})/.exec(request.headers.cookie ?? '')?.[1];
  const session = sessions.get(cookie);
  const answer = async () => {
    switch (`${request.method} ${request.url}`) {
      case 'GET /':
        return response.writeHead(200, { 'content-type': 'text/html; charset=utf-8' }).end(page);
      case 'GET /realtime.js':
        return response.writeHead(200, { 'content-type': 'text/javascript' }).end(sdk);
      case 'POST /login':
        return login(request, response);
      case 'GET /session':
        if (!session) return response.writeHead(401).end();
        // The private key stays here: whoever has it may do everything.
        response.writeHead(200, { 'content-type': 'application/json' });
        return response.end(JSON.stringify({ name: session.name, token: session.token, application, broker }));
      default:
        return response.writeHead(404).end();
    }
  };
  answer().catch((error) => {
    console.error(error.message);
    response.writeHead(502).end('not now');
  });
});
server.listen(Number(PORT), '127.0.0.1', () => console.log(`chat at http://127.0.0.1:${server.address().port}/`));
