/** Where the gate and the connectors are, as a page at `location` reaches them. */

/** Hosts that mean "the host that served this page". */
const UNSPECIFIED = new Set(['', '0.0.0.0', '[::]']);

/**
 * Turns an address of the configuration into a WebSocket URL: a path of the
 * page's own origin, or a `ws:`/`wss:` URL whose host may be left open.
 */
export function socketUrl(address, location) {
  const scheme = location.protocol === 'https:' ? 'wss:' : 'ws:';
  if (address.startsWith('/')) return `${scheme}//${location.host}${address}`;
  // Not parsed as a URL: `ws://:3014` has no host, and so is none.
  const match = /^(wss?:)\/\/(\[[^\]]*\]|[^:/]*)(:\d+)?(\/.*)?$/i.exec(address);
  if (!match) throw new Error(`not a WebSocket address: ${address}`);
  const [, ownScheme, host, port = '', path = '/'] = match;
  return `${ownScheme}//${UNSPECIFIED.has(host) ? hostname(location) : host}${port}${path}`;
}

/**
 * The connector that the gate named: through the proxy if it is listed or any will do, by
 * its path if there is one, which is at our own origin if the gate is; else directly.
 */
export function connectorUrl(config, { host, port, tls = false, path = '' }, location) {
  const bracketed = host.includes(':') && !host.startsWith('[') ? `[${host}]` : host;
  const ours = config.connectors?.[`${bracketed}:${port}`] ?? config.connector;
  // The path of any connector may go on with the one that was chosen.
  if (ours) return socketUrl(path.startsWith(`${ours}/`) ? path : ours, location);
  if (path && config.gate?.startsWith('/')) return socketUrl(path, location);
  const scheme = tls || location.protocol === 'https:' ? 'wss' : 'ws';
  return socketUrl(`${scheme}://${bracketed}:${port}${path}`, location);
}

function hostname({ hostname: name }) {
  return name.includes(':') && !name.startsWith('[') ? `[${name}]` : name;
}
