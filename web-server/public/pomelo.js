/**
 * A small client of the Pomelo protocol over WebSocket.
 *
 *     const client = await connect(url, { onPush, onClose });
 *     const reply = await client.request('chat.chatHandler.send', { … });
 *     client.close();
 *
 * A connection ends once and for good: `onClose` is called exactly once, every
 * open request is rejected, and whoever wants to come back connects anew.
 */

import {
  MessageType,
  PackageType,
  decodeMessage,
  decodePackages,
  encodeMessage,
  encodePackage,
  text,
  utf8,
} from './codec.js';
import { decode as decodeProto, encode as encodeProto } from './protobuf.js';

/** How long the connection and its handshake may take together. */
export const CONNECT_TIMEOUT_MS = 10_000;

/** How long a request waits for its reply. */
export const REQUEST_TIMEOUT_MS = 10_000;

/** A silence that ends sooner than this after its deadline is not checked again. */
const DEADLINE_SLACK_MS = 100;

const CLIENT_TYPE = 'js-websocket';
const CLIENT_VERSION = '0.1.0';

/** `kind` is one of `connect`, `closed`, `timeout`. */
export class PomeloError extends Error {
  constructor(kind, detail = '') {
    super(detail ? `${kind}: ${detail}` : kind);
    this.name = 'PomeloError';
    this.kind = kind;
  }
}

/**
 * Connects and shakes hands.
 *
 * @param options.user what the handshake says of the user; what the server says of
 *   it in turn is the client's `user`
 * @param options.cacheKey where the server's schemas and dictionary are kept
 *   between connections; different kinds of servers need different keys
 * @param options.onPush called with (route, body) for each push
 * @param options.onClose called once, with `{ reason, kicked }`, if the
 *   connection ends after it was made; not for `close()`
 * @param options.signal an AbortSignal that ends the connection at any time
 */
export function connect(url, options = {}) {
  return new Promise((resolve, reject) => {
    new Client(url, options, resolve, reject);
  });
}

class Client {
  /** What the server's handshake said beside `sys`. */
  user = null;
  #socket;
  #options;
  #settle;
  #cache;
  #state = 'connecting';
  #nextId = 1;
  #requests = new Map();
  #heartbeat = new Heartbeat(this);
  #connectTimer;
  #codeByRoute = new Map();
  #routeByCode = new Map();
  #protos = { server: {}, client: {} };
  #kicked = null;

  constructor(url, options, resolve, reject) {
    this.#options = options;
    this.#settle = { resolve, reject };
    this.#cache = new Cache(options.storage ?? storage(), options.cacheKey ?? 'pomelo');
    if (options.signal?.aborted) return this.#end('aborted');
    options.signal?.addEventListener('abort', this.#abort, { once: true });
    this.#connectTimer = setTimeout(() => this.#end('no answer'), CONNECT_TIMEOUT_MS);
    const WebSocket = options.WebSocket ?? globalThis.WebSocket;
    try {
      this.#socket = new WebSocket(url);
    } catch (error) {
      return this.#end(error.message);
    }
    this.#socket.binaryType = 'arraybuffer';
    this.#socket.onopen = () => this.#sendHandshake();
    this.#socket.onmessage = (event) => this.#received(event.data);
    this.#socket.onclose = () => this.#end('closed by the server');
  }

  /** Resolves with the reply's body, or rejects with a `PomeloError`. */
  request(route, body) {
    if (this.#state !== 'open') return Promise.reject(new PomeloError('closed'));
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      // Encoded before it is registered, so that a bad body leaves nothing behind.
      const message = this.#encodeRequest(id, route, body);
      const timer = setTimeout(() => {
        this.#requests.delete(id);
        reject(new PomeloError('timeout', route));
      }, REQUEST_TIMEOUT_MS);
      this.#requests.set(id, { route, resolve, reject, timer });
      this.#sendPackage(PackageType.DATA, message);
    });
  }

