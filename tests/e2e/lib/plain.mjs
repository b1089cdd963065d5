// A crowd of plain clients that stay: the official client, in rooms, each saying something
// now and then. Whoever loses the connection asks the gate again and comes back. What each
// sent, heard and was answered is kept, and judged for any span of time.

import { newPomelo } from "./pomelo.mjs";

const PATIENCE = 10_000;
const BACKOFF_MAX = 5_000;
/** In a room in which several speak nobody hears nothing for so long. */
const SILENCE = 15_000;
const UNDER_WAY = 1_000;
/** How late a timer may be. */
const SLACK = 1_000;
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const ROUTE = { gate: "gate.gateHandler.queryEntry", enter: "connector.entryHandler.enter", send: "chat.chatHandler.send" };

export class Crowd {
  /** All that was ever said: {room, from, key, sent, answered, code}. */
  said = [];
  clients = [];
  isOver = false;

  /** @param {{gate: string, count: number, rooms: number, every: number}} options */
  constructor({ gate, count, rooms, every }) {
    Object.assign(this, wayIn(gate));
    this.every = every;
    const name = `p${process.pid % 10_000}`;
    for (let index = 0; index < count; index += 1) {
      this.clients.push(new Client(this, `${name}-${index}`, `${name}-room-${index % rooms}`));
    }
  }

  /** How many are in their rooms, and hear what is said there. */
  get present() {
    return this.clients.filter((client) => client.isPresent).length;
  }

  /** Whether somebody has waited for an answer for some time, and may be about to give up. */
  get isWaiting() {
    const now = Date.now();
    return this.said.some(({ sent, code }) => code === undefined && sent < now - 3000 && sent > now - PATIENCE);
  }

  async end() {
    this.isOver = true;
    await Promise.all(this.clients.map((client) => client.end()));
  }

  /**
   * What was said between two moments and did not come to somebody who was there (lost),
   * came twice, or in another order; and who was away meanwhile. Somebody is there from the
   * answer to the enter on, until the kick or an orderly end; if a connection breaks, until
   * the last that came of it. What was acknowledged in the last second of that, or before a
   * connection broke, and nothing after it came, was under way to somebody who had to go: it
   * is counted apart. What was refused or not answered is unexplained, unless its author's
   * own connection ended before the answer was due.
   */
  judge(from, to) {
    const said = this.said.filter(({ sent }) => sent >= from && sent < to);
    const acked = said.filter(({ code }) => code === "ok");
    const missed = acked.flatMap((message) =>
      this.clients
        .filter((client) => client.room === message.room && !client.heard.has(message.key))
        .map((client) => ({ client: client.name, why: client.missed(message), ...message }))
        .filter(({ why }) => why));
    const lost = missed.filter(({ why }) => why !== "under way");
    const now = Date.now();
    const codes = count(said.map(({ code }) => code).filter((code) => code && code !== "ok"));
    const returns = this.clients.flatMap((client) => client.returns).filter(({ at }) => at >= from && at < to);
    const ends = this.clients.flatMap((client) => client.ends).filter(({ at }) => at >= from && at < to);
    const kicks = ends.filter(({ kicked }) => kicked);
    const faults = this.clients.flatMap((client) => client.faults).filter(({ at }) => at >= from && at < to);
    const ended = new Map(this.clients.map(({ name, ends }) => [name, ends.map(({ at }) => at)]));
    const isCutOff = (message) => ended.get(message.from).some((at) => at >= message.sent && at <= message.sent + PATIENCE + SLACK);
    const waits = acked.map(({ sent, answered }) => answered - sent).sort((a, b) => a - b);
    return {
      acked: acked.length,
      refused: said.filter(({ code }) => code !== "ok" && code !== undefined).length,
      codes: [...codes].map(([code, many]) => ` ${many} × ${code}`).join(""),
      unanswered: said.filter(({ code }) => code === undefined).length,
      unexplained: said.filter((message) => message.code !== "ok" && !isCutOff(message)).length,
      pending: said.filter(({ code, sent }) => code === undefined && sent > now - PATIENCE).length,
      p99: waits[Math.floor(waits.length * 0.99)] ?? 0,
      slowest: waits.at(-1) ?? 0,
      lost,
      cut: missed.length - lost.length,
      doubled: faults.filter(({ what }) => what === "doubled").length,
      disordered: faults.filter(({ what }) => what === "disordered").length,
      returns: returns.length,
      kicks: kicks.length,
      reasons: [...count(kicks.map(({ kicked }) => kicked))].map(([reason, many]) => `${many} × ${reason}`),
      broken: ends.length - kicks.length,
      away: Math.max(0, ...returns.map(({ away }) => away / 1000)),
      again: [...count(returns.map(({ client }) => client)).values()].filter((many) => many > 1).length,
      kicksPeak: peak(kicks),
      returnsPeak: peak(returns),
    };
  }
}

