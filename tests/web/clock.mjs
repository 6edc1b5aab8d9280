// A clock that goes on when it is told to.

export class Clock {
  constructor() {
    this.time = 0;
    this.timers = new Map();
    this.last = 0;
    this.now = () => this.time;
    this.setTimeout = (f, delay = 0) => {
      this.timers.set(++this.last, { f, at: this.time + Math.max(0, delay) });
      return this.last;
    };
    this.clearTimeout = (id) => this.timers.delete(id);
  }

  /** Lets this many milliseconds go by, and all that waits for a promise come to rest. */
  async pass(milliseconds) {
    const end = this.time + milliseconds;
    await settle();
    for (;;) {
      const due = [...this.timers].filter(([, timer]) => timer.at <= end).sort(([, a], [, b]) => a.at - b.at)[0];
      if (!due) break;
      this.timers.delete(due[0]);
      this.time = due[1].at;
      due[1].f();
      await settle();
    }
    this.time = end;
  }
}

export async function settle() {
  for (let i = 0; i < 5; i++) await new Promise((resolve) => setImmediate(resolve));
}
