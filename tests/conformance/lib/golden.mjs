// A recording as a list of steps in the recorded order: what the client does, and what
// the server is expected to send. `seq` is the number of the event in the recording.

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { TEXT } from "./socket.mjs";
import { scenes } from "./scenes.mjs";

export const FOLDER = new URL("../goldens/", import.meta.url);

const read = (file) => JSON.parse(readFileSync(new URL(file, FOLDER), "utf8"));

/** The names of all recordings. */
export const names = () => read("_index.json").map(({ file }) => file.replace(/\.json$/, ""));

/** {name, steps, orderVaries, ports}; `ports` are the recorded ones that it uses. */
export function load(name, { shut = [] } = {}) {
  const golden = read(`${name}.json`);
  const steps = scenes[name]?.() ?? toSteps(golden.events);
  // A page that was closed could not record that.
  for (const { before, conn } of shut) {
    const index = steps.findIndex(({ seq }) => seq === before);
    const { seq, t } = steps[index];
    steps.splice(index, 0, { seq, t, conn, do: "shut", how: "fin" });
  }
  const ports = [...new Set(steps.filter((step) => step.do === "open").map(({ port }) => port))];
  return {
    name,
    steps,
    ports,
    orderVaries: /order_within_the_connection_varies/.test(golden.stability),
  };
}

function toSteps(events) {
  const steps = [];
  const state = { shut: new Set(), alive: new Map(), transport: new Map(), visits: new Map() };
  for (const event of events) {
    const at = { seq: event.seq, t: event.t_ms, conn: connOf(event, state) };
    for (const step of translate(event, at.conn, at.t, state)) steps.push({ ...at, ...step });
  }
  return steps;
}

/** The page of the web client opens several connections to one address in turn. */
function connOf({ conn, page, url, kind }, { visits }) {
  if (!page) return conn;
  const key = `${page} ${url}`;
  if (kind === "open") visits.set(key, (visits.get(key) ?? 0) + 1);
  return `${page}${visits.get(key)} :${new URL(url).port}`;
}

function translate(event, conn, t, state) {
  const { dir, kind, hex = "" } = event;
  if (kind === "open") return [open(event, conn, state)];
  if (kind === "close") return close(event, conn, t, state);
  if (kind === "ws-ping") return [{ do: "ping", payload: Buffer.from(hex, "hex") }];
  if (kind === "ws-pong") return [{ expect: { kind: "pong", hex } }];
  if (kind === "tcp" && dir === "C>S") {
    return [
      { do: "open", port: 3050, transport: "raw" },
      { do: "send", payload: Buffer.from(hex, "hex") },
    ];
  }
  if (kind === "tcp") return [{ expect: { kind: "raw", hex } }];
  if (kind === "frame" && dir === "C>S") {
    const payload = whole(event);
    if (payload[0] === 2 || payload[0] === 3) state.alive.set(conn, t);
    return [{ do: "send", payload, opcode: event.ws === "text" ? TEXT : undefined }];
  }
  if (kind === "frame")
    return [{ expect: { kind: "frame", hex, sha: event.hex_sha256_of_payload } }];
  const [, victim] = /^kill -9 (\S+)/.exec(event.note ?? "") ?? [];
  if (victim) return [{ do: "kill", victim }];
  if (kind === "note") return [{ do: "wait" }];
  throw new Error(`event ${event.seq}: unknown kind ${kind}`);
}

function open({ note, url }, conn, state) {
  const [, transport, port] = /^(websocket|tcp).*:(\d+)$/.exec(
    note ?? `websocket ${url.slice(0, -1)}`,
  );
  state.transport.set(conn, transport);
  return { do: "open", port: Number(port), transport: transport === "tcp" ? "tcp" : "ws" };
}

function close({ dir, code, note = "", page }, conn, t, state) {
  if (dir === "C>S") {
    const how =
      /FIN/.test(note) || state.transport.get(conn) === "tcp"
        ? "fin"
        : /RST/.test(note)
          ? "rst"
          : "close";
    state.shut.add(conn);
    return [{ do: "shut", how }];
  }
  const silent = t - (state.alive.get(conn) ?? t);
  const byServer = dir === "S>C" || (page && silent > 5_900);
  const farewell = { expect: { kind: "close", code: 1000, isAnswer: !byServer } };
  const end = { expect: { kind: "end" } };
  if (byServer) {
    if (code === 1006 || note === "tcp closed") return [end];
    // A close long after the last sign of life is a time-out, whose time is compared.
    if (silent > 2_000) farewell.expect.silentMs = silent;
    return [farewell, end];
  }
  if (code === 1006) return [];
  if (state.shut.has(conn)) return [farewell, end];
  return [{ do: "shut", how: "close" }, farewell, end];
}

/** The payload of a client's frame; long ones are recorded as a head and a hash. */
function whole({ seq, hex, bytes, hex_sha256_of_payload: sha }) {
  const head = Buffer.from(hex, "hex");
  if (!sha) return head;
  const tail = Buffer.from('","from":"ann","target":"*"}');
  const payload = Buffer.concat([head, Buffer.alloc(bytes - head.length - tail.length, "M"), tail]);
  if (hash(payload) !== sha) throw new Error(`event ${seq}: the payload cannot be rebuilt`);
  return payload;
}

export const hash = (payload) => createHash("sha256").update(payload).digest("hex");
