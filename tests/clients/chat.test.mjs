// What people do in a room, by both clients, over three connectors and three shards.

import assert from "node:assert/strict";
import { ROUTES } from "./lib/client.mjs";
import { KINDS, onCluster } from "./lib/scenario.mjs";
import { sleep } from "./lib/wait.mjs";

const test = onCluster();

for (const kind of KINDS) {
  const login = (cluster, name, room) => cluster.login(name, room, { kind });

  test(`${kind}: the gate names a connector, and the same one again`, async ({ cluster }) => {
    const client = cluster.client(kind);
    const address = await client.ask(cluster.gate, "ann");
    assert.equal(address.host, "127.0.0.1");
    assert.ok(cluster.connectors.some(({ port }) => port === address.port));
    assert.deepEqual(await client.ask(cluster.gate, "ann"), address);
  });

  test(`${kind}: a gate asked without a name says 500`, async ({ cluster }) => {
    const client = cluster.client(kind);
    await client.connect(cluster.gate);
    assert.equal((await client.request(ROUTES.gate, {})).code, 500);
    assert.equal((await client.request(ROUTES.gate, { uid: "" })).code, 500);
  });

  test(`${kind}: who enters is told who is there, in order`, async ({ cluster, room }) => {
    assert.deepEqual((await login(cluster, "ann", room)).users, ["ann"]);
    assert.deepEqual((await login(cluster, "bob", room)).users, ["ann", "bob"]);
    assert.deepEqual((await login(cluster, "cat", room)).users, ["ann", "bob", "cat"]);
  });

  test(`${kind}: all hear a message, its author after the answer`, async ({ cluster, room }) => {
    const ann = await login(cluster, "ann", room);
    const bob = await login(cluster, "bob", room);
    assert.deepEqual(await ann.send("hi"), {});
    const message = { msg: "hi", from: "ann", target: "*" };
    assert.deepEqual(await ann.next("onChat"), message);
    assert.deepEqual(await bob.next("onChat"), message);
    const names = ann.events.map(({ event }) => event);
    assert.ok(names.lastIndexOf("answer") < names.indexOf("onChat"), String(names));
  });

  test(`${kind}: a whisper is heard by its target only`, async ({ cluster, room }) => {
    const ann = await login(cluster, "ann", room);
    const bob = await login(cluster, "bob", room);
    const cat = await login(cluster, "cat", room);
    assert.deepEqual(await ann.send("psst", "bob"), {});
    assert.deepEqual(await bob.next("onChat"), { msg: "psst", from: "ann", target: "bob" });
    // What comes next to the others is what was said after it.
    await ann.send("hi");
    assert.equal((await ann.next("onChat")).msg, "hi");
    assert.equal((await cat.next("onChat")).msg, "hi");
  });

  test(`${kind}: a whisper to oneself is heard once`, async ({ cluster, room }) => {
    const ann = await login(cluster, "ann", room);
    assert.deepEqual(await ann.send("note", "ann"), {});
    await ann.send("next");
    await ann.next("onChat", { like: ({ msg }) => msg === "next" });
    assert.deepEqual(ann.all("onChat").map(({ msg }) => msg), ["note", "next"]);
  });

  test(`${kind}: a whisper to nobody says 500`, async ({ cluster, room }) => {
    const ann = await login(cluster, "ann", room);
    assert.equal((await ann.send("psst", "zoe")).code, 500);
    assert.deepEqual(await ann.send("hi"), {});
  });

  test(`${kind}: comings and goings are told to the others`, async ({ cluster, room }) => {
    const ann = await login(cluster, "ann", room);
    const bob = await login(cluster, "bob", room);
    assert.deepEqual(await ann.next("onAdd"), { route: "onAdd", user: "bob" });
    await bob.disconnect();
    assert.deepEqual(await ann.next("onLeave"), { route: "onLeave", user: "bob" });
    await bob.connect(cluster.connectors[0]);
    assert.deepEqual(await bob.enter("bob", room), ["ann", "bob"]);
    assert.deepEqual(await ann.next("onAdd"), { route: "onAdd", user: "bob" });
    await bob.kill();
    assert.deepEqual(await ann.next("onLeave"), { route: "onLeave", user: "bob" });
    assert.deepEqual(bob.all("onAdd"), []);
  });

  test(`${kind}: a name is taken once in a room`, async ({ cluster, room }) => {
    const ann = await login(cluster, "ann", room);
    for (const connector of cluster.connectors) {
      const [other, elsewhere] = [cluster.client(kind), `${room} of ${connector.name}`];
      await other.connect(connector);
      const answer = await other.request(ROUTES.enter, { username: "ann", rid: room });
      assert.deepEqual(answer, { code: 500, error: true });
      assert.deepEqual(await other.enter("ann", elsewhere), ["ann"]);
    }
    assert.deepEqual(ann.users, ["ann"]);
    assert.deepEqual(await ann.send("hi"), {});
  });

  test(`${kind}: a refused client may enter under another name`, async ({ cluster, room }) => {
    await login(cluster, "ann", room);
    const bob = cluster.client(kind);
    await bob.connect(cluster.connectors[0]);
    const taken = await bob.request(ROUTES.enter, { username: "ann", rid: room });
    assert.equal(taken.error, true);
    assert.deepEqual(await bob.enter("bob", room), ["ann", "bob"]);
  });

  test(`${kind}: a connection enters once`, async ({ cluster, room }) => {
    const ann = await login(cluster, "ann", room);
    for (const [username, rid] of [["ann", room], ["eve", room], ["ann", `${room}-2`]]) {
      const answer = await ann.request(ROUTES.enter, { username, rid });
      assert.equal(answer.code, 500, JSON.stringify(answer));
      assert.ok(answer.error);
    }
    assert.deepEqual((await cluster.members(`${room}-2`)).members, []);
    assert.deepEqual((await cluster.members(room)).members.map(({ user }) => user), ["ann"]);
    assert.deepEqual(await ann.send("hi"), {});
    assert.equal((await ann.next("onChat")).from, "ann");
  });

  test(`${kind}: who has not entered cannot send`, async ({ cluster, room }) => {
    const ann = cluster.client(kind);
    await ann.connect(cluster.connectors[0]);
    assert.equal((await ann.send("hi")).code, 500);
    assert.deepEqual(await ann.enter("ann", room), ["ann"]);
    assert.deepEqual(await ann.send("hi"), {});
  });

  test(`${kind}: what is missing or no text says 400`, async ({ cluster, room }) => {
    const ann = cluster.client(kind);
    await ann.connect(cluster.connectors[0]);
    const is400 = async (route, body) => {
      const answer = await ann.request(route, body);
      assert.equal(answer.code, 400, `${JSON.stringify(body)}: ${JSON.stringify(answer)}`);
      assert.ok(answer.error);
    };
    await is400(ROUTES.enter, { rid: room });
    await is400(ROUTES.enter, { username: "ann" });
    await is400(ROUTES.enter, { username: 7, rid: room });
    await is400(ROUTES.enter, { username: "", rid: room });
    await is400(ROUTES.enter, { username: "a*b", rid: room });
    await is400(ROUTES.enter, { username: "x".repeat(65), rid: room });
    assert.deepEqual(await ann.enter("ann", room), ["ann"]);
    await is400(ROUTES.send, { target: "*" });
    await is400(ROUTES.send, { target: "*", content: "" });
    await is400(ROUTES.send, { target: "*", content: { a: 1 } });
    await is400(ROUTES.send, { content: "hi", target: 7 });
    assert.deepEqual(await ann.send("hi"), {});
    assert.equal((await ann.next("onChat")).msg, "hi");
  });

  test(`${kind}: a message has at most 32 KiB`, async ({ cluster, room }) => {
    const ann = await login(cluster, "ann", room);
    const most = "x".repeat(32 * 1024);
    assert.equal((await ann.send(`${most}x`)).code, 413);
    assert.deepEqual(await ann.send(most), {});
    assert.equal((await ann.next("onChat")).msg, most);
  });

  test(`${kind}: any writing goes through`, async ({ cluster, room }) => {
    const [name, place] = ["小明", `聊天室-${room}`];
    const ming = await login(cluster, name, place);
    const others = [await cluster.login("ann", place), await cluster.login("bob😀", place, { kind: "community" })];
    assert.deepEqual(others[1].users, [name, "ann", "bob😀"]);
    const text = "你好 😀👍🏽 é \u0000 \"\\ עברית";
    assert.deepEqual(await ming.send(text), {});
    for (const client of [ming, ...others]) {
      assert.deepEqual(await client.next("onChat"), { msg: text, from: name, target: "*" });
    }
    assert.deepEqual(await ming.send("🤫", "bob😀"), {});
    assert.equal((await others[1].next("onChat")).target, "bob😀");
  });

  test(`${kind}: a notify has its effect and no answer`, async ({ cluster, room }) => {
    const bob = await login(cluster, "bob", room);
    const ann = cluster.client(kind);
    await ann.connect(cluster.connectors[1]);
    ann.notify(ROUTES.enter, { username: "ann", rid: room });
    assert.equal((await bob.next("onAdd")).user, "ann");
    ann.notify(ROUTES.send, { content: "hi", target: "*" });
    assert.equal((await bob.next("onChat")).msg, "hi");
    ann.notify(ROUTES.send, { content: "psst", target: "zoe" });
    assert.deepEqual(await ann.request(ROUTES.send, { content: "end", target: "*" }), {});
    assert.equal((await bob.next("onChat")).msg, "end");
  });

  test(`${kind}: what nobody serves says 500`, async ({ cluster, room }) => {
    const ann = await login(cluster, "ann", room);
    assert.equal((await ann.request("chat.chatHandler.sing", {})).code, 500);
    assert.deepEqual(await ann.send("hi"), {});
  });
}

