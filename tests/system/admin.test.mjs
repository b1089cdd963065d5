// What `shaddock-admin` tells of a running system.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { test as plain } from "node:test";
import { Cluster } from "../clients/lib/cluster.mjs";
import { grpc } from "../clients/lib/grpcurl.mjs";
import { freePort } from "../clients/lib/ports.mjs";
import { BIN_DIR } from "../clients/lib/process.mjs";
import { onCluster } from "../clients/lib/scenario.mjs";

const test = onCluster({ fresh: true });

/** Runs `shaddock-admin`, and returns how it ended: {code, stdout, stderr}. */
async function admin(...args) {
  return await new Promise((resolve) => {
    const file = path.join(BIN_DIR, "shaddock-admin");
    execFile(file, args, { timeout: 30_000 }, (error, stdout, stderr) =>
      resolve({ code: error ? error.code : 0, stdout, stderr }),
    );
  });
}

/** Flags that name a cluster; its connectors are known to its gate. */
const at = ({ gate, shards }) => [
  ...["--gates", `127.0.0.1:${gate.grpc}`],
  ...["--shards", shards.map(({ name, grpc }) => `${name}=127.0.0.1:${grpc}`).join()],
];

/** Asks a whole cluster: {code, processes, ...}. */
async function stats(cluster, ...flags) {
  const { code, stdout, stderr } = await admin("stats", "--json", ...at(cluster), ...flags);
  assert.equal(stderr, "");
  return { code, ...JSON.parse(stdout) };
}

const sum = (processes, tier, name) =>
  processes
    .filter((one) => one.tier === tier && one.counts)
    .reduce((sum, { counts }) => sum + counts[name], 0);

test("all processes are asked, and what they count is added up", async ({ cluster, room, login }) => {
  const [ann, bob] = [await login("ann", room), await login("bob", room)];
  await ann.send("hi");
  for (const one of [ann, bob]) await one.next("onChat");
  const before = Date.now();
  const { code, asked, answered, processes } = await stats(cluster);
  assert.deepEqual({ code, asked, answered }, { code: 0, asked: 7, answered: 7 });
  assert.deepEqual(
    processes.map(({ tier, id }) => `${tier} ${id}`.trim()),
    [
      ...["gate", "connector connector-1", "connector connector-2", "connector connector-3"],
      ...["chat chat-0", "chat chat-1", "chat chat-2"],
    ],
  );
  for (const one of processes) {
    assert.match(one.version, /^\d+\.\d+\.\d+$/);
    assert.ok(one.uptime_ms > 0 && one.uptime_ms < 60_000, JSON.stringify(one));
    assert.ok(one.now_ms >= before && one.now_ms <= Date.now(), JSON.stringify(one));
    assert.ok(Math.abs(one.skew_ms) <= 1_000 && !one.draining, JSON.stringify(one));
  }
  const counted = (tier, ...names) => names.map((name) => sum(processes, tier, name));
  assert.deepEqual(counted("gate", "connectors_ready", "assignments"), [3, 2]);
  assert.deepEqual(counted("connector", "sessions", "members", "links"), [2, 2, 9]);
  assert.deepEqual(counted("chat", "rooms", "members", "links", "entries"), [1, 2, 9, 1]);

  const { stdout, code: tableCode } = await admin("stats", ...at(cluster));
  assert.equal(tableCode, 0);
  const lines = stdout.trimEnd().split("\n");
  // Heads, seven processes, and sums of two tiers.
  assert.equal(lines.length, 10, stdout);
  assert.match(lines[0], /^tier +id +address +version +up +clock +skew +state +sessions +rooms/);
  const [connectors, shards] = ["connector", "chat"].map((tier) =>
    lines.find((line) => line.startsWith(tier) && / all +3 of 3 /.test(line)).trim().split(/ +/),
  );
  // tier, all, 3 of 3; then sessions, rooms, members, links.
  assert.deepEqual(connectors.slice(5, 9), ["2", "-", "2", "9"]);
  assert.deepEqual(shards.slice(5, 9), ["-", "1", "2", "9"]);
});

