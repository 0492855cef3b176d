// A client of the fallback over plain HTTP, by its bytes: one response that brings lines, and requests that send.

import { request } from 'node:http';
import { Inbox, within } from './wait.mjs';

/** One session of the fallback; `place` is the path in front of `/xhr_streaming`. */
export class RawStream {
  constructor(url, place, query = '') {
    Object.assign(this, { url, place, query, lines: new Inbox(`${place} lines`), ends: new Inbox(`${place} ends`) });
  }

  /** Asks for a response to read from: `xhr_streaming` or `xhr`. Resolves when its head is here. */
  read(way = 'xhr_streaming', headers = {}) {
    const opened = new Promise((resolve, reject) => {
      this.request = request(`${this.url}${this.place}/${way}${this.query}`, { method: 'POST', headers, agent: false }, resolve);
      this.request.on('error', reject);
      this.request.end();
    });
    return within(opened, `${way} is answered`).then((response) => {
      let rest = '';
      this.bytes = 0;
      response.setEncoding('utf8');
      response.on('data', (text) => {
        this.bytes += text.length;
        const parts = (rest + text).split('\n');
        rest = parts.pop();
        for (const line of parts) this.lines.push(line);
      });
      response.on('error', () => {});
      response.on('close', () => this.ends.push({ whole: response.complete, rest }));
      return response;
    });
  }

  line(text, n = 1) {
    return this.lines.count((line) => line === text, n, text);
  }

  /** The status of a request that says `commands`. */
  async send(commands, headers = {}) {
    const body = typeof commands === 'string' ? commands : JSON.stringify(commands);
    const answer = await fetch(`${this.url}${this.place}/xhr_send${this.query}`, { method: 'POST', body, headers });
    this.answered = answer;
    return answer.status;
  }

  end() {
    return this.ends.next(() => true, 'the end of the response');
  }

  close() {
    this.request?.destroy();
  }
}
