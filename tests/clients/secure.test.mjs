// Clients behind TLS, and clients that sign what they say.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Certificate } from "./lib/certificate.mjs";
import { ROUTES } from "./lib/client.mjs";
import { Standalone } from "./lib/cluster.mjs";
import { onCluster } from "./lib/scenario.mjs";
import { until } from "./lib/wait.mjs";

test(
  "WebSocket, TCP and both over TLS share a room while the certificate is replaced",
  { timeout: 60_000 },
  async () => {
    const certificate = new Certificate();
    const cluster = await Standalone.start({ flags: certificate.flags });
    try {
      const [via] = cluster.connectors;
      const old = certificate.ca;
      const clients = [
        await cluster.login("ws", "room", { via }),
        await cluster.login("wss", "room", { via, ca: old }),
        await cluster.login("tcp", "room", { via, kind: "pypomelo" }),
        await cluster.login("tls", "room", { via, kind: "pypomelo", ca: old }),
      ];
      const allHearAll = async (what) => {
        for (const author of clients) {
          const msg = `${what}, says ${author.name}`;
          assert.deepEqual(await author.send(msg), {});
          for (const client of clients) {
            assert.deepEqual(await client.next("onChat"), { msg, from: author.name, target: "*" });
          }
        }
      };
      await allHearAll("before");

      certificate.issue();
      const isTaken = /reloads_total\{file="tls",result="ok"\} [1-9]/;
      await until(10_000, "the new certificate is taken", async () => {
        return isTaken.test(await cluster.process.metrics());
      });
      await allHearAll("with the old certificate");

      // Who comes now is shown the new one, and nobody had to go.
      for (const kind of ["official", "pypomelo"]) {
        await assert.rejects(cluster.client(kind).connect(via, { ca: old }));
        clients.push(await cluster.login(`new-${kind}`, "room", { via, kind, ca: certificate.ca }));
      }
      await allHearAll("after");
      for (const client of clients) assert.deepEqual(client.all("disconnect"), []);
    } finally {
      await cluster.stop();
      certificate.remove();
    }
  },
);

const signed = onCluster({ start: Standalone.start, flags: ["--crypto"] });

signed("a signed message is heard, in whatever writing", async ({ room, login }) => {
  const ann = await login("ann", room, { encrypt: true });
  const ming = await login("小明", room, { encrypt: true });
  for (const msg of ["hi", "你好，世界", "é 😀"]) {
    assert.deepEqual(await ming.send(msg), {});
    assert.deepEqual(await ann.next("onChat"), { msg, from: "小明", target: "*" });
  }
  assert.match(ann.all("handshake").at(-1).sys.rsa.rsa_n, /^[0-9a-f]{256}$/);
});

signed(
  "a message with a wrong signature, or without one, ends the connection",
  async ({ cluster, room, login }) => {
    const [via] = cluster.connectors;
    const ann = await login("ann", room, { encrypt: true });
    for (const how of [{ encrypt: true, forged: true }, { encrypt: false }]) {
      const eve = cluster.client();
      await eve.connect(via, how);
      eve.notify(ROUTES.enter, { username: "eve", rid: room });
      await eve.next("disconnect");
    }
    const told = () => cluster.process.log.match(/closing.*bad_signature/g)?.length === 2;
    await until(2_000, "operators are told of both", async () => told());
    assert.deepEqual(await ann.send("alone"), {});
    assert.deepEqual(ann.all("onAdd"), []);
  },
);
