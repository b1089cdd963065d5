// The example at work: a gate that asks, a connector, a chat shard, a web-server and
// two time servers as processes on free ports of this machine. Says for a few users
// which time server was asked, then ends the time servers one by one. `make
// example-time` builds all that and runs this; it takes a few seconds.

import assert from "node:assert/strict";
import { Client, ROUTES } from "../../tests/clients/lib/client.mjs";
import { Cluster } from "../../tests/clients/lib/cluster.mjs";
import { freePort } from "../../tests/clients/lib/ports.mjs";
import { Process } from "../../tests/clients/lib/process.mjs";
import { until } from "../../tests/clients/lib/wait.mjs";

const HOST = "127.0.0.1";
const USERS = ["ann", "eve", "gus", "hal", "ivy"];
/** More than it ever takes; then everything is ended, and this fails. */
const SECONDS_MAX = 60;

setTimeout(() => {
  console.error(`not done in ${SECONDS_MAX} s`);
  process.exit(1);
}, SECONDS_MAX * 1000).unref();
// What was started is ended however this ends: see process.mjs.
for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => process.exit(130));

const address = async () => `${HOST}:${await freePort()}`;
const portOf = (addr) => Number(addr.split(":")[1]);

const times = [];
for (const name of ["time-0", "time-1"]) {
  const [grpc, admin] = [await address(), await address()];
  const flags = ["--server-id", name, "--grpc-addr", grpc, "--admin-addr", admin];
  const one = new Process(name, "time", flags, { admin: portOf(admin) });
  times.push(Object.assign(one, { listed: `${name}=${grpc}` }));
}
const [page, pageAdmin] = [await address(), await address()];
const web = new Process("web-server", "web-server", ["--listen-addr", page, "--admin-addr", pageAdmin], {
  admin: portOf(pageAdmin),
});
const cluster = await Cluster.plan({ connectors: 1, shards: 1 });
cluster.gate.program = "time-gate";
// The lines in which the gate says whom it has asked are for those who look for them.
cluster.gate.flags.push("--log", "info,time_gate=debug");
cluster.gate.flags.push("--time-servers", times.map(({ listed }) => listed).join());

const all = [...times, web, ...cluster.processes];
try {
  for (const one of all) one.launch();
  await Promise.all(all.map((one) => one.ready()));
  await show();
} catch (error) {
  for (const { name, log } of all) console.error(`--- ${name}\n${log}`);
  throw error;
} finally {
  const ends = await Promise.all(all.filter((one) => one.isRunning).map((one) => one.stop()));
  assert.ok(ends.every(({ code }) => code === 0), JSON.stringify(ends));
}
console.log("\nAll processes are ended.");
process.exit(0);

async function show() {
  const [connector] = cluster.connectors;
  console.log(`Up: gate ${HOST}:${cluster.gate.port}, page http://${page}, ${times.map(({ listed }) => listed).join(", ")}`);
  await untilAnswers();
  await untilSees("time-0", "time-1");

  console.log("\nEach user's time server was asked before the answer came:");
  const first = await askAll();
  console.log("\nAgain, the same ones:");
  assert.deepEqual(await askAll(), first);
  assert.deepEqual(new Set(first), new Set(["time-0", "time-1"]));

  console.log("\nWithout time-1, its users go to time-0, the others stay:");
  await times[1].stop();
  await untilSees("time-0");
  assert.deepEqual(new Set(await askAll()), new Set(["time-0"]));

  console.log("\nWithout any, users are answered all the same:");
  await times[0].stop();
  await untilSees();
  assert.deepEqual(new Set(await askAll()), new Set([undefined]));

  // Every answer named the one connector there is; and it works.
  const ann = await cluster.login("ann", "lobby");
  assert.equal(ann.address.port, connector.port);
  assert.deepEqual(await ann.send("hello"), {});
  await cluster.release();
}

/** Asks the gate for all users, prints what came, and returns whom it asked for each. */
async function askAll() {
  const client = new Client();
  try {
    const asked = [];
    for (const user of USERS) {
      const { length } = said();
      const { host, port } = await client.ask(cluster.gate, user);
      const line = await until(5_000, `the gate's word on ${user}`, () =>
        said().slice(length).find((line) => line.user === user),
      );
      const answer = `connector ${host}:${port}`;
      const time = line.error ?? `${line.server_id} says ${new Date(line.unix_ms).toISOString()}`;
      console.log(`  ${user.padEnd(6)}${answer.padEnd(28)}${time}`);
      asked.push(line.server_id);
    }
    return asked;
  } finally {
    await client.stop();
  }
}

/** Waits until the gate knows the connector, as a client would. */
async function untilAnswers() {
  const client = new Client();
  try {
    await client.connect(cluster.gate);
    await until(10_000, "the gate names a connector", async () => {
      const { code } = await client.request(ROUTES.gate, { uid: "somebody" });
      return code === 200;
    });
  } finally {
    await client.stop();
  }
}

/** Waits until these are the time servers that the gate sees as ready. */
async function untilSees(...ids) {
  await until(10_000, `the gate sees ${ids}`, () => {
    const seen = new Set();
    for (const { message, shard_id: id, ready } of lines()) {
      if (message === "view changed") seen[ready ? "add" : "delete"](id);
    }
    return seen.size === ids.length && ids.every((id) => seen.has(id));
  });
}

/** What the gate has said about time servers that it asked. */
function said() {
  return lines().filter(({ target, user }) => target?.startsWith("time_gate") && user);
}

/** The whole lines of the gate's log. */
function lines() {
  const whole = cluster.gate.log.slice(0, cluster.gate.log.lastIndexOf("\n") + 1);
  return whole.split("\n").filter((line) => line.startsWith("{")).map((line) => JSON.parse(line));
}
