// Installs the chart on the cluster that KUBECONFIG names, and does to it what operators
// do, while pairs of clients meet in its rooms, one after the other. Prints a table.
//
//   node tests/e2e/smoke.mjs
//
// The image has to be there, under the chart's default name and tag, or as $IMAGE. Ends
// with 1 if something fails; what was installed is removed in any case.

import { imageValues, Installation, Meetings, ROOT, until } from "./lib/kube.mjs";

const NAMESPACE = `shaddock-e2e-${process.pid}`;
// Of rooms that move from one shard's memory to another's, some are refused: 503, and the
// next attempt is taken. With a database none may be.
const MOVES_REFUSED = 0.02;

const it = new Installation(NAMESPACE);
const rows = [];
let meetings;

/** One thing that an operator does; fails if too many meetings did meanwhile. */
async function act(name, { refused = 0 } = {}, work) {
  meetings?.take();
  const started = Date.now();
  let wrong;
  let figures = "";
  try {
    figures = (await work()) ?? "";
  } catch (error) {
    wrong = error.message;
  }
  const { met, failures } = meetings?.take() ?? { met: 0, failures: [] };
  if (!wrong && meetings) {
    if (met === 0) wrong = "nobody met meanwhile";
    else if (failures.length > Math.ceil(met * refused)) wrong = failures.join("; ");
  }
  const seconds = ((Date.now() - started) / 1000).toFixed(1);
  rows.push({ name, wrong });
  const met_ = meetings ? `${met} met, ${failures.length} not` : "";
  if (failures.length > 0) figures += ` ${failures[0]}`;
  console.log(`${wrong ? "FAILED" : "ok    "} ${name.padEnd(44)}${seconds.padStart(6)} s  ${met_.padEnd(18)} ${wrong ?? figures}`);
  if (wrong) throw new Error(`${name} failed`);
}

async function scaled(workload, replicas) {
  await it.kubectl("scale", "deployment", workload, `--replicas=${replicas}`);
  const seconds = await until(60, `${replicas} of ${workload} are ready, and no other is left`, async () => {
    const pods = await it.list("pods", `app.kubernetes.io/name=${workload}`);
    return pods.length === replicas && (await it.ready(workload)) === replicas;
  });
  return `after ${seconds.toFixed(1)} s`;
}

/** Waits until all rooms are where they belong: nobody was refused for a while. */
async function settled() {
  await until(60, "20 pairs meet, and none is refused", async () => {
    meetings.take();
    await until(30, "20 pairs meet", async () => meetings.met >= 20 || meetings.failures.length > 0);
    return meetings.failures.length === 0;
  });
}

async function suite() {
  const chart = `${ROOT}helm`;
  const quick = ["connector.drainSeconds=5", "webServer.drainSeconds=5", "connector.minReadySeconds=5", "chat.minReadySeconds=5"];
  const values = ["store.kind=memory", ...quick].flatMap((value) => ["--set", value]).concat(imageValues());
  await act("install in a restricted namespace", {}, async () => {
    await it.makeNamespace();
    await it.helm("install", "chat", chart, ...values, "--wait", "--timeout", "120s");
  });
  await act("helm test", {}, () => it.helm("test", "chat").then(() => "2 tests"));

  const { clusterIP } = (await it.list("services", "app.kubernetes.io/name=web-server"))[0].spec;
  meetings = new Meetings(`ws://${clusterIP}/gate`);
  await until(10, "somebody has met", () => meetings.met > 0);

  await act("scale connectors to 3", {}, () => scaled("connector", 3));
  await act("scale connectors to 2, which drains one", {}, () => scaled("connector", 2));
  await act("scale chat to 3", { refused: MOVES_REFUSED }, () => scaled("chat", 3));
  await act("helm upgrade keeps what was scaled", { refused: MOVES_REFUSED }, async () => {
    await it.helm("upgrade", "chat", chart, ...values, "--set", "log=debug", "--wait", "--timeout", "120s");
    const counts = await Promise.all(["connector", "chat"].map((name) => it.ready(name)));
    if (counts.join() !== "2,3") throw new Error(`${counts.join()} connectors and shards are ready`);
  });
  await act("scale chat to 2", { refused: MOVES_REFUSED }, () => scaled("chat", 2));
  // No room moves by what happens to the others, so they may refuse nothing.
  await settled();
  for (const [workload, refused] of [["connector", 0], ["gate", 0], ["web-server", 0], ["chat", MOVES_REFUSED]]) {
    await act(`restart ${workload}, one pod after the other`, { refused }, async () => {
      await it.kubectl("rollout", "restart", "deployment", workload);
      await it.kubectl("rollout", "status", "deployment", workload, "--timeout=120s");
    });
  }
  const nodes = await it.list("nodes");
  if (nodes.length < 2) return;
  const node = nodes.at(-1).metadata.name;
  await act(`drain the node ${node}`, { refused: MOVES_REFUSED }, async () => {
    try {
      await it.kubectl("drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=150s");
    } finally {
      await it.kubectl("uncordon", node);
    }
    for (const workload of ["gate", "connector", "chat", "web-server"]) {
      await until(60, `2 of ${workload} are ready`, async () => (await it.ready(workload)) === 2);
    }
  });
}

try {
  await suite();
} catch (error) {
  if (rows.every(({ wrong }) => !wrong)) throw error;
  process.exitCode = 1;
} finally {
  await meetings?.end();
  await it.helm("uninstall", "chat", "--wait").catch((error) => console.error(error.message));
  await it.kubectl("delete", "namespace", NAMESPACE, "--wait=false");
  it.api.end();
}
const passed = rows.filter(({ wrong }) => !wrong).length;
console.log(`\n${passed} passed, ${rows.length - passed} failed`);
