/**
 * Exponential back-off with full jitter: each wait is anything between nothing
 * and a ceiling that doubles. After an outage clients then come back spread
 * out, instead of all at once.
 */

/** The first ceiling. */
export const BASE_MS = 500;

/** The highest ceiling. */
export const CAP_MS = 30_000;

export class Backoff {
  #attempt = 0;
  #random;

  constructor(random = Math.random) {
    this.#random = random;
  }

  /** How long to wait before the next attempt, at most `cap`, in ms. */
  next(cap = CAP_MS) {
    const ceiling = Math.min(cap, BASE_MS * 2 ** this.#attempt);
    this.#attempt += 1;
    return this.#random() * ceiling;
  }

  reset() {
    this.#attempt = 0;
  }
}