test("name, room and author in a request are not believed", async ({ login, room }) => {
  const ann = await login("ann", room);
  const bob = await login("bob", `${room}-2`);
  await ann.request(ROUTES.send, { rid: bob.room, content: "hi", from: "bob", target: "*" });
  assert.deepEqual(await ann.next("onChat"), { msg: "hi", from: "ann", target: "*" });
  await bob.send("own");
  assert.equal((await bob.next("onChat")).msg, "own");
});

test("members on all connectors, rooms on all shards", async ({ cluster, room }) => {
  const rooms = await cluster.roomsOnEachShard(room);
  const names = ["ann", "bob", "cat"];
  const inRooms = await Promise.all(
    rooms.map(async (room) => {
      const members = [];
      for (const [i, name] of names.entries()) {
        const kind = KINDS[i % 2];
        members.push(await cluster.login(name, room, { kind, via: cluster.connectors[i] }));
      }
      return members;
    }),
  );
  for (const [i, members] of inRooms.entries()) {
    assert.equal(await cluster.shardOf(rooms[i]), cluster.shards[i]);
    for (const client of members) await client.send(`${rooms[i]} by ${client.name}`);
  }
  for (const [i, members] of inRooms.entries()) {
    for (const client of members) {
      const heard = [];
      for (const name of names) heard.push(await client.next("onChat"), name);
      const expected = names.flatMap((from) => [
        { msg: `${rooms[i]} by ${from}`, from, target: "*" },
        from,
      ]);
      assert.deepEqual(heard, expected);
    }
    await members[0].send("psst", "cat");
    assert.equal((await members[2].next("onChat")).msg, "psst");
    await members[1].disconnect();
    assert.equal((await members[0].next("onLeave")).user, "bob");
    assert.equal((await members[2].next("onLeave")).user, "bob");
  }
});

