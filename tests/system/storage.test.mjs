// What was acknowledged is there after a crash; what a store that cannot be used, or
// not be reached, does to the start.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { promisify } from "node:util";
import { Standalone } from "../clients/lib/cluster.mjs";
import { grpc } from "../clients/lib/grpcurl.mjs";
import { freePort } from "../clients/lib/ports.mjs";
import { BIN_DIR, Process } from "../clients/lib/process.mjs";
import { until } from "../clients/lib/wait.mjs";

const run = promisify(execFile);

function folder() {
  const made = mkdtempSync(path.join(tmpdir(), "storage-"));
  process.on("exit", () => rmSync(made, { recursive: true }));
  return made;
}

/** What an operator's tool prints, line by line. */
async function store(data, ...args) {
  const program = path.join(BIN_DIR, "standalone");
  const { stdout } = await run(program, ["store", ...args, "--data", data]);
  return stdout.trimEnd().split("\n");
}

async function contents(cluster, room) {
  const { entries = [] } = await grpc(cluster.shards[0], "chat.v1.ChatService/History", { room });
  return entries.map(({ content }) => content);
}

test("what was acknowledged outlives a kill -9", { timeout: 120_000 }, async () => {
  const data = path.join(folder(), "made", "for it");
  const cluster = await Standalone.start({ flags: ["--data", data] });
  try {
    const ann = await cluster.login("ann", "room");
    for (const text of ["one", "two", "three"]) assert.deepEqual(await ann.send(text), {});
    const before = await grpc(cluster.shards[0], "chat.v1.ChatService/History", { room: "room" });
    await cluster.process.kill();
    await cluster.release();

    await cluster.process.start();
    const after = await grpc(cluster.shards[0], "chat.v1.ChatService/History", { room: "room" });
    assert.deepEqual(after, before);
    assert.deepEqual(await contents(cluster, "room"), ["one", "two", "three"]);
    const bob = await cluster.login("bob", "room");
    assert.deepEqual(await bob.send("four"), {});

    // An operator may look while it runs.
    assert.deepEqual(await store(data, "check"), ["1 rooms, 6 entries"]);
    const [room, ...entries] = (await store(data, "export", "room")).map((line) => JSON.parse(line));
    assert.deepEqual([room.room, room.epoch, room.head], ["room", before.epoch, 6]);
    const said = entries.filter(({ kind }) => kind === "message");
    assert.deepEqual(said.map(({ author, content }) => `${author} ${content}`), [
      ...["ann one", "ann two", "ann three", "bob four"],
    ]);

    // One name that is wrong, and nothing is done.
    await assert.rejects(store(data, "new-epoch", "room", "rom"), /there is no room rom/);
    const same = await grpc(cluster.shards[0], "chat.v1.ChatService/History", { room: "room" });
    assert.equal(same.epoch, before.epoch);

    // A new epoch fences whoever serves, who takes the room again. Whoever can not be
    // told what it may have missed is closed.
    assert.deepEqual(await store(data, "new-epoch"), ["1 rooms have a new epoch"]);
    const five = { room: "room", author: "bot", content: "five" };
    const publish = () => grpc(cluster.shards[0], "chat.v1.ChatService/Publish", five);
    await until(20_000, "something is said", publish);
    assert.match((await bob.next("onKick")).reason, /may have been lost/);
    const renewed = await grpc(cluster.shards[0], "chat.v1.ChatService/History", { room: "room" });
    assert.notEqual(renewed.epoch, before.epoch);
    assert.equal((await contents(cluster, "room")).at(-1), "five");
  } finally {
    await cluster.stop();
  }
});

/** Starts a chat shard that cannot start, and returns its one line. */
async function refusal(...flags) {
  const one = new Process("chat", "chat", [...(await addresses()), ...flags]);
  one.launch();
  const { code } = await one.exit(10_000).finally(() => one.isRunning && one.signal("SIGKILL"));
  const lines = one.log.split("\n").filter((line) => line.trim() !== "");
  assert.equal(lines.length, 1, `not one line:\n${one.log}`);
  assert.equal(code, 2, one.log);
  return lines[0];
}

async function addresses(admin) {
  admin ??= await freePort();
  return [`--admin-addr=127.0.0.1:${admin}`, "--grpc-addr=127.0.0.1:0"];
}

test("a store that cannot be used is refused in one line", { timeout: 60_000 }, async () => {
  const file = path.join(folder(), "precious.txt");
  writeFileSync(file, "not a database\n".repeat(100));
  const text = readFileSync(file, "utf8");
  assert.match(await refusal("--store", `sqlite:${file}`), /precious\.txt: it is not a database/);
  assert.equal(readFileSync(file, "utf8"), text);
  assert.match(await refusal("--store", "mysql://here"), /must be memory, sqlite:FILE or/);
  assert.match(await refusal("--store", "postgres://"), /cannot use the store/);

  const flags = [...(await addresses()), "--store", `sqlite:${path.join(folder(), "chat.db")}`];
  const first = new Process("chat", "chat", flags);
  first.launch();
  await until(20_000, "it runs", () => first.log.includes("listening"));
  assert.match(await refusal(...flags.slice(-2)), /another process has it open/);
  assert.deepEqual(await first.stop(), { code: 0, signal: null }, first.log);
});

test("a store that cannot be reached is waited for", { timeout: 60_000 }, async () => {
  const [admin, dead] = [await freePort(), await freePort()];
  const flags = ["--store", `postgres://ann:secret@127.0.0.1:${dead}/chat`];
  const one = new Process("chat", "chat", [...(await addresses(admin)), ...flags], { admin });
  one.launch();
  const startupz = () => fetch(`http://127.0.0.1:${admin}/startupz`);
  await until(20_000, "it says what it waits for", async () => {
    const answer = await startupz();
    return answer.status === 503 && (await answer.text()).includes("waiting for the store");
  });
  assert.equal((await fetch(`http://127.0.0.1:${admin}/livez`)).status, 200);
  assert.equal(await one.isReady(), false);
  assert.ok(!one.log.includes("secret"), one.log);
  assert.deepEqual(await one.stop(), { code: 0, signal: null }, one.log);
});
