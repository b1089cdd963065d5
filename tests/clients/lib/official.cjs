// The official JavaScript client in Node, unmodified. It expects a browser's globals
// and keeps all of its state in them: one client a process.
"use strict";

const { createSign, generateKeyPairSync } = require("node:crypto");
const { RecordingSocket, settings } = require("./socket.cjs");

/** In place of the page's RSA library, which is in no registry. */
const rsa = {
  generate(bits, exponent) {
    const pair = generateKeyPairSync("rsa", {
      modulusLength: bits,
      publicExponent: parseInt(exponent, 16),
    });
    const { n } = pair.publicKey.export({ format: "jwk" });
    Object.assign(rsa, { ...pair, n: BigInt(`0x${Buffer.from(n, "base64url").toString("hex")}`) });
    rsa.e = parseInt(exponent, 16);
  },
  signString(text, hash) {
    const signed = settings.forged ? `${text} ` : text;
    return createSign(hash).update(signed).sign(rsa.privateKey, "hex");
  },
};

const store = new Map();
global.window = global; // before pomelo-protocol: selects its browser build
global.localStorage = {
  getItem: (key) => store.get(key) ?? null,
  setItem: (key, value) => store.set(key, String(value)),
};
global.WebSocket = RecordingSocket;
window.rsa = rsa;
window.EventEmitter = require("component-emitter");
require("pomelo-protocol");
window.protobuf = require("pomelo-protobuf/lib/client/protobuf.js");
window.protobuf.decodeStr = window.protobuf.decode; // the name that 0.1.1 calls it by
require("pomelo-jsclient-websocket");

exports.store = store;
exports.create = () => window.pomelo;
