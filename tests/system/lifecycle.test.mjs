// How processes start, refuse to start, and end.

import assert from "node:assert/strict";
import { once } from "node:events";
import net from "node:net";
import { test } from "node:test";
import { Cluster, Standalone } from "../clients/lib/cluster.mjs";
import { freePort, isFree } from "../clients/lib/ports.mjs";
import { Process } from "../clients/lib/process.mjs";
import { onCluster } from "../clients/lib/scenario.mjs";
import { until } from "../clients/lib/wait.mjs";

const onFresh = onCluster({ fresh: true });

const ORDERS = {
  "connectors, shards, gate": ({ connectors, shards, gate }) => [connectors, shards, [gate]],
  "gate, connectors, shards": ({ connectors, shards, gate }) => [[gate], connectors, shards],
  "shards, gate, connectors": ({ connectors, shards, gate }) => [shards, [gate], connectors],
};

for (const [order, groups] of Object.entries(ORDERS)) {
  test(`started in the order: ${order}`, { timeout: 60_000 }, async () => {
    const cluster = await Cluster.plan();
    try {
      for (const group of groups(cluster)) {
        // Readiness depends on nothing remote.
        await Promise.all(group.map((one) => one.start()));
      }
      await cluster.ready();
      const ann = cluster.client();
      await until(5_000, "ann is in", () => ann.login(cluster.gate, "ann", "room"));
      assert.deepEqual(await ann.send("hi"), {});
      assert.equal((await ann.next("onChat")).msg, "hi");
    } finally {
      await cluster.stop();
    }
  });
}

test("who enters before any shard runs waits, or is told so", { timeout: 60_000 }, async () => {
  const cluster = await Cluster.plan();
  try {
    await Promise.all(cluster.connectors.map((one) => one.start()));
    const ann = cluster.client();
    await ann.connect(cluster.connectors[0]);
    const early = await ann.request("connector.entryHandler.enter", { username: "ann", rid: "r" });
    assert.equal(early.code, 503, JSON.stringify(early));
    const entering = ann.request("connector.entryHandler.enter", { username: "ann", rid: "r" });
    await Promise.all(cluster.shards.map((one) => one.start()));
    const answer = await entering;
    if (!answer.users) await until(5_000, "ann is in", () => ann.enter("ann", "r"));
    await until(1_000, "ann is heard", async () => !(await ann.send("hi")).code);
    assert.equal((await ann.next("onChat")).msg, "hi");
  } finally {
    await cluster.stop();
  }
});

onFresh("SIGTERM ends each process with 0, under clients", async ({ cluster, login }) => {
  for (let i = 0; i < 6; i += 1) await login(`user-${i}`, `room-${i}`);
  for (const one of [cluster.gate, cluster.shards[0], cluster.connectors[0]]) {
    assert.deepEqual(await one.stop(), { code: 0, signal: null }, `${one.name}: ${one.log}`);
  }
  const rest = cluster.processes.filter((one) => one.isRunning);
  const ends = await Promise.all(rest.map((one) => one.stop()));
  assert.deepEqual(ends, rest.map(() => ({ code: 0, signal: null })));
  await Promise.all(cluster.clients.map((client) => client.next("disconnect")));
}, { seconds: 120 });

test("SIGTERM and SIGINT end standalone with 0", { timeout: 60_000 }, async () => {
  for (const signal of ["SIGTERM", "SIGINT"]) {
    const cluster = await Standalone.start();
    try {
      const ann = await cluster.login("ann", "room");
      cluster.process.signal(signal);
      const end = await cluster.process.exit(30_000);
      assert.deepEqual(end, { code: 0, signal: null }, cluster.process.log);
      await ann.next("disconnect");
    } finally {
      await cluster.stop();
    }
  }
});

/** Flags of each program, with an address for each of its listeners. */
const PROGRAMS = {
  gate: [["--connectors", "127.0.0.1:1"], "--listen-addr", "--grpc-addr"],
  connector: [
    ["--connector-id", "connector-1", "--shards", "chat-0=127.0.0.1:1"],
    ...["--listen-addr", "--grpc-addr"],
  ],
  chat: [["--shard-id", "chat-0", "--shards", "chat-0=127.0.0.1:1"], "--grpc-addr"],
  "web-server": [[], "--listen-addr"],
  standalone: [
    ["--store", "memory"],
    ...["--web-addr", "--gate-client-addr", "--connector-client-addr"],
    ...["--gate-grpc-addr", "--connector-grpc-addr", "--chat-grpc-addr"],
  ],
};

for (const [program, [flags, ...addresses]] of Object.entries(PROGRAMS)) {
  for (const taken of [...addresses, "--admin-addr"]) {
    test(`${program}: the port of ${taken} is in use`, { timeout: 30_000 }, async () => {
      const { ports, listening } = await lay([...addresses, "--admin-addr"]);
      const holder = net.createServer().listen(ports[taken], "127.0.0.1");
      await once(holder, "listening");
      try {
        const line = await refusal(program, [...flags, ...listening], ports, taken);
        assert.match(line, new RegExp(`127\\.0\\.0\\.1:${ports[taken]}`));
        assert.match(line, new RegExp(taken));
      } finally {
        holder.close();
      }
    });
  }

  const bad = {
    "an unknown flag": ["--no-such-flag"],
    "an address that is none": ["--admin-addr", "here"],
    "a file that is not there": ["--cluster-token-file", "does/not/exist"],
  };
  if (program === "web-server") delete bad["a file that is not there"];
  if (flags.includes("--shards")) bad["a list that is not there"] = ["--shards", "@does/not/exist"];
  for (const [what, wrong] of Object.entries(bad)) {
    test(`${program}: ${what}`, { timeout: 30_000 }, async () => {
      const { ports, listening } = await lay([...addresses, "--admin-addr"]);
      const kept = pairs([...flags, ...listening]).filter(([flag]) => flag !== wrong[0]);
      const line = await refusal(program, [...kept.flat(), ...wrong], ports);
      assert.match(line, new RegExp(wrong.at(-1).replace("@", "")));
    });
  }
}

/** Free ports for flags that are addresses. */
async function lay(addresses) {
  const ports = {};
  for (const flag of addresses) ports[flag] = await freePort();
  const listening = addresses.flatMap((flag) => [flag, `127.0.0.1:${ports[flag]}`]);
  return { ports, listening };
}

function pairs(flags) {
  return flags.flatMap((flag, i) => (i % 2 ? [] : [[flag, flags[i + 1]]]));
}

/** Starts what cannot start; returns the one line that it says. */
async function refusal(program, flags, ports, taken) {
  const one = new Process(program, program, flags);
  one.launch();
  const { code } = await one.exit(5_000).finally(() => one.isRunning && one.signal("SIGKILL"));
  const lines = one.log.split("\n").filter((line) => line.trim() !== "");
  assert.equal(lines.length, 1, `not one line:\n${one.log}`);
  assert.equal(code, 2, one.log);
  for (const [flag, port] of Object.entries(ports)) {
    assert.ok(flag === taken || (await isFree(port)), `something listens on ${flag}`);
  }
  return lines[0];
}
