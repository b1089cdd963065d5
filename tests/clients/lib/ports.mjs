// Free ports below the range that the kernel takes for outgoing connections: one that
// belongs to a process which is down is not lost to somebody's connection meanwhile.

import net from "node:net";

const [FIRST, LAST] = [20_000, 32_000];
let next = FIRST + ((process.pid * 97) % (LAST - FIRST));

export async function freePort() {
  for (let tries = LAST - FIRST; tries > 0; tries -= 1) {
    const port = next;
    next = next + 1 < LAST ? next + 1 : FIRST;
    if (await isFree(port)) return port;
  }
  throw new Error("no free port");
}

export async function isFree(port) {
  const server = net.createServer();
  return await new Promise((resolve) => {
    server.once("error", () => resolve(false));
    server.listen({ port, host: "127.0.0.1", exclusive: true }, () =>
      server.close(() => resolve(true)),
    );
  });
}
