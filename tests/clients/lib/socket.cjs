// The WebSocket that clients are given: ws's own, which also tells what was said, since
// no client shows that. Always the two handshakes; every frame if `settings.frames`.
"use strict";

const WebSocket = require("ws");

const HANDSHAKE = 1;

/**
 * Of the connection that is opened next. `ca`: TLS, and whom to trust. `forged`: what is
 * signed is not what is sent.
 */
const settings = { ca: undefined, frames: false, forged: false };

class RecordingSocket extends WebSocket {
  constructor(url, protocols) {
    // Clients write ws:// themselves; behind https a page's owner changes it.
    const { ca } = settings;
    super(ca ? url.replace("ws://", "wss://") : url, protocols, { ca });
    this.on("message", (data) => report("in", data));
  }

  send(data, ...rest) {
    report("out", data);
    super.send(data, ...rest);
  }
}

function report(dir, data) {
  if (!process.connected) return;
  const bytes = Buffer.from(data);
  const tell = (event, body) => process.send({ event, body }, () => {});
  if (settings.frames) tell("frame", { dir, hex: bytes.toString("hex") });
  if (bytes[0] === HANDSHAKE) {
    tell(dir === "in" ? "handshake answer" : "handshake", JSON.parse(bytes.subarray(4).toString()));
  }
}

exports.RecordingSocket = RecordingSocket;
exports.settings = settings;
