// kubectl and helm on whatever cluster KUBECONFIG names, and programs of ours beside it.

import { execFile, spawn } from "node:child_process";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const run = promisify(execFile);

export const ROOT = fileURLToPath(new URL("../../../", import.meta.url));
const PROGRAMS = path.resolve(ROOT, process.env.SHADDOCK_BIN_DIR ?? "target/release");

/** Runs a command to its end, and returns what it printed; what it said is in the error. */
async function output(file, args, seconds) {
  try {
    const { stdout } = await run(file, args, { timeout: seconds * 1000, maxBuffer: 1 << 26 });
    return stdout.trim();
  } catch (error) {
    const why = error.killed ? `not within ${seconds} s` : error.stderr || error.stdout || error.message;
    throw new Error(`${path.basename(file)} ${args.join(" ")}: ${why.trim()}`);
  }
}

/** One installation, in a namespace of its own. */
export class Installation {
  constructor(namespace) {
    this.namespace = namespace;
  }

  kubectl(...args) {
    return output("kubectl", ["--namespace", this.namespace, ...args], 180);
  }

  helm(...args) {
    return output("helm", ["--namespace", this.namespace, ...args], 300);
  }

  /** All objects of a kind with the labels. */
  async list(kind, labels = "") {
    const text = await this.kubectl("get", kind, "--selector", labels, "--output", "json");
    return JSON.parse(text).items;
  }

  /** How many pods of a workload are ready and stay. */
  async ready(workload) {
    const pods = await this.list("pods", `app.kubernetes.io/name=${workload}`);
    const isReady = ({ status }) =>
      status.conditions?.some(({ type, status }) => type === "Ready" && status === "True");
    return pods.filter((pod) => !pod.metadata.deletionTimestamp && isReady(pod)).length;
  }
}

/** Waits until something is so, and returns the seconds that it took. */
export async function until(seconds, what, isSo) {
  const started = Date.now();
  for (;;) {
    if (await isSo()) return (Date.now() - started) / 1000;
    if (Date.now() - started > seconds * 1000) throw new Error(`not within ${seconds} s: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

/**
 * Pairs of clients who meet, one pair after the other, by the way that clients come: a
 * plain and an extended one, each of whom has to see what the other says, once.
 */
export class Meetings {
  met = 0;
  failures = [];
  #ends = false;
  #done;

  constructor(gate) {
    this.#done = this.#meet(gate);
  }

  async #meet(gate) {
    while (!this.#ends) {
      const code = await new Promise((resolve) => {
        const smoke = spawn(path.join(PROGRAMS, "loadgen"), ["smoke", "--gate", gate]);
        let said = "";
        smoke.stderr.on("data", (data) => (said += data));
        smoke.on("error", (error) => resolve(error.message));
        smoke.on("close", (code) => resolve(code === 0 ? 0 : said.trim()));
      });
      if (code === 0) this.met += 1;
      else this.failures.push(code);
    }
  }

  /** Since the last call: {met, failures}. */
  take() {
    const { met, failures } = this;
    [this.met, this.failures] = [0, []];
    return { met, failures };
  }

  async end() {
    this.#ends = true;
    await this.#done;
  }
}
