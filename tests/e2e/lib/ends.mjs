// How containers ended: a deleted pod's object tells it just before it goes.

import { spawn } from "node:child_process";

const CODES = ".status.containerStatuses[*].state.terminated.exitCode";

export class Ends {
  #codes = new Map();
  #child;
  #isOver = false;

  constructor(namespace) {
    this.#watch(namespace);
  }

  #watch(namespace) {
    const args = ["--namespace", namespace, "get", "pods", "--watch", "--no-headers",
      "--output", `custom-columns=POD:.metadata.name,CODE:${CODES}`];
    this.#child = spawn("kubectl", args, { stdio: ["ignore", "pipe", "ignore"] });
    let rest = "";
    this.#child.stdout.on("data", (data) => {
      const lines = (rest + data).split("\n");
      rest = lines.pop();
      for (const line of lines) {
        const [pod, code] = line.split(/ +/);
        if (/^\d+$/.test(code)) this.#codes.set(pod, Number(code));
      }
    });
    // The API server may be away for a while.
    this.#child.on("close", () => this.#isOver || setTimeout(() => this.#isOver || this.#watch(namespace), 1000));
  }

  /** Exit codes since the last call of pods of a workload: Map of name and code. */
  take(workload) {
    const codes = new Map([...this.#codes].filter(([pod]) => pod.startsWith(`${workload}-`)));
    for (const pod of codes.keys()) this.#codes.delete(pod);
    return codes;
  }

  end() {
    this.#isOver = true;
    this.#child.kill();
  }
}
