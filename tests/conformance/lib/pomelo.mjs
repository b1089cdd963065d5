// Packages and messages of the Pomelo protocol: enough to show them, and to compare
// what the lists of deviations say in words with what came.

const PACKAGES = ["?", "handshake", "ack", "heartbeat", "data", "kick"];
const MESSAGES = ["request", "notify", "response", "push"];
const CODES = { 1: "send", 2: "enter", 3: "queryEntry", 4: "onChat", 5: "onAdd", 6: "onLeave" };
const FIELDS = {
  onChat: { 1: "msg", 2: "from", 3: "target" },
  onAdd: { 1: "user" },
  onLeave: { 1: "user" },
};
/** Stand for any text that is not empty, and for any number, in what a list expects. */
const [ANY_TEXT, ANY_NUMBER] = ["<text>", "<number>"];

export const frame = (type, body = Buffer.alloc(0)) =>
  Buffer.concat([
    Buffer.from([type, body.length >> 16, (body.length >> 8) & 255, body.length & 255]),
    body,
  ]);

export const handshake = (body) => frame(1, Buffer.from(JSON.stringify(body)));
export const ACK = frame(2);
export const HEARTBEAT = frame(3);

/** A data package: `head` is flag, id and route in hex, `body` becomes JSON. */
export const message = (head, body) =>
  frame(4, Buffer.concat([Buffer.from(head, "hex"), Buffer.from(JSON.stringify(body))]));

/** What a WebSocket message holds: {package, …} of the first package. */
export function decode(bytes) {
  if (bytes.length < 4) return { package: "cut" };
  const length = bytes.readUIntBE(1, 3);
  const body = bytes.subarray(4);
  const kind = PACKAGES[bytes[0]] ?? `type ${bytes[0]}`;
  if (length !== body.length) return { package: kind, length, bytes: body.length };
  if (kind === "data") return { package: kind, ...decodeMessage(body) };
  return body.length ? { package: kind, body: decodeBody(body) } : { package: kind };
}

function decodeMessage(bytes) {
  if (bytes.length === 0) return { message: "empty" };
  const kind = MESSAGES[(bytes[0] >> 1) & 7] ?? "undefined";
  let at = 1;
  const found = { message: kind };
  if (kind === "request" || kind === "response") {
    let scale = 1;
    found.id = 0;
    for (; at < bytes.length; scale *= 128) {
      found.id += (bytes[at] & 127) * scale;
      if (!(bytes[at++] & 128)) break;
    }
  }
  if (kind !== "response" && kind !== "undefined") {
    if (bytes[0] & 1) {
      found.code = bytes.readUIntBE(at, 2);
      at += 2;
    } else {
      found.route = bytes.toString("utf8", at + 1, at + 1 + bytes[at]);
      at += 1 + bytes[at];
    }
  }
  found.body = decodeBody(bytes.subarray(at), found.route ?? CODES[found.code]);
  return found;
}

function decodeBody(bytes, route) {
  if (FIELDS[route] && bytes[0] !== 0x7b) return decodeFields(bytes, FIELDS[route]);
  const text = bytes.toString("utf8");
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/** pomelo-protobuf, with text fields only. */
function decodeFields(bytes, names) {
  const found = {};
  for (let at = 0; at < bytes.length;) {
    const name = names[bytes[at++] >> 3] ?? "?";
    let length = 0;
    for (let shift = 0; ; shift += 7) {
      length |= (bytes[at] & 127) << shift;
      if (!(bytes[at++] & 128)) break;
    }
    found[name] = bytes.toString("utf8", at, at + length);
    at += length;
  }
  return found;
}

/** One line for people. */
export function show(bytes) {
  const { package: kind, message, id, route, code, body, ...rest } = decode(bytes);
  const words = [message ?? kind, id ?? "", route ?? (code === undefined ? "" : `code ${code}`)];
  if (body !== undefined) words.push(JSON.stringify(body));
  if (Object.keys(rest).length) words.push(JSON.stringify(rest));
  return words.filter((word) => word !== "").join(" ");
}

/**
 * Whether a package is what a list says: {response: id, body}, {push: route, body},
 * {handshake: body} or {hex}. Bodies are compared decoded, key order included.
 */
export function isLike(bytes, expected) {
  if (expected.hex !== undefined) return bytes.toString("hex") === expected.hex;
  const found = decode(bytes);
  if (expected.heartbeat) return found.package === "heartbeat";
  if (expected.handshake)
    return found.package === "handshake" && same(found.body, expected.handshake);
  if (expected.response !== undefined) {
    return (
      found.message === "response" &&
      found.id === expected.response &&
      same(found.body, expected.body)
    );
  }
  return (
    found.message === "push" &&
    (found.route ?? CODES[found.code]) === expected.push &&
    same(found.body, expected.body)
  );
}

function same(found, expected) {
  if (expected === ANY_TEXT) return typeof found === "string" && found !== "";
  if (expected === ANY_NUMBER) return typeof found === "number";
  if (Array.isArray(expected?.inAnyOrder)) {
    return (
      Array.isArray(found) &&
      [...found].sort().join("\n") === [...expected.inAnyOrder].sort().join("\n")
    );
  }
  if (typeof expected !== "object" || expected === null) return found === expected;
  if (typeof found !== "object" || found === null) return false;
  const keys = Object.keys(expected);
  return (
    keys.join() === Object.keys(found).join() &&
    keys.every((key) => same(found[key], expected[key]))
  );
}

/** An answer of queryEntry: {body, port}, the port taken out of the body; or null. */
export function entry(bytes) {
  const { message, id, body } = decode(bytes);
  if (message !== "response" || typeof body?.port !== "number") return null;
  const { port, ...others } = body;
  return { port, rest: JSON.stringify([id, Object.keys(body), others]) };
}

export const isPush = (bytes) => bytes[0] === 4 && decode(bytes).message === "push";
