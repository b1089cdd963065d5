// Clients that nobody here wrote, each in every profile: what people do in a room, step
// by step, with the official client as company.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { ROUTES } from "../../clients/lib/client.mjs";
import { Standalone } from "../../clients/lib/cluster.mjs";
import { grpc } from "../../clients/lib/grpcurl.mjs";
import { sleep, within } from "../../clients/lib/wait.mjs";

/**
 * By name: its package, and which steps it `lacks`, everywhere or in one profile, with
 * the reason, which is always the client's own. One that cannot even connect `fails` with
 * these words. `attempts`: it loses packages by chance.
 */
export const CLIENTS = JSON.parse(readFileSync(new URL("../clients.json", import.meta.url)));

const EMPTY = fileURLToPath(new URL("../empty.json", import.meta.url));

/** What gate and connector are started with. */
export const PROFILES = {
  starter: ["--profile", "starter"],
  // Announces protobuf without a message, for clients that cannot do without.
  "starter+": ["--profile", "starter", "--server-protos", EMPTY],
  master: ["--profile", "master"],
  full: ["--profile", "full"],
};

const WRITING = "你好 😀 é";
/** What not every client has, and a person in a room hardly misses. */
const EXTRAS = ["learns why", "returns", "visits again"];
/** A client that does not beat is closed after 6 s. */
const HEARTBEATS_MS = 7_500;
/** Ids have two bytes from 128 on. */
const REQUESTS = 140;

/** In their order. Each gets the cell: {cluster, client, ann, room, openedAt}. */
const STEPS = {
  async connects({ cluster, client }) {
    const address = await client.ask(cluster.gate, "bob");
    await client.connect(address, { reconnect: true });
  },

  async enters({ client, ann, room }) {
    assert.deepEqual(await client.enter("bob", room), ["ann", "bob"]);
    assert.deepEqual((await ann.next("onAdd")).user, "bob");
  },

  async "is heard"({ client, ann }) {
    assert.deepEqual(await client.send("hi", "ann"), {});
    assert.deepEqual(await ann.next("onChat"), { msg: "hi", from: "bob", target: "ann" });
  },

  async "writes anything"({ client, ann }) {
    assert.deepEqual(await client.send(WRITING, "ann"), {});
    assert.equal((await ann.next("onChat")).msg, WRITING);
  },

  async "is refused"({ client }) {
    assert.equal((await client.send("psst", "zoe")).code, 500);
  },

  async "sees others come and go"({ cluster, client, ann, room }) {
    const cat = await cluster.login("cat", room, { via: cluster.connectors[0] });
    assert.equal((await client.next("onAdd")).user, "cat");
    assert.equal((await ann.next("onAdd")).user, "cat");
    await cat.disconnect();
    assert.equal((await client.next("onLeave")).user, "cat");
    assert.equal((await ann.next("onLeave")).user, "cat");
  },

  async hears({ client, ann }) {
    await ann.send("hello");
    assert.deepEqual(await client.next("onChat"), { msg: "hello", from: "ann", target: "*" });
    await ann.send("psst", "bob");
    assert.deepEqual(await client.next("onChat"), { msg: "psst", from: "ann", target: "bob" });
  },

  async "reads anything"({ client, ann }) {
    await ann.send(WRITING);
    assert.deepEqual(await client.next("onChat"), { msg: WRITING, from: "ann", target: "*" });
  },

  async "hears itself"({ client, ann }) {
    const like = ({ msg }) => msg === "to all";
    assert.deepEqual(await client.send("to all"), {});
    const expected = { msg: "to all", from: "bob", target: "*" };
    assert.deepEqual(await client.next("onChat", { like }), expected);
    assert.deepEqual(await ann.next("onChat", { like }), expected);
  },

  async notifies({ client, ann }) {
    client.notify(ROUTES.send, { rid: "", content: "noted", from: "", target: "ann" });
    assert.equal((await ann.next("onChat", { like: ({ msg }) => msg === "noted" })).from, "bob");
  },

  async "counts past 127"({ client }) {
    for (let i = 0; i < REQUESTS; i += 1) {
      assert.equal((await client.send("psst", "zoe")).code, 500);
    }
  },

  async "stays over heartbeats"({ client, ann, openedAt }) {
    await sleep(openedAt + HEARTBEATS_MS - Date.now());
    assert.ok(client.isConnected);
    assert.deepEqual(await client.send("still here", "ann"), {});
    await ann.next("onChat", { like: ({ msg }) => msg === "still here" });
  },

  async "is kicked"({ cluster, client, ann, room }) {
    const [connector] = cluster.connectors;
    const ask = (method, request) =>
      grpc(connector, `connector.v1.ConnectorService/${method}`, request);
    const { sessions } = await ask("Sessions", { room });
    const { id } = sessions.find(({ user }) => user === "bob");
    await ask("Kick", { session_id: id, reason: "time to go" });
    await client.next("disconnect");
    assert.equal((await ann.next("onLeave")).user, "bob");
  },

  async "learns why"({ client }) {
    assert.deepEqual(await client.next("onKick"), { reason: "time to go" });
  },

  async returns({ client, ann, room }) {
    // It waits 5 s before its first attempt, and does not enter by itself.
    await client.next("reopened", { ms: 15_000 });
    assert.deepEqual(await client.enter("bob", room), ["ann", "bob"]);
    assert.equal((await ann.next("onAdd")).user, "bob");
    await ann.send("welcome back");
    assert.equal(
      (await client.next("onChat", { like: ({ from }) => from === "ann" })).msg,
      "welcome back",
    );
  },

  async "visits again"({ cluster, client, room }) {
    const known = client.all("handshake answer").find(({ sys }) => sys.protos?.version)?.sys.protos;
    const again = cluster.client(client.kind);
    await again.store(await client.store());
    await again.connect(cluster.connectors[0]);
    assert.equal(again.all("handshake")[0].sys.protoVersion, known?.version ?? 0);
    if (known) assert.equal(again.all("handshake answer")[0].sys.protos, undefined);
    await again.enter("eve", room);
    await client.send("hi again");
    assert.equal((await again.next("onChat")).msg, "hi again");
  },
};

