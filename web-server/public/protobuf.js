/**
 * pomelo-protobuf: bodies encoded by the schemas that the server announces.
 *
 * It looks like Protocol Buffers, and is not: `int32` is zigzag, repeated
 * numbers carry a count of elements, and the wire type in a key means nothing.
 * Both directions are therefore driven by the schema alone, in its parsed form:
 *
 *     { msg: { option: "required", type: "string", tag: 1 }, …,
 *       __messages: { … }, __tags: { "1": "msg", … } }
 */

import { Malformed, text, utf8 } from './codec.js';

/** What the server also writes; readers ignore it. */
const WIRE_TYPE = { uInt32: 0, int32: 0, sInt32: 0, double: 1, float: 5 };
const WIRE_TYPE_LENGTH_PREFIXED = 2;

/** How deep messages may nest; a schema can refer to itself. */
const DEPTH_MAX = 32;

/**
 * Returns the bytes of `value`, or `null` where there is nothing to write or a
 * required field is missing: the message then goes out with an empty body.
 *
 * @param protos the schemas by route, and the root types as `"message Name"`
 */
export function encode(protos, route, value) {
  const schema = protos[route];
  if (!isComplete(protos, schema, value, 0)) return null;
  const out = [];
  writeFields(out, protos, schema, value, 0);
  return out.length === 0 ? null : Uint8Array.from(out);
}

/** Returns the object that `bytes` hold. Fields unknown to the schema throw. */
export function decode(protos, route, bytes) {
  const reader = new Reader(bytes);
  return readFields(reader, protos, protos[route], bytes.length, 0);
}

function fieldOf(schema, name) {
  return name.startsWith('__') || !Object.hasOwn(schema, name) ? undefined : schema[name];
}

/** A nested type of the enclosing message, or else a root type. */
function messageType(protos, schema, type) {
  const own = schema.__messages;
  if (own && Object.hasOwn(own, type)) return own[type];
  const root = `message ${type}`;
  return Object.hasOwn(protos, root) ? protos[root] : undefined;
}

function isComplete(protos, schema, value, depth) {
  if (depth > DEPTH_MAX) throw new Malformed('value nested too deep');
  for (const [name, field] of Object.entries(schema)) {
    if (name.startsWith('__')) continue;
    const part = value[name];
    if (part === undefined || part === null) {
      if (field.option === 'required') return false;
      continue;
    }
    const inner = messageType(protos, schema, field.type);
    if (!inner) continue;
    const parts = field.option === 'repeated' ? part : [part];
    if (!parts.every((one) => isComplete(protos, inner, one, depth + 1))) return false;
  }
  return true;
}

function writeFields(out, protos, schema, value, depth) {
  // In the order of the value's own keys, as every Pomelo implementation does.
  for (const [name, part] of Object.entries(value)) {
    const field = fieldOf(schema, name);
    if (!field || part === undefined || part === null) continue;
    const inner = messageType(protos, schema, field.type);
    const write = (one) => writeValue(out, protos, field, inner, one, depth);
    const wireType = WIRE_TYPE[field.type] ?? WIRE_TYPE_LENGTH_PREFIXED;
    const key = field.tag * 8 + wireType;
    if (field.option !== 'repeated') {
      writeVarint(out, key);
      write(part);
    } else if (Object.hasOwn(WIRE_TYPE, field.type)) {
      if (part.length === 0) continue;
      writeVarint(out, key);
      writeVarint(out, part.length);
      part.forEach(write);
    } else {
      for (const one of part) {
        writeVarint(out, key);
        write(one);
      }
    }
  }
}

