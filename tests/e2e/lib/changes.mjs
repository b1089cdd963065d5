// What operators do: scale, upgrade, restart, drain a node, and let the load decide.

import { setTimeout as sleep } from "node:timers/promises";
import { imageValues, output, until } from "./kube.mjs";
import { visit } from "./plain.mjs";
import { WORKLOADS } from "./world.mjs";

/** Sessions that one connector sends away in a second, where there are few. */
const PACE = 10;
/** Kicks are seen in other seconds than they are sent in. */
const EDGE = 3;
const kicks = (pods) => pods * (PACE + EDGE);
/** Milliseconds until answers come while rooms move as planned (acceptance test 6). */
const MOVING = { answered: 250 };
/** Of those whose connectors are replaced one after the other (acceptance test 8). */
const AGAIN = 0.05;

/** Of those whom web-servers lead that end over 30 s, and those who are kicked. */
const RETURNS = 60;

/** Settings of all workloads; and drains that are over sooner, for what comes after. */
const OTHERS = ["--set", "connector.drainSeconds=20", "--set", "'log=info\\,hyper=warn'"];

export async function changes(world) {
  const { suite, other } = world;
  await suite.step("kubectl scale deployment connector --replicas=3", {}, async () => {
    await world.say("kubectl scale deployment connector --replicas=3");
    return `ready after ${(await world.scaled("connector", 3)).toFixed(1)} s`;
  });
  await suite.step("connectors 3 to 5", {}, () => scaleUp(world, 5));
  await suite.step("connectors 5 to 2", { pace: kicks(3), back: 30 }, async () => {
    await world.say("kubectl scale deployment connector --replicas=2");
    await world.scaled("connector", 2);
    return world.ended("connector");
  });
  for (const [from, to] of [[2, 3], [3, 4], [4, 3]]) {
    await suite.step(`chat ${from} to ${to}`, MOVING, async () => {
      world.ends.take("chat");
      await world.say(`kubectl scale deployment chat --replicas=${to}`);
      const seconds = await world.scaled("chat", to);
      return to > from ? `ready after ${seconds.toFixed(1)} s` : world.ended("chat");
    });
  }
  // A web-server that ends takes the connections with it that it leads.
  await suite.step("helm upgrade, other settings", { pace: kicks(2), broken: Infinity, returns: RETURNS }, () => upgrade(world));
  // Now, since the upgrade has put pods on all nodes; the restarts do so again.
  if (other) {
    // The next pod goes when the last one's successor is ready, which may be before its drain is over.
    await suite.step(`kubectl drain ${other}`, { pace: kicks(2), broken: Infinity, returns: RETURNS }, () => drain(world));
  } else {
    suite.leaveOut("kubectl drain", "there is one node only");
  }
  await suite.step("kubectl rollout restart deployment chat", MOVING, () => restart(world, "chat", 3));
  const paced = { pace: kicks(2), again: suite.crowd.clients.length * AGAIN };
  await suite.step("kubectl rollout restart deployment connector", paced, () => restart(world, "connector", 2));
}

/** What comes last, since it leaves things as they were. */
export async function moreChanges(world) {
  const { suite } = world;
  if (await hasMetrics()) {
    await suite.step("autoscaling, the load above the target", {}, () => byLoad(world));
  } else {
    suite.leaveOut("autoscaling", "the cluster serves no metrics (metrics.k8s.io)");
  }
  await suite.step("helm rollback chat 1", { pace: kicks(4), broken: Infinity, returns: RETURNS }, async () => {
    await world.say("helm rollback chat 1 --force-conflicts --wait --timeout 300s", 320);
    await Promise.all(WORKLOADS.map((name) => world.scaled(name, 2)));
    return `2 of each; ${world.ended("connector")}`;
  });
}

