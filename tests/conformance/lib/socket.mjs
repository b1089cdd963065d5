// A client's socket that sends exactly what it is told, and keeps all that comes:
// WebSocket with framing of its own, raw TCP, or bare bytes.

import { randomBytes } from "node:crypto";
import net from "node:net";

export const TEXT = 1;
const [CONTINUATION, BINARY, CLOSE, PING, PONG] = [0, 2, 8, 9, 10];

export class Connection {
  /** What came: {kind: "frame" | "pong" | "close" | "raw" | "end", …, at}. */
  inbox = [];
  /** The HTTP answer to the upgrade. */
  head = "";

  #buffer = Buffer.alloc(0);
  #parts = [];
  #closeSent = false;
  #isDeaf = false;
  #keepsHead = false;
  #socket;
  #parse;

  /** `transport` is "ws", "tcp" (packages) or "raw" (bytes as they come). */
  static async open({ port, transport, request }) {
    const connection = new Connection();
    await connection.#connect(port, transport, request);
    return connection;
  }

  async #connect(port, transport, request) {
    this.#keepsHead = request !== undefined;
    this.#socket = net.connect({ port, host: "127.0.0.1", allowHalfOpen: true, noDelay: true });
    await new Promise((resolve, reject) => {
      this.#socket.once("connect", resolve).once("error", reject);
    });
    this.#socket.on("error", () => this.#end());
    this.#socket.on("end", () => this.#end());
    this.#socket.on("close", () => this.#end());
    this.#parse = {
      ws: () => this.#upgraded(),
      tcp: () => this.#packages(),
      raw: () => this.#raw(),
    }[transport];
    this.#socket.on("data", (bytes) => {
      this.#buffer = Buffer.concat([this.#buffer, bytes]);
      this.#parse();
    });
    if (transport === "ws") await this.#upgrade(port, request);
  }

  /** Nothing more comes from the server. */
  get isOver() {
    return this.inbox.some(({ kind }) => kind === "end");
  }

  /** The client has ended it, one way or the other. */
  get hasLeft() {
    return this.#closeSent;
  }

  get isWritable() {
    return !this.isOver && !this.#closeSent && this.#socket.writable;
  }

  /** When the last thing came. */
  get lastAt() {
    return this.inbox.at(-1)?.at ?? 0;
  }

  /** Sends one WebSocket message. */
  message(payload, opcode = BINARY) {
    this.#socket.write(framed(opcode, payload));
  }

  ping(payload) {
    this.#socket.write(framed(PING, payload));
  }

  bytes(payload) {
    this.#socket.write(payload);
  }

  /** Ends it: by "close" (a close frame without a code), "fin", or "rst". */
  shut(how) {
    this.#closeSent = true;
    if (how === "close") this.#socket.write(framed(CLOSE, Buffer.alloc(0)));
    else if (how === "fin") this.#socket.end();
    else this.#socket.resetAndDestroy();
  }

  /** Stops reading, so that the server's bytes pile up; later ones are not kept. */
  pause() {
    this.#isDeaf = true;
    this.#socket.pause();
  }

  resume() {
    this.#socket.resume();
  }

  destroy() {
    this.#socket.destroy();
  }

  async #upgrade(port, request) {
    const key = randomBytes(16).toString("base64");
    this.#socket.write(
      request ??
        `GET / HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n` +
          `Sec-WebSocket-Key: ${key}\r\nSec-WebSocket-Version: 13\r\n\r\n`,
    );
    const end = Date.now() + 5_000;
    while (!this.head && !this.isOver && Date.now() < end) {
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    if (!this.head.startsWith("HTTP/1.1 101"))
      throw new Error(`no WebSocket: ${this.head || "no answer"}`);
  }

  #upgraded() {
    const end = this.#buffer.indexOf("\r\n\r\n");
    if (end < 0) return;
    this.head = this.#buffer.toString("latin1", 0, end + 4);
    this.#buffer = this.#buffer.subarray(end + 4);
    if (this.#keepsHead) this.#keep({ kind: "head", text: this.head });
    this.#parse = () => this.#frames();
    this.#parse();
  }

  #frames() {
    for (;;) {
      const found = unframed(this.#buffer);
      if (!found) return;
      this.#buffer = this.#buffer.subarray(found.size);
      this.#frame(found);
    }
  }

  #frame({ fin, first, opcode, payload, size }) {
    if (opcode === PONG) return this.#keep({ kind: "pong", payload });
    if (opcode === PING) return void this.#socket.write(framed(PONG, payload));
    if (opcode === CLOSE) {
      const code = payload.length >= 2 ? payload.readUInt16BE() : 1005;
      this.#keep({ kind: "close", code, reason: payload.toString("utf8", 2) });
      if (!this.#closeSent && this.#socket.writable)
        this.#socket.write(framed(CLOSE, payload.subarray(0, 2)));
      this.#closeSent = true;
      return undefined;
    }
    if (opcode !== CONTINUATION) this.#parts = [];
    this.#parts.push(payload);
    if (fin) this.#keep({ kind: "frame", payload: Buffer.concat(this.#parts), first, size });
    return undefined;
  }

  #packages() {
    while (this.#buffer.length >= 4) {
      const size = 4 + this.#buffer.readUIntBE(1, 3);
      if (this.#buffer.length < size) return;
      this.#keep({ kind: "frame", payload: this.#buffer.subarray(0, size) });
      this.#buffer = this.#buffer.subarray(size);
    }
  }

  /** All bytes so far are one item, however they were cut. */
  #raw() {
    const last = this.inbox.at(-1);
    if (last?.kind === "raw") Object.assign(last, { payload: this.#buffer, at: performance.now() });
    else this.#keep({ kind: "raw", payload: this.#buffer });
  }

  #keep(item) {
    if (this.#isDeaf && item.kind === "frame") return;
    this.inbox.push({ ...item, at: performance.now() });
  }

  #end() {
    if (!this.isOver) this.#keep({ kind: "end" });
    if (this.#socket.writable) this.#socket.end();
  }
}

function framed(opcode, payload) {
  const mask = randomBytes(4);
  const { length } = payload;
  const head =
    length < 126
      ? Buffer.from([0x80 | opcode, 0x80 | length])
      : length < 65_536
        ? Buffer.from([0x80 | opcode, 0x80 | 126, length >> 8, length & 255])
        : Buffer.from([0x80 | opcode, 0x80 | 127, 0, 0, 0, 0, 0, 0, 0, 0]);
  if (length >= 65_536) head.writeUInt32BE(length, 6);
  const masked = Buffer.allocUnsafe(length);
  for (let i = 0; i < length; i += 1) masked[i] = payload[i] ^ mask[i & 3];
  return Buffer.concat([head, mask, masked]);
}

function unframed(bytes) {
  if (bytes.length < 2) return null;
  const short = bytes[1] & 127;
  const start = { 126: 4, 127: 10 }[short] ?? 2;
  if (bytes.length < start) return null;
  const length =
    short === 126
      ? bytes.readUInt16BE(2)
      : short === 127
        ? Number(bytes.readBigUInt64BE(2))
        : short;
  if (bytes.length < start + length) return null;
  const payload = Buffer.from(bytes.subarray(start, start + length));
  return {
    fin: bytes[0] >= 128,
    first: bytes[0],
    opcode: bytes[0] & 15,
    payload,
    size: start + length,
  };
}
