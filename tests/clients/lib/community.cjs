// pomelo-client-websocket in Node, unmodified: another line of descent of the
// official client, with other gaps (it reads one package of a frame and drops the rest).
"use strict";

const Pomelo = require("pomelo-client-websocket");
const { RecordingSocket } = require("./socket.cjs");

global.WebSocket = RecordingSocket;

exports.store = new Map();
exports.create = () => new Pomelo();
