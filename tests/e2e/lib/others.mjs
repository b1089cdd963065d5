// The other half of the clients: a program of its own that judges itself. It is told what
// is broken meanwhile by a file that grows, and when all is over.

import { execFileSync, spawn } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { PROGRAMS } from "./kube.mjs";

const VERIFY = path.join(PROGRAMS, "verify");
const LAST_WORDS = 240_000;

/** Whether our clients with records are there: `verify clients`. */
export function haveVerify() {
  try {
    execFileSync(VERIFY, ["clients", "--help"], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
}

export class Others {
  #folder = fs.mkdtempSync(path.join(os.tmpdir(), "shaddock-e2e-"));
  #said = "";
  #child;
  #ended;

  /** @param {{gate: string, count: number, rooms: number, every: number}} options */
  constructor({ gate, count, rooms, every }) {
    fs.writeFileSync(this.#file("events"), "");
    // Where the store is, they are told at the end.
    const [chat, password] = [path.join(PROGRAMS, "chat"), this.#file("password")];
    const exports = `${chat} store export {room} --store "$(cat ${this.#file("store")})" --store-password-file ${password}`;
    const args = ["clients", "--gate", gate, "--clients", count, "--rooms", rooms, "--pace", `${every}ms`,
      "--time", "60m", "--events", this.#file("events"), "--figures", this.#file("figures"), "--export", exports];
    this.#child = spawn(VERIFY, args.map(String), { stdio: ["ignore", "pipe", "pipe"] });
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream.on("data", (data) => (this.#said += data));
    }
    this.#ended = new Promise((resolve) => this.#child.once("close", resolve));
  }

  #file(name) {
    return path.join(this.#folder, name);
  }

  /** That something is broken or moved from now on ("begin"), or is well again ("end"). */
  tell(fault, kind) {
    const line = { at: Date.now(), fault, kind };
    fs.appendFileSync(this.#file("events"), `${JSON.stringify(line)}\n`);
  }

  /** Lets it come to its end, with what is in the store: {code, said, figures}. */
  async end(store, password) {
    fs.writeFileSync(this.#file("store"), store);
    fs.writeFileSync(this.#file("password"), password, { mode: 0o600 });
    fs.appendFileSync(this.#file("events"), `${JSON.stringify({ end: true })}\n`);
    const late = setTimeout(() => this.#child.kill("SIGKILL"), LAST_WORDS);
    const code = await this.#ended;
    clearTimeout(late);
    const figures = fs.existsSync(this.#file("figures")) ? JSON.parse(fs.readFileSync(this.#file("figures"), "utf8")) : {};
    return { code, said: this.#said, figures };
  }

  remove() {
    this.#child.kill("SIGKILL");
    fs.rmSync(this.#folder, { recursive: true, force: true });
  }
}
