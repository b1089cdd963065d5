/**
 * The two outer layers of the Pomelo protocol: packages and messages.
 *
 *     package  type:1 | length:3 (big endian) | body
 *     message  flag:1 | id: varint (request, response) | route (all but response) | body
 *
 * Pure functions over bytes. Whatever does not parse throws a `Malformed`.
 */

export const PackageType = Object.freeze({
  HANDSHAKE: 1,
  HANDSHAKE_ACK: 2,
  HEARTBEAT: 3,
  DATA: 4,
  KICK: 5,
});

export const MessageType = Object.freeze({
  REQUEST: 0,
  NOTIFY: 1,
  RESPONSE: 2,
  PUSH: 3,
});

/** Longest body of one package, in bytes: what its length field can say. */
export const PACKAGE_BODY_MAX = 0xffffff;

/** Longest route, in bytes of UTF-8. */
export const ROUTE_LEN_MAX = 255;

/** Highest request id; servers treat higher ones as negative. */
export const ID_MAX = 0x7fffffff;

const HEADER_LEN = 4;
const ROUTE_CODE_MAX = 0xffff;
const EMPTY = new Uint8Array(0);

const encoder = new TextEncoder();
// Not fatal: a damaged message is shown damaged, rather than costing the connection.
const decoder = new TextDecoder('utf-8', { ignoreBOM: true });

/** Bytes that are not what the protocol allows. */
export class Malformed extends Error {
  constructor(what) {
    super(what);
    this.name = 'Malformed';
  }
}

export function utf8(text) {
  return encoder.encode(text);
}

export function text(bytes) {
  return decoder.decode(bytes);
}

export function encodePackage(type, body = EMPTY) {
  if (body.length > PACKAGE_BODY_MAX) {
    throw new Malformed(`package body of ${body.length} bytes`);
  }
  const bytes = new Uint8Array(HEADER_LEN + body.length);
  bytes[0] = type;
  bytes[1] = body.length >> 16;
  bytes[2] = body.length >> 8;
  bytes[3] = body.length;
  bytes.set(body, HEADER_LEN);
  return bytes;
}

/** Splits the content of one WebSocket message into its packages. */
export function decodePackages(bytes) {
  const packages = [];
  let at = 0;
  while (at < bytes.length) {
    const start = at + HEADER_LEN;
    if (start > bytes.length) throw new Malformed('package header cut off');
    const length = (bytes[at + 1] << 16) | (bytes[at + 2] << 8) | bytes[at + 3];
    if (start + length > bytes.length) throw new Malformed('package body cut off');
    packages.push({ type: bytes[at], body: bytes.subarray(start, start + length) });
    at = start + length;
  }
  return packages;
}

/** `route` is a string, or a number: its code in the server's dictionary. */
export function encodeMessage({ type, id = 0, route = null, body = EMPTY }) {
  const compressed = typeof route === 'number';
  const head = [(type << 1) | (compressed ? 1 : 0)];
  if (hasId(type)) head.push(...encodeId(id));
  if (hasRoute(type)) head.push(...encodeRoute(route));
  const bytes = new Uint8Array(head.length + body.length);
  bytes.set(head);
  bytes.set(body, head.length);
  return bytes;
}

export function decodeMessage(bytes) {
  if (bytes.length === 0) throw new Malformed('empty message');
  const flag = bytes[0];
  const type = (flag >> 1) & 7;
  let at = 1;
  let id = 0;
  let route = null;
  if (hasId(type)) [id, at] = decodeId(bytes, at);
  if (hasRoute(type)) [route, at] = decodeRoute(bytes, at, (flag & 1) === 1);
  return { type, id, route, body: bytes.subarray(at) };
}

function hasId(type) {
  return type === MessageType.REQUEST || type === MessageType.RESPONSE;
}

function hasRoute(type) {
  return type === MessageType.REQUEST || type === MessageType.NOTIFY || type === MessageType.PUSH;
}

function encodeId(id) {
  if (!Number.isInteger(id) || id < 0 || id > ID_MAX) throw new Malformed(`message id ${id}`);
  const groups = [];
  while (id > 0x7f) {
    groups.push((id & 0x7f) | 0x80);
    id >>>= 7;
  }
  groups.push(id);
  return groups;
}

function decodeId(bytes, at) {
  let id = 0;
  let scale = 1;
  for (;;) {
    if (at >= bytes.length) throw new Malformed('message id cut off');
    const byte = bytes[at++];
    // Multiplied, not shifted: JavaScript shifts are 32 bits wide and signed.
    id += (byte & 0x7f) * scale;
    if (id > ID_MAX || scale > ID_MAX) throw new Malformed('message id too large');
    if (byte < 0x80) return [id, at];
    scale *= 0x80;
  }
}

function encodeRoute(route) {
  if (typeof route === 'number') {
    if (!Number.isInteger(route) || route < 0 || route > ROUTE_CODE_MAX) {
      throw new Malformed(`route code ${route}`);
    }
    return [route >> 8, route & 0xff];
  }
  const name = utf8(route ?? '');
  if (name.length > ROUTE_LEN_MAX) throw new Malformed(`route of ${name.length} bytes`);
  return [name.length, ...name];
}

function decodeRoute(bytes, at, compressed) {
  if (compressed) {
    if (at + 2 > bytes.length) throw new Malformed('route code cut off');
    return [(bytes[at] << 8) | bytes[at + 1], at + 2];
  }
  const end = at + 1 + bytes[at];
  // Also true when the length byte itself is missing: `end` is NaN then.
  if (!(end <= bytes.length)) throw new Malformed('route cut off');
  return [text(bytes.subarray(at + 1, end)), end];
}
