// The app server of a secure chat in the manner of PubNub's own demo of its Access Manager. It alone holds the secret key. It listens
// at the desk, where everyone may write and nobody else can read, and grants one minute in the secured channel to whoever logs in
// there. Nobody is judged here or in the page after that: the broker judges every publish and every subscribe.
//
//   PUBNUB_PUBLISH_KEY, PUBNUB_SUBSCRIBE_KEY, PUBNUB_SECRET_KEY, GATECAST_URLS   from `target/cluster/env`
//   PORT                                                                        where to listen (8080)
//   GRANT_SECONDS   how long a login lasts (60). PubNub counts whole minutes: anything else is granted through `/v1`, which
//                   takes milliseconds and also needs GATECAST_APP_ID and PUSHER_APP_KEY.

import { createServer } from 'node:http';
import { timingSafeEqual } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

const { PUBNUB_PUBLISH_KEY: publishKey, PUBNUB_SUBSCRIBE_KEY: subscribeKey, PUBNUB_SECRET_KEY: secretKey, PORT = '8080' } = process.env;
const brokers = process.env.GATECAST_URLS?.split(',') ?? [];
if (!publishKey || !subscribeKey || !secretKey || brokers.length === 0) {
  console.error('first: set -a; . target/cluster/env; set +a');
  process.exit(2);
}
const seconds = Number(process.env.GRANT_SECONDS ?? 60);

const PEOPLE = { ana: 'ana-secret', ben: 'ben-secret' };
const [DESK, LOBBY, SECURED] = ['desk', 'lobby', 'secured'];

const require = createRequire(new URL('../../tests/sdk/package.json', import.meta.url));
const PubNub = require('pubnub');
const page = readFileSync(new URL('page.html', import.meta.url));
const sdk = readFileSync(require.resolve('pubnub/dist/web/pubnub.min.js'));

// Any node will do: a grant that this one has answered is obeyed by all of them.
const pubnub = new PubNub({ publishKey, subscribeKey, secretKey, userId: 'app-server', origin: new URL(brokers.at(-1)).host, ssl: false });

function knows(name, password) {
  const [given, right] = [password, PEOPLE[name]].map((text) => Buffer.from(String(text).padEnd(64).slice(0, 64)));
  return Object.hasOwn(PEOPLE, name) && timingSafeEqual(given, right);
}

/** Reading and writing in the secured channel for one auth key, until the time is over. */
async function letIn(auth) {
  if (seconds % 60 === 0) {
    return pubnub.grant({ channels: [SECURED], authKeys: [auth], read: true, write: true, ttl: seconds / 60 });
  }
  const { GATECAST_APP_ID: app, PUSHER_APP_KEY: key } = process.env;
  const answer = await fetch(`${brokers.at(-1)}/v1/apps/${app}/grants`, {
    method: 'POST',
    headers: { authorization: `Bearer ${key}:${secretKey}`, 'content-type': 'application/json' },
    body: JSON.stringify({
      subject: { token: auth },
      grants: [{ pattern: SECURED, operations: ['subscribe', 'publish', 'presence'], ttl_ms: seconds * 1000 }],
    }),
  });
  if (!answer.ok) throw new Error(`the broker says ${answer.status}: ${await answer.text()}`);
}

/** What somebody asks for at the desk. */
async function serve({ ask, name, password, auth }, from) {
  if (typeof auth !== 'string' || auth.length < 16) return 'refused';
  switch (ask) {
    case 'login':
      if (!knows(name, password)) return 'refused';
      await letIn(auth);
      console.log(`${name} may be in the secured channel for ${seconds} s`);
      return 'granted';
    case 'logout':
      // Granting nothing is how PubNub revokes; open subscribes end before this is answered.
      await pubnub.grant({ channels: [SECURED], authKeys: [auth], read: false, write: false, ttl: 1 });
      console.log(`${from} has left`);
      return 'revoked';
    default:
      return 'refused';
  }
}

pubnub.addListener({
  message({ channel, message, publisher }) {
    if (channel !== DESK) return;
    const done = serve(Object(message), publisher).catch((error) => {
      console.error(error.message);
      return 'not now';
    });
    // In the lobby anybody may write, so nobody has to believe it: it only says that trying is worth while.
    done.then((answer) => pubnub.publish({ channel: LOBBY, message: { to: publisher, answer } })).catch((error) => console.error(error.message));
  },
});

await pubnub.grant({ channels: [DESK], write: true, ttl: 0 });
await pubnub.grant({ channels: [LOBBY], read: true, write: true, ttl: 0 });
const listening = new Promise((resolve) => pubnub.addListener({ status: ({ category }) => category === 'PNConnectedCategory' && resolve() }));
pubnub.subscribe({ channels: [DESK] });
await listening;

const settings = { publishKey, subscribeKey, channels: { desk: DESK, lobby: LOBBY, secured: SECURED }, origins: brokers.map((url) => new URL(url).host) };
const server = createServer((request, response) => {
  switch (`${request.method} ${request.url}`) {
    case 'GET /':
      return response.writeHead(200, { 'content-type': 'text/html; charset=utf-8' }).end(page);
    case 'GET /pubnub.js':
      return response.writeHead(200, { 'content-type': 'text/javascript' }).end(sdk);
    case 'GET /settings':
      // The secret key stays here: whoever has it may do everything.
      return response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(settings));
    default:
      return response.writeHead(404).end();
  }
});
server.listen(Number(PORT), '127.0.0.1', () => console.log(`chat at http://127.0.0.1:${server.address().port}/`));
