// The processes that one recording needs, on free ports.

import { execFileSync } from "node:child_process";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { Cluster } from "../../clients/lib/cluster.mjs";
import { BIN_DIR } from "../../clients/lib/process.mjs";
import { until } from "../../clients/lib/wait.mjs";

const GATE = 3014;
const CONNECTORS = [3050, 3051, 3052];

/** Stands for this folder in a setup's flags. */
const HERE = "{here}";
const FOLDER = fileURLToPath(new URL("..", import.meta.url));

const help = new Map();

/** A flag of a setup that the binaries do not know yet, or undefined. */
export function unknownFlag({ flags = {} }) {
  for (const [program, list] of Object.entries(flags)) {
    if (!help.has(program)) {
      help.set(
        program,
        execFileSync(path.join(BIN_DIR, program), ["--help"], { encoding: "utf8" }),
      );
    }
    const missing = list.find((flag) => flag.startsWith("--") && !help.get(program).includes(flag));
    if (missing) return missing;
  }
  return undefined;
}

export class System {
  #cluster;
  #room;
  #hasGate;

  /** `ports` are those of the recording; `room` is the one whose shard is killed. */
  static async start(ports, { shards = 1, connectors = 0, flags, room } = {}) {
    const system = new System();
    system.#room = room;
    system.#hasGate = ports.includes(GATE);
    const count = Math.max(1, connectors, ...ports.map((port) => CONNECTORS.indexOf(port) + 1));
    system.#cluster = await Cluster.plan({ connectors: count, shards, flags: withFolder(flags) });
    const { processes } = system;
    for (const one of processes) one.launch();
    await Promise.all(processes.map((one) => one.ready()));
    if (system.#hasGate) await system.#allListed(count);
    return system;
  }

  get processes() {
    const { shards, connectors, gate } = this.#cluster;
    return [...shards, ...connectors, ...(this.#hasGate ? [gate] : [])];
  }

  /** Our port for a recorded one. */
  port(recorded) {
    if (recorded === GATE) return this.#cluster.gate.port;
    return this.#cluster.connectors[CONNECTORS.indexOf(recorded)].port;
  }

  get connectorPorts() {
    return this.#cluster.connectors.map(({ port }) => port);
  }

  /** Kills what stands in the place of a process of the recording. */
  async kill(name) {
    const [, kind, number] = /^(\w+)-server-(\d)$/.exec(name);
    if (kind === "connector") return await this.#cluster.connectors[number - 1].kill();
    return await (await this.#cluster.shardOf(this.#room)).kill();
  }

  async stop() {
    await Promise.all(this.processes.map((one) => one.isRunning && one.kill()));
  }

  async #allListed(count) {
    const line = `gate_connectors{state="ready"} ${count}\n`;
    await until(10_000, `the gate has ${count} connectors`, async () => {
      return (await this.#cluster.gate.metrics()).includes(line);
    });
  }
}

function withFolder(flags = {}) {
  const resolved = Object.entries(flags).map(([program, list]) => {
    return [program, list.map((word) => word.replace(`${HERE}/`, FOLDER))];
  });
  return Object.fromEntries(resolved);
}
