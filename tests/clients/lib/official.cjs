// The official JavaScript client in Node, unmodified. It expects a browser's globals
// and keeps all of its state in them: one client a process.
"use strict";

const { RecordingSocket } = require("./socket.cjs");

const store = new Map();
global.window = global; // before pomelo-protocol: selects its browser build
global.localStorage = {
  getItem: (key) => store.get(key) ?? null,
  setItem: (key, value) => store.set(key, String(value)),
};
global.WebSocket = RecordingSocket;
window.EventEmitter = require("component-emitter");
require("pomelo-protocol");
window.protobuf = require("pomelo-protobuf/lib/client/protobuf.js");
window.protobuf.decodeStr = window.protobuf.decode; // the name that 0.1.1 calls it by
require("pomelo-jsclient-websocket");

exports.store = store;
exports.create = () => window.pomelo;
