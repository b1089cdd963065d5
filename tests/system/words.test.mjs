// The word filter: what is masked, what is logged of it, and how its list is changed.

import assert from "node:assert/strict";
import { mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { Standalone } from "../clients/lib/cluster.mjs";
import { Process } from "../clients/lib/process.mjs";
import { until } from "../clients/lib/wait.mjs";

const folder = mkdtempSync(path.join(tmpdir(), "words-"));
const list = path.join(folder, "words.txt");
process.on("exit", () => rmSync(folder, { recursive: true }));

function write(text) {
  writeFileSync(`${list}.new`, text);
  renameSync(`${list}.new`, list);
}

test("words of the list are masked for everybody", { timeout: 60_000 }, async () => {
  write("# ours\nbad\n坏话\n");
  const cluster = await Standalone.start({ flags: ["--word-filter", list] });
  try {
    const ann = await cluster.login("ann", "room");
    const bob = await cluster.login("bob", "room");
    const heard = async (said, target = "*") => {
      assert.deepEqual(await ann.send(said, target), {});
      return (await bob.next("onChat")).msg;
    };
    assert.equal(await heard("a bad, BAD, ｂａｄ day"), "a ***, ***, *** day");
    assert.equal(await heard("这是坏话，坏话！"), "这是**，**！");
    assert.equal(await heard("a bad whisper", "bob"), "a *** whisper");
    assert.equal(await heard("a good one"), "a good one");

    // Who, and where; never what.
    const lines = cluster.process.log.split("\n").filter((line) => line.includes('"audit"'));
    assert.equal(lines.length, 3, cluster.process.log);
    for (const line of lines.map((line) => JSON.parse(line))) {
      assert.deepEqual([line.user, line.room_id], ["ann", "room"]);
      assert.ok(!/bad|坏话|\*\*\*/i.test(JSON.stringify(line)), "the text is in the log");
    }

    write("good\n");
    await until(10_000, "the new list counts", async () => (await heard("good")) === "****");
    assert.equal(await heard("bad"), "bad");

    // A list that makes no sense changes nothing.
    write(`good\n${"x".repeat(201)}\n`);
    const refused = /"error":"[^"]*words.txt:2: the word is longer than 200 characters"/;
    await until(10_000, "the list is refused", async () => refused.test(cluster.process.log));
    assert.equal(await heard("good"), "****");
    assert.match(await cluster.process.metrics(), /reloads_total\{file="word_filter",result="refused"\} 1/);
  } finally {
    await cluster.stop();
  }
});

test("a list that makes no sense keeps the shard from starting", { timeout: 30_000 }, async () => {
  write("\u0301\n");
  const anywhere = ["--grpc-addr", "127.0.0.1:0", "--admin-addr", "127.0.0.1:0"];
  const chat = new Process("chat", "chat", [...anywhere, "--word-filter", list]);
  chat.launch();
  assert.deepEqual(await chat.exit(), { code: 2, signal: null });
  const problem = `${list}:1: the word has nothing that could be looked for`;
  assert.equal(chat.log, `chat: --word-filter: ${problem}\n`);
});
