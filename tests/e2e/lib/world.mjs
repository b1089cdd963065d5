// The installation that the suite is about, and its clients: how they come, and go.

import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { Ends } from "./ends.mjs";
import { both, imageValues, Installation, Meetings, output, until } from "./kube.mjs";
import { runNotes } from "./notes.mjs";
import { haveVerify, Others } from "./others.mjs";
import { Crowd } from "./plain.mjs";
import { Suite } from "./suite.mjs";
import { makeDefaultClass, removeDefaultClass } from "./volumes.mjs";

const CLIENTS = Number(process.env.E2E_CLIENTS ?? 500);
const ROOM_SIZE = 10;
/** Each says something this often, in milliseconds. */
const EVERY = 10_000;
export const WORKLOADS = ["gate", "connector", "chat", "web-server"];

export class World {
  suite;
  it;
  ends;
  gate;
  /** Pods of which the suite kills a container. */
  killed = new Set();
  /** Where PostgreSQL and its volume are, which are not what is lost. */
  node;
  #postgres;
  #folder = fs.mkdtempSync(path.join(os.tmpdir(), "shaddock-e2e-"));

  constructor(namespace, only) {
    this.suite = new Suite(only);
    this.it = new Installation(namespace);
  }

  /** For commands that name no namespace. */
  get env() {
    return { KUBECONFIG: path.join(this.#folder, "kubeconfig") };
  }

  /** A command line, as an operator writes it. */
  say(line, seconds = 180) {
    return both("bash", ["-c", line], seconds, this.env);
  }

  async prepare() {
    const nodes = (await this.it.list("nodes")).map(({ metadata }) => metadata.name);
    this.node = nodes.find((name) => name !== (process.env.E2E_NODE_LOST ?? nodes[1]));
    this.other = nodes.find((name) => name !== this.node);
    const values = ["registry", "repository", "tag"].map((key) => `{.store.bundled.image.${key}}`);
    const [registry, repository, tag] = (await this.it.helm("show", "values", "./helm", "--jsonpath", values.join(" "))).split(" ");
    this.#postgres = `${registry}/${repository}:${tag}`;
    const storage = await makeDefaultClass(this.node, this.#postgres);
    await this.it.makeNamespace();
    fs.writeFileSync(this.env.KUBECONFIG, await output("kubectl", ["config", "view", "--flatten", "--minify", "--raw"], 20), { mode: 0o600 });
    await output("kubectl", ["config", "set-context", "--current", `--namespace=${this.it.namespace}`], 20, this.env);
    this.ends = new Ends(this.it.namespace);
    return `${nodes.length} nodes, volumes by ${storage}`;
  }

  async pods(workload) {
    const pods = await this.it.list("pods", `app.kubernetes.io/name=${workload}`);
    return pods.filter(({ metadata }) => !metadata.deletionTimestamp);
  }

  /** Waits until so many pods of a workload are ready, and no other is left. */
  scaled(workload, replicas, seconds = 180) {
    return until(seconds, `${replicas} of ${workload} are ready, and no other is left`, async () => {
      const pods = await this.it.list("pods", `app.kubernetes.io/name=${workload}`);
      return pods.length === replicas && (await this.it.ready(workload)) === replicas;
    });
  }

  /** Pods that were told to end have to have ended in order. */
  ended(workload) {
    const codes = this.ends.take(workload);
    const bad = [...codes].filter(([, code]) => code !== 0);
    if (bad.length > 0) throw new Error(`exit codes: ${bad.map((pair) => pair.join(" ")).join(", ")}`);
    return `${codes.size} ended with 0`;
  }

  async remove() {
    this.ends?.end();
    this.suite.meetings?.end();
    this.suite.others?.remove();
    await this.suite.crowd?.end();
    const tell = (error) => console.error(error.message);
    await this.it.helm("uninstall", "chat", "--ignore-not-found", "--wait").catch(tell);
    await this.it.kubectl("delete", "namespace", this.it.namespace, "--ignore-not-found").catch(tell);
    if (this.#postgres) await removeDefaultClass(this.node, this.#postgres).catch(tell);
    this.it.api.end();
    fs.rmSync(this.#folder, { recursive: true });
  }
}

/** Acceptance test 1: what stands in the README, on an empty cluster. */
export async function install(world) {
  const { suite, it } = world;
  const isReady = (await suite.act("a namespace, restricted, and a volume", () => world.prepare()))
    && (await suite.act("helm install chat ./helm", async () => {
      const { stderr } = await world.say(["helm install chat ./helm", ...imageValues()].join(" "));
      if (/warning/i.test(stderr)) throw new Error(stderr);
      const all = [...WORKLOADS, "shaddock-postgres"];
      const seconds = await until(60, "all pods are ready", async () => {
        const ready = await Promise.all(all.map((name) => it.ready(name)));
        return ready.join() === "2,2,2,2,1";
      });
      return `all ready ${seconds.toFixed(1)} s after it, no warning`;
    }));
  if (!isReady) return false;
  await suite.act("helm test chat", async () => (await world.say("helm test chat"), "2 tests"));
  await suite.act("the commands of the NOTES", async () => {
    const { stdout } = await world.say("helm get notes chat");
    return `${await runNotes(stdout, world.env)} commands`;
  });
  return true;
}

/** Lets the clients come. */
export async function start(world) {
  const { suite, it } = world;
  const [{ spec }] = await it.list("services", "app.kubernetes.io/name=web-server");
  world.gate = process.env.E2E_GATE ?? `ws://${spec.clusterIP}:${spec.ports[0].port}/gate`;
  const half = CLIENTS / 2;
  const options = { gate: world.gate, count: half, rooms: half / ROOM_SIZE, every: EVERY };
  return suite.act("all clients come", async () => {
    if (haveVerify()) {
      suite.others = new Others(options);
    } else {
      suite.leaveOut("clients of our own that stay", "there is no `verify clients`; pairs come and go instead");
      suite.meetings = new Meetings(world.gate, 500);
    }
    suite.crowd = new Crowd(options);
    await until(120, "all are in their rooms", () => suite.crowd.present === half);
    return `${half} of npm, ${suite.others ? half : 2} of ours`;
  });
}

/** Lets them go, and asks ours what they think of it. */
export async function stop(world) {
  const { suite, it } = world;
  if (suite.others) {
    await suite.act("the rules, for our own clients", async () => {
      const password = ["--output", "jsonpath={.data.password}"];
      const secret = await it.kubectl("get", "secret", "shaddock-postgres", ...password);
      const postgres = await it.forward("pod/shaddock-postgres-0", 5432);
      const store = `postgres://shaddock@127.0.0.1:${postgres.port}/shaddock`;
      const ended = await suite.others.end(store, Buffer.from(secret, "base64").toString());
      postgres.end();
      const { code, said, figures } = ended;
      if (code !== 0) throw new Error(`verify ends with ${code}:\n${said.split("\n").slice(-40).join("\n")}`);
      const { acknowledged, pushed, reconnects, reconnects_per_second_peak: peak, away, lost, doubled } = figures;
      return `${acknowledged} messages acknowledged, ${pushed} pushed, ${lost} lost, ${doubled} doubled; ${reconnects} back, ` +
        `away ${away.p50_ms} ms at p50 and ${away.max_ms} ms at most, ${peak} back/s at most`;
    });
  }
  await suite.act("no container was restarted but those that were killed", async () => {
    const pods = await it.list("pods");
    const restarted = pods.flatMap(({ metadata, status }) =>
      (status.containerStatuses ?? []).filter(({ restartCount, lastState }) =>
        restartCount > 0 && !(lastState.terminated?.exitCode === 137 && world.killed.has(metadata.name)))
        .map(() => metadata.name));
    if (restarted.length > 0) throw new Error(restarted.join(", "));
  });
}