function writeValue(out, protos, field, inner, value, depth) {
  switch (field.type) {
    case 'uInt32':
      return writeVarint(out, integer(value));
    case 'int32':
    case 'sInt32': {
      const whole = integer(value);
      return writeVarint(out, whole < 0 ? -whole * 2 - 1 : whole * 2);
    }
    case 'float':
      return writeFloat(out, 4, 'setFloat32', value);
    case 'double':
      return writeFloat(out, 8, 'setFloat64', value);
    case 'string':
      if (typeof value !== 'string') throw new Malformed('not a string');
      return writeBytes(out, utf8(value));
    default: {
      if (!inner) throw new Malformed(`unknown type ${field.type}`);
      const nested = [];
      writeFields(nested, protos, inner, value, depth + 1);
      return writeBytes(out, nested);
    }
  }
}

/** The whole number that `parseInt` would find, without its detour over text. */
function integer(value) {
  const whole = Math.trunc(Number(value));
  if (!Number.isSafeInteger(whole)) throw new Malformed(`not an integer: ${value}`);
  return whole;
}

function writeVarint(out, value) {
  if (value < 0 || !Number.isSafeInteger(value)) throw new Malformed(`not a varint: ${value}`);
  while (value > 0x7f) {
    out.push((value % 0x80) + 0x80);
    value = Math.floor(value / 0x80);
  }
  out.push(value);
}

function writeFloat(out, length, setter, value) {
  const view = new DataView(new ArrayBuffer(length));
  view[setter](0, Number(value), true);
  for (let i = 0; i < length; i += 1) out.push(view.getUint8(i));
}

function writeBytes(out, bytes) {
  writeVarint(out, bytes.length);
  // Not `push(...bytes)`: a long message has more bytes than a call has arguments.
  for (const byte of bytes) out.push(byte);
}

class Reader {
  constructor(bytes) {
    this.bytes = bytes;
    this.at = 0;
  }

  take(length) {
    const end = this.at + length;
    if (end > this.bytes.length) throw new Malformed('value cut off');
    const part = this.bytes.subarray(this.at, end);
    this.at = end;
    return part;
  }

  varint() {
    let value = 0;
    for (let scale = 1; ; scale *= 0x80) {
      const [byte] = this.take(1);
      value += (byte & 0x7f) * scale;
      if (!Number.isSafeInteger(value)) throw new Malformed('integer too large');
      if (byte < 0x80) return value;
    }
  }

  float(length, getter) {
    const part = this.take(length);
    return new DataView(part.buffer, part.byteOffset, length)[getter](0, true);
  }
}

function readFields(reader, protos, schema, end, depth) {
  if (depth > DEPTH_MAX) throw new Malformed('message nested too deep');
  if (end > reader.bytes.length) throw new Malformed('message cut off');
  const fields = new Map();
  while (reader.at < end) {
    const tag = Math.floor(reader.varint() / 8);
    const name = schema.__tags?.[tag];
    const field = name === undefined ? undefined : fieldOf(schema, name);
    if (!field) throw new Malformed(`unknown tag ${tag}`);
    const read = () => readValue(reader, protos, schema, field, depth);
    if (field.option !== 'repeated') {
      fields.set(name, read());
      continue;
    }
    const list = fields.get(name) ?? [];
    fields.set(name, list);
    const count = Object.hasOwn(WIRE_TYPE, field.type) ? reader.varint() : 1;
    for (let i = 0; i < count; i += 1) list.push(read());
  }
  if (reader.at > end) throw new Malformed('message longer than said');
  // Own properties only, whatever the names are.
  return Object.fromEntries(fields);
}

function readValue(reader, protos, schema, field, depth) {
  switch (field.type) {
    case 'uInt32':
      return reader.varint();
    case 'int32':
    case 'sInt32': {
      const raw = reader.varint();
      return raw % 2 === 1 ? -(raw + 1) / 2 : raw / 2;
    }
    case 'float':
      return reader.float(4, 'getFloat32');
    case 'double':
      return reader.float(8, 'getFloat64');
    case 'string':
      return text(reader.take(reader.varint()));
    default: {
      const inner = messageType(protos, schema, field.type);
      if (!inner) throw new Malformed(`unknown type ${field.type}`);
      const length = reader.varint();
      return readFields(reader, protos, inner, reader.at + length, depth + 1);
    }
  }
}
