// Schemas, values and bodies at random, and what pomelo-protobuf makes of them: both its
// builds, unmodified. The seed is fixed, so that the same vectors come each time.

import { createHash } from "node:crypto";
import { createRequire } from "node:module";

const require = createRequire(import.meta.url);

const SEED = 20_261_126;
const SCHEMAS = 80;
const VALUES = 3;
const BODIES = 4;
const DICTIONARIES = 40;

/** Mulberry32: the same numbers on every machine. */
function random(seed) {
  let state = seed;
  const next = () => {
    state = (state + 0x6d2b79f5) | 0;
    let bits = Math.imul(state ^ (state >>> 15), 1 | state);
    bits = (bits + Math.imul(bits ^ (bits >>> 7), 61 | bits)) ^ bits;
    return ((bits ^ (bits >>> 14)) >>> 0) / 2 ** 32;
  };
  const below = (limit) => Math.floor(next() * limit);
  return {
    below,
    next,
    pick: (list) => list[below(list.length)],
    chance: (odds) => next() < odds,
    list: (count, make) => Array.from({ length: count }, (_, index) => make(index)),
  };
}

const OPTIONS = ["required", "optional", "optional", "repeated"];
const SIMPLE = ["uInt32", "int32", "sInt32", "float", "double", "string"];
const TEXTS = ["", "a", "hi all", "José", "你好", "😀", "a😀b", "\u0000", '"\\/\n', "x".repeat(129)];

/** The fields of a message, in the form of a schema file. */
function declaration(rng, roots, depth = 0) {
  const fields = {};
  const nested = depth < 2 ? rng.list(rng.below(4 - depth) % 3, (i) => rng.pick([`N${i}`, `${7 - i}`])) : [];
  for (const name of nested) fields[`message ${name}`] = declaration(rng, roots, depth + 1);
  const types = [...SIMPLE, ...SIMPLE, ...nested, ...roots];
  let tag = 0;
  for (let i = rng.below(6); i >= 0; i -= 1) {
    tag += 1 + rng.pick([0, 0, 0, 15, 2_000]);
    const name = rng.pick([`f${i}`, `f${i}`, `${20 - i}`, `é${i}`]);
    // Now and then a tag that is taken, and what is no field: both are dropped.
    const number = rng.chance(0.05) && tag > 1 ? 1 : tag;
    fields[`${rng.pick(OPTIONS)} ${rng.pick(types)} ${name}`] = number;
    if (rng.chance(0.05)) fields[rng.pick(["required string", "needed string x", "a b c d"])] = 60;
  }
  return fields;
}

function schemaFile(rng) {
  const roots = rng.list(rng.below(3), (i) => `Root${i}`);
  const file = {};
  // Types before or behind the routes that use them.
  const names = [...roots.map((name) => `message ${name}`), "r", rng.pick(["q", "12", "a.b.c"])];
  if (rng.chance(0.5)) names.reverse();
  // Root types that hold each other could have no end of values.
  for (const name of names) {
    file[name] = declaration(rng, name.startsWith("message") ? [] : roots);
  }
  return file;
}

function simpleValue(rng, type) {
  switch (type) {
    case "uInt32":
      return rng.pick([0, 1, 127, 128, 300, 2 ** 32 - 1, rng.below(2 ** 31), 2 ** 52 + 1]);
    case "int32":
    case "sInt32":
      return rng.pick([0, 1, -1, 63, -64, 64, 2 ** 31 - 1, -(2 ** 31), -rng.below(2 ** 50)]);
    case "float":
      return Math.fround(rng.pick([0, 1, 1.5, -0.1, 1e30, 1e-30, rng.below(2 ** 20) / 64]));
    case "double":
      return rng.pick([0, 1, -2, 3, 0.1, 1e300, 5e-324, 2 ** 53 + 2, rng.below(2 ** 20) / 1_024]);
    default:
      return rng.pick(TEXTS);
  }
}

/** A value of the parsed message `proto`; sometimes without a field that it needs. */
function messageValue(rng, proto, protos, depth = 0) {
  const entries = [];
  for (const [name, { option, type }] of Object.entries(proto)) {
    if (name.startsWith("__")) continue;
    const inner = proto.__messages[type] ?? protos[`message ${type}`];
    const one = () => {
      if (SIMPLE.includes(type)) return simpleValue(rng, type);
      return messageValue(rng, inner, protos, depth + 1);
    };
    if (option === "repeated") entries.push([name, rng.list(rng.below(4), one)]);
    else if (rng.chance(option === "required" ? 0.99 : 0.7)) entries.push([name, one()]);
  }
  if (rng.chance(0.2)) entries.push(["unknown", { a: [1] }]);
  // The order of a value's keys is that of the fields on the wire.
  if (rng.chance(0.5)) entries.reverse();
  return Object.fromEntries(entries);
}

