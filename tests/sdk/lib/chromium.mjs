// A real headless Chromium, driven over its debugging pipe. `skip` says why when there is none here.

import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { until, within } from './wait.mjs';

const names = [process.env.GATECAST_TEST_CHROMIUM, 'chromium', 'chromium-browser', 'google-chrome'].filter(Boolean);
const program = names.find((name) => spawnSync(name, ['--version']).status === 0);
export const skip = program ? false : 'no Chromium here: install Debian\'s package chromium';
if (skip) console.log(`# browser test skipped: ${skip}`);

const FLAGS = ['--headless=new', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--no-first-run', '--disable-background-networking', '--disable-component-update'];

export class Chromium {
  constructor() {
    this.profile = mkdtempSync(join(tmpdir(), 'gatecast-chromium-'));
    const flags = [...FLAGS, `--user-data-dir=${this.profile}`, '--remote-debugging-pipe', 'about:blank'];
    this.process = spawn(program, flags, { stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'] });
    this.waiting = new Map();
    this.calls = 0;
    const [, , , to, from] = this.process.stdio;
    this.to = to;
    to.on('error', () => {});
    let rest = '';
    from.setEncoding('utf8');
    from.on('data', (text) => {
      const parts = (rest + text).split('\0');
      rest = parts.pop();
      for (const part of parts) {
        const { id, result, error } = JSON.parse(part);
        this.waiting.get(id)?.(error ? Promise.reject(new Error(error.message)) : result);
        this.waiting.delete(id);
      }
    });
  }

  call(method, params = {}, sessionId) {
    const id = (this.calls += 1);
    const answer = new Promise((resolve) => this.waiting.set(id, resolve));
    this.to.write(`${JSON.stringify({ id, method, params, sessionId })}\0`);
    return within(answer, `${method} in Chromium`, 60_000);
  }

  /** Opens a page in a profile of its own (no shared cookies), or beside another in its. */
  async open(url, beside) {
    const { browserContextId } = beside ?? (await this.call('Target.createBrowserContext'));
    const { targetId } = await this.call('Target.createTarget', { url, browserContextId });
    const { sessionId } = await this.call('Target.attachToTarget', { targetId, flatten: true });
    return new Page(this, sessionId, browserContextId);
  }

  async close() {
    const gone = () => this.process.exitCode !== null || this.process.signalCode !== null;
    const exited = once(this.process, 'exit').catch(() => {});
    // Asked, it ends its children too; they would write into the folder that is removed.
    this.call('Browser.close').catch(() => {});
    if (!gone()) await within(exited, 'Chromium ends', 10_000).catch(() => this.process.kill('SIGKILL'));
    if (!gone()) await exited;
    rmSync(this.profile, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
  }
}

class Page {
  constructor(chromium, session, browserContextId) {
    Object.assign(this, { chromium, session, browserContextId });
  }

  /** The value of an expression in the page. */
  async value(expression) {
    const options = { expression, awaitPromise: true, returnByValue: true };
    const { result, exceptionDetails } = await this.chromium.call('Runtime.evaluate', options, this.session);
    if (exceptionDetails) throw new Error(`${expression}: ${exceptionDetails.exception?.description ?? exceptionDetails.text}`);
    return result.value;
  }

  /** Waits until an expression is truthy. */
  until(expression, what = expression) {
    return until(() => this.value(expression), `${what} in the page`, 30_000, 50);
  }

  /** Writes into a field as a person would leave it. */
  fill(selector, text) {
    return this.value(`(document.querySelector(${JSON.stringify(selector)}).value = ${JSON.stringify(text)}, true)`);
  }

  click(selector) {
    return this.value(`(document.querySelector(${JSON.stringify(selector)}).click(), true)`);
  }
}
