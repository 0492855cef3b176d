// The official Python SDK, kept running as a child process.

import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { within } from './wait.mjs';

const HERE = join(dirname(fileURLToPath(import.meta.url)), '..', 'python');

export class PythonSdk {
  constructor(app) {
    this.app = app;
    const own = join(HERE, '.venv', 'bin', 'python');
    const program = process.env.GATECAST_TEST_PYTHON ?? own;
    if (!existsSync(program)) throw new Error(`no Python with the SDK at ${program}: run scripts/test once`);
    this.child = spawn(program, [join(HERE, 'sdk.py')], { stdio: ['pipe', 'pipe', 'inherit'] });
    this.lines = createInterface({ input: this.child.stdout })[Symbol.asyncIterator]();
    process.on('exit', () => this.child.kill('SIGKILL'));
  }

  /** Calls a method of `pusher.Pusher` against this node; throws what the SDK raised. */
  async call(url, call, args = [], { app = this.app, ...kwargs } = {}) {
    this.child.stdin.write(`${JSON.stringify({ url, app, call, args, kwargs })}\n`);
    const { value } = await within(this.lines.next(), `Python's ${call}`);
    const { ok, error } = JSON.parse(value);
    if (error) throw Object.assign(new Error(error.message), { type: error.type });
    return ok;
  }

  stop() {
    this.child.stdin.end();
  }
}