/** A body that somebody broke. */
function broken(rng, body) {
  const bytes = Buffer.from(body);
  const at = rng.below(bytes.length);
  switch (rng.below(5)) {
    case 0:
      return bytes.subarray(0, at);
    case 1:
      bytes[at] ^= 1 << rng.below(8);
      return bytes;
    case 2:
      bytes[at] = rng.pick([0, 0x7f, 0x80, 0xff]);
      return bytes;
    case 3:
      return Buffer.concat([bytes, bytes]);
    default:
      return Buffer.concat([bytes, Buffer.from(rng.list(1 + rng.below(6), () => rng.below(256)))]);
  }
}

const hex = (bytes) => Buffer.from(bytes).toString("hex");
const version = (text) => createHash("md5").update(text).digest("base64");

/** What `run` returns, or undefined if it throws. */
function attempt(run) {
  try {
    return run();
  } catch {
    return undefined;
  }
}

function protobufVectors(rng, { server, browser }) {
  const file = schemaFile(rng);
  const protos = server.parse(file);
  server.init({ encoderProtos: protos, decoderProtos: protos });
  browser.init({ encoderProtos: protos, decoderProtos: protos });
  // As pomelo's version, with no schemas for the other direction.
  const parsed = version(`{}${JSON.stringify(protos)}`);
  const vectors = { file, parsed, values: [], bodies: [] };
  const astral = /[\u{10000}-\u{10ffff}]/gu;
  for (const _ of Array(VALUES)) {
    const value = messageValue(rng, protos.r, protos);
    const written = server.encode("r", value);
    if (written === null) {
      vectors.values.push({ value, server: null });
      continue;
    }
    const fromBrowser = browser.encode("r", value);
    // The browser build cuts what is longer than the JSON text, and writes a pair of
    // surrogates in six bytes instead of four.
    const extra = 2 * (JSON.stringify(value).match(astral)?.length ?? 0);
    const decoded = server.decode("r", written);
    vectors.values.push({
      value,
      server: hex(written),
      browser: hex(fromBrowser),
      cut: fromBrowser.length < written.length + extra,
      decoded: JSON.stringify(decoded) === JSON.stringify(value) ? undefined : decoded,
    });
    for (const body of rng.list(BODIES, () => broken(rng, written))) {
      vectors.bodies.push({ hex: hex(body), decoded: attempt(() => server.decode("r", body)) });
    }
  }
  return vectors;
}

/** What pomelo's dictionary component does, with routes that JavaScript reorders. */
function dictionaryVector(rng) {
  const words = ["chat", "gate", "Z", "a", "é", "\u{ff00}", "😀", "10", "9"];
  const route = () => rng.list(3, () => rng.pick(words)).join(".");
  const handlers = [...new Set(rng.list(rng.below(6), route))];
  const user = rng.list(rng.below(5), () => rng.pick(["onChat", "onAdd", "7", "10", "07", route()]));
  const [dict, abbrs] = [{}, {}];
  [...handlers].sort().concat(user).forEach((name, index) => {
    abbrs[index + 1] = name;
    dict[name] = index + 1;
  });
  const text = JSON.stringify(dict);
  return { handlers, user, dict: text, abbrs: JSON.stringify(abbrs), version: version(text) };
}

/** All vectors, as the text of a file. */
export function generate() {
  // They say on the console what they refuse.
  const { warn, log } = console;
  console.warn = console.log = () => {};
  try {
    const builds = {
      server: require("pomelo-protobuf"),
      browser: require("pomelo-protobuf/lib/client/protobuf.js"),
    };
    const rng = random(SEED);
    const parsedText = ({ file }) => JSON.stringify(builds.server.parse(file));
    const protobuf = rng.list(SCHEMAS, () => protobufVectors(rng, builds));
    const dictionaries = rng.list(DICTIONARIES, () => dictionaryVector(rng));
    const protos = rng.list(20, () => {
      const [client, server] = [rng.pick(protobuf), rng.pick(protobuf)];
      return {
        client: client.file,
        server: server.file,
        version: version(parsedText(client) + parsedText(server)),
      };
    });
    const lines = (list) => list.map((one) => JSON.stringify(one)).join(",\n");
    return `{"protobuf":[\n${lines(protobuf)}\n],"dictionaries":[\n${lines(dictionaries)}\n],"protos":[\n${lines(protos)}\n]}\n`;
  } finally {
    Object.assign(console, { warn, log });
  }
}
