// Processes die, freeze and come back; the rooms do not care.

import assert from "node:assert/strict";
import { assertQuiet, assertRoster, mark, since } from "../clients/lib/scenario.mjs";
import { onCluster, sendUntilHeard } from "../clients/lib/scenario.mjs";
import { sleep, until } from "../clients/lib/wait.mjs";

const test = onCluster({ fresh: true });

/** How long a room may be out of service when its shard dies. */
const FAILOVER = 5_000;
/** How long a name stays in its rooms when its connector dies. */
const GRACE = 10_000;

/** Two people in a room on each shard, on different connectors. */
async function inhabit(cluster, prefix) {
  const rooms = await cluster.roomsOnEachShard(prefix);
  const inhabited = [];
  for (const [i, room] of rooms.entries()) {
    const via = (n) => cluster.connectors[(i + n) % cluster.connectors.length];
    const ann = await cluster.login("ann", room, { via: via(0) });
    const bob = await cluster.login("bob", room, { via: via(1), kind: "community" });
    await ann.next("onAdd");
    inhabited.push({ room, ann, bob });
  }
  return inhabited;
}

async function assertTalk({ ann, bob }, text) {
  await sendUntilHeard(ann, text, FAILOVER);
  await bob.next("onChat", { like: ({ msg }) => msg === text });
  await ann.next("onChat", { like: ({ msg }) => msg === text });
}

/**
 * Both are in one room within the time. A shard that comes back is seen by one process
 * earlier than by another; without a common store it and the one that stood in for it
 * may both serve for a moment, and what is said then only some hear. So what counts is
 * how soon they are one again.
 */
async function assertTogether({ ann, bob }, text) {
  let said = 0;
  await until(FAILOVER, `${text}: ann and bob are in one room`, async () => {
    const msg = `${text}, ${said++}`;
    await sendUntilHeard(ann, msg, FAILOVER);
    await bob.next("onChat", { like: (chat) => chat.msg === msg, ms: 500 });
    return true;
  });
}

test("a shard is killed: its rooms go on at another, and at it again", async ({ cluster, room }) => {
  const inhabited = await inhabit(cluster, room);
  const marks = mark(...cluster.clients);
  const [shard] = cluster.shards;
  await shard.kill();
  await Promise.all(inhabited.map((one) => assertTalk(one, "after the kill")));
  const owner = await cluster.shardOf(inhabited[0].room);
  assert.ok(owner && owner !== shard, `${owner?.name} serves it`);

  // Nobody noticed, also when the time of those who did not come back is over.
  await assertQuiet(marks, GRACE + 2_000);
  await shard.start();
  await Promise.all(inhabited.map((one) => assertTogether(one, "after the restart")));
  await assertQuiet(marks, 2_000);
  for (const { room } of inhabited) await assertRoster(cluster, room, ["ann", "bob"]);
}, { seconds: 90 });

test("a shard is killed: who enters and leaves meanwhile is seen", async ({ cluster, room }) => {
  const inhabited = await inhabit(cluster, room);
  const [{ room: moved, ann, bob }] = inhabited;
  await cluster.shards[0].kill();
  const cat = cluster.client();
  await cat.connect(cluster.connectors[2]);
  let users;
  await until(FAILOVER, "cat enters", async () => {
    const who = { username: "cat", rid: moved };
    ({ users } = await cat.request("connector.entryHandler.enter", who));
    return users;
  });
  await ann.next("onAdd", { like: ({ user }) => user === "cat", ms: 10_000 });
  await bob.disconnect();
  // If his connector had not found the new shard yet, nobody there knows of him: he is
  // one of those who have the grace period to come back.
  await ann.next("onLeave", { like: ({ user }) => user === "bob", ms: GRACE + 5_000 });
  // Who was not shown him is not told that he goes.
  const knowsBob = users.includes("bob") || cat.all("onAdd").some(({ user }) => user === "bob");
  if (knowsBob) {
    await cat.next("onLeave", { like: ({ user }) => user === "bob", ms: GRACE + 5_000 });
  }
  await cat.stop();
  await ann.next("onLeave", { like: ({ user }) => user === "cat", ms: 10_000 });
  await assertRoster(cluster, moved, ["ann"]);
});