  /** Ends the connection quietly: `onClose` is not called. */
  close() {
    this.#options.onClose = undefined;
    this.#end('closed by the client');
  }

  /** For the heartbeat only. */
  beat() {
    this.#sendPackage(PackageType.HEARTBEAT);
  }

  /** For the heartbeat only. */
  silent() {
    this.#end('server silent');
  }

  #abort = () => this.close();

  #sendPackage(type, body) {
    if (this.#socket.readyState === 1) this.#socket.send(encodePackage(type, body));
  }

  #sendHandshake() {
    const sys = {
      type: CLIENT_TYPE,
      version: CLIENT_VERSION,
      rsa: {},
      protoVersion: this.#cache.protos?.version ?? 0,
      dictVersion: this.#cache.dict?.version,
    };
    this.#sendPackage(PackageType.HANDSHAKE, utf8(JSON.stringify({ sys, user: this.#options.user })));
  }

  #received(data) {
    // Servers never send text; like every Pomelo client, we do not read it.
    if (typeof data === 'string' || this.#state === 'closed') return;
    try {
      for (const { type, body } of decodePackages(new Uint8Array(data))) {
        if (this.#state === 'closed') return;
        this.#heartbeat.heard();
        this.#handle(type, body);
      }
    } catch (error) {
      this.#end(`malformed: ${error.message}`);
    }
  }

  #handle(type, body) {
    switch (type) {
      case PackageType.HANDSHAKE:
        return this.#handshake(parseJson(body));
      case PackageType.HEARTBEAT:
        return this.#heartbeat.beaten();
      case PackageType.DATA:
        return this.#data(decodeMessage(body));
      case PackageType.KICK:
        this.#kicked = String(parseJson(body).reason ?? '');
        return this.#end('kicked');
      default:
        throw new Error(`package type ${type}`);
    }
  }

  #handshake({ code, sys, user }) {
    if (this.#state !== 'connecting') return;
    if (code !== 200) return this.#end(`handshake refused with ${code}`);
    this.#learn(sys ?? {});
    this.user = user ?? null;
    this.#heartbeat.start((Number(sys?.heartbeat) || 0) * 1000);
    this.#sendPackage(PackageType.HANDSHAKE_ACK);
    this.#state = 'open';
    clearTimeout(this.#connectTimer);
    this.#settle.resolve(this);
  }

  /** Takes over schemas and dictionary; what is omitted is what we have cached. */
  #learn(sys) {
    if (sys.protos) this.#cache.protos = sys.protos;
    const protos = sys.protos ?? (sys.useProto ? this.#cache.protos : null);
    this.#protos = { server: protos?.server ?? {}, client: protos?.client ?? {} };

    const routeToCode = sys.routeToCode ?? sys.dict;
    if (routeToCode && sys.dictVersion) {
      this.#cache.dict = { version: sys.dictVersion, routeToCode };
    }
    const dict = routeToCode ?? (sys.useDict ? this.#cache.dict?.routeToCode : null) ?? {};
    this.#codeByRoute = new Map(Object.entries(dict));
    this.#routeByCode = new Map(Object.entries(dict).map(([route, code]) => [code, route]));
    for (const [code, route] of Object.entries(sys.codeToRoute ?? {})) {
      this.#routeByCode.set(Number(code), route);
    }
  }

  #encodeRequest(id, route, body) {
    const encoded = Object.hasOwn(this.#protos.client, route)
      ? (encodeProto(this.#protos.client, route, body) ?? undefined)
      : utf8(JSON.stringify(body));
    const type = MessageType.REQUEST;
    return encodeMessage({ type, id, route: this.#codeByRoute.get(route) ?? route, body: encoded });
  }

  #data({ type, id, route, body }) {
    if (type === MessageType.RESPONSE) {
      const request = this.#requests.get(id);
      // A reply after the request's time-out: nobody waits for it any more.
      if (!request) return;
      this.#requests.delete(id);
      clearTimeout(request.timer);
      request.resolve(this.#decodeBody(request.route, body));
    } else if (type === MessageType.PUSH) {
      const name = typeof route === 'number' ? this.#routeByCode.get(route) : route;
      if (name !== undefined) this.#options.onPush?.(name, this.#decodeBody(name, body));
    }
  }

  #decodeBody(route, body) {
    return Object.hasOwn(this.#protos.server, route)
      ? decodeProto(this.#protos.server, route, body)
      : parseJson(body);
  }

  #end(reason) {
    if (this.#state === 'closed') return;
    const wasOpen = this.#state === 'open';
    this.#state = 'closed';
    this.#heartbeat.stop();
    clearTimeout(this.#connectTimer);
    this.#options.signal?.removeEventListener('abort', this.#abort);
    if (this.#socket) {
      this.#socket.onopen = this.#socket.onmessage = this.#socket.onclose = null;
      this.#socket.close();
    }
    for (const { reject, timer } of this.#requests.values()) {
      clearTimeout(timer);
      reject(new PomeloError('closed', reason));
    }
    this.#requests.clear();
    if (wasOpen) this.#options.onClose?.({ reason, kicked: this.#kicked });
    else this.#settle.reject(new PomeloError('connect', reason));
  }
}

/**
 * Beats as the official client does: the server speaks first; each of its beats
 * is answered after one interval; silence for two intervals after our beat,
 * whatever is silent, ends the connection.
 */
class Heartbeat {
  #client;
  #interval = 0;
  #beatTimer = null;
  #silenceTimer = null;
  #deadline = 0;

  constructor(client) {
    this.#client = client;
  }

  /** `interval` in ms; 0 means that the server wants no heartbeats. */
  start(interval) {
    this.#interval = interval;
  }

  /** Any package has come: the server lives. */
  heard() {
    if (this.#interval > 0) this.#deadline = Date.now() + 2 * this.#interval;
  }

  /** The server's heartbeat has come. */
  beaten() {
    if (this.#interval === 0) return;
    clearTimeout(this.#silenceTimer);
    this.#silenceTimer = null;
    this.#beatTimer ??= setTimeout(() => {
      this.#beatTimer = null;
      this.#client.beat();
      this.heard();
      this.#silenceTimer = setTimeout(() => this.#check(), 2 * this.#interval);
    }, this.#interval);
  }

  stop() {
    clearTimeout(this.#beatTimer);
    clearTimeout(this.#silenceTimer);
    this.#interval = 0;
  }

  #check() {
    // Bounded, because the clock may have been set back.
    const left = Math.min(this.#deadline - Date.now(), 2 * this.#interval);
    if (left <= DEADLINE_SLACK_MS) return this.#client.silent();
    this.#silenceTimer = setTimeout(() => this.#check(), left);
  }
}

/** What the server said about itself, by kind of server. Losing it costs nothing. */
class Cache {
  constructor(storage, key) {
    this.storage = storage;
    this.key = key;
    this.entry = {};
    try {
      this.entry = JSON.parse(storage?.getItem(key)) ?? {};
    } catch {
      // Damaged, or storage is forbidden: as if nothing were cached.
    }
  }

  get protos() {
    return this.entry.protos;
  }

  set protos(protos) {
    this.#put({ protos });
  }

  get dict() {
    return this.entry.dict;
  }

  set dict(dict) {
    this.#put({ dict });
  }

  #put(part) {
    this.entry = { ...this.entry, ...part };
    try {
      this.storage?.setItem(this.key, JSON.stringify(this.entry));
    } catch {
      // Full or forbidden: the next handshake is a little longer.
    }
  }
}

/** The browser's store, or nothing where even looking at it is forbidden. */
function storage() {
  try {
    return globalThis.localStorage;
  } catch {
    return undefined;
  }
}

function parseJson(body) {
  const value = body.length === 0 ? {} : JSON.parse(text(body));
  if (value === null || typeof value !== 'object') throw new Error('body is not an object');
  return value;
}
