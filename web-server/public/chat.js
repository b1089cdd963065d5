/**
 * One user's stay in one room, from the login to the log-out, over as many
 * connections as it takes, and over reloads of the page.
 *
 *     out ──enter──> entering ──> in <──> lost <──restore── out
 *      ^                │          │        │
 *      └────────────────┴── leave, kick, refusal
 *
 * Knows nothing about the page: it is told what to do, and tells a listener
 * what has happened. Everything that belongs to a connection is bound to it, so
 * that a late word of an old one changes nothing.
 *
 * With a server that numbers its messages nothing is lost: what we write is kept
 * until it is stored (`Outbox`), what we missed is told when we come back, and what
 * was said before can be read (`Pager`). With any other server we are a plain client.
 */

import { Backoff } from './backoff.js';
import { Outbox } from './outbox.js';
import { Pager } from './pager.js';
import { PomeloError, connect as connectPomelo } from './pomelo.js';
import { ConfigSource, Refused, ask, enterRoom } from './session.js';
import { Stays, UNSENT_LEN_MAX, UNSENT_MAX, randomId } from './stays.js';
import { Timeline } from './timeline.js';

/**
 * How long, while we reconnect, our own name may be held by the connection that
 * we lost: a server notices its end later than we do.
 */
export const HELD_NAME_MS = 30_000;

/** The longest wait between two attempts while the name is held. */
const HELD_NAME_CAP_MS = 2_000;

/** A connection that lasted this long was a good one: back-off starts anew. */
const HEALTHY_MS = 30_000;

/** The longest wait before we come back that we believe a server to mean. */
const RETURN_MAX_MS = 60_000;

/** Kicks that do not mean us, but the server's own end. */
const SERVER_RESTARTS = /^(drain|reconnect|restart|shutdown)/i;

/** We ourselves came in elsewhere, with our secret. */
const SUPERSEDED = /^superseded/i;

export class Chat {
  #listener;
  #deps;
  #backoff;
  #timeline;
  #outbox;
  #pager;
  #stays;
  #stay = null;
  #phase = 'out';
  #users = new Set();
  #client = null;
  /** Whether the server numbers its messages; the last one that we met did. */
  #isNumbered = false;
  #abort = null;
  #timer = null;
  /** The server said when to come back, and not everybody at once. */
  #returnAfter = null;
  #enteredAt = 0;
  #heldSince = null;

