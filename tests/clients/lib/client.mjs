// A chat client as a test sees it: a real client library in a process of its own.

import { startChild } from "./child.mjs";
import { SOON, within } from "./wait.mjs";

export const ROUTES = {
  gate: "gate.gateHandler.queryEntry",
  enter: "connector.entryHandler.enter",
  send: "chat.chatHandler.send",
};

export class Client {
  /** All events that have come, in their order: {event, body}. */
  events = [];
  /** Where it is connected: {host, port}. */
  address = null;

  isConnected = false;

  #child;
  #lastId = 0;
  #answers = new Map();
  #taken = new Set();
  #waiting = new Set();

  /** @param {"official" | "community" | "pinus" | "node-tcp" | "pypomelo"} kind */
  constructor(kind = "official") {
    this.kind = kind;
    this.#child = startChild(kind, (message) => this.#hear(message));
  }

  /** Asks the gate where to connect, connects there, and enters the room. */
  async login(gate, name, room) {
    await this.connect(await this.ask(gate, name));
    return await this.enter(name, room);
  }

  /** Asks the gate for the address of a connector, as the original page does. */
  async ask(gate, uid) {
    await this.connect(gate);
    const { code, host, port } = await this.request(ROUTES.gate, { uid });
    if (code !== 200) throw new Error(`the gate says ${code}`);
    await this.disconnect();
    return { host, port };
  }

  /**
   * Connects to a gate or a connector; done when the handshake is. `encrypt` signs what
   * is said, wrongly if `forged`; `ca` is the certificate to trust over TLS; `frames`
   * makes an event of each frame.
   */
  async connect({ host, port }, { reconnect = false, ...how } = {}) {
    this.address = { host, port };
    await this.#order({ do: "open", host, port, reconnect, ...how });
    this.isConnected = true;
  }

  /** Enters a room, and returns the answer's list of users. */
  async enter(name, room) {
    const answer = await this.request(ROUTES.enter, { username: name, rid: room });
    if (!answer.users) throw new Error(`${name} may not enter: ${JSON.stringify(answer)}`);
    [this.name, this.room] = [name, room];
    this.events.push({ event: "entered", body: answer.users });
    return answer.users;
  }

  /** Says something to all or to one, and returns the answer. */
  async send(content, target = "*") {
    return await this.request(ROUTES.send, {
      rid: this.room,
      content,
      from: this.name,
      target,
    });
  }

  async request(route, body, ms = 2 * SOON) {
    return await this.#order({ do: "request", route, body }, ms);
  }

  notify(route, body) {
    this.#child.send({ do: "notify", route, body });
  }

  /** Closes the connection; the client can connect again. */
  async disconnect() {
    await this.#order({ do: "close" });
    this.#take("disconnect");
  }

  /** Reads what the client keeps between its visits, after adding to it. */
  async store(entries = []) {
    return await this.#order({ do: "store", entries });
  }

  /**
   * The next event of this name that nobody has taken and that `like` accepts. Others
   * stay for whoever asks for them. The events of one name come in order.
   */
  async next(event, { like = () => true, ms = SOON } = {}) {
    const found = this.#take(event, like);
    if (found) return found.body;
    const waiting = { event, like };
    const answer = new Promise((resolve) => (waiting.resolve = resolve));
    this.#waiting.add(waiting);
    try {
      return await within(ms, () => `${this}: ${event}; came: ${this.#summary()}`, answer);
    } finally {
      this.#waiting.delete(waiting);
    }
  }

  /** The bodies of all events of this name so far. */
  all(event) {
    return this.events.filter((one) => one.event === event).map((one) => one.body);
  }

  /** Who is in the room, by all that this client was told since it entered. */
  get users() {
    let users = [];
    for (const { event, body } of this.events) {
      if (event === "entered") users = [...body];
      if (event === "onAdd") users.push(body.user);
      if (event === "onLeave") users.splice(users.indexOf(body.user) >>> 0, 1);
    }
    return users;
  }

  /** Ends the process without a farewell, as a crash of the browser would. */
  async kill() {
    this.#child.kill();
    await this.#child.exited;
    this.isConnected = false;
  }

  async stop() {
    this.isConnected = false;
    this.#child.end();
    const impatience = setTimeout(() => this.#child.kill(), 1_000);
    await this.#child.exited;
    clearTimeout(impatience);
  }

  toString() {
    return `${this.name ?? "nobody"} (${this.kind})`;
  }

  async #order(order, ms = 2 * SOON) {
    const id = ++this.#lastId;
    const answer = new Promise((resolve, reject) => this.#answers.set(id, { resolve, reject }));
    this.#child.send({ ...order, id });
    const what = () => `${this}: ${JSON.stringify(order)}; came: ${this.#summary()}`;
    return await within(ms, what, answer);
  }

  #hear({ id, event, body, error }) {
    if (id !== undefined) {
      // Among the events, so that a test can see what came before it.
      this.events.push({ event: "answer", body });
      const { resolve, reject } = this.#answers.get(id);
      this.#answers.delete(id);
      if (error) reject(new Error(`${this}: ${error}`));
      else resolve(body);
      return;
    }
    const one = { event, body };
    this.events.push(one);
    if (event === "disconnect") this.isConnected = false;
    if (event === "reopened") this.isConnected = true;
    for (const waiting of this.#waiting) {
      if (waiting.event === event && waiting.like(body)) {
        this.#taken.add(one);
        this.#waiting.delete(waiting);
        waiting.resolve(body);
        return;
      }
    }
  }

  #take(event, like = () => true) {
    const isIt = (one) => one.event === event && !this.#taken.has(one) && like(one.body);
    const found = this.events.find(isIt);
    if (found) this.#taken.add(found);
    return found;
  }

  #summary() {
    const told = this.events.filter(({ event }) => !/^(handshake|frame)/.test(event));
    return JSON.stringify(told.slice(-8).map(({ event, body }) => [event, body]));
  }
}
