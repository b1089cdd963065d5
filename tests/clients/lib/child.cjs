// One client in a process of its own, told what to do by its parent: JSON lines over
// IPC. `node child.cjs official|community|pinus|node-tcp`.
//
//   down  {do: "open", id, host, port, reconnect, user, encrypt, forged, ca, frames}
//         {do: "request", id, route, body}   {do: "notify", route, body}
//         {do: "close", id}   {do: "store", id, entries}
//   up    {id, body} or {id, error} an answer   {event, body} whatever else happened
"use strict";

const kind = process.argv[2];
const { create, store } = require(`./${kind}.cjs`);
const { settings } = require("./socket.cjs");

// All clients talk on the console; what matters comes as an event.
console.log = console.info = console.warn = console.error = () => {};

const EVENTS = ["onChat", "onAdd", "onLeave", "onKick", "io-error", "error", "reconnect"];
EVENTS.push("disconnect", "heartbeat timeout", "onReconnect");

let client = null;
let closed = null;

const orders = {
  open({ id, host, port, reconnect, user, encrypt, forged, ca, frames }) {
    Object.assign(settings, { forged, ca, frames });
    // The official client is one object for the life of the page; the others are new
    // for each connection.
    client?.off();
    client = create();
    for (const event of EVENTS) {
      client.on(event, (body) => happened(event, body));
    }
    closed = new Promise((resolve) => client.on("disconnect", resolve));
    let opened = false;
    client.init({ host, port, reconnect, user, encrypt }, () => {
      up(opened ? { event: "reopened" } : { id, body: null });
      opened = true;
    });
    closed.then(() => opened || up({ id, error: `no connection to ${host}:${port}` }));
  },
  request({ id, route, body }) {
    client.request(route, body, (answer) => up({ id, body: answer }));
  },
  notify({ route, body }) {
    client.notify(route, body);
  },
  async close({ id }) {
    client.disconnect();
    await closed;
    up({ id, body: null });
  },
  store({ id, entries }) {
    for (const [key, value] of entries ?? []) {
      store.set(key, value);
    }
    up({ id, body: [...store] });
  },
};

function happened(event, body) {
  const isSocketEvent = ["disconnect", "io-error"].includes(event);
  up({ event, body: isSocketEvent ? { code: body?.code, message: body?.message } : body });
}

function up(message) {
  // A parent that is gone needs no answer.
  if (process.connected) process.send(message, () => {});
}

process.on("message", (order) => orders[order.do](order));
process.on("disconnect", () => process.exit());
// A page would log it, and go on.
process.on("uncaughtException", (error) => up({ event: "threw", body: String(error) }));
up({ event: "started" });
