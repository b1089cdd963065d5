/**
 * What this tab has to remember of its user's stays in rooms, so that a reload
 * changes nothing: who we are there (a secret), how far we have read, and what we
 * have not been able to send. In the tab's own storage, and in bounds.
 */

/** Messages that wait to be sent, at most, and all their characters. */
export const UNSENT_MAX = 50;
export const UNSENT_LEN_MAX = 256 * 1024;

/** Stays that are remembered: one is the last, the others may be come back to. */
export const STAYS_MAX = 8;

const INDEX = 'shaddock.stays';
const ID_BYTES = 16;

export class Stays {
  #storage;
  /** Where the browser keeps nothing for us, we still remember until the reload. */
  #own = new Map();

  constructor(storage = ownStorage()) {
    this.#storage = storage;
  }

  /** The stay of `name` in `room`, as it was or new. It is now the one that we are in. */
  open(room, name) {
    const key = keyOf(room, name);
    const stay = readStay(this.#get(key)) ?? { secret: randomId(), position: null, unsent: [] };
    const keys = [key, ...this.#keys().filter((other) => other !== key)];
    for (const old of keys.splice(STAYS_MAX)) this.#remove(old);
    this.#put(INDEX, { here: true, keys });
    return { room, name, ...stay };
  }

  /** The stay that has not been ended: there is one after a reload. */
  current() {
    const index = this.#get(INDEX);
    const [key] = this.#keys();
    if (index?.here !== true || key === undefined) return null;
    const [room, name] = parse(key.slice(PREFIX.length)) ?? [];
    return isText(room) && isText(name) ? { room, name } : null;
  }

  save({ room, name, secret, position, unsent }) {
    this.#put(keyOf(room, name), { secret, position, unsent: unsent.map(message) });
  }

  /** We are in no room any more, and a reload leads to none. */
  end() {
    this.#put(INDEX, { here: false, keys: this.#keys() });
  }

  #keys() {
    const keys = this.#get(INDEX)?.keys;
    return Array.isArray(keys) ? keys.filter((key) => isText(key) && key.startsWith(PREFIX)) : [];
  }

  #get(key) {
    if (this.#own.has(key)) return parse(this.#own.get(key));
    try {
      return parse(this.#storage?.getItem(key));
    } catch {
      return null;
    }
  }

  #put(key, value) {
    const text = JSON.stringify(value);
    this.#own.delete(key);
    try {
      this.#storage.setItem(key, text);
    } catch {
      // Full, forbidden or not there.
      this.#own.set(key, text);
    }
  }

  #remove(key) {
    this.#own.delete(key);
    try {
      this.#storage.removeItem(key);
    } catch {
      // It was not there either.
    }
  }
}

const PREFIX = 'shaddock.stay.';

/** No two pairs of names have the same, whatever characters they have. */
function keyOf(room, name) {
  return PREFIX + JSON.stringify([room, name]);
}

/** What no one else chooses: 128 random bits. Also where the page came by http. */
export function randomId() {
  const bytes = crypto.getRandomValues(new Uint8Array(ID_BYTES));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** Reads what was kept: others may have written there. */
function readStay(kept) {
  if (!isText(kept?.secret) || !/^[\x21-\x7e]{16,128}$/.test(kept.secret)) return null;
  const { epoch, seq } = kept.position ?? {};
  const isPosition = isText(epoch) && /^[0-9a-f]{16}$/.test(epoch) && Number.isSafeInteger(seq) && seq >= 0;
  const unsent = Array.isArray(kept.unsent) ? kept.unsent.filter(isMessage).slice(0, UNSENT_MAX) : [];
  return { secret: kept.secret, position: isPosition ? { epoch, seq } : null, unsent };
}

/** What has to be known of a message to send it. */
function message({ cmid, content, target, at, code, error }) {
  return { cmid, content, target, at, code, error };
}

function isMessage(kept) {
  const texts = [kept?.cmid, kept?.content, kept?.target];
  return texts.every((text) => isText(text) && text !== '') && Number.isFinite(kept.at);
}

/** The tab's own store, or nothing where even looking at it is forbidden. */
function ownStorage() {
  try {
    return globalThis.sessionStorage;
  } catch {
    return undefined;
  }
}

function isText(value) {
  return typeof value === 'string';
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