  constructor(listener, deps = {}) {
    this.#listener = listener;
    this.#deps = {
      connect: deps.connect ?? connectPomelo,
      config: new ConfigSource(deps.fetch ?? ((...args) => fetch(...args))),
      location: deps.location ?? globalThis.location,
    };
    this.#backoff = new Backoff(deps.random);
    this.#stays = new Stays(deps.storage);
    this.#timeline = new Timeline(listener);
    this.#outbox = new Outbox(this.#timeline, { random: deps.random, changed: () => this.#save() });
    this.#pager = new Pager(this.#timeline, listener, deps.random);
  }

  get phase() {
    return this.#phase;
  }

  get #name() {
    return this.#stay?.name ?? '';
  }

  /** Logs in. The outcome is a change of phase: to `in`, or back to `out`. */
  enter(name, room) {
    if (this.#phase !== 'out') return;
    this.#begin(room, name);
    this.#isNumbered = false;
    this.#enterPhase('entering');
    this.#attempt();
  }

  /** The room that a reload of the page leads back to, if there is one. */
  get stayedIn() {
    return this.#stays.current()?.room ?? null;
  }

  /** Goes on after a reload, as after a lost connection. */
  restore() {
    const last = this.#stays.current();
    if (this.#phase !== 'out' || !last) return;
    this.#begin(last.room, last.name);
    this.#isNumbered = this.#stay.position !== null;
    this.#enterPhase('lost');
    this.#attempt();
  }

  /** Logs out. What is unsent is not sent by itself when we come back. */
  leave() {
    if (this.#phase === 'out') return;
    for (const line of this.#timeline.waiting) this.#timeline.failed(line, 'left');
    this.#stop('out', null);
  }

  /** The page may be gone soon: what a reload needs is kept. */
  suspend() {
    if (this.#phase !== 'out') this.#save();
  }

  /** Something may have changed for the better: tries again now instead of later. */
  wake() {
    if (this.#phase !== 'lost' || this.#timer === null || this.#returnAfter !== null) return;
    clearTimeout(this.#timer);
    this.#timer = null;
    this.#attempt();
  }

  /** Sends to everybody (`*`) or to one user. Returns why it cannot be taken, or `null`. */
  send(content, target) {
    const isOnline = this.#phase === 'in';
    if (!this.#isNumbered || !this.#stay) {
      if (!isOnline) return 'notConnected';
      this.#requestPlain(this.#timeline.sending(this.#name, target, content));
      return null;
    }
    return this.#queue(content, target, randomId());
  }

  /** Sends a failed line again, as a new one. Returns why it cannot be taken, or `null`. */
  retry(line) {
    if (!line.cmid || !this.#isNumbered) {
      const problem = this.send(line.content, line.target);
      if (!problem) this.discard(line);
      return problem;
    }
    this.#timeline.remove(line);
    // Perhaps it is stored, so it keeps its id; unless that is the id of another.
    const cmid = line.code === 409 ? randomId() : line.cmid;
    return this.#queue(line.content, line.target, cmid);
  }

  /** Takes a failed line away. */
  discard(line) {
    this.#timeline.remove(line);
    this.#save();
  }

  /** Reads more of what was said before. */
  loadOlder() {
    if (this.#phase === 'in' && this.#isNumbered) this.#pager.read();
  }

  /** Nobody reads the old lines. */
  trim() {
    this.#timeline.trim();
    this.#pager.tell();
  }

  isHere(user) {
    return this.#users.has(user);
  }

  #begin(room, name) {
    this.#stay = this.#stays.open(room, name);
    this.#timeline.clear();
    this.#pager.clear();
    if (this.#stay.position) this.#timeline.begin(this.#stay.position);
    for (const { cmid, content, target, at, code, error } of this.#stay.unsent) {
      const state = code === undefined ? 'sending' : 'failed';
      this.#timeline.queued(name, target, content, cmid, { at, state, code, error, why: 'offline' });
    }
    this.#backoff.reset();
    this.#heldSince = null;
  }

  #queue(content, target, cmid) {
    const { unsent } = this.#timeline;
    const length = unsent.reduce((sum, line) => sum + line.content.length, content.length);
    if (unsent.length >= UNSENT_MAX || length > UNSENT_LEN_MAX) return 'tooManyUnsent';
    const why = this.#phase === 'in' ? null : 'offline';
    this.#timeline.queued(this.#name, target, content, cmid, { why });
    this.#save();
    this.#outbox.pump();
    return null;
  }

  #save() {
    const { position, unsent } = this.#timeline;
    this.#stay.position = position;
    this.#stay.unsent = unsent;
    this.#stays.save(this.#stay);
  }

  #send(client, { content, target, cmid }) {
    const body = { rid: this.#stay.room, content, from: this.#name, target };
    if (cmid) body.cmid = cmid;
    return ask(client, 'chat.chatHandler.send', body);
  }

  async #requestPlain(line) {
    const { code, error } = await this.#send(this.#client, line);
    if (code === 200) this.#timeline.accepted(line);
    else this.#timeline.failed(line, code, error);
  }

  async #attempt() {
    const abort = new AbortController();
    this.#abort = abort;
    this.#returnAfter = null;
    // Pushes may come with the reply to enter, before we get to see it.
    const early = [];
    let session = null;
    let ended = false;
    const hooks = {
      signal: abort.signal,
      onPush: (route, body) => {
        if (session) this.#pushed(route, body);
        else early.push([route, body]);
      },
      onClose: (end) => {
        ended = true;
        if (session && !abort.signal.aborted) this.#closed(end);
      },
    };
    const { name, room, secret } = this.#stay;
    const resume = this.#timeline.position;
    try {
      const entered = await enterRoom(this.#deps, { name, room, secret, resume, ...hooks });
      if (ended) throw new PomeloError('closed');
      session = entered;
    } catch (error) {
      if (!abort.signal.aborted) this.#refused(error);
      return;
    }
    if (abort.signal.aborted) return session.client.close();
    this.#entered(session);
    early.forEach(([route, body]) => this.#pushed(route, body));
  }

  #entered({ client, users, log }) {
    const again = this.#phase === 'lost';
    const missedAfter = this.#timeline.position?.seq ?? null;
    this.#client = client;
    this.#enteredAt = Date.now();
    this.#heldSince = null;
    this.#users = new Set(users);
    this.#isNumbered = log !== null;
    if (!log) this.#becomePlain();
    else if (log.position) this.#timeline.begin(log.position);
    this.#enterPhase('in');
    this.#listener.usersReset([...this.#users]);
    if (log?.kind === 'reset') this.#timeline.tip('tipReset');
    else if (again) this.#timeline.tip(log ? 'tipBack' : 'tipBackPlain');
    else this.#timeline.tip('tipEntered');
    if (!again && this.#users.size === 1) this.#timeline.tip('tipAlone');
    if (log) this.#readHistory(log, missedAfter);
    if (log) this.#outbox.start((line) => this.#send(client, line));
    this.#save();
  }

  /** Reads what was said before what we have, which ended with `missedAfter` once. */
  #readHistory({ kind, position }, missedAfter) {
    const client = this.#client;
    this.#pager.start((body) => ask(client, 'room.history', body), {
      name: this.#name,
      begunAnew: position !== null,
      onFirst: ({ taken }) => {
        if (kind !== 'truncated' || missedAfter === null || taken <= missedAfter) return;
        this.#timeline.tip('tipTruncated', null, position.seq);
      },
    });
  }

  /** What we wanted to send under an id cannot be sent so any more. */
  #becomePlain() {
    for (const line of this.#timeline.waiting) this.#timeline.failed(line, 'closed');
    this.#timeline.plain();
    this.#pager.clear();
    this.#pager.stop();
  }

  #pushed(route, body) {
    const user = String(body.user ?? '');
    if (route === 'onChat' && this.#isNumbered) this.#told(body);
    else if (route === 'onChat') this.#said(body);
    else if (route === 'onAdd') this.#joined(user);
    else if (route === 'onLeave') this.#left(user);
    else if (route === 'onRedact') this.#timeline.redacted(body.epoch, body.seq);
    else if (route === 'onVerdict' && this.#isNumbered) this.#judged(body);
    else if (route === 'onReconnect') this.#sentAway(body);
  }

  /** The connection is about to be closed; the way back is by the gate, as ever. */
  #sentAway({ delay }) {
    this.#returnAfter = Math.min(Math.max(Number(delay) || 0, 0), RETURN_MAX_MS);
  }

  #told(entry) {
    if (this.#timeline.pushed(entry, this.#name)) return;
    // Of another log, and nobody said so: it begins with this.
    this.#judged({ kind: 'reset', position: { epoch: entry.epoch, seq: entry.seq - 1 } });
    this.#timeline.pushed(entry, this.#name);
  }

  #said({ from = '', target = '*', msg = '' }) {
    if (from === this.#name) this.#timeline.returned(from, target, String(msg));
    else this.#timeline.received(String(from), String(target), String(msg));
  }

  #joined(user) {
    if (user === '' || this.#users.has(user)) return;
    this.#users.add(user);
    this.#listener.userJoined(user);
    this.#timeline.tip('tipJoined', user);
  }

  #left(user) {
    if (!this.#users.delete(user)) return;
    this.#listener.userLeft(user);
    this.#timeline.tip('tipLeft', user);
  }

  /** What we have of the log does not go on: it is read anew, up to `position`. */
  #judged({ kind, position }) {
    const missedAfter = this.#timeline.position?.seq ?? null;
    this.#timeline.begin(position);
    if (kind === 'reset') this.#timeline.tip('tipReset');
    this.#readHistory({ kind, position }, missedAfter);
  }

  #closed({ kicked }) {
    this.#timeline.settle();
    this.#outbox.stop();
    this.#pager.stop();
    this.#client = null;
    if (kicked !== null && SUPERSEDED.test(kicked)) return this.#stop('out', problem('superseded'));
    if (kicked !== null && !SERVER_RESTARTS.test(kicked)) {
      return this.#stop('out', { key: 'problemKicked', detail: kicked });
    }
    if (Date.now() - this.#enteredAt >= HEALTHY_MS) this.#backoff.reset();
    this.#enterPhase('lost');
    this.#timeline.tip('tipLost');
    this.#retryLater(this.#returnAfter ?? this.#backoff.next());
  }

  #refused(error) {
    const reason = error instanceof Refused ? error.reason : 'unreachable';
    if (this.#phase === 'entering') {
      return this.#stop('out', problem(reason === 'denied' ? 'taken' : reason));
    }
    if (reason === 'invalid' || reason === 'denied') return this.#stop('out', problem(reason));
    if (reason !== 'taken') return this.#retryLater(this.#backoff.next());
    this.#heldSince ??= Date.now();
    if (Date.now() - this.#heldSince > HELD_NAME_MS) return this.#stop('out', problem(reason));
    this.#retryLater(this.#backoff.next(HELD_NAME_CAP_MS));
  }

  #retryLater(delay) {
    this.#timer = setTimeout(() => {
      this.#timer = null;
      this.#attempt();
    }, delay);
  }

  #stop(phase, why) {
    clearTimeout(this.#timer);
    this.#timer = null;
    // Ends the attempt that is under way, and the connection if there is one.
    this.#abort?.abort();
    this.#client = null;
    this.#outbox.stop();
    this.#pager.stop();
    this.#save();
    this.#stays.end();
    this.#users.clear();
    this.#enterPhase(phase, why);
  }

  #enterPhase(phase, why = null) {
    this.#phase = phase;
    this.#listener.phaseChanged(phase, {
      name: this.#name,
      room: this.#stay.room,
      problem: why,
      keepsUnsent: this.#isNumbered,
    });
  }
}

function problem(reason) {
  return { key: `problem${reason[0].toUpperCase()}${reason.slice(1)}`, detail: '' };
}
