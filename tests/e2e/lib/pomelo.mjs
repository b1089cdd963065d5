// The official client from npm, unmodified, many times in one process: each has a page of
// its own, as its globals are parameters here.

import fs from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import vm from "node:vm";
import { ROOT } from "./kube.mjs";

const require = createRequire(path.join(ROOT, "tests/clients/package.json"));
const WebSocket = require("ws");
const EventEmitter = require("component-emitter");

const GLOBALS = ["window", "localStorage", "WebSocket", "console", "module", "exports"];
const [protocol, protobuf, client] = [
  "pomelo-protocol/lib/protocol.js",
  "pomelo-protobuf/lib/client/protobuf.js",
  "pomelo-jsclient-websocket",
].map((name) => {
  const filename = require.resolve(name);
  return vm.compileFunction(fs.readFileSync(filename, "utf8"), GLOBALS, { filename });
});

const nothing = () => {};
const SILENT = { log: nothing, info: nothing, warn: nothing, error: nothing };

/**
 * A client, in a page of its own. `connected` is told of each WebSocket that it opens.
 * @param {(socket: WebSocket) => void} connected
 */
export function newPomelo(connected) {
  const kept = new Map();
  const localStorage = {
    getItem: (key) => kept.get(key) ?? null,
    setItem: (key, value) => kept.set(key, String(value)),
  };
  class Socket extends WebSocket {
    constructor(url) {
      super(url);
      connected(this);
    }

    send(data) {
      // A page's socket drops what is said after its end.
      if (this.readyState === WebSocket.OPEN) super.send(data);
    }
  }
  const window = { localStorage, EventEmitter };
  const load = (script) => {
    const module = { exports: {} };
    script.call(window, window, localStorage, Socket, SILENT, module, module.exports);
    return module.exports;
  };
  load(protocol);
  window.protobuf = load(protobuf);
  window.protobuf.decodeStr = window.protobuf.decode; // the name that 0.1.1 calls it by
  return load(client);
}
