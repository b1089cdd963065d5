/**
 * A room of a server that numbers its messages, and the only way to it. It does what
 * docs/protocol.md says of extended sessions, one step at a time and only when told
 * to, so that a test decides what is lost, and when.
 */

import { PomeloError } from '../public/pomelo.js';

/** A small generator of random numbers that can be repeated. */
export class Random {
  #state;

  constructor(seed) {
    this.#state = seed * 0x9e3779b9 + 1;
  }

  next() {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let t = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  }

  below(n) {
    return Math.floor(this.next() * n);
  }

  chance(share) {
    return this.next() < share;
  }

  pick(list) {
    return list[this.below(list.length)];
  }
}

export class FakeRoom {
  epoch = 1;
  taken = 0;
  log = [];
  /** What was stored in epochs that are gone. */
  lost = [];
  conn = null;
  /** How often a request is refused for now; half of those are done all the same. */
  refusals = 0;

  constructor(random, me = 'ann') {
    this.random = random;
    this.me = me;
  }

  get head() {
    return this.log.length;
  }

  /** What our user gets to see of the log. */
  get visible() {
    return this.log.filter((entry) => isFor(entry, this.me));
  }

  /** The `connect` of a `Chat`. */
  connect = async (url, { user, onPush, onClose, signal }) => {
    if (!url.includes('/ws/')) return { request: async () => GATE, close: () => {} };
    this.lose();
    const conn = { live: false, requests: [], answers: [], open: new Map(), onPush, onClose };
    this.conn = conn;
    const close = () => this.conn === conn && (this.conn = null);
    signal.addEventListener('abort', () => this.conn === conn && this.lose());
    return { user, close, request: (route, body) => ask(conn, route, body) };
  };

  /** Somebody says something, or the log grows by what nobody sees. */
  append(entry, answerFirst = () => {}) {
    const seq = this.head + 1;
    const stored = { seq, at: 1000 * seq, ...entry };
    this.log.push(stored);
    answerFirst(stored);
    const isOwnWhisper = entry.from === this.me && entry.target !== '*';
    if (this.conn?.live && isFor(stored, this.me) && !isOwnWhisper) this.#push('onChat', this.#told(stored));
  }

  redact(seq) {
    const entry = this.log[seq - 1];
    entry.redacted = true;
    if (this.conn?.live) this.#push('onRedact', { epoch: this.#epoch(), seq });
  }

  /** The log is gone, and another one begins. */
  reset() {
    this.lost.push(...this.log);
    this.log = [];
    this.taken = 0;
    this.epoch += 1;
    this.#judge({ kind: 'reset', position: { epoch: this.#epoch(), seq: 0 } });
  }

  /** The room is at another shard, and what was said in between is not pushed. */
  skip(entries) {
    const { conn } = this;
    const first = this.head + 1;
    this.conn = null;
    for (const entry of entries) this.append(entry);
    this.conn = conn;
    this.#judge({ kind: 'truncated', first, position: { epoch: this.#epoch(), seq: this.head } });
  }

  /** The connection ends, and what was on its way with it. */
  lose(kicked = null) {
    const { conn } = this;
    this.conn = null;
    if (!conn) return;
    for (const { reject } of conn.open.values()) reject(new PomeloError('closed'));
    conn.open.clear();
    conn.onClose?.({ reason: 'lost', kicked });
  }

  /** The server is about to stop: it says when to come back, and closes. */
  sendAway(delay) {
    if (this.conn?.live) this.conn.onPush('onReconnect', { delay, place: 'gate' });
    this.lose();
  }

  /** The client gives up waiting for its oldest request. */
  timeOut() {
    const [first] = this.conn?.open.entries() ?? [];
    if (!first) return;
    this.conn.open.delete(first[0]);
    first[1].reject(new PomeloError('timeout'));
  }

  /** The server takes the next request. Returns whether there was one. */
  serve() {
    const request = this.conn?.requests.shift();
    if (!request) return false;
    const answer = (body) => this.conn.answers.push(() => settle(this.conn, request.id, body));
    const short = request.route.split('.').at(-1);
    if (short === 'enter') this.#enter(request.body, answer);
    else if (this.random.chance(this.refusals)) this.#refuse(short, request.body, answer);
    else if (short === 'send') this.#store(request.body, answer);
    else answer(this.#page(request.body));
    return true;
  }

  /** The client gets the next answer or push. Returns whether there was one. */
  deliver() {
    const next = this.conn?.answers.shift();
    next?.();
    return next !== undefined;
  }

  #refuse(short, body, answer) {
    if (short === 'send' && this.random.chance(0.5)) this.#store(body, () => {});
    answer({ code: this.random.pick([429, 503]), error: 'not now' });
  }

  #enter({ resume }, answer) {
    const position = { epoch: this.#epoch(), seq: this.head };
    const verdict = resume && this.#verdict(resume);
    answer({ code: 200, users: [this.me, 'bob'], position, resume: 'a secret of ours', verdict });
    this.conn.live = true;
    const after = verdict?.kind === 'truncated' ? verdict.first - 1 : resume?.seq;
    if (!verdict || verdict.kind === 'reset') return;
    for (const entry of this.visible.filter(({ seq }) => seq > after)) this.#push('onChat', this.#told(entry));
  }

  #verdict({ epoch, seq }) {
    if (epoch !== this.#epoch() || seq > this.head) {
      return { kind: 'reset', position: { epoch: this.#epoch(), seq: this.head } };
    }
    // Now and then more than may be pushed.
    const cut = this.random.chance(0.2) ? this.random.below(this.head + 1) : 0;
    const from = Math.max(this.taken, cut);
    return from > seq ? { kind: 'truncated', first: from + 1 } : { kind: 'complete' };
  }

  /** The answer to a send comes before the push of what was sent. */
  #store({ content, target, cmid }, answer) {
    const stored = ({ seq, at }) => answer({ code: 200, epoch: this.#epoch(), seq, at, cmid });
    const found = this.log.find((entry) => entry.cmid === cmid);
    if (found) stored(found);
    else this.append({ from: this.me, target, msg: content, cmid }, stored);
  }

  #page({ before, limit }) {
    const all = this.visible.filter(({ seq }) => seq < before && seq > this.taken);
    const entries = all.slice(-limit).map((entry) => this.#told(entry));
    const complete = entries.length === all.length;
    const [head, taken] = [this.head, this.taken];
    return { code: 200, epoch: this.#epoch(), head, taken, complete, entries };
  }

  #judge(verdict) {
    if (this.conn?.live) this.#push('onVerdict', verdict);
  }

  #push(route, body) {
    const { conn } = this;
    conn.answers.push(() => conn.onPush(route, body));
  }

  #told(entry) {
    return { ...entry, msg: entry.redacted ? '' : entry.msg, epoch: this.#epoch() };
  }

  #epoch() {
    return this.epoch.toString(16).padStart(16, '0');
  }
}

const GATE = { code: 200, host: '127.0.0.1', port: 3050 };

function isFor({ from, target }, me) {
  return from !== null && (from === me || target === '*' || target === me);
}

function ask(conn, route, body) {
  return new Promise((resolve, reject) => {
    const id = Symbol(route);
    conn.open.set(id, { resolve, reject });
    conn.requests.push({ id, route, body: JSON.parse(JSON.stringify(body)) });
  });
}

function settle(conn, id, body) {
  conn?.open.get(id)?.resolve(JSON.parse(JSON.stringify(body)));
  conn?.open.delete(id);
}
