/**
 * Sends our messages to a server that knows them by their `cmid`: one after the
 * other, in the order in which they were written, each until it is stored or
 * refused for good, over as many connections as it takes.
 */

import { Backoff } from './backoff.js';

/** The longest wait before a message that could not be taken is sent again. */
const AGAIN_CAP_MS = 5_000;

/** Not now, says the server; or it says nothing, and nobody knows. */
const NOT_YET = new Set([429, 503, 'timeout']);

export class Outbox {
  #timeline;
  #backoff;
  #changed;
  /** Sends one message; resolves with `{ code, … }`, whatever happens. */
  #request = null;
  #timer = null;
  #busy = false;

  /** `changed()` is called when something is stored, or refused. */
  constructor(timeline, { random, changed }) {
    this.#timeline = timeline;
    this.#backoff = new Backoff(random);
    this.#changed = changed;
  }

  /** There is a connection. What was under way on the last one is sent again. */
  start(request) {
    this.stop();
    this.#request = request;
    this.#backoff.reset();
    for (const line of this.#timeline.waiting) this.#timeline.waits(line, null);
    this.pump();
  }

  /** There is none. */
  stop() {
    clearTimeout(this.#timer);
    this.#timer = null;
    this.#busy = false;
    this.#request = null;
    for (const line of this.#timeline.waiting) this.#timeline.waits(line, 'offline');
  }

  /** Sends the next message, if there is one and none is under way. */
  async pump() {
    const request = this.#request;
    const [line] = this.#timeline.waiting;
    if (!request || !line || this.#busy || this.#timer !== null) return;
    const { content } = line;
    this.#busy = true;
    const reply = await request(line);
    // Of another connection: it has begun anew.
    if (request !== this.#request) return;
    this.#busy = false;
    this.#answered(line, content, reply);
  }

  #answered(line, content, { code, error, ...stored }) {
    // Its connection has ended; who is told of that stops us.
    if (code === 'closed') return;
    if (NOT_YET.has(code)) return this.#later();
    this.#backoff.reset();
    if (code === 200) this.#timeline.acknowledged(line, stored, content);
    else this.#timeline.failed(line, code, error);
    this.#changed();
    this.pump();
  }

  /** In order: what comes after has to wait, too. */
  #later() {
    for (const line of this.#timeline.waiting) this.#timeline.waits(line, 'busy');
    this.#timer = setTimeout(() => {
      this.#timer = null;
      this.pump();
    }, this.#backoff.next(AGAIN_CAP_MS));
  }
}