/** Asks the gate, opens a connection where it says, and leaves. */
export async function visit(gate) {
  const visitor = new Client({ isOver: true, ...wayIn(gate) }, "visitor", "");
  await visitor.look();
}

/** Such clients take a path as part of the host. */
function wayIn(gate) {
  const [, address, port, path] = /^ws:\/\/(.+):(\d+)(\/.*)?$/.exec(gate);
  return { gate: { host: path ? `${address}:${port}${path}?` : address, port } };
}

/** The most of them within any second. */
function peak(events) {
  const times = events.map(({ at }) => at).sort((a, b) => a - b);
  let first = 0;
  return times.reduce((most, at, last) => {
    while (times[first] <= at - 1000) first += 1;
    return Math.max(most, last - first + 1);
  }, 0);
}

function count(names) {
  const counts = new Map();
  for (const name of names) counts.set(name, (counts.get(name) ?? 0) + 1);
  return counts;
}

class Client {
  /** What it heard, and during which stay. */
  heard = new Map();
  /** Times in the room: [since, until]. */
  stays = [];
  since = undefined;
  returns = [];
  ends = [];
  faults = [];
  #newest = new Map();
  #number = 0;
  #socket;
  #lastByte = 0;
  #kicked = false;
  #reason;
  #speaking;
  #life;

