// pomelo-node-tcp-client in Node, unmodified, over raw TCP. What it cannot do is in
// tests/conformance/clients.json. Its disconnect() closes nothing, and it tells nobody
// that a connection has ended; both are done here.
"use strict";

const Pomelo = require("pomelo-node-tcp-client");

class Client {
  #client = new Pomelo();
  #onDisconnect = () => {};

  constructor() {
    this.#client.consoleLogs = false;
  }

  init({ host, port, user }, callback) {
    this.#client.init(host, port, user, callback);
    this.#client._socket.once("close", () => this.#onDisconnect({}));
  }

  /** It keeps one callback a route, and throws at a push without one. */
  on(event, callback) {
    if (event !== "disconnect") this.#client.on(event, callback);
    else {
      const before = this.#onDisconnect;
      this.#onDisconnect = (body) => [before, callback].forEach((one) => one(body));
    }
  }

  off() {}

  request(route, body, callback) {
    this.#client.request(route, body, callback);
  }

  notify(route, body) {
    this.#client.notify(route, body);
  }

  disconnect() {
    this.#client._socket.destroy();
  }
}

exports.store = new Map();
exports.create = () => new Client();
