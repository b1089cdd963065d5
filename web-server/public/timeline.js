/**
 * The lines of one room, in the order in which the room has them.
 *
 * Of a server that numbers its messages we hold one unbroken piece of the room's
 * log: everything that we may see above `floor`, of one epoch. It grows at its end
 * by pushes, at its beginning by pages of history, and begins anew where the server
 * says that it cannot be continued. A message of ours is known by its `cmid` until
 * it has a number: it stands below all others while it is unsent, and takes its
 * place as soon as a reply, a push or a page tells it, whichever is first.
 *
 * A server that numbers nothing shows its order by its pushes: there, too, what we
 * sent floats below all others until the server has placed it, a broadcast by its
 * push, a whisper, which has none, by its reply.
 */

/** Lines that are kept while nobody reads the old ones. */
export const LINES_MAX = 1000;

/** Lines that are kept at most. */
export const LINES_READ_MAX = 3000;

/** Messages that were taken away while we may still be told of them, at most. */
const REDACTIONS_MAX = 1000;

/** Refusals after which a plain message may nevertheless have been stored. */
const UNSURE = new Set(['timeout', 503]);

/** Where lines stand that have no place in the log yet. */
const AFLOAT = Infinity;

export class Timeline {
  #listener;
  #lines = [];
  #log = null;
  #bySeq = new Map();
  #unsent = new Map();
  #redactions = new Set();
  /** The highest number that any line has: tips stand after it. */
  #top = 0;
  #count = 0;

  /** `listener` is told of each change; see `view.js`. */
  constructor(listener) {
    this.#listener = listener;
  }

  /** What we have of the log goes on after this; `null` if we have nothing. */
  get position() {
    return this.#log && { epoch: this.#log.epoch, seq: this.#log.head };
  }

  /** The page of history that comes before what we have is the one before this. */
  get before() {
    return this.#log.floor + 1;
  }