  constructor(crowd, name, room) {
    Object.assign(this, { crowd, name, room });
    this.pomelo = newPomelo((socket) => this.#opened(socket));
    this.pomelo.on("onChat", (body) => this.#hear(body));
    this.pomelo.on("onKick", ({ reason }) => {
      this.#kicked = Date.now();
      this.#reason = reason;
    });
    this.#life = this.#live();
  }

  get isPresent() {
    return this.since !== undefined && this.#lastByte > Date.now() - SILENCE;
  }

  /**
   * Why it should have heard that: "later", as it heard what was said later; "there", as it
   * stayed. "under way": it had to go. undefined: it was not there from when that was said
   * until it was acknowledged.
   */
  missed({ sent, answered }) {
    const stays = this.since === undefined ? this.stays : [...this.stays, [this.since, Infinity]];
    const at = stays.findIndex(([since, until]) => since <= sent && answered <= until);
    if (at < 0) return undefined;
    const [, until, isBroken] = stays[at];
    // In the same stay: what was said at the end of one, and stored late, may come in the next.
    const hasLater = this.crowd.said.some((later) => later.sent > answered && this.heard.get(later.key) === at);
    if (hasLater) return "later";
    return isBroken || until - answered <= UNDER_WAY ? "under way" : "there";
  }

  async end() {
    this.pomelo.disconnect();
    this.#socket?.terminate();
    await this.#life;
  }

  async #live() {
    if (!this.crowd.isOver) await sleep(Math.random() * 20 * this.crowd.clients.length);
    for (let attempts = 0; !this.crowd.isOver; ) {
      // Full jitter, as whoever writes a page should.
      if (this.stays.length > 0 || attempts > 0) {
        await sleep(Math.random() * Math.min(BACKOFF_MAX, 1000 * 2 ** attempts));
      }
      attempts += 1;
      if (!(await this.#come().catch(() => false))) continue;
      attempts = 0;
      await this.#socket.over;
      this.#leave();
    }
  }

  /** Asks the gate, goes where it says, and enters: true if it is in the room. */
  async #come() {
    if (this.crowd.isOver || !(await this.#reach())) return false;
    const { users } = await this.#request(ROUTE.enter, { username: this.name, rid: this.room });
    if (!users) {
      this.pomelo.disconnect();
      return false;
    }
    this.since = Date.now();
    const last = this.stays.at(-1);
    if (last) this.returns.push({ client: this.name, at: this.since, away: this.since - last[1] });
    this.#speaking = setTimeout(() => this.#speak(), Math.random() * this.crowd.every);
    return true;
  }

  /** Asks the gate, and goes where it says. */
  async #reach() {
    await this.#open(this.crowd.gate);
    const { code, host, port } = await this.#request(ROUTE.gate, { uid: this.name });
    this.pomelo.disconnect();
    if (code !== 200) return false;
    await this.#open({ host, port });
    return true;
  }

  async look() {
    await this.#reach();
    this.pomelo.disconnect();
  }

  #leave() {
    const isOrderly = this.#socket.code === 1000 || this.#socket.code === 1001;
    const until = this.#kicked || (isOrderly ? Date.now() : this.#lastByte);
    clearTimeout(this.#speaking);
    this.pomelo.disconnect(); // stops its timers
    const isBroken = !this.#kicked && !isOrderly;
    this.stays.push([this.since, Math.max(this.since, until), isBroken]);
    const kicked = this.#kicked ? (this.#reason ?? "without a reason") : undefined;
    if (!this.crowd.isOver) this.ends.push({ at: Date.now(), kicked });
    this.since = undefined;
  }

  #opened(socket) {
    this.#socket = socket;
    this.#kicked = false;
    socket.on("message", () => {
      if (socket === this.#socket) this.#lastByte = Date.now();
    });
    socket.on("error", () => {});
    socket.over = new Promise((resolve) => socket.on("close", (code) => resolve((socket.code = code))));
    socket.failed = socket.over.then((code) => Promise.reject(new Error(`closed with ${code}`)));
    socket.failed.catch(() => {});
  }

  #open({ host, port }) {
    const opened = new Promise((resolve) => this.pomelo.init({ host, port, user: {} }, resolve));
    return this.#inTime(opened);
  }

  #request(route, body) {
    return this.#inTime(new Promise((resolve) => this.pomelo.request(route, body, resolve)));
  }

  async #inTime(promise) {
    const socket = this.#socket;
    let timer;
    const late = new Promise((_, reject) => (timer = setTimeout(reject, PATIENCE, new Error("late"))));
    try {
      return await Promise.race([promise, socket.failed, late]);
    } catch (error) {
      socket.terminate();
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }

  #speak() {
    // Of one session: what was under way when it broke may be stored after what the next says.
    const key = `${this.name}/${this.stays.length}#${(this.#number += 1)}`;
    const message = { room: this.room, from: this.name, key, sent: Date.now() };
    this.crowd.said.push(message);
    const body = { rid: this.room, from: this.name, target: "*", content: key };
    const socket = this.#socket;
    const late = setTimeout(() => socket.terminate(), PATIENCE);
    this.pomelo.request(ROUTE.send, body, (answer) => {
      clearTimeout(late);
      message.answered = Date.now();
      message.code = (answer.code ?? 200) === 200 ? "ok" : answer.code;
    });
    this.#speaking = setTimeout(() => this.#speak(), this.crowd.every * (0.5 + Math.random()));
  }

  #hear({ msg }) {
    const fault = (what) => this.faults.push({ at: Date.now(), what, msg });
    if (this.heard.has(msg)) return fault("doubled");
    this.heard.set(msg, this.stays.length);
    const [session, number] = msg.split("#");
    if (Number(number) < (this.#newest.get(session) ?? 0)) fault("disordered");
    this.#newest.set(session, Number(number));
  }
}