test("who is down or hangs has a line with the reason", async ({ cluster }) => {
  const dead = cluster.shards[1];
  await dead.kill();
  for (const one of cluster.connectors) one.signal("SIGSTOP");
  const started = Date.now();
  const told = await stats(cluster, "--timeout", "3s");
  const took = Date.now() - started;
  const table = await admin("stats", ...at(cluster), "--timeout", "1s");
  for (const one of cluster.connectors) one.signal("SIGCONT");
  assert.deepEqual([told.code, told.asked, told.answered], [1, 7, 3]);
  assert.ok(took < 8_000, `the silent ones were waited for one after the other: ${took} ms`);
  const of = ({ grpc }) => told.processes.find(({ addr }) => addr === `127.0.0.1:${grpc}`);
  const { error, ...who } = of(dead);
  assert.match(error, /^cannot connect: Connection refused/);
  assert.deepEqual(who, { tier: "chat", id: "chat-1", addr: `127.0.0.1:${dead.grpc}` });
  for (const one of cluster.connectors) assert.equal(of(one).error, "no answer within 3s");

  assert.equal(table.code, 1);
  assert.match(table.stdout, /^chat +chat-1 +127\.0\.0\.1:\d+ +cannot connect: Connection refused/m);
  assert.match(table.stdout, /^connector +connector-2 +\S+ +no answer within 1s$/m);
  assert.match(table.stdout, /^chat +all +2 of 3 /m);
  assert.match(table.stdout, /^connector +all +0 of 3 /m);
});

plain("operators show their token", { timeout: 60_000 }, async () => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "shaddock-"));
  const file = path.join(folder, "token");
  fs.writeFileSync(file, "of-operators\n");
  const flags = ["--admin-token-file", file];
  const all = { gate: flags, connector: flags, chat: flags };
  const cluster = await Cluster.plan({ connectors: 1, shards: 1, flags: all });
  try {
    await Promise.all(cluster.processes.map((one) => one.start()));
    const connectors = ["--connectors", `127.0.0.1:${cluster.connectors[0].grpc}`];
    const without = await stats(cluster, ...connectors);
    assert.deepEqual([without.code, without.answered], [1, 0]);
    for (const { error } of without.processes) {
      assert.match(error, /^refused: Unauthenticated: .*--admin-token-file/);
    }
    const withIt = await stats(cluster, ...connectors, ...flags);
    assert.deepEqual([withIt.code, withIt.answered], [0, 3]);
    // The gate, too, tells its connectors only to who shows the token.
    assert.deepEqual((await stats(cluster, ...flags)).answered, 3);
  } finally {
    await cluster.stop();
    fs.rmSync(folder, { recursive: true });
  }
});

test("who drains is said to", async ({ cluster }) => {
  const [drained] = cluster.connectors;
  await grpc(drained, "connector.v1.ConnectorService/Drain");
  const { code, processes } = await stats(cluster);
  assert.equal(code, 0);
  assert.deepEqual(processes.filter(({ draining }) => draining).map(({ id }) => id), [drained.name]);
  const { stdout } = await admin("stats", ...at(cluster));
  assert.match(stdout, /^connector +connector-1 .* draining /m);
});

plain("a list comes from a file, and what is wrong is one line", { timeout: 60_000 }, async () => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "shaddock-"));
  const [list, nobody] = [path.join(folder, "shards"), await freePort()];
  fs.writeFileSync(list, `# nobody\nchat-0=127.0.0.1:${nobody}\nchat-1=127.0.0.1:${nobody + 1}\n`);
  try {
    const gates = ["--gates", `127.0.0.1:${nobody + 2}`];
    const connectors = ["--connectors", `a=127.0.0.1:${nobody + 3}`];
    const none = await admin("stats", "--json", ...gates, ...connectors, "--shards", `@${list}`);
    assert.equal(none.code, 1);
    const { asked, answered, processes } = JSON.parse(none.stdout);
    assert.deepEqual([asked, answered], [4, 0]);
    assert.deepEqual(processes.map(({ id }) => id), ["", "a", "chat-0", "chat-1"]);
  } finally {
    fs.rmSync(folder, { recursive: true });
  }
  for (const [wrong, expected] of [
    [["stats", "--shards", "@does/not/exist"], /does\/not\/exist/],
    [["stats", "--shards", "127.0.0.1:1"], /must be id=host:port/],
    [["stats", "--admin-token-file", "does/not/exist"], /--admin-token-file/],
    [["stats", "--parallel", "0"], /--parallel/],
    [["status"], /status/],
  ]) {
    const { code, stdout, stderr } = await admin(...wrong);
    assert.deepEqual([code, stdout], [2, ""], stderr);
    assert.match(stderr, /^shaddock-admin: [^\n]*\n$/);
    assert.match(stderr, expected);
  }
  const { code, stdout } = await admin("stats", "--help");
  assert.equal(code, 0);
  for (const said of ["--gates <LIST>", "127.0.0.1:4014", "--timeout <TIME>", "2s", "--parallel <COUNT>"]) {
    assert.ok(stdout.includes(said), `${said} is missing from:\n${stdout}`);
  }
});
