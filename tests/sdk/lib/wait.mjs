// Waiting for what happens instead of sleeping: every wait names what it waits for and is bounded.

/** How long anything may take before the test calls it missing. A bound for failures; good runs never come near it. */
export const PATIENCE_MS = Number(process.env.GATECAST_TEST_PATIENCE_MS ?? 20_000);

/** Rejects with `what` when the promise has not settled in time. */
export async function within(promise, what, ms = PATIENCE_MS) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not within ${ms} ms: ${what}`)), ms);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Asks again and again until `probe` answers something truthy. Only for what cannot be awaited (another process's state). */
export async function until(probe, what, ms = PATIENCE_MS, every = 25) {
  const end = performance.now() + ms;
  let last;
  for (;;) {
    try {
      const answer = await probe();
      if (answer) return answer;
      last = answer;
    } catch (error) {
      last = error;
    }
    if (performance.now() > end) {
      throw new Error(`not within ${ms} ms: ${what} (last: ${last?.message ?? JSON.stringify(last)})`);
    }
    await new Promise((resolve) => setTimeout(resolve, every));
  }
}

/** A list that can be awaited: everything pushed is kept, and `next` finds the first match, past or future. */
export class Inbox {
  constructor(name) {
    this.name = name;
    this.items = [];
    this.waiting = new Set();
  }

  push(item) {
    this.items.push(item);
    for (const wake of [...this.waiting]) wake();
  }

  all(matches = () => true) {
    return this.items.filter(matches);
  }

  /** The first item that matches, whether it is here already or still to come. */
  next(matches, what, ms = PATIENCE_MS) {
    return this.count(matches, 1, what, ms).then((found) => found[0]);
  }

  /** Waits until `n` items match. */
  async count(matches, n, what, ms = PATIENCE_MS) {
    let wake;
    const found = new Promise((resolve) => {
      wake = () => {
        const hits = this.items.filter(matches);
        if (hits.length >= n) resolve(hits);
      };
    });
    this.waiting.add(wake);
    wake();
    try {
      return await within(found, `${what} at ${this.name}`, ms);
    } catch (error) {
      const seen = JSON.stringify(this.items.slice(-8));
      throw new Error(`${error.message}; seen last: ${seen}`);
    } finally {
      this.waiting.delete(wake);
    }
  }
}