/**
 * Tries a client in the system of one profile: {state: "ok" | "partly" | "no" | "FAILED",
 * reasons}. "partly" and "no" are what the list says of the client.
 */
export async function tryClient(kind, profile, cluster) {
  const { attempts = 1, lacks = {}, lacksIn = {} } = CLIENTS[kind];
  const { fails, ...here } = lacksIn[profile] ?? {};
  const missing = { ...lacks, ...here };
  let last;
  for (let i = 0; i < attempts; i += 1) {
    const cell = await begin(kind, `${kind} in ${profile}, ${i}`, cluster);
    try {
      if (missing.connects) await failsAsSaid(cell, fails);
      else await walk(cell, missing);
      return verdict(missing);
    } catch (error) {
      last = failed(`${cell.step}: ${error.message}`);
    }
  }
  return last;
}

async function begin(kind, room, cluster) {
  const ann = await cluster.login("ann", room, { via: cluster.connectors[0] });
  return { cluster, room, ann, client: cluster.client(kind), openedAt: 0, step: "connects" };
}

async function walk(cell, missing) {
  const threw = cell.client.next("threw", { ms: 120_000 }).then((text) => {
    throw new Error(`the client threw ${text}`);
  });
  threw.catch(() => {}); // nobody may be waiting any more
  for (const [name, step] of Object.entries(STEPS)) {
    if (missing[name]) continue;
    cell.step = name;
    await Promise.race([step(cell), threw]);
    cell.openedAt ||= Date.now();
  }
}

/** That it cannot connect is its own fault, of the kind that the list names. */
async function failsAsSaid({ client, cluster, room }, fails) {
  const came = () => client.events.map(({ event, body }) => `${event} ${body}`).join("; ");
  const attempt = client.login(cluster.gate, "bob", room).then(
    () => "it connects: take that out of clients.json",
    (error) => error.message,
  );
  const told = client.next(fails === "disconnect" ? "disconnect" : "threw", { ms: 8_000 });
  const ended = await Promise.race([
    attempt,
    told.then(
      () => "",
      () => "nothing",
    ),
  ]);
  const evidence = `${ended}; ${came()}`;
  assert.match(evidence, new RegExp(fails));
  assert.doesNotMatch(evidence, /it connects/);
}

const failed = (text) => ({ state: "FAILED", reasons: [text] });

function verdict(missing) {
  if (missing.connects) return { state: "no", reasons: [missing.connects] };
  const missed = Object.entries(missing).filter(([step]) => !EXTRAS.includes(step));
  const reasons = missed.map(([step, why]) => `not "${step}": ${why}`);
  return { state: missed.length ? "partly" : "ok", reasons };
}

/** Every cell asked for, by "client/profile". */
export async function tryAll({
  kinds = Object.keys(CLIENTS),
  profiles = Object.keys(PROFILES),
} = {}) {
  const results = new Map();
  const column = async (profile) => {
    const flags = [...PROFILES[profile], "--sends-per-second", "0"];
    const cluster = await Standalone.start({ flags });
    try {
      const all = kinds.map(async (kind) => {
        const cell = tryClient(kind, profile, cluster);
        const result = within(100_000, `${kind} in ${profile}`, cell);
        results.set(`${kind}/${profile}`, await result.catch((error) => failed(error.message)));
      });
      await Promise.all(all);
    } finally {
      await cluster.stop();
    }
  };
  // Most of the time is spent on waiting for heartbeats.
  for (let i = 0; i < profiles.length; i += 2) {
    await Promise.all(profiles.slice(i, i + 2).map(column));
  }
  return results;
}
