// Pictures wait here, not at the server, for whom many at once are too many.

export class Queue {
  /** @param {number} places how many work at once */
  constructor(places) {
    this.free = places;
    this.waiting = [];
  }

  /** Do this as soon as there is a place, unless it is called off before.
   * @param {() => Promise} work
   * @param {AbortSignal} signal
   */
  async run(work, signal) {
    if (!this.free) await new Promise((resolve) => this.waiting.push(resolve));
    else this.free--;
    try {
      signal.throwIfAborted();
      return await work();
    } finally {
      const next = this.waiting.shift();
      if (next) next(); // which takes this place
      else this.free++;
    }
  }
}
