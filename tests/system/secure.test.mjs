// The processes of a cluster prove to each other who they are.

import assert from "node:assert/strict";
import { test } from "node:test";
import { ClusterCertificate } from "../clients/lib/certificate.mjs";
import { Cluster } from "../clients/lib/cluster.mjs";
import { grpc, refusal } from "../clients/lib/grpcurl.mjs";
import { until } from "../clients/lib/wait.mjs";

const ROOMS = "chat.v1.ChatService/Rooms";
const HEALTH = "grpc.health.v1.Health/Check";

test(
  "a cluster with certificates chats, also while they change, and is closed to others",
  { timeout: 90_000 },
  async () => {
    const certificate = new ClusterCertificate();
    const flags = [...certificate.flags, "--admin-token-file", certificate.token];
    const tls = certificate.grpcurl();
    let cluster;
    try {
      cluster = await Cluster.start({ flags: { chat: flags, connector: flags, gate: flags }, tls });
      const rooms = await cluster.roomsOnEachShard("secure");
      const people = [];
      for (const [i, room] of rooms.entries()) {
        const ann = await cluster.login("ann", room, { via: cluster.connectors[i % 3] });
        const bob = await cluster.login("bob", room, { via: cluster.connectors[(i + 1) % 3] });
        people.push({ ann, bob });
      }
      const allTalk = async (msg) => {
        for (const { ann, bob } of people) {
          assert.deepEqual(await ann.send(msg), {});
          await bob.next("onChat", { like: (chat) => chat.msg === msg });
        }
      };
      await allTalk("hello");

      // Health is for everybody, and over TLS; all else is not.
      const [shard] = cluster.shards;
      const stranger = { grpc: shard.grpc, tls: certificate.grpcurl({ certified: false }) };
      assert.deepEqual(await grpc(stranger, HEALTH), { status: "SERVING" });
      await assert.rejects(grpc({ grpc: shard.grpc }, HEALTH));
      assert.equal((await refusal(stranger, ROOMS, {})).code, "Unauthenticated");
      assert.ok(await grpc(shard, ROOMS, {}));

      certificate.issue();
      const isTaken = /reloads_total\{file="grpc_tls",result="ok"\} [1-9]/;
      for (const one of cluster.processes) {
        await until(10_000, `${one.name} takes the new certificate`, async () =>
          isTaken.test(await one.metrics()));
      }
      await allTalk("with new certificates");
      // A shard that begins now is found and served, by the old and by the new.
      await shard.kill();
      await shard.start();
      await cluster.ready();
      await until(10_000, "rooms are served again", async () => {
        await allTalk("again");
        return true;
      });
    } finally {
      await cluster?.stop();
      certificate.remove();
    }
  },
);
