/**
 * The lines of one room, in the order in which the room has them.
 *
 * A line that we sent floats below all others until the server has placed it:
 * a broadcast by its push, a whisper, which has none, by its reply. So everybody
 * sees one order, and nobody waits to see what they said.
 */

/** Lines that are kept; older ones are dropped, as nobody scrolls so far. */
export const LINES_MAX = 1000;

/** Refusals after which a message may nevertheless have been stored. */
const UNSURE = new Set(['timeout', 503]);

export class Timeline {
  #listener;
  #lines = [];
  #nextId = 1;

  /** `listener` is told of each change; see `view.js`. */
  constructor(listener) {
    this.#listener = listener;
  }

  /** Somebody came or went, or the connection did. `about` is a name, if any. */
  tip(key, about = null) {
    this.#add({ kind: 'tip', key, about, floating: false });
  }

  /** A message that a push brought. */
  received(from, target, content) {
    this.#add({ kind: 'message', from, target, content, mine: false, state: 'sent', floating: false });
  }

  /** A message of ours that is on its way. */
  sending(from, target, content) {
    const line = { kind: 'message', from, target, content, mine: true };
    return this.#add({ ...line, state: 'sending', floating: true, awaitsPush: true });
  }

  /** The server accepted `line`. A whisper is thereby placed, a broadcast not yet. */
  accepted(line) {
    if (line.state === 'sent') return;
    line.state = 'sent';
    if (line.target !== '*') this.#place(line);
    this.#listener.lineUpdated(line);
  }

  /** The server refused `line`, or did not answer; `code` says which. */
  failed(line, code) {
    // Its push came first: it is delivered, whatever the reply says.
    if (line.state === 'sent') return;
    line.state = 'failed';
    line.code = code;
    line.awaitsPush = UNSURE.has(code);
    line.floating = false;
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
      this.#add({ kind: 'message', from, target, content, mine: true, state: 'sent', floating: false });
      return;
    }
    line.content = content;
    line.state = 'sent';
    line.awaitsPush = false;
    this.#place(line);
    this.#listener.lineUpdated(line);
  }

  /** The connection is gone: no push will come for what was sent over it. */
  settle() {
    for (const line of this.#lines) {
      line.floating = false;
      line.awaitsPush = false;
    }
  }

  remove(line) {
    this.#lines = this.#lines.filter((other) => other !== line);
    this.#listener.lineRemoved(line);
  }

  clear() {
    this.#lines = [];
    this.#listener.linesCleared();
  }

  #add(parts) {
    const line = { id: this.#nextId++, at: Date.now(), ...parts };
    const index = line.floating ? this.#lines.length : this.#firstFloating();
    const before = this.#lines[index] ?? null;
    this.#lines.splice(index, 0, line);
    this.#listener.lineAdded(line, before);
    while (this.#lines.length > LINES_MAX) this.remove(this.#lines[0]);
    return line;
  }

  /** Ends the floating of `line`: it now stands above all that still float. */
  #place(line) {
    if (!line.floating) return;
    line.floating = false;
    const at = this.#lines.indexOf(line);
    const index = this.#firstFloating();
    if (index >= at) return;
    const before = this.#lines[index];
    this.#lines.splice(at, 1);
    this.#lines.splice(index, 0, line);
    this.#listener.lineMoved(line, before);
  }

  #firstFloating() {
    const index = this.#lines.findIndex((line) => line.floating);
    return index < 0 ? this.#lines.length : index;
  }
}
