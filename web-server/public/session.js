/** One way in: configuration, gate, connector, room. */

import { connectorUrl, socketUrl } from './address.js';
import { PomeloError } from './pomelo.js';

const CONFIG_TIMEOUT_MS = 10_000;

/**
 * A server's refusal to let us in. `reason` is one of
 * `taken`, `invalid`, `busy`, `noServer`, `refused`.
 */
export class Refused extends Error {
  constructor(reason, code) {
    super(`${reason} (${code})`);
    this.name = 'Refused';
    this.reason = reason;
    this.code = code;
  }
}

/** Reads `config.json`. Keeps the last one, for when only the web server is away. */
export class ConfigSource {
  #fetch;
  #last = null;

  constructor(fetch) {
    this.#fetch = fetch;
  }

  async get(signal) {
    const abort = new AbortController();
    const stop = () => abort.abort();
    signal.addEventListener('abort', stop, { once: true });
    const timer = setTimeout(stop, CONFIG_TIMEOUT_MS);
    try {
      const response = await this.#fetch('config.json', { cache: 'no-store', signal: abort.signal });
      if (!response.ok) throw new Error(`config.json: ${response.status}`);
      this.#last = await response.json();
    } catch (error) {
      if (signal.aborted || !this.#last) throw new PomeloError('connect', error.message);
    } finally {
      clearTimeout(timer);
      signal.removeEventListener('abort', stop);
    }
    return this.#last;
  }
}

/**
 * Asks the gate for a connector, and enters the room there.
 *
 * @returns `{ client, users }`
 * @throws Refused if a server says no, PomeloError if none says anything
 */
export async function enterRoom({ connect, config, location }, { name, room, ...hooks }) {
  const known = await config.get(hooks.signal);
  const entry = await askGate(connect, socketUrl(known.gate, location), name, hooks.signal);
  const client = await connect(connectorUrl(known, entry, location), {
    cacheKey: 'shaddock.connector',
    ...hooks,
  });
  try {
    const reply = await client.request('connector.entryHandler.enter', {
      username: name,
      rid: room,
    });
    if (!Array.isArray(reply.users)) throw enterRefusal(reply);
    return { client, users: reply.users.map(String) };
  } catch (error) {
    // Left open it would be closed by the server some time later, and that
    // would look like the loss of whatever connection comes next.
    client.close();
    throw error;
  }
}

async function askGate(connect, url, name, signal) {
  const gate = await connect(url, { cacheKey: 'shaddock.gate', signal });
  try {
    const reply = await gate.request('gate.gateHandler.queryEntry', { uid: name });
    if (reply.code !== 200) throw new Refused(gateReason(reply.code), reply.code);
    return { host: String(reply.host), port: Number(reply.port) };
  } finally {
    gate.close();
  }
}

function gateReason(code) {
  if (code === 400) return 'invalid';
  return code === 429 ? 'busy' : 'noServer';
}

function enterRefusal({ code, error }) {
  // The original marks a name in use by `error: true`, beside code 500.
  if (error === true) return new Refused('taken', code);
  if (code === 400) return new Refused('invalid', code);
  return new Refused(code === 503 || code === 429 ? 'busy' : 'refused', code);
}
