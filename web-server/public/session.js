/** One way in: configuration, gate, connector, room. */

import { connectorUrl, socketUrl } from './address.js';
import { PomeloError } from './pomelo.js';

const CONFIG_TIMEOUT_MS = 10_000;

/**
 * A longer request is not even sent: the server would end the connection, where
 * a somewhat shorter one is merely refused. In UTF-16 units, of up to 3 bytes.
 */
const REQUEST_LEN_MAX = 64 * 1024;

/** What we ask for, so that messages have numbers; older servers ignore it. */
const USER = Object.freeze({ shaddock: 1 });

/**
 * A server's refusal to let us in. `reason` is one of
 * `taken`, `denied`, `invalid`, `busy`, `noServer`, `refused`.
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
 * Asks the gate for a connector, and enters the room there, as who shows `secret`,
 * and with what follows `resume`, if the server knows of such things.
 *
 * @returns `{ client, users }`, and if messages have numbers there, `log`:
 *   `{ kind, position }`, see `readLog`
 * @throws Refused if a server says no, PomeloError if none says anything
 */
export async function enterRoom(deps, { name, room, secret, resume, ...hooks }) {
  const { connect, config, location } = deps;
  const known = await config.get(hooks.signal);
  const entry = await askGate(connect, socketUrl(known.gate, location), name, hooks.signal);
  const client = await connect(connectorUrl(known, entry, location), {
    cacheKey: 'shaddock.connector',
    user: USER,
    ...hooks,
  });
  try {
    const isNumbered = client.user?.shaddock === USER.shaddock;
    const body = { username: name, rid: room };
    if (isNumbered) Object.assign(body, { secret, resume: resume ?? undefined });
    const reply = await client.request('connector.entryHandler.enter', body);
    if (!Array.isArray(reply.users)) throw enterRefusal(reply);
    const log = isNumbered && reply.position ? readLog(reply) : null;
    return { client, users: reply.users.map(String), log };
  } catch (error) {
    // Left open it would be closed by the server some time later, and that
    // would look like the loss of whatever connection comes next.
    client.close();
    throw error;
  }
}

/**
 * Where the room's log is: `position` is where what we have of it begins anew, or
 * `null` if all that we miss follows.
 */
function readLog({ position, verdict }) {
  const kind = verdict?.kind ?? null;
  if (kind === 'complete') return { kind, position: null };
  // What follows begins with this message, however far the room is.
  const seq = kind === 'truncated' ? verdict.first - 1 : position.seq;
  return { kind, position: { epoch: position.epoch, seq } };
}

/** What `client` is answered: `{ code, error, … }`, also if that is nothing. */
export async function ask(client, route, body) {
  if (JSON.stringify(body).length > REQUEST_LEN_MAX) return { code: 413, error: '' };
  try {
    const reply = await client.request(route, body);
    const error = typeof reply.error === 'string' ? reply.error : '';
    return { ...reply, code: reply.code || (reply.error ? 500 : 200), error };
  } catch (error) {
    return { code: error instanceof PomeloError ? error.kind : 400, error: '' };
  }
}

async function askGate(connect, url, name, signal) {
  const gate = await connect(url, { cacheKey: 'shaddock.gate', user: USER, signal });
  try {
    const reply = await gate.request('gate.gateHandler.queryEntry', { uid: name });
    if (reply.code !== 200) throw new Refused(gateReason(reply.code), reply.code);
    const path = typeof reply.path === 'string' && reply.path.startsWith('/') ? reply.path : '';
    return { host: String(reply.host), port: Number(reply.port), tls: reply.tls === true, path };
  } finally {
    gate.close();
  }
}

function gateReason(code) {
  if (code === 400) return 'invalid';
  return code === 429 ? 'busy' : 'noServer';
}

function enterRefusal({ code, error, verdict }) {
  if (verdict?.kind === 'denied') return new Refused('denied', code);
  // The original marks a name in use by `error: true`, beside code 500.
  if (error === true) return new Refused('taken', code);
  if (code === 400) return new Refused('invalid', code);
  return new Refused(code === 503 || code === 429 ? 'busy' : 'refused', code);
}
