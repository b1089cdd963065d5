// The client inside pinus-robot-plugin in Node, unmodified: the one that people use
// with pinus, the TypeScript line of Pomelo. What else is in that package (robots, and
// pinus itself) is not installed.
"use strict";

const { RecordingSocket } = require("./socket.cjs");

// It asks for ws itself.
require.cache[require.resolve("ws")].exports = RecordingSocket;
const { PinusWSClient } = require("pinus-robot-plugin/dist/PinusWSClient.js");

/** Tells of the end of a connection, for which the client has only a hook. */
class Client extends PinusWSClient {
  onClose(event) {
    this.emit("disconnect", event);
  }

  onIOError(event) {
    this.emit("io-error", event);
  }
}

exports.store = new Map();
exports.create = () => new Client();
