// What the official client's own reconnecting finds when its connector comes back.

import assert from "node:assert/strict";
import { assertRoster, onCluster } from "./lib/scenario.mjs";

const test = onCluster({ fresh: true });

test("a client reconnects to its restarted connector", async ({ cluster, room, login }) => {
  const [connector, other] = cluster.connectors;
  const ann = await login("ann", room, { via: connector, reconnect: true });
  const bob = await login("bob", room, { via: other });
  await ann.next("onAdd");

  await connector.kill();
  await ann.next("disconnect");
  await connector.start();
  // The client waits 5 s before its first attempt. It does not enter by itself.
  await ann.next("reopened", { ms: 15_000 });
  const answer = ann.all("handshake answer").at(-1);
  assert.equal(answer.sys.protos, undefined, "it has the protos already");
  assert.deepEqual((await ann.enter("ann", room)).sort(), ["ann", "bob"]);

  await bob.send("welcome back");
  assert.equal((await ann.next("onChat")).msg, "welcome back");
  await ann.send("thanks");
  assert.equal((await bob.next("onChat", { like: ({ from }) => from === "ann" })).msg, "thanks");
  await assertRoster(cluster, room, ["ann", "bob"]);
});
