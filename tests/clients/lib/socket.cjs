// The WebSocket that clients are given: ws's own, which also tells what the two
// handshakes were, since no client shows them.
"use strict";

const WebSocket = require("ws");

const HANDSHAKE = 1;

class RecordingSocket extends WebSocket {
  constructor(url, protocols) {
    super(url, protocols);
    this.on("message", (data) => report("handshake answer", data));
  }

  send(data, ...rest) {
    report("handshake", data);
    super.send(data, ...rest);
  }
}

function report(event, data) {
  const bytes = Buffer.from(data);
  if (bytes[0] === HANDSHAKE && process.connected) {
    process.send({ event, body: JSON.parse(bytes.subarray(4).toString()) }, () => {});
  }
}

exports.RecordingSocket = RecordingSocket;
