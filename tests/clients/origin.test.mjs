// Clients that reach the gate and the connector by one origin, as behind web-server, a
// Gateway or an Ingress: the host that they are told carries a path.

import assert from "node:assert/strict";
import { Standalone } from "./lib/cluster.mjs";
import { onCluster } from "./lib/scenario.mjs";

const test = onCluster({
  start: Standalone.start,
  flags: ["--proxy", "--gate-advertise", "sameHost"],
});

for (const kind of ["official", "community", "pinus"]) {
  test(`the ${kind} client comes and goes by the page's own port`, async ({ cluster, room }) => {
    const { web } = cluster;
    const client = cluster.client(kind);
    // What clients write themselves is `ws://HOST:PORT`.
    const told = await client.ask({ host: `127.0.0.1:${web}/gate?`, port: web }, "ann");
    assert.deepEqual(told, { host: `127.0.0.1:${web}/ws?`, port: web });
    await client.connect(told);
    await client.enter("ann", room);
    assert.deepEqual(await client.send("hello"), {});
    assert.deepEqual(await client.next("onChat"), { msg: "hello", from: "ann", target: "*" });
  });
}

test("a client on TCP is told the port, and dials the host that it knows", async ({ cluster, room }) => {
  const client = cluster.client("pypomelo");
  const told = await client.ask(cluster.gate, "bob");
  assert.deepEqual(told, { host: "", port: cluster.connectors[0].port });
  await client.connect({ ...told, host: cluster.gate.host });
  await client.enter("bob", room);
  assert.deepEqual(await client.send("hello"), {});
});
