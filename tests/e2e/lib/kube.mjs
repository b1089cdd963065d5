// kubectl and helm on whatever cluster KUBECONFIG names, and programs of ours beside it.

import { execFile, spawn } from "node:child_process";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const run = promisify(execFile);

export const ROOT = fileURLToPath(new URL("../../../", import.meta.url));
export const PROGRAMS = path.resolve(ROOT, process.env.SHADDOCK_BIN_DIR ?? "target/release");

/** Runs a command to its end, and returns what it printed; what it said is in the error. */
export async function output(file, args, seconds, env) {
  return (await both(file, args, seconds, env)).stdout;
}

/** The same, and what it said on the way. */
export async function both(file, args, seconds, env = {}) {
  const options = { timeout: seconds * 1000, maxBuffer: 1 << 26, cwd: ROOT, env: { ...process.env, ...env } };
  try {
    const { stdout, stderr } = await run(file, args, options);
    return { stdout: stdout.trim(), stderr: stderr.trim() };
  } catch (error) {
    const why = error.killed ? `not within ${seconds} s` : error.stderr || error.stdout || error.message;
    throw new Error(`${path.basename(file)} ${args.join(" ")}: ${why.trim()}`);
  }
}

/** What Helm is told of the image that is tried: of $IMAGE, or nothing, for the default. */
export function imageValues(image = process.env.IMAGE) {
  if (!image) return [];
  const [, repository, tag] = /^(.+):([^:/]+)$/.exec(image) ?? [];
  if (!tag) throw new Error(`IMAGE=${image} has no tag`);
  return ["--set", `image.repository=${repository}`, "--set-string", `image.tag=${tag}`];
}

/** What `kubectl get --raw` shows, without a process for each look: they are many. */
class Api {
  #address;
  #proxy;

  async get(path) {
    this.#address ??= this.#start();
    const answer = await fetch(`${await this.#address}${path}`, { signal: AbortSignal.timeout(30_000) });
    const text = await answer.text();
    if (!answer.ok) throw new Error(`GET ${path}: ${answer.status} ${text.trim()}`);
    return text;
  }

  #start() {
    this.#proxy = spawn("kubectl", ["proxy", "--port=0"], { stdio: ["ignore", "pipe", "inherit"] });
    return new Promise((resolve, reject) => {
      let said = "";
      this.#proxy.on("error", reject).on("close", () => reject(new Error("kubectl proxy has ended")));
      this.#proxy.stdout.on("data", (data) => {
        const [address] = /[\d.]+:\d+/.exec((said += data)) ?? [];
        if (address) resolve(`http://${address}`);
      });
    });
  }

  end() {
    this.#proxy?.kill();
  }
}

/** One installation, in a namespace of its own. */
export class Installation {
  api = new Api();

  constructor(namespace) {
    this.namespace = namespace;
  }

  kubectl(...args) {
    return output("kubectl", ["--namespace", this.namespace, ...args], 180);
  }

  helm(...args) {
    return output("helm", ["--namespace", this.namespace, ...args], 300);
  }

  /** Makes the namespace, which takes no pod that is not restricted. */
  async makeNamespace() {
    await this.kubectl("create", "namespace", this.namespace);
    const modes = ["enforce", "warn"].map((mode) => `pod-security.kubernetes.io/${mode}=restricted`);
    await this.kubectl("label", "namespace", this.namespace, ...modes);
  }

  /** All of the namespace's "pods" or "services" with the labels, or all "nodes". */
  async list(kind, labels = "") {
    const where = kind === "nodes" ? kind : `namespaces/${this.namespace}/${kind}`;
    const query = new URLSearchParams({ labelSelector: labels });
    return JSON.parse(await this.api.get(`/api/v1/${where}?${query}`)).items;
  }

  /** A port of this machine that leads to one of a pod, until `end` is called: {port, end}. */
  async forward(to, port) {
    const args = ["--namespace", this.namespace, "port-forward", to, `:${port}`];
    const child = spawn("kubectl", args, { stdio: ["ignore", "pipe", "inherit"] });
    const [, local] = await new Promise((resolve, reject) => {
      let said = "";
      child.on("error", reject).on("close", () => reject(new Error(`no port-forward to ${to}`)));
      child.stdout.on("data", (data) => {
        const told = /127\.0\.0\.1:(\d+)/.exec((said += data));
        if (told) resolve(told);
      });
    });
    return { port: Number(local), end: () => child.kill() };
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

  /** `pause`: milliseconds between two meetings. */
  constructor(gate, pause = 0) {
    this.#done = this.#meet(gate, pause);
  }

  async #meet(gate, pause) {
    for (; !this.#ends; await new Promise((resolve) => setTimeout(resolve, pause))) {
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
