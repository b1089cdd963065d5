// What a person with grpcurl and a browser can ask a running system.

import assert from "node:assert/strict";
import { describe, test as plain } from "node:test";
import { Cluster, Standalone } from "../clients/lib/cluster.mjs";
import { grpc, grpcurl, refusal } from "../clients/lib/grpcurl.mjs";
import { onCluster } from "../clients/lib/scenario.mjs";
import { until } from "../clients/lib/wait.mjs";

const SERVICES = {
  gate: ["gate.v1.GateService"],
  connector: ["connector.v1.ConnectorService"],
  chat: ["chat.v1.ChatPeer", "chat.v1.ChatRemote", "chat.v1.ChatService"],
};

for (const [where, start] of [["cluster", undefined], ["standalone", Standalone.start]]) {
  describe(where, () => tests(onCluster(start ? { start } : {})));
}

function tests(test) {
  const one = (cluster, tier) =>
    ({ gate: cluster.gate, connector: cluster.connectors[0], chat: cluster.shards[0] })[tier];

  for (const [tier, services] of Object.entries(SERVICES)) {
    test(`${tier}: list and describe`, async ({ cluster }) => {
      const address = `127.0.0.1:${one(cluster, tier).grpc}`;
      const listed = (await grpcurl(address, "list")).trim().split("\n");
      const own = listed.filter((name) => !name.startsWith("grpc.reflection."));
      assert.deepEqual(own.sort(), [...services, "grpc.health.v1.Health"].sort());
      for (const service of services) {
        const described = await grpcurl(address, "describe", service);
        assert.match(described, new RegExp(`^${service} is a service:`));
        assert.match(described, /rpc \w+ \(/);
      }
    });

    test(`${tier}: health`, async ({ cluster }) => {
      const check = "grpc.health.v1.Health/Check";
      const process = one(cluster, tier);
      for (const service of ["", services.at(-1)]) {
        assert.deepEqual(await grpc(process, check, { service }), { status: "SERVING" });
      }
      const { code } = await refusal(process, check, { service: "no.such.Service" });
      assert.equal(code, "NotFound");
    });
  }

  test("QueryEntry names the connector that the gate names clients", async ({ cluster }) => {
    const client = cluster.client();
    const { host, port } = await client.ask(cluster.gate, "ann");
    const method = "gate.v1.GateService/QueryEntry";
    assert.deepEqual(await grpc(cluster.gate, method, { uid: "ann" }), { host, port });
    assert.equal((await refusal(cluster.gate, method, {})).code, "InvalidArgument");
    const tooLong = { uid: "x".repeat(65) };
    assert.equal((await refusal(cluster.gate, method, tooLong)).code, "InvalidArgument");
  });

  test("Connectors lists them, with their sessions", async ({ cluster, room, login }) => {
    const ann = await login("ann", room);
    const { connectors } = await grpc(cluster.gate, "gate.v1.GateService/Connectors");
    assert.equal(connectors.length, cluster.connectors.length);
    const its = connectors.find(({ port }) => port === ann.address.port);
    assert.equal(its.state, "CONNECTOR_STATE_READY");
    assert.equal(its.host, "127.0.0.1");
  });

  test("Rooms and Members tell who is where", async ({ cluster, room, login }) => {
    await login("ann", room);
    await login("bob", room, { kind: "community" });
    for (const shard of cluster.shards) {
      const { rooms } = await grpc(shard, "chat.v1.ChatService/Rooms", { all: true });
      const found = rooms.find((one) => one.room === room);
      assert.equal(found.members, "2");
      const { members, shardId } = await cluster.members(room, shard);
      assert.equal(shardId, found.shardId);
      assert.deepEqual(members.map(({ user }) => user), ["ann", "bob"]);
      assert.ok(members.every(({ connectorId, sessionId }) => connectorId && sessionId));
    }
    assert.deepEqual((await cluster.members("nobody-is-here")).members, []);
  });

  test("Publish arrives at the clients", async ({ cluster, room, login }) => {
    const clients = [await login("ann", room), await login("bob", room, { kind: "community" })];
    const method = "chat.v1.ChatService/Publish";
    for (const [i, shard] of cluster.shards.entries()) {
      const content = `news ${i} 你好`;
      const { seq } = await grpc(shard, method, { room, author: "system", content });
      assert.ok(Number(seq) > 0);
      for (const client of clients) {
        const message = { msg: content, from: "system", target: "*" };
        assert.deepEqual(await client.next("onChat"), message);
      }
    }
    const whisper = { room, author: "system", target: "bob", content: "psst" };
    await grpc(cluster.shards[0], method, whisper);
    assert.equal((await clients[1].next("onChat")).target, "bob");
    await clients[0].send("next");
    assert.equal((await clients[0].next("onChat")).msg, "next");

    const refused = async (request, code) =>
      assert.equal((await refusal(cluster.shards[0], method, request)).code, code);
    await refused({ room, author: "system", content: "" }, "InvalidArgument");
    await refused({ room: "", author: "system", content: "x" }, "InvalidArgument");
    await refused({ ...whisper, target: "zoe" }, "NotFound");
  });

  test("Publish under the same cmid happens once", async ({ cluster, room, login }) => {
    const ann = await login("ann", room);
    const method = "chat.v1.ChatService/Publish";
    const request = { room, author: "system", content: "once", cmid: "c1" };
    const first = await grpc(cluster.shards[0], method, request);
    assert.deepEqual(await grpc(cluster.shards[0], method, request), first);
    const other = await refusal(cluster.shards[0], method, { ...request, content: "other" });
    assert.equal(other.code, "AlreadyExists");
    await ann.send("end");
    await ann.next("onChat", { like: ({ msg }) => msg === "end" });
    assert.deepEqual(ann.all("onChat").map(({ msg }) => msg), ["once", "end"]);
  });

  test("History has what was said to all", async ({ cluster, room, login }) => {
    const ann = await login("ann", room);
    await login("bob", room);
    for (const content of ["one", "two", "three"]) await ann.send(content);
    await ann.send("psst", "bob");
    const { entries, head } = await grpc(cluster.shards[0], "chat.v1.ChatService/History", { room });
    const said = entries.map(({ author, content }) => `${author}: ${content}`);
    assert.deepEqual(said, ["ann: one", "ann: two", "ann: three"]);
    assert.ok(Number(head) > Number(entries.at(-1).seq));
  });

  test("ChatRemote adds, gets and kicks", async ({ cluster, room, login }) => {
    const ann = await login("ann", room);
    const bob = await login("bob", room);
    const [shard] = cluster.shards;
    const remote = (method, request) => grpc(shard, `chat.v1.ChatRemote/${method}`, { room, ...request });
    assert.deepEqual((await remote("Add", { user: "bot" })).users.sort(), ["ann", "bob", "bot"]);
    await ann.next("onAdd", { like: ({ user }) => user === "bot" });
    const again = await refusal(shard, "chat.v1.ChatRemote/Add", { room, user: "bot" });
    assert.equal(again.code, "AlreadyExists");
    assert.deepEqual((await remote("Get")).users.sort(), ["ann", "bob", "bot"]);
    assert.deepEqual(await remote("Kick", { user: "bot" }), { kicked: true });
    await ann.next("onLeave", { like: ({ user }) => user === "bot" });
    assert.deepEqual(await remote("Kick", { user: "bob", reason: "spam" }), { kicked: true });
    assert.deepEqual(await bob.next("onKick"), { reason: "spam" });
    await bob.next("disconnect");
    await ann.next("onLeave", { like: ({ user }) => user === "bob" });
    assert.deepEqual((await remote("Get")).users, ["ann"]);
  });

  test("Sessions lists them, Kick closes one", async ({ cluster, room, login }) => {
    const ann = await login("ann", room);
    const bob = await login("bob", room, { via: ann.address });
    const connector = cluster.connectorOf(bob);
    const service = "connector.v1.ConnectorService";
    const { sessions } = await grpc(connector, `${service}/Sessions`, { room });
    assert.deepEqual(sessions.map(({ user }) => user).sort(), ["ann", "bob"]);
    assert.ok(sessions.every(({ id, peerAddr }) => id && /^127\.0\.0\.1:\d+$/.test(peerAddr)));
    const { id } = sessions.find(({ user }) => user === "bob");
    const request = { session_id: id, reason: "good night" };
    assert.deepEqual(await grpc(connector, `${service}/Kick`, request), { kicked: 1 });
    assert.deepEqual(await bob.next("onKick"), { reason: "good night" });
    await ann.next("onLeave");
    assert.deepEqual(await grpc(connector, `${service}/Kick`, request), {});
    const both = await refusal(connector, `${service}/Kick`, { session_id: id, user: "ann" });
    assert.equal(both.code, "InvalidArgument");
  });
}

plain("a connector drains by hand, and stays", { timeout: 60_000 }, async () => {
  // As long as it takes clients, it has those that it had.
  const flags = { connector: ["--accept-grace", "2s"] };
  const cluster = await Cluster.start({ connectors: 2, shards: 1, flags });
  try {
    const ann = await cluster.login("ann", "room");
    const drained = cluster.connectorOf(ann);
    const answer = await grpc(drained, "connector.v1.ConnectorService/Drain");
    assert.deepEqual(answer, { sessions: "1" });
    await until(5_000, "the gate knows", async () => {
      const { connectors } = await grpc(cluster.gate, "gate.v1.GateService/Connectors");
      return connectors.some(({ state }) => state === "CONNECTOR_STATE_DRAINING");
    });
    for (let i = 0; i < 10; i += 1) {
      const { port } = await grpc(cluster.gate, "gate.v1.GateService/QueryEntry", { uid: `u${i}` });
      assert.notEqual(port, drained.port);
    }
    assert.deepEqual(await ann.send("still here"), {});
    assert.equal(await drained.isReady(), false);
    assert.match((await ann.next("onKick")).reason, /^draining: /);
    await ann.next("disconnect");
    await ann.login(cluster.gate, "ann", "room");
    assert.deepEqual(await ann.send("elsewhere"), {});
    const left = await grpc(drained, "connector.v1.ConnectorService/Drain", { time_ms: 5 });
    assert.deepEqual(left, {});
    assert.deepEqual(await drained.stop(), { code: 0, signal: null });
  } finally {
    await cluster.stop();
  }
});
