// The example of a chat without an auth endpoint, in a real headless Chromium, with npm's oidc-provider: people log in at the provider,
// talk in a private channel by its ID tokens, and whoever logs out there is cut off in every tab when its page returns.
// Skipped, with the reason printed, where there is no Chromium.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { Chromium, skip } from './lib/chromium.mjs';
import { Cluster, ROOT } from './lib/cluster.mjs';
import { Inbox } from './lib/wait.mjs';

test('the script of the page is short', () => {
  const page = readFileSync(join(ROOT, 'examples/oidc-chat/page.html'), 'utf8');
  const [, script] = /<script type="module">\n([^]*?)<\/script>/.exec(page);
  const lines = script.split('\n').filter((line) => line.trim() !== '').length;
  assert.ok(lines <= 60, `${lines} lines`);
});

describe('a chat without an auth endpoint, in Chromium', { skip, timeout: 200_000 }, () => {
  let cluster;
  let chromium;
  let chat;
  let address;
  const printed = new Inbox('the example');
  before(async () => {
    cluster = await Cluster.start();
    chat = spawn(process.execPath, [join(ROOT, 'examples/oidc-chat/server.mjs')], {
      stdio: ['ignore', 'pipe', 'inherit'],
      env: {
        ...process.env,
        PORT: '0',
        GATECAST_URLS: cluster.urls.join(','),
        GATECAST_APP_ID: cluster.app.id,
        GATECAST_KEY: `${cluster.app.key}:${cluster.app.secret}`,
        PUSHER_APP_KEY: cluster.app.key,
      },
    });
    chat.stdout.on('data', (text) => printed.push(String(text)));
    address = /http:\S+/.exec(await printed.next((text) => text.includes('chat at'), 'the example listens'))[0];
    chromium = new Chromium();
  });
  after(async () => {
    await chromium?.close();
    if (chat?.exitCode === null) {
      chat.kill('SIGTERM');
      await once(chat, 'exit');
    }
    await cluster?.stop();
  });

  const state = (page, text) => page.until(`document.querySelector('#state')?.textContent === ${JSON.stringify(text)}`, `state ${text}`);
  const heard = (page) => page.value("[...document.querySelectorAll('#heard li')].map((line) => line.textContent)");
  const hears = (page, text) => page.until(`[...document.querySelectorAll('#heard li')].some((line) => line.textContent === ${JSON.stringify(text)})`, text);
  const say = async (page, text) => {
    await page.fill('#say [name=text]', text);
    await page.click('#say button');
  };
  const press = async (page, selector) => {
    await page.until(`!!document.querySelector(${JSON.stringify(selector)})`);
    await page.click(selector);
  };

  async function enter(name) {
    const page = await chromium.open(address);
    await state(page, 'out');
    await page.click('#login');
    await page.until("!!document.querySelector('[name=login]')", 'the login page of the provider');
    await page.fill('[name=login]', name);
    await page.fill('[name=password]', 'any');
    await page.click('[type=submit]');
    await page.until("!!document.querySelector('[name=prompt][value=consent]')", 'the consent page of the provider');
    await page.click('[type=submit]');
    await state(page, `in as ${name}`);
    return page;
  }

  test('logging out at the provider cuts off the other tab before its page returns, and nobody else', async () => {
    const [ana, ben] = [await enter('ana'), await enter('ben')];
    const tab = await chromium.open(address, ana);
    await state(tab, 'in as ana');
    await say(ben, 'hello');
    for (const page of [ana, tab]) await hears(page, 'ben: hello');
    await say(ana, 'hi <b>ben</b>');
    await hears(ben, 'ana: hi <b>ben</b>');

    await ana.click('#logout');
    await press(ana, '[name=logout][value=yes]');
    await state(ana, 'out');
    await say(ben, 'is she gone?');
    await state(tab, 'cut off');
    // Ben's word has gone its way by when somebody who logs in now has heard the next one.
    const eve = await enter('eve');
    await say(ben, 'and now?');
    await hears(eve, 'ben: and now?');
    assert.ok(!(await heard(tab)).some((line) => /gone|now/.test(line)), 'what was said after the logout');
    await state(ben, 'in as ben');
  });
});
