// What happens to a cluster: no API server, a database that is killed, a node that is lost.

import { setTimeout as sleep } from "node:timers/promises";
import { output, until } from "./kube.mjs";
import { WORKLOADS } from "./world.mjs";

const { E2E_API_STOP, E2E_API_START, E2E_CONTAINER_KILL, E2E_NODE_STOP, E2E_NODE_START } = process.env;
const API_AWAY = 60_000;

export async function misfortunes(world) {
  const { suite } = world;
  if (E2E_API_STOP && E2E_API_START) {
    await suite.step("60 s without API server", {}, () => withoutApi(world));
  } else {
    suite.leaveOut("no API server", "E2E_API_STOP and E2E_API_START are not given");
  }
  await suite.step("PostgreSQL's pod is killed, and back", { refused: Infinity }, () => withoutStore(world));
  if (world.other && E2E_NODE_STOP && E2E_NODE_START) {
    const mild = { refused: Infinity, broken: Infinity };
    await suite.step(`the node ${world.other} is lost`, { ...mild, back: 180 }, () => lose(world));
    await suite.step("… and is back", mild, () => mend(world));
  } else {
    suite.leaveOut("a lost node", "E2E_NODE_STOP and E2E_NODE_START are not given, or there is one node");
  }
}

const shell = (command, seconds = 60) => output("sh", ["-c", command], seconds);

/** Acceptance test 12: nobody's readiness changes, and a shard that crashes is taken over. */
async function withoutApi(world) {
  const pods = (await Promise.all(WORKLOADS.map((name) => world.pods(name)))).flat();
  const victim = pods.find(({ metadata }) => metadata.name.startsWith("chat-"));
  const stopped = Date.now();
  try {
    await shell(E2E_API_STOP);
    await sleep(10_000);
    if (E2E_CONTAINER_KILL) {
      const id = victim.status.containerStatuses[0].containerID.replace(/^.*:\/\//, "");
      await shell(`${E2E_CONTAINER_KILL} ${victim.spec.nodeName} ${id}`);
      world.killed.add(victim.metadata.name);
    }
    await sleep(stopped + API_AWAY - Date.now());
  } finally {
    await shell(E2E_API_START);
  }
  const isBack = () => world.it.api.get("/readyz").then(() => true, () => false);
  await until(60, "the API server is back", isBack);
  // It takes nodes for lost that could not tell it that they are well, and says so of their
  // pods; what the programs said of themselves is what their containers' readiness is.
  const isWell = async () => (await world.it.list("nodes")).every((node) => isTrue(node, "Ready"));
  const nodes = await until(180, "all nodes are ready", isWell);
  const after = (await Promise.all(WORKLOADS.map((name) => world.pods(name)))).flat();
  const changed = after.filter(({ metadata, status }) => {
    const ready = status.conditions.find(({ type }) => type === "ContainersReady");
    const isSame = ready.status === "True" && Date.parse(ready.lastTransitionTime) < stopped;
    return !isSame && !world.killed.has(metadata.name);
  });
  if (changed.length > 0) throw new Error(`not ready all the time: ${changed.map(({ metadata }) => metadata.name).join(", ")}`);
  return `all stayed ready, nodes after ${nodes.toFixed(0)} s${E2E_CONTAINER_KILL ? "; a chat container was killed meanwhile" : ""}`;
}

async function withoutStore(world) {
  const [old] = await world.pods("shaddock-postgres");
  // With the least grace there is, and only one at a time on the volume. The kubelet may
  // still look for an API server that was away.
  await world.it.kubectl("delete", "pod", old.metadata.name, "--grace-period=1");
  const seconds = await until(120, "PostgreSQL is back", async () => {
    const [pod] = await world.pods("shaddock-postgres");
    return pod && pod.metadata.uid !== old.metadata.uid && (await world.it.ready("shaddock-postgres")) === 1;
  });
  const back = await stores(world);
  return `ready after ${seconds.toFixed(1)} s, messages stored again after ${back.toFixed(1)} s more`;
}

/** Waits until messages that are said now are stored. */
function stores({ suite }) {
  const since = Date.now();
  return until(60, "messages are stored", () =>
    suite.crowd.said.slice(-200).some(({ sent, code }) => sent > since && code === "ok"));
}

async function lose(world) {
  await shell(E2E_NODE_STOP);
  const seconds = await until(120, `${world.other} is not ready`, async () => !(await isReady(world)));
  // Until then new connections are still led there.
  await sleep(2000);
  return `seen after ${seconds.toFixed(0)} s`;
}

async function mend(world) {
  await shell(E2E_NODE_START);
  await until(120, `${world.other} is ready`, () => isReady(world));
  for (const workload of WORKLOADS) {
    const { length } = await world.pods(workload);
    await until(120, `all of ${workload} are ready`, async () => (await world.it.ready(workload)) === length);
  }
}

async function isReady({ it, other }) {
  return isTrue((await it.list("nodes")).find(({ metadata }) => metadata.name === other), "Ready");
}

const isTrue = ({ status }, wanted) =>
  status.conditions.some(({ type, status }) => type === wanted && status === "True");
