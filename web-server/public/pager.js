/**
 * Reads the history of a room, one page at a time: backwards from what is there,
 * while somebody wants it; and once more what is there, after each lost connection,
 * as nobody tells us of texts that were taken away in the meantime.
 */

import { Backoff } from './backoff.js';

/** Messages on a page that is read, and on one that is read again. */
const PAGE = 50;
const PAGE_AGAIN = 200;

/** The longest wait before a page that could not be read is asked for again. */
const AGAIN_CAP_MS = 5_000;

/** After so many failures in a row the user is told, and may ask at once. */
const FAILURES_MAX = 3;

export class Pager {
  #timeline;
  #listener;
  #backoff;
  #connection = null;
  #timer = null;
  #isReading = false;
  #failures = 0;
  /** Nothing has been read of this log. */
  #isFirst = true;
  /** Older messages are wanted. */
  #isWanted = false;
  /** What comes before this has to be read again; `null` for nothing. */
  #again = null;

  /** `listener`: `pageBegins()`, `pageEnds(count)`, `edgeChanged(edge)`. */
  constructor(timeline, listener, random) {
    this.#timeline = timeline;
    this.#listener = listener;
    this.#backoff = new Backoff(random);
  }

  /**
   * There is a connection. `ask(body)` resolves with the answer to `room.history`,
   * or `{ code }`, whatever happens; `onFirst(page)` is called with the first page of
   * a log that has begun anew.
   */
  start(ask, { name, begunAnew, onFirst }) {
    this.stop();
    this.#connection = { ask, name, onFirst };
    this.#isFirst ||= begunAnew;
    this.#isWanted = this.#isFirst;
    const after = this.#timeline.position.seq + 1;
    this.#again = after > this.#timeline.before ? after : null;
    this.#next();
  }

  /** There is none. */
  stop() {
    this.#connection = null;
    this.#isReading = false;
    this.#isWanted = false;
    this.#again = null;
    this.#recovered();
    this.tell();
  }

  /** Another room: nothing has been read of it. */
  clear() {
    this.#isFirst = true;
  }

  /** Reads the page before what is there, if there may be one. */
  read() {
    if (!this.#connection || this.#timeline.edge !== 'more') return;
    this.#isWanted = true;
    // Whoever asks does not wait as long as we would.
    this.#recovered();
    this.#next();
  }

  /** Says what lies before the first line, as it may have changed. */
  tell() {
    const { edge } = this.#timeline;
    if (edge !== 'more') this.#listener.edgeChanged(edge);
    else if (!this.#connection) this.#listener.edgeChanged(null);
    else if (!this.#isWanted) this.#listener.edgeChanged('more');
    else this.#listener.edgeChanged(this.#failures < FAILURES_MAX ? 'loading' : 'failed');
  }

  async #next() {
    this.tell();
    const connection = this.#connection;
    if (!connection || this.#isReading || this.#timer !== null) return;
    const isAgain = !this.#isWanted;
    const before = isAgain ? this.#again : this.#timeline.before;
    if (before === null) return;
    this.#isReading = true;
    const page = await connection.ask({ before, limit: isAgain ? PAGE_AGAIN : PAGE });
    if (connection !== this.#connection) return;
    this.#isReading = false;
    const isOfUse = page.code === 200 && (isAgain ? this.#compare(page) : this.#show(page, before));
    if (isOfUse) this.#recovered();
    else this.#later();
    this.#next();
  }

  #show(page, before) {
    const { name, onFirst } = this.#connection;
    this.#listener.pageBegins();
    const isShown = this.#timeline.paged(page, before, name);
    if (isShown && this.#isFirst) onFirst(page);
    this.#listener.pageEnds(isShown ? page.entries.length : 0);
    if (!isShown) return false;
    this.#isFirst = false;
    this.#isWanted = false;
    return true;
  }

  #compare(page) {
    if (!this.#timeline.reread(page, this.#connection.name)) return false;
    const [first] = page.entries;
    const isEnd = page.complete || !first || first.seq < this.#timeline.before;
    this.#again = isEnd ? null : first.seq;
    return true;
  }

  #recovered() {
    clearTimeout(this.#timer);
    this.#timer = null;
    this.#failures = 0;
    this.#backoff.reset();
  }

  #later() {
    this.#failures += 1;
    this.#timer = setTimeout(() => {
      this.#timer = null;
      this.#next();
    }, this.#backoff.next(AGAIN_CAP_MS));
  }
}
