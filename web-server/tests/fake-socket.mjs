/** A WebSocket whose other end is the test. */

import { decodeMessage, decodePackages, encodeMessage, encodePackage, text, utf8 } from '../public/codec.js';

export class FakeSocket {
  static all = [];

  readyState = 0;
  sent = [];

  constructor(url) {
    this.url = url;
    FakeSocket.all.push(this);
  }

  /** The newest one, which is the one just made. */
  static get last() {
    return FakeSocket.all.at(-1);
  }

  send(data) {
    const packages = decodePackages(data);
    if (packages.length !== 1) throw new Error('not one package in a message');
    this.sent.push(packages[0]);
  }

  close() {
    this.readyState = 3;
  }

  /** The server takes the connection. */
  open() {
    this.readyState = 1;
    this.onopen();
  }

  /** The server, or the network, ends the connection. */
  drop() {
    this.readyState = 3;
    this.onclose?.();
  }

  /** The server sends packages in one WebSocket message. */
  deliver(...packages) {
    const total = Buffer.concat(packages);
    this.onmessage?.({ data: total.buffer.slice(total.byteOffset, total.byteOffset + total.length) });
  }

  /** Opens, and answers the handshake. */
  shake(sys = {}, code = 200, user = undefined) {
    this.open();
    this.deliver(encodePackage(1, utf8(JSON.stringify({ code, sys, user }))));
  }

  /** What was sent as the handshake. */
  handshake() {
    return JSON.parse(text(this.sent[0].body));
  }

  /** The messages sent so far. */
  messages() {
    return this.sent.filter(({ type }) => type === 4).map(({ body }) => decodeMessage(body));
  }

  /** The newest request, with its JSON body. */
  request() {
    const message = this.messages().at(-1);
    return { ...message, body: JSON.parse(text(message.body)) };
  }

  /** Answers the newest request. */
  reply(body, id = this.messages().at(-1).id) {
    this.deliver(response(id, body));
  }

  push(route, body) {
    this.deliver(push(route, body));
  }

  beats() {
    return this.sent.filter(({ type }) => type === 3).length;
  }
}

export const HEARTBEAT = encodePackage(3);

export function response(id, body) {
  return encodePackage(4, encodeMessage({ type: 2, id, body: utf8(JSON.stringify(body)) }));
}

export function push(route, body) {
  const raw = body instanceof Uint8Array ? body : utf8(JSON.stringify(body));
  return encodePackage(4, encodeMessage({ type: 3, route, body: raw }));
}

export function kick(reason) {
  return encodePackage(5, utf8(JSON.stringify({ reason })));
}

/** A store like the browser's, of the test's own. */
export class FakeStorage {
  items = new Map();

  getItem(key) {
    return this.items.get(key) ?? null;
  }

  setItem(key, value) {
    this.items.set(key, value);
  }

  removeItem(key) {
    this.items.delete(key);
  }
}