test("a connector is killed: those who come back are not missed", async ({ cluster, room }) => {
  const [first, second, third] = cluster.connectors;
  const login = (name, via) => cluster.login(name, room, { via });
  const ann = await login("ann", first);
  const bob = await login("bob", second);
  const cat = await login("cat", first);
  const dan = await login("dan", third);
  await bob.next("onAdd", { like: ({ user }) => user === "dan" });
  const marks = mark(bob, dan);

  await first.kill();
  const killed = Date.now();
  await cat.next("disconnect");
  await until(1_000, "cat has her name again", async () => {
    await cat.connect(second);
    return await cat.enter("cat", room);
  });
  await assertTalk({ ann: cat, bob: dan }, "I am back");

  for (const client of [bob, dan]) {
    const { user } = await client.next("onLeave", { ms: GRACE + 5_000 });
    assert.equal(user, "ann");
  }
  assert.ok(Date.now() - killed > GRACE - 2_000, "ann was given time to come back");
  await sleep(2_000);
  assert.deepEqual(since(marks, "onAdd", "onLeave"), ["bob: onLeave ann", "dan: onLeave ann"]);
  await first.start();
  await assertRoster(cluster, room, ["bob", "cat", "dan"]);
  assert.ok(!ann.isConnected);
}, { seconds: 90 });

test("a client goes on through another connector when its own dies", async ({ cluster, room }) => {
  const ann = await cluster.login("ann", room);
  const bob = await cluster.login("bob", room, {
    via: cluster.connectors.find((one) => one !== cluster.connectorOf(ann)),
  });
  await cluster.connectorOf(ann).kill();
  await ann.next("disconnect");
  // As a page does it: ask the gate, which may name the dead one for a second.
  await until(5_000, "ann is back by way of the gate", async () => {
    return await ann.login(cluster.gate, "ann", room);
  });
  await assertTalk({ ann, bob }, "hello again");
  assert.deepEqual(bob.all("onLeave"), []);
  await assertRoster(cluster, room, ["ann", "bob"]);
});

test("the gate is killed: chats go on, and a new gate answers", async ({ cluster, room }) => {
  const ann = await cluster.login("ann", room);
  const bob = await cluster.login("bob", room);
  await cluster.gate.kill();
  await assertTalk({ ann, bob }, "who needs a gate");
  await cluster.gate.start();
  const cat = cluster.client();
  await until(5_000, "the new gate answers", () => cat.login(cluster.gate, "cat", room));
  await ann.next("onAdd", { like: ({ user }) => user === "cat" });
  await assertRoster(cluster, room, ["ann", "bob", "cat"]);
});

test("a shard freezes for 5 s: its rooms go on, and nobody hears twice", async ({ cluster, room }) => {
  const inhabited = await inhabit(cluster, room);
  const marks = mark(...cluster.clients);
  const [shard] = cluster.shards;
  shard.signal("SIGSTOP");
  const thawed = sleep(5_000).then(() => shard.signal("SIGCONT"));
  await Promise.all(inhabited.slice(1).map((one) => assertTalk(one, "others are not hurt")));
  await thawed;
  await assertTogether(inhabited[0], "after the thaw");
  await assertQuiet(marks, GRACE + 2_000);
  for (const { ann, bob, room } of inhabited) {
    await assertTalk({ ann, bob }, "at the end");
    for (const client of [ann, bob]) {
      const heard = client.all("onChat").map(({ msg }) => msg);
      assert.deepEqual([...new Set(heard)], heard, `${client} heard something twice`);
    }
    await assertRoster(cluster, room, ["ann", "bob"]);
  }
}, { seconds: 90 });

test("everything dies once: no ghosts, nobody is lost", async ({ cluster, room }) => {
  const inhabited = await inhabit(cluster, room);
  for (const [i, shard] of cluster.shards.entries()) {
    await shard.kill();
    await shard.start();
    await assertTogether(inhabited[i], `after shard ${i}`);
  }
  for (const connector of cluster.connectors) {
    await connector.kill();
    await connector.start();
    for (const { room, ann, bob } of inhabited) {
      for (const client of [ann, bob].filter((one) => !one.isConnected)) {
        await until(5_000, `${client} is back`, async () => {
          if (!client.isConnected) await client.connect(connector);
          return await client.enter(client.name, room);
        });
      }
      await assertTalk({ ann, bob }, `after ${connector.name}`);
    }
  }
  await cluster.gate.kill();
  await cluster.gate.start();
  await sleep(GRACE);
  for (const { room } of inhabited) await assertRoster(cluster, room, ["ann", "bob"]);
}, { seconds: 120 });