/** New pods get traffic within 5 s after they are ready. */
async function scaleUp(world, replicas) {
  const old = new Set((await world.pods("connector")).map(({ metadata }) => metadata.name));
  await world.say(`kubectl scale deployment connector --replicas=${replicas}`);
  await world.scaled("connector", replicas);
  const ready = Date.now();
  const pods = (await world.pods("connector")).map(({ metadata }) => metadata.name).filter((name) => !old.has(name));
  // Clients that are there stay where they are.
  await until(5, "new pods have had a client", async () => {
    await Promise.all(Array.from({ length: 5 }, () => visit(world.gate).catch(() => {})));
    return (await Promise.all(pods.map((name) => handshakes(world, name)))).every((count) => count > 0);
  });
  return `new ones had clients ${((Date.now() - ready) / 1000).toFixed(1)} s after they were ready`;
}

async function handshakes({ it }, pod) {
  const text = await it.api.get(`/api/v1/namespaces/${it.namespace}/pods/${pod}:9090/proxy/metrics`);
  return [...text.matchAll(/^connector_handshakes_total\S* (\d+)/gm)].reduce((sum, [, count]) => sum + Number(count), 0);
}

/** Acceptance test 5: what was scaled stays. */
async function upgrade(world) {
  await world.say(["helm upgrade chat ./helm", ...OTHERS, ...imageValues(), "--wait --timeout 300s"].join(" "), 320);
  const counts = { gate: 2, connector: 2, chat: 3, "web-server": 2 };
  await Promise.all(Object.entries(counts).map(([name, count]) => world.scaled(name, count)));
  return `what was scaled stays; ${world.ended("connector")}`;
}

/** Acceptance tests 7 and 8: never fewer than before are ready. */
async function restart(world, workload, count) {
  world.ends.take(workload);
  const fewest = fewestReady(world, [workload]);
  await world.say(`kubectl rollout restart deployment ${workload}`);
  await world.say(`kubectl rollout status deployment ${workload} --timeout=170s`);
  await world.scaled(workload, count);
  const ready = (await fewest())[workload];
  if (ready < count) throw new Error(`for a while only ${ready} of ${workload} were ready`);
  return `never fewer than ${ready} ready; ${world.ended(workload)}`;
}

/** Acceptance test 21: one pod of a workload at a time. */
async function drain(world) {
  const { it, other } = world;
  const fewest = fewestReady(world, WORKLOADS);
  try {
    await it.kubectl("drain", other, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=150s");
    for (const workload of WORKLOADS) {
      await until(60, `all of ${workload} are ready`, async () => (await it.ready(workload)) >= 2);
    }
  } finally {
    await it.kubectl("uncordon", other);
  }
  const least = await fewest();
  const away = WORKLOADS.filter((name) => least[name] < (name === "chat" ? 2 : 1));
  if (away.length > 0) throw new Error(`more than one was away of ${away.join(", ")}`);
  return `one at a time; ${world.ended("connector")}`;
}

/** Looks at the pods each half second, until the function is called that it returns. */
function fewestReady({ it }, workloads) {
  const fewest = Object.fromEntries(workloads.map((name) => [name, Infinity]));
  let isOver = false;
  const watching = (async () => {
    while (!isOver) {
      for (const name of workloads) fewest[name] = Math.min(fewest[name], await it.ready(name));
      await sleep(500);
    }
  })();
  watching.catch(() => {});
  return async () => {
    isOver = true;
    await watching;
    return fewest;
  };
}

const hasMetrics = () =>
  output("kubectl", ["get", "--raw", "/apis/metrics.k8s.io/v1beta1/pods?limit=1"], 20).then(() => true, () => false);

/** Acceptance test 22: more pods within a minute, and none goes when the load falls. */
async function byLoad(world) {
  const set = async (percent) => {
    const wanted = { enabled: true, minReplicas: 2, maxReplicas: 4, cpuPercent: percent };
    const values = Object.entries(wanted).map(([key, value]) => `--set connector.autoscaling.${key}=${value}`);
    await world.say(["helm upgrade chat ./helm --reuse-values", ...values].join(" "), 60);
  };
  await set(2);
  const seconds = await until(60, "3 connectors or more", async () => (await world.it.ready("connector")) > 2);
  await until(60, "4 connectors", async () => (await world.it.ready("connector")) === 4);
  await set(95);
  await sleep(30_000);
  const left = await world.it.ready("connector");
  if (left !== 4) throw new Error(`${left} connectors are left, 30 s after the load fell`);
  return `more after ${seconds.toFixed(0)} s; when the load falls none goes for 30 s`;
}
