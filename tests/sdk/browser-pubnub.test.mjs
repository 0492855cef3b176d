// The example of a secure chat, in a real headless Chromium: both windows denied, one minute after a login not, then denied again.
// Skipped, with the reason printed, where there is no Chromium.
//
// The minute is eight seconds here, granted through `/v1` (PubNub counts whole minutes); it runs out by itself, nothing revokes it.
// `GATECAST_TEST_WHOLE_MINUTE=1` grants the minute as the example does, through the SDK, and waits for its end.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { Chromium, skip } from './lib/chromium.mjs';
import { Cluster, ROOT } from './lib/cluster.mjs';
import { keyset } from './pubnub-path.mjs';
import { Inbox, until } from './lib/wait.mjs';

const SECONDS = process.env.GATECAST_TEST_WHOLE_MINUTE ? 60 : 8;

describe('the secure chat in Chromium', { skip, timeout: 200_000 }, () => {
  let cluster;
  let keys;
  let chromium;
  let chat;
  let page;
  const said = new Inbox('the app server');
  before(async () => {
    cluster = await Cluster.start();
    keys = await keyset(cluster, { protocols: ['pusher', 'pubnub'] });
    chat = spawn(process.execPath, [join(ROOT, 'examples/pubnub-secure-chat/server.mjs')], {
      stdio: ['ignore', 'pipe', 'inherit'],
      env: {
        ...process.env,
        PORT: '0',
        GRANT_SECONDS: String(SECONDS),
        GATECAST_URLS: cluster.urls.join(','),
        GATECAST_APP_ID: keys.id,
        PUSHER_APP_KEY: keys.key,
        PUBNUB_PUBLISH_KEY: keys.publishKey,
        PUBNUB_SUBSCRIBE_KEY: keys.subscribeKey,
        PUBNUB_SECRET_KEY: keys.secretKey,
      },
    });
    chat.stdout.on('data', (text) => said.push(String(text)));
    const listening = await said.next((text) => text.includes('chat at'), 'the app server listens');
    chromium = new Chromium();
    page = await chromium.open(/http:\S+/.exec(listening)[0]);
  });
  after(async () => {
    await chromium?.close();
    if (chat?.exitCode === null) {
      chat.kill('SIGTERM');
      await once(chat, 'exit');
    }
    await cluster?.stop();
  });

  /** A window of the page, as who sits at it. */
  const sit = (name) => {
    const list = (which) => `[...document.querySelectorAll('#${name} .${which} li')].map((line) => line.textContent)`;
    return {
      state: (text) => page.until(`document.querySelector('#${name} .state')?.textContent === '${text}'`, `${name} is ${text}`),
      heard: (text) => page.until(`${list('heard')}.includes(${JSON.stringify(text)})`, `${name} hears ${text}`),
      hasHeard: () => page.value(list('heard')),
      denied: (text, times = 1) => {
        const often = `${list('denied')}.filter((line) => line === ${JSON.stringify(text)}).length >= ${times}`;
        return until(() => page.value(often), `${name} is denied ${times} times: ${text}`, (SECONDS + 30) * 1000, 50);
      },
      press: (button) => page.click(`#${name} ${button}`),
      password: (text) => page.fill(`#${name} [name=password]`, text),
      say: async (text) => {
        await page.fill(`#${name} [name=text]`, text);
        await page.click(`#${name} .say button`);
      },
    };
  };
  const LISTEN = 'listen: 403 Forbidden: secured';
  const SAY = 'say: 403 Forbidden: secured';

  test('denied before, one minute inside, denied after', async () => {
    const [ana, ben] = [sit('ana'), sit('ben')];
    await page.until("document.querySelectorAll('main section').length === 2");
    for (const one of [ana, ben]) await one.denied(LISTEN);
    await ana.say('is anybody there?');
    await ana.denied(SAY);

    // The app server lets nobody in who does not know the password.
    await ben.password('a guess');
    await ben.press('.login button');
    await ben.password('ben-secret');
    await ana.press('.login button');
    await ana.state('listening');
    const began = performance.now();
    await ben.press('.login button');
    await ben.state('listening');
    assert.equal(said.all((text) => text.includes('ben may')).length, 1);
    await ana.say('the plan is <b>this</b>');
    for (const one of [ana, ben]) await one.heard('ana: the plan is <b>this</b>');

    // Nobody revokes: the open subscribe ends when the grant does.
    await ana.denied(LISTEN, 2);
    const lasted = performance.now() - began;
    assert.ok(lasted > (SECONDS - 2) * 1000 && lasted < (SECONDS + 10) * 1000, `${lasted} ms`);
    await ana.state('denied');
    await ana.say('one more word');
    await ana.denied(SAY, 2);
    await ana.press('.listen');
    await ana.denied(LISTEN, 3);
    await ben.denied(LISTEN, 2);
    assert.deepEqual(await ben.hasHeard(), ['ana: the plan is <b>this</b>']);
  });

  test('logging out ends it at once', async () => {
    const ben = sit('ben');
    await ben.press('.login button');
    await ben.state('listening');
    await ben.press('.logout');
    await ben.denied(LISTEN, 3);
    await said.next((text) => text.includes('ben has left'), 'the logout');
    await ben.say('hello?');
    await ben.denied(SAY);
  });
});
