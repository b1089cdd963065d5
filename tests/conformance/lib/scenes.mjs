// Three recordings hold no frames of the client, or none at all. These are the frames,
// by their description and observations; what is expected is what they recorded.

import { readFileSync } from "node:fs";
import { ACK, HEARTBEAT, handshake, message } from "./pomelo.mjs";

const HELLO = handshake({ sys: { type: "js-websocket", version: "0.0.1", rsa: {} } });
const CACHED = handshake({
  sys: {
    ...{ type: "js-websocket", version: "0.0.1", rsa: {} },
    ...{ protoVersion: "2zWPnSlRsRxjqgcU215Uxg==", dictVersion: "s2r1qfKDrbhWCkA6uf+PTA==" },
  },
});
const DEFLATE =
  "GET / HTTP/1.1\r\nHost: 127.0.0.1:3050\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n" +
  "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n";

const enter = (username, rid) => message("01010002", { username, rid });
const send = (id, content) =>
  message(`01${id.toString(16).padStart(2, "0")}0001`, { content, target: "*" });
const say = (content) => message("030001", { content, target: "*" });

function scene() {
  const steps = [];
  const add = (conn, step) => steps.push({ seq: steps.length, t: steps.length, conn, ...step });
  return {
    steps,
    add,
    open: (conn, more) => add(conn, { do: "open", port: 3050, transport: "ws", ...more }),
    send: (conn, payload) => add(conn, { do: "send", payload }),
    expect: (conn, like) => add(conn, { expect: { kind: "frame", like } }),
    join(conn, name, room, users) {
      this.open(conn);
      this.send(conn, CACHED);
      this.expect(conn, {
        handshake: { code: 200, sys: { heartbeat: 3, useDict: true, useProto: true } },
      });
      this.send(conn, ACK);
      this.expect(conn, { hex: HEARTBEAT.toString("hex") });
      this.send(conn, enter(name, room));
      this.expect(conn, { response: 1, body: { users } });
    },
  };
}

/** Each recorded frame of the server, with the client's frame that it answers. */
function permessageDeflate() {
  const file = new URL("../goldens/permessage-deflate.json", import.meta.url);
  const { events } = JSON.parse(readFileSync(file, "utf8"));
  const sends = [100, 900, 1000, 1100, 5000, 65_536].map((size, i) =>
    send(i + 2, "z".repeat(size)),
  );
  const client = [
    null,
    HELLO,
    ACK,
    enter("defl", "g-deflate"),
    ...sends.flatMap((bytes) => [bytes, null]),
  ];
  const steps = [
    { seq: -1, t: 0, conn: "raw", do: "open", port: 3050, transport: "ws", request: DEFLATE },
  ];
  for (const {
    seq,
    t_ms: t,
    kind,
    text,
    first_byte: first,
    payload_len: bytes,
    wire_len: wire,
  } of events) {
    const at = { seq, t, conn: "raw" };
    if (client[seq]) steps.push({ ...at, do: "send", payload: client[seq] });
    if (kind === "http") steps.push({ ...at, expect: { kind: "head", text } });
    else steps.push({ ...at, expect: { kind: "frame", first, bytes, wire } });
  }
  return steps;
}

/** 520 notifies that the original never gets rid of; then it still answers. */
function timeoutFilterLeak() {
  const it = scene();
  it.join("a", "ann", "g-leak", ["ann"]);
  const route = Buffer.from("chat.chatHandler.toString");
  for (let i = 0; i < 520; i += 1) it.send("a", message(`0219${route.toString("hex")}`, {}));
  it.add("a", { do: "wait" });
  it.send("a", send(2, "still there"));
  it.expect("a", { response: 2, body: {} });
  it.expect("a", { push: "onChat", body: { msg: "still there", from: "ann", target: "*" } });
  it.add("a", { do: "shut", how: "fin" });
  it.add("a", { expect: { kind: "end" } });
  return it.steps;
}

/** One member stops reading while another sends 15 MiB: the original keeps it all. */
function slowConsumer() {
  const it = scene();
  const [size, rounds, atOnce] = [65_536, 30, 8];
  it.join("slow", "slow", "g-slow", ["slow"]);
  it.join("a", "ann", "g-slow", ["slow", "ann"]);
  it.expect("slow", { push: "onAdd", body: { route: "onAdd", user: "ann" } });
  it.add("slow", { do: "pause" });
  for (let i = 0; i < rounds; i += 1) {
    for (let j = 0; j < atOnce; j += 1) it.send("a", say("s".repeat(size)));
    for (let j = 0; j < atOnce; j += 1)
      it.expect("a", { push: "onChat", body: { msg: "<text>", from: "ann", target: "*" } });
    it.send("slow", HEARTBEAT);
    it.send("a", HEARTBEAT);
    it.expect("a", { hex: HEARTBEAT.toString("hex") });
  }
  it.add("slow", { do: "resume" });
  it.add("a", { do: "shut", how: "close" });
  it.add("a", { expect: { kind: "close", code: 1000 } });
  it.add("a", { expect: { kind: "end" } });
  return it.steps;
}

export const scenes = {
  "permessage-deflate": permessageDeflate,
  "slow-consumer": slowConsumer,
  "timeout-filter-leak": timeoutFilterLeak,
};
