// What an operator reads at /metrics.

import assert from "node:assert/strict";
import { onCluster } from "../clients/lib/scenario.mjs";
import { until } from "../clients/lib/wait.mjs";

const test = onCluster();

/** What each tier must tell: words that a family's name has. */
const TOLD = {
  gate: ["sessions", "handshakes", "assignments", "assign_seconds", "connectors"],
  connector: ["sessions", "rooms", "links", "pushes", "deliveries", "outbox", "send_seconds"],
  chat: ["rooms", "members", "links", "pushes", "append_seconds"],
};

test("all metrics have a name, a help and a unit that people understand", async ({ cluster }) => {
  for (const process of cluster.processes) {
    const { text, families } = await read(process);
    assert.match(text, /# EOF\n$/);
    for (const [name, { help, type, unit, samples }] of families) {
      const where = `${process.name}: ${name}: ${JSON.stringify({ help, type, unit })}`;
      assert.match(name, /^[a-z][a-z0-9_]*$/, where);
      assert.ok(type, where);
      assert.match(help ?? "", /^[A-Z].{10,}$/, where);
      assert.ok(samples > 0 || type !== "gauge", where);
      for (const suffix of ["seconds", "bytes"]) {
        if (name.endsWith(`_${suffix}`)) assert.equal(unit, suffix, where);
      }
    }
    for (const word of TOLD[process.program]) {
      assert.ok([...families.keys()].some((name) => name.includes(word)), `${process.name}: ${word}`);
    }
  }
});

test("sessions, rooms, members and links are counted", async ({ cluster, room, login }) => {
  const total = async (processes, name) => {
    let total = 0;
    for (const process of processes) total += (await read(process)).sum(name);
    return total;
  };
  const [ann, bob] = [await login("ann", room), await login("bob", room)];
  await ann.send("hi");
  await bob.next("onChat");
  const expect = async (processes, name, value) =>
    await until(5_000, `${name} is ${value}`, async () => (await total(processes, name)) === value);
  await expect(cluster.connectors, "connector_sessions", 2);
  await expect(cluster.connectors, "connector_members", 2);
  await expect(cluster.connectors, "connector_links", 9);
  await expect(cluster.shards, "chat_links", 9);
  await expect(cluster.shards, "chat_members", 2);
  await bob.disconnect();
  await expect(cluster.connectors, "connector_sessions", 1);
  await expect(cluster.shards, "chat_members", 1);
});

/** Reads OpenMetrics text. */
async function read(process) {
  const text = await process.metrics();
  const families = new Map();
  const values = [];
  for (const line of text.split("\n")) {
    const [, keyword, name, rest] = /^# (HELP|TYPE|UNIT) (\S+) ?(.*)$/.exec(line) ?? [];
    if (keyword) {
      if (!families.has(name)) families.set(name, { samples: 0 });
      families.get(name)[keyword.toLowerCase()] = rest;
    } else if (line && !line.startsWith("#")) {
      const [, sample, value] = /^([a-z0-9_]+)(?:\{.*\})? (\S+)/.exec(line);
      values.push([sample, Number(value)]);
      const family = [...families.keys()].findLast((name) => sample.startsWith(name));
      assert.ok(family, `${process.name}: ${sample} has no HELP`);
      families.get(family).samples += 1;
    }
  }
  const sum = (name) => values.reduce((sum, [sample, value]) => sum + (sample === name ? value : 0), 0);
  return { text, families, sum };
}
