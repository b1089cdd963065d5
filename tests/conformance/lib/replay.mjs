// Plays a recording against a system: the client's part in the recorded order, each
// step after all that the server had sent before it in the recording.

import { sleep } from "../../clients/lib/wait.mjs";
import { Connection } from "./socket.mjs";

/** What is expected may take this much longer than it took the original. */
const PATIENCE_MS = 4_000;
/** The same once something was missing: the rest is played only to be compared. */
const DOUBT_MS = 300;
/** Nothing may come for this long before the client goes on. */
const QUIET_MS = 30;
/** Longer pauses of the recording are cut to this, unless its setup says otherwise. */
const PAUSE_MS = 250;
/** Frames that the recorded client sent within this time were not waited for. */
const AT_ONCE_MS = 5;
/** What comes this long after the last step is still compared. */
const TAIL_MS = 200;

/** Returns a map from each connection to {inbox, expected, context, error}. */
export async function replay(steps, system, setup = {}) {
  const run = new Run(system, setup);
  try {
    for (const [i, step] of steps.entries()) await run.take(step, steps[i - 1]);
    await run.settled(TAIL_MS);
  } finally {
    for (const { connection } of run.lines.values()) connection?.destroy();
  }
  return run.lines;
}

class Run {
  /** By the recorded name: {connection, expected, context: {alive, opened, left, ports}}. */
  lines = new Map();

  #doubt = false;
  #lastAction = performance.now();
  #patience = PATIENCE_MS;

  constructor(system, { longestPause = PAUSE_MS, pauseAfterKill = 0 }) {
    Object.assign(this, { system, longestPause, pauseAfterKill });
  }

  async take(step, previous) {
    const pause = Math.min(this.longestPause, step.t - (previous?.t ?? step.t));
    if (step.expect) {
      this.#line(step.conn).expected.push({ ...step.expect, seq: step.seq });
      this.#patience += Math.max(0, step.t - (previous?.t ?? step.t));
      if (step.expect.ms)
        this.#patience = Math.max(this.#patience, step.expect.ms[1] + PATIENCE_MS);
      return;
    }
    const isQuick = ({ do: what } = {}) => what === "send" || what === "shut";
    const atOnce = isQuick(step) && isQuick(previous) && step.t - previous.t < AT_ONCE_MS;
    if (!atOnce) {
      await this.settled(QUIET_MS);
      const rest = this.#lastAction + pause - performance.now();
      if (rest > 0) await sleep(rest);
    }
    await this.#act(step);
    this.#lastAction = performance.now();
    this.#patience = PATIENCE_MS;
  }

  /** Waits until all that is expected has come, and then nothing for `quiet` ms. */
  async settled(quiet) {
    const end = performance.now() + (this.#doubt ? DOUBT_MS : this.#patience);
    const lines = [...this.lines.values()];
    const isComplete = () =>
      lines.every(({ connection, expected }) => {
        return !connection || connection.inbox.length >= expected.length || connection.isOver;
      });
    while (!isComplete()) {
      if (performance.now() > end) {
        this.#doubt = true;
        break;
      }
      await sleep(2);
    }
    const silentFrom = () => Math.max(0, ...lines.map(({ connection }) => connection?.lastAt ?? 0));
    while (performance.now() < silentFrom() + quiet) await sleep(5);
    if (quiet === TAIL_MS) await sleep(TAIL_MS);
  }

  async #act(step) {
    const line = this.#line(step.conn);
    const { connection } = line;
    if (step.do === "open") return await this.#open(line, step);
    if (step.do === "kill") {
      await this.system.kill(step.victim);
      return await sleep(this.pauseAfterKill);
    }
    // What the recorded client wrote to a closed connection went nowhere.
    if (step.do === "wait" || !connection?.isWritable) return undefined;
    if (step.do === "shut") {
      line.context.left = performance.now();
      return connection.shut(step.how);
    }
    if (step.do === "ping") return connection.ping(step.payload);
    if (step.do === "pause" || step.do === "resume") return connection[step.do]();
    if (step.payload[0] === 2 || step.payload[0] === 3) line.context.alive = performance.now();
    return line.transport === "ws"
      ? connection.message(step.payload, step.opcode)
      : connection.bytes(step.payload);
  }

  async #open(line, { port, transport, request }) {
    line.transport = transport;
    try {
      line.connection = await Connection.open({ port: this.system.port(port), transport, request });
    } catch (error) {
      line.error = error.message;
    }
    line.context.opened = performance.now();
  }

  #line(conn) {
    if (!this.lines.has(conn)) {
      const context = { ports: this.system.connectorPorts };
      this.lines.set(conn, { connection: null, expected: [], context });
    }
    return this.lines.get(conn);
  }
}