  /**
   * What lies before the first line: `more`, `start` (nothing ever), `gone`
   * (nothing any more), `full` (we keep no more); `null` if nobody knows.
   */
  get edge() {
    if (this.#log?.edge === 'more' && this.#lines.length >= LINES_READ_MAX) return 'full';
    return this.#log?.edge ?? null;
  }

  /** Our messages that still have to be sent, in order. */
  get waiting() {
    return [...this.#unsent.values()].filter((line) => line.state === 'sending');
  }

  /** Our messages that are not known to be stored, in order: also those refused. */
  get unsent() {
    return [...this.#unsent.values()];
  }

  /** Another room: nothing of what is here belongs to it. */
  clear() {
    this.#lines = [];
    this.#unsent.clear();
    this.#forget();
    this.#log = null;
    this.#listener.linesCleared();
  }

  /**
   * From here on the log is the one of `epoch`, after `seq`. Nothing is left of
   * what was shown but what is unsent.
   */
  begin({ epoch, seq }) {
    const isUnsent = ({ state, place }) => state === 'failed' || place[0] === AFLOAT;
    for (const line of this.#lines.filter((one) => !isUnsent(one))) this.remove(line);
    this.#forget();
    this.#log = { epoch, floor: seq, head: seq, edge: 'more' };
    this.#top = seq;
    for (const line of this.#lines.filter((one) => !one.cmid)) line.place = this.#last();
  }

  /** From here on nothing is numbered. */
  plain() {
    this.#log = null;
    this.#redactions.clear();
  }

  /** Somebody came or went, or the connection did. `about` is a name, if any. */
  tip(key, about = null, after = this.#top) {
    this.#add({ kind: 'tip', key, about, place: [after, 1, this.#count] });
  }

  // What a server that numbers its messages tells.

  /**
   * A message that a push brought. `me` is our name. Returns whether it is of the
   * log that we have.
   */
  pushed(entry, me) {
    if (entry.epoch !== this.#log?.epoch) return false;
    this.#log.head = Math.max(this.#log.head, entry.seq);
    // What is below was shown once, and dropped.
    if (entry.seq > this.#log.floor) this.#put(entry, me);
    return true;
  }

  /**
   * The page of history before `before`. Returns whether it is of the log that we
   * have, and goes before what we have of it.
   */
  paged(page, before, me) {
    if (page.epoch !== this.#log?.epoch || before !== this.before) return false;
    for (const entry of page.entries) this.#put({ ...entry, old: true }, me);
    if (page.complete) {
      this.#log.floor = Math.min(this.#log.floor, page.taken);
      this.#log.edge = page.taken > 0 ? 'gone' : 'start';
    } else if (page.entries.length > 0) {
      this.#log.floor = Math.min(this.#log.floor, page.entries[0].seq - 1);
    }
    return true;
  }

  /**
   * A page of what we have, as it is now. What is no longer kept is not shown any
   * more. Returns whether it is of the log that we have.
   */
  reread(page, me) {
    if (page.epoch !== this.#log?.epoch) return false;
    if (page.taken > this.#log.floor) {
      for (const line of this.#lines.filter(({ seq }) => seq <= page.taken)) this.remove(line);
      Object.assign(this.#log, { floor: page.taken, edge: 'gone' });
    }
    const { floor } = this.#log;
    for (const entry of page.entries.filter(({ seq }) => seq > floor)) this.#put(entry, me);
    return true;
  }

  /** A message of ours that goes out under `cmid`. */
  queued(from, target, content, cmid, parts = {}) {
    const line = { kind: 'message', from, target, content, cmid, mine: true, state: 'sending' };
    this.#unsent.set(cmid, this.#add({ ...line, place: this.#afloat(), ...parts }));
  }

  /** The reply came: `line` is stored, as it was sent. */
  acknowledged(line, { epoch, seq, at }, content = line.content) {
    const isKnown = epoch === this.#log?.epoch;
    // It belongs above what we have, and is read with what is there.
    const isAbove = isKnown && seq <= this.#log.floor;
    if (line.state !== 'sent') {
      if (isAbove || (isKnown && this.#bySeq.has(seq))) this.remove(line);
      else this.#sent(line, isKnown ? seq : null, { at });
    } else if (isKnown && !isAbove && !this.#bySeq.has(seq)) {
      // Its push came first, but in a log that is gone. In this one it is there, too.
      const { from, target, cmid } = line;
      this.#put({ seq, at, from, target, msg: content, cmid }, from);
    }
  }

  /** `line` waits for something, or goes out (`null`). */
  waits(line, why) {
    if (line.state === 'sent' || line.why === why) return;
    line.why = why;
    this.#listener.lineUpdated(line);
  }

  /** The content of a message was taken away. */
  redacted(epoch, seq) {
    if (epoch !== this.#log?.epoch) return;
    const line = this.#bySeq.get(seq);
    this.#redactions.add(seq);
    if (this.#redactions.size > REDACTIONS_MAX) {
      this.#redactions.delete(this.#redactions.values().next().value);
    }
    if (!line || line.redacted) return;
    this.#redact(line);
    this.#listener.lineUpdated(line);
  }

  // What a server that numbers nothing tells.

  /** A message that a push brought. */
  received(from, target, content) {
    const line = { kind: 'message', from, target, content, mine: false, state: 'sent' };
    this.#add({ ...line, place: this.#last() });
  }

  /** A message of ours that is on its way. */
  sending(from, target, content) {
    const line = { kind: 'message', from, target, content, mine: true, state: 'sending' };
    return this.#add({ ...line, awaitsPush: true, place: this.#afloat() });
  }

  /** The server accepted `line`. A whisper is thereby placed, a broadcast not yet. */
  accepted(line) {
    if (line.state === 'sent') return;
    line.state = 'sent';
    if (line.target !== '*') this.#move(line, this.#last());
    this.#listener.lineUpdated(line);
  }

  /** Our own message came back from the room. */
  returned(from, target, content) {
    const ours = this.#lines.filter((line) => line.awaitsPush && line.target === target);
    // In order, as the server keeps it; but one whose push got lost must not
    // take the text of the next.
    const line =
      ours.find((one) => one.content === content) ?? ours.find((one) => one.state !== 'failed');
    if (!line) {
      const other = { kind: 'message', from, target, content, mine: true, state: 'sent' };
      return void this.#add({ ...other, place: this.#last() });
    }
    Object.assign(line, { content, state: 'sent', awaitsPush: false });
    if (line.place[0] === AFLOAT) this.#move(line, this.#last());
    this.#listener.lineUpdated(line);
  }

  /** The connection is gone: no push will come for what was sent over it. */
  settle() {
    for (const line of this.#lines.filter(({ awaitsPush }) => awaitsPush)) {
      line.awaitsPush = false;
      if (line.place[0] === AFLOAT) this.#move(line, this.#last());
    }
  }

  // What both do.

  /** The server refused `line`, or did not answer; `code` says which, `error` why. */
  failed(line, code, error = '') {
    // Its push came first: it is delivered, whatever the reply says.
    if (line.state === 'sent') return;
    Object.assign(line, { state: 'failed', why: null, code, error });
    if (!line.cmid) {
      line.awaitsPush = UNSURE.has(code);
      if (line.place[0] === AFLOAT) this.#move(line, this.#last());
    }
    this.#listener.lineUpdated(line);
  }

  remove(line) {
    this.#lines.splice(this.#lines.indexOf(line), 1);
    if (this.#unsent.get(line.cmid) === line) this.#unsent.delete(line.cmid);
    if (this.#bySeq.get(line.seq) === line) this.#bySeq.delete(line.seq);
    this.#listener.lineRemoved(line);
  }

  /** Drops the oldest lines but `max`; they can be read again. */
  trim(max = LINES_MAX) {
    while (this.#lines.length > max && this.#lines[0].place[0] !== AFLOAT) {
      const [line] = this.#lines;
      this.remove(line);
      if (!this.#log || !line.seq) continue;
      this.#log.floor = Math.max(this.#log.floor, line.seq);
      this.#log.edge = 'more';
    }
  }

  /** Shows an entry of the log, once: as a line of its own, or as the one it is of. */
  #put({ seq, at, from, target, msg, cmid, redacted, old = false }, me) {
    const mine = from === me;
    const known = this.#bySeq.get(seq);
    const line = known ?? (mine && this.#unsent.get(cmid));
    const content = redacted || this.#redactions.has(seq) ? { redacted: true } : { content: msg ?? '' };
    if (line) return this.#sent(line, seq, { at, ...content });
    const parts = { kind: 'message', from, target, content: '', mine, state: 'sent', at, seq, old };
    this.#top = Math.max(this.#top, seq);
    this.#bySeq.set(seq, this.#add({ ...parts, ...content, place: [seq, 0, 0] }));
  }

  /** `line` is stored, at `seq` if that is a place in the log that we have. */
  #sent(line, seq, parts) {
    this.#unsent.delete(line.cmid);
    Object.assign(line, { state: 'sent', why: null, code: undefined }, parts);
    if (line.redacted || this.#redactions.has(seq)) this.#redact(line);
    if (seq === null) {
      this.#move(line, this.#last());
    } else if (line.seq !== seq) {
      line.seq = seq;
      this.#top = Math.max(this.#top, seq);
      this.#bySeq.set(seq, line);
      this.#move(line, [seq, 0, 0]);
    }
    this.#listener.lineUpdated(line);
  }

  #redact(line) {
    Object.assign(line, { redacted: true, content: '' });
  }

  #forget() {
    this.#bySeq.clear();
    this.#redactions.clear();
    this.#top = 0;
  }

  #add(parts) {
    const line = { id: this.#count++, at: Date.now(), ...parts };
    const index = this.#index(line.place);
    const before = this.#lines[index] ?? null;
    this.#lines.splice(index, 0, line);
    this.#listener.lineAdded(line, before);
    // Not a page that is just being read: it goes at the other end.
    if (!line.old) this.trim(LINES_READ_MAX);
    return line;
  }

  #move(line, place) {
    const from = this.#lines.indexOf(line);
    line.place = place;
    this.#lines.splice(from, 1);
    const to = this.#index(place);
    this.#lines.splice(to, 0, line);
    if (to !== from) this.#listener.lineMoved(line, this.#lines[to + 1] ?? null);
  }

  #last() {
    return [this.#top, 1, this.#count++];
  }

  #afloat() {
    return [AFLOAT, 0, this.#count++];
  }

  /** Where a line of this place goes: after all that are not after it. */
  #index(place) {
    let [low, high] = [0, this.#lines.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (isAfter(this.#lines[middle].place, place)) high = middle;
      else low = middle + 1;
    }
    return low;
  }
}

function isAfter(one, other) {
  const at = one.findIndex((part, i) => part !== other[i]);
  return at >= 0 && one[at] > other[at];
}
