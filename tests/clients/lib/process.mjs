// One process of the system under test.

import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { until, within } from "./wait.mjs";

export const ROOT = fileURLToPath(new URL("../../../", import.meta.url));
export const BIN_DIR = path.resolve(ROOT, process.env.SHADDOCK_BIN_DIR ?? "target/debug");
/** What is kept of a process's log, to be shown when a test fails. */
const LOG_BYTES = 64 * 1024;

const running = new Set();
process.on("exit", () => running.forEach((child) => child.kill("SIGKILL")));

export class Process {
  /** All that it said on standard error and output. */
  log = "";

  #child = null;
  #exit = null;

  /** `admin` is the port of its admin interface, which is among `flags`. */
  constructor(name, program, flags, { admin } = {}) {
    Object.assign(this, { name, program, flags, admin });
  }

  /** Starts it, and waits until it is ready. */
  async start() {
    this.launch();
    await this.ready();
  }

  /** Starts it, and does not wait. */
  launch() {
    const file = path.join(BIN_DIR, this.program);
    if (!existsSync(file)) throw new Error(`${file} is missing: run \`cargo build\``);
    const child = spawn(file, this.flags, {
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...process.env, RUST_BACKTRACE: "1" },
    });
    running.add(child);
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding("utf8").on("data", (text) => {
        this.log = (this.log + text).slice(-LOG_BYTES);
      });
    }
    this.#child = child;
    this.#exit = new Promise((resolve, reject) => {
      child.once("error", reject);
      // "close" comes after the last of its output.
      child.once("close", (code, signal) => {
        running.delete(child);
        resolve({ code, signal });
      });
    });
  }

  get pid() {
    return this.#child.pid;
  }

  get isRunning() {
    return this.#child?.exitCode === null && this.#child?.signalCode === null;
  }

  async ready() {
    await until(20_000, `${this.name} is ready`, async () => {
      if (!this.isRunning) throw new Error(`it ended: ${this.log}`);
      return await this.isReady();
    });
  }

  async isReady() {
    const answer = await fetch(`http://127.0.0.1:${this.admin}/readyz`);
    return answer.ok;
  }

  async metrics() {
    const answer = await fetch(`http://127.0.0.1:${this.admin}/metrics`);
    return await answer.text();
  }

  signal(name) {
    this.#child.kill(name);
  }

  /** Ends it at once. */
  async kill() {
    this.signal("SIGKILL");
    await this.exit();
  }

  /** Asks it to end, and returns how it did. */
  async stop(ms = 30_000) {
    this.signal("SIGTERM");
    return await this.exit(ms);
  }

  /** How it ended: {code, signal}. */
  async exit(ms = 10_000) {
    return await within(ms, () => `${this.name} ends; it said: ${this.log}`, this.#exit);
  }
}
