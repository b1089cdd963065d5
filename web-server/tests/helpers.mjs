/** What the tests of the page's modules share. */

import { readFileSync } from 'node:fs';
import { mock } from 'node:test';

const file = new URL('../../crates/wire/vectors/wire-vectors.json', import.meta.url);

/** The vectors of one layer, recorded from the original implementation. */
export function vectors(layer) {
  return JSON.parse(readFileSync(file, 'utf8')).vectors.filter((v) => v.layer === layer);
}

export function bytes(hex) {
  return Uint8Array.from(Buffer.from(hex, 'hex'));
}

export function hex(data) {
  return Buffer.from(data).toString('hex');
}

/** Lets mocked time pass. In small steps: within one, all timers see its end. */
export function advance(ms) {
  const STEP = 10;
  for (let left = ms; left > 0; left -= STEP) mock.timers.tick(Math.min(STEP, left));
}

/** Lets everything run that waits for nothing but its turn. */
export async function settled() {
  for (let i = 0; i < 30; i += 1) await Promise.resolve();
}

/**
 * Turns a schema file into the form that a handshake carries; servers do this.
 * Entries that make no sense are dropped, as the original does.
 */
export function parseSchema(source) {
  const parsed = {};
  for (const [key, value] of Object.entries(source)) parsed[key] = parseMessage(value);
  return parsed;
}

function parseMessage(source) {
  const [fields, messages, tags] = [{}, {}, {}];
  for (const [key, value] of Object.entries(source)) {
    const words = key.split(' ');
    if (words[0] === 'message' && words.length === 2) {
      messages[words[1]] = parseMessage(value);
    } else if (words.length === 3 && /^(required|optional|repeated)$/.test(words[0])) {
      if (tags[value]) continue;
      fields[words[2]] = { option: words[0], type: words[1], tag: value };
      tags[value] = words[2];
    }
  }
  return { ...fields, __messages: messages, __tags: tags };
}
