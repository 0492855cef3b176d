// The official Python SDK, kept running as a child process.

import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { within } from './wait.mjs';

const HERE = join(dirname(fileURLToPath(import.meta.url)), '..', 'python');

export class PythonSdk {
  constructor(app, service = 'sdk.py') {
    this.app = app;
    const own = join(HERE, '.venv', 'bin', 'python');
    const program = process.env.GATECAST_TEST_PYTHON ?? own;
    if (!existsSync(program)) throw new Error(`no Python with the SDK at ${program}: run scripts/test once`);
    this.child = spawn(program, [join(HERE, service)], { stdio: ['pipe', 'pipe', 'inherit'] });
    this.lines = createInterface({ input: this.child.stdout })[Symbol.asyncIterator]();
    process.on('exit', () => this.child.kill('SIGKILL'));
  }

  /** Calls a method of `pusher.Pusher` against this node; throws what the SDK raised. */
  call(url, call, args = [], { app = this.app, ...kwargs } = {}) {
    return this.ask({ url, app, call, args, kwargs });
  }

  /** One request to the service, as its head describes; throws what the SDK raised. */
  async ask(request) {
    this.child.stdin.write(`${JSON.stringify(request)}\n`);
    const { value } = await within(this.lines.next(), `Python's ${request.call}`);
    const { ok, error } = JSON.parse(value);
    if (error) throw Object.assign(new Error(error.message), error);
    return ok;
  }

  stop() {
    this.child.stdin.end();
  }
}
