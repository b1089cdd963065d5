// Tests on a system of processes.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Cluster } from "./cluster.mjs";
import { sleep, until } from "./wait.mjs";

/** What is shown of each process's log when a test fails; SHADDOCK_LOG says what is logged. */
const LOG_LINES = Number(process.env.LOG_LINES ?? 40);

let rooms = 0;

/**
 * Returns a function like `test` whose tests get {cluster, room, login}: a system of
 * their own if `fresh`, else one that the tests of the file share, and the name of a
 * room that no other test uses.
 */
export function onCluster({ fresh = false, start = Cluster.start, ...options } = {}) {
  let shared = null;
  if (!fresh) {
    before(async () => (shared = await start(options)));
    after(async () => await shared?.stop());
  }
  return (name, run, { seconds = 60 } = {}) =>
    test(name, { timeout: seconds * 1000 }, async () => {
      const cluster = shared ?? (await start(options));
      const room = `room-${++rooms}`;
      const login = (...args) => cluster.login(...args);
      try {
        await run({ cluster, room, login });
      } catch (error) {
        for (const { name, log } of cluster.processes) {
          console.error(`--- ${name}\n${log.split("\n").slice(-LOG_LINES).join("\n")}`);
        }
        throw error;
      } finally {
        await (shared ? cluster.release() : cluster.stop());
      }
    });
}

/** Both kinds of clients, for tests that either must pass. */
export const KINDS = ["official", "community"];

/** Says something in a room until the answer is good; for rooms that are moving. */
export async function sendUntilHeard(client, content, ms) {
  await until(ms, `${client} is heard`, async () => {
    const answer = await client.send(content);
    if (answer.code) throw new Error(`${client} is answered ${JSON.stringify(answer)}`);
    return true;
  });
}

/** All events of these names that the clients were told since `marks` were taken. */
export function since(marks, ...names) {
  const told = [];
  for (const [client, mark] of marks) {
    for (const { event, body } of client.events.slice(mark)) {
      if (names.includes(event)) told.push(`${client.name}: ${event} ${body.user}`);
    }
  }
  return told;
}

/** Remembers how far each client's events have come. */
export const mark = (...clients) => clients.map((client) => [client, client.events.length]);

/** Lets time pass in which the clients must not be told of anybody coming or going. */
export async function assertQuiet(marks, ms) {
  await sleep(ms);
  assert.deepEqual(since(marks, "onAdd", "onLeave", "disconnect"), []);
}

/**
 * Within `ms`, what every client believes of its room, what the room's owner says by
 * whichever shard is asked, and what somebody who enters is told, are all `names`.
 */
export async function assertRoster(cluster, room, names, ms = 20_000) {
  const expected = JSON.stringify([...names].sort());
  const same = (what, list) => {
    const found = JSON.stringify([...list].sort());
    if (found !== expected) throw new Error(`${what} has ${found}, not ${expected}`);
  };
  const inside = cluster.clients.filter((client) => client.room === room && client.isConnected);
  await until(ms, `the roster of ${room}`, async () => {
    for (const client of inside) same(String(client), client.users);
    for (const shard of cluster.shards.filter((one) => one.isRunning)) {
      const { members } = await cluster.members(room, shard);
      same(`the owner, asked through ${shard.name},`, members.map(({ user }) => user));
    }
    return true;
  });
  const visitor = await cluster.login(`visitor-${++rooms}`, room);
  same("who enters", visitor.users.filter((name) => name !== visitor.name));
  for (const client of inside) {
    await client.next("onAdd", { like: ({ user }) => user === visitor.name });
  }
  await visitor.stop();
  for (const client of inside) {
    await client.next("onLeave", { like: ({ user }) => user === visitor.name });
  }
}
