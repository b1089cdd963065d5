/**
 * One user's stay in one room, from the login to the log-out, over as many
 * connections as it takes.
 *
 *     out ──enter──> entering ──> in <──> lost
 *      ^                │          │        │
 *      └────────────────┴── leave, kick, refusal
 *
 * Knows nothing about the page: it is told what to do, and tells a listener
 * what has happened. Everything that belongs to a connection is bound to it, so
 * that a late word of an old one changes nothing.
 */

import { Backoff } from './backoff.js';
import { PomeloError, connect as connectPomelo } from './pomelo.js';
import { ConfigSource, Refused, enterRoom } from './session.js';
import { Timeline } from './timeline.js';

/**
 * How long, while we reconnect, our own name may be held by the connection that
 * we lost: a server notices its end later than we do.
 */
export const HELD_NAME_MS = 30_000;

/** The longest wait between two attempts while the name is held. */
const HELD_NAME_CAP_MS = 2_000;

/**
 * A longer message is not even sent: the server would end the connection, where
 * a somewhat shorter one is merely refused. In UTF-16 units, of up to 3 bytes.
 */
const REQUEST_LEN_MAX = 64 * 1024;

/** A connection that lasted this long was a good one: back-off starts anew. */
const HEALTHY_MS = 30_000;

/** Kicks that do not mean us, but the server's own end. */
const SERVER_RESTARTS = /^(drain|reconnect|restart|shutdown)/i;

export class Chat {
  #listener;
  #deps;
  #backoff;
  #timeline;
  #phase = 'out';
  #name = '';
  #room = '';
  #users = new Set();
  #client = null;
  #abort = null;
  #timer = null;
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
    this.#timeline = new Timeline(listener);
  }

  get phase() {
    return this.#phase;
  }

  /** Logs in. The outcome is a change of phase: to `in`, or back to `out`. */
  enter(name, room) {
    if (this.#phase !== 'out') return;
    this.#name = name;
    this.#room = room;
    this.#timeline.clear();
    this.#backoff.reset();
    this.#heldSince = null;
    this.#enterPhase('entering');
    this.#attempt();
  }

  /** Logs out. */
  leave() {
    if (this.#phase !== 'out') this.#stop('out', null);
  }

  /** Something may have changed for the better: tries again now instead of later. */
  wake() {
    if (this.#phase !== 'lost' || this.#timer === null) return;
    clearTimeout(this.#timer);
    this.#timer = null;
    this.#attempt();
  }

  /** Sends to everybody (`*`) or to one user. Returns whether it could be tried. */
  send(content, target) {
    if (this.#phase !== 'in') return false;
    const line = this.#timeline.sending(this.#name, target, content);
    this.#request(line);
    return true;
  }

  /** Sends a failed line again, as a new one. Returns whether it could be tried. */
  retry(line) {
    const tried = this.send(line.content, line.target);
    if (tried) this.#timeline.remove(line);
    return tried;
  }

  /** Takes a failed line away. */
  discard(line) {
    this.#timeline.remove(line);
  }

  isHere(user) {
    return this.#users.has(user);
  }

  async #request(line) {
    const body = { rid: this.#room, content: line.content, from: this.#name, target: line.target };
    if (JSON.stringify(body).length > REQUEST_LEN_MAX) return this.#timeline.failed(line, 413);
    try {
      const reply = await this.#client.request('chat.chatHandler.send', body);
      const code = reply.error && !reply.code ? 500 : reply.code;
      if (code && code !== 200) this.#timeline.failed(line, code);
      else this.#timeline.accepted(line);
    } catch (error) {
      this.#timeline.failed(line, error instanceof PomeloError ? error.kind : 400);
    }
  }

  async #attempt() {
    const abort = new AbortController();
    this.#abort = abort;
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
    try {
      const entered = await enterRoom(this.#deps, { name: this.#name, room: this.#room, ...hooks });
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

  #entered({ client, users }) {
    const again = this.#phase === 'lost';
    this.#client = client;
    this.#enteredAt = Date.now();
    this.#heldSince = null;
    this.#users = new Set(users);
    this.#enterPhase('in');
    this.#listener.usersReset([...this.#users]);
    this.#timeline.tip(again ? 'tipBack' : 'tipEntered');
    if (!again && this.#users.size === 1) this.#timeline.tip('tipAlone');
  }

  #pushed(route, body) {
    if (route === 'onChat') {
      const { from = '', target = '*', msg = '' } = body;
      if (from === this.#name) this.#timeline.returned(from, target, String(msg));
      else this.#timeline.received(String(from), String(target), String(msg));
    } else if (route === 'onAdd') {
      const user = String(body.user ?? '');
      if (user === '' || this.#users.has(user)) return;
      this.#users.add(user);
      this.#listener.userJoined(user);
      this.#timeline.tip('tipJoined', user);
    } else if (route === 'onLeave') {
      const user = String(body.user ?? '');
      if (!this.#users.delete(user)) return;
      this.#listener.userLeft(user);
      this.#timeline.tip('tipLeft', user);
    }
  }

  #closed({ kicked }) {
    this.#timeline.settle();
    this.#client = null;
    if (kicked !== null && !SERVER_RESTARTS.test(kicked)) {
      return this.#stop('out', { key: 'problemKicked', detail: kicked });
    }
    if (Date.now() - this.#enteredAt >= HEALTHY_MS) this.#backoff.reset();
    this.#enterPhase('lost');
    this.#timeline.tip('tipLost');
    this.#retryLater(this.#backoff.next());
  }

  #refused(error) {
    const reason = error instanceof Refused ? error.reason : 'unreachable';
    if (this.#phase === 'entering') return this.#stop('out', problem(reason));
    if (reason === 'invalid') return this.#stop('out', problem(reason));
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
    this.#users.clear();
    this.#enterPhase(phase, why);
  }

  #enterPhase(phase, why = null) {
    this.#phase = phase;
    this.#listener.phaseChanged(phase, { name: this.#name, room: this.#room, problem: why });
  }
}

function problem(reason) {
  return { key: `problem${reason[0].toUpperCase()}${reason.slice(1)}`, detail: '' };
}