test("requests sent without waiting are answered in order", async ({ login, room }) => {
  const ann = await login("ann", room);
  const bob = await login("bob", room);
  const said = Array.from({ length: 30 }, (_, i) => `message ${i}`);
  const answers = await Promise.all(said.map((content) => ann.send(content)));
  assert.deepEqual(answers, said.map(() => ({})));
  for (const content of said) assert.equal((await bob.next("onChat")).msg, content);
});

test("a client with the protos is not sent them again", async ({ cluster, room }) => {
  const first = await cluster.login("ann", room, { via: cluster.connectors[0] });
  const [{ sys }] = first.all("handshake answer");
  assert.equal(sys.heartbeat, 3);
  assert.ok(sys.dict["chat.chatHandler.send"]);
  assert.ok(sys.protos.server.onChat);

  const again = cluster.client();
  await again.store(await first.store());
  await again.connect(cluster.connectors[1]);
  await again.enter("bob", room);
  assert.equal(again.all("handshake")[0].sys.protoVersion, sys.protos.version);
  assert.equal(again.all("handshake answer")[0].sys.protos, undefined);
  await first.send("hi");
  assert.deepEqual(await again.next("onChat"), { msg: "hi", from: "ann", target: "*" });
});

test("a client stays connected over many heartbeats", async ({ room, login }) => {
  const clients = [await login("ann", room), await login("bob", room, { kind: "community" })];
  // The server gives up after two intervals of 3 s without one.
  await sleep(10_000);
  for (const client of clients) {
    assert.ok(client.isConnected);
    assert.deepEqual(await client.send("hi"), {});
  }
});
