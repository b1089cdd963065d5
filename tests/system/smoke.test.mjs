// The programs that prove an installation: `loadgen smoke` and `shaddock-admin health`.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import net from "node:net";
import path from "node:path";
import { test as plain } from "node:test";
import { Standalone } from "../clients/lib/cluster.mjs";
import { freePort } from "../clients/lib/ports.mjs";
import { BIN_DIR } from "../clients/lib/process.mjs";
import { onCluster } from "../clients/lib/scenario.mjs";

const test = onCluster();
const proxied = onCluster({
  start: Standalone.start,
  flags: ["--proxy", "--gate-advertise", "sameHost", "--profile", "full"],
});

/** Runs a program, and returns how it ended: {code, stdout, stderr}. */
async function run(program, ...args) {
  return await new Promise((resolve) => {
    execFile(path.join(BIN_DIR, program), args, { timeout: 45_000 }, (error, stdout, stderr) =>
      resolve({ code: error ? error.code : 0, stdout, stderr }),
    );
  });
}

const at = (port) => `127.0.0.1:${port}`;

test("two clients meet where the gate sends them", async ({ cluster }) => {
  const { code, stdout, stderr } = await run("loadgen", "smoke", "--gate", `ws://${at(cluster.gate.port)}`);
  assert.deepEqual([code, stderr], [0, ""]);
  assert.match(stdout, /^ok in \d+ ms: smoke-ann-\w+ at \S+\/ and smoke-bob-\w+ at \S+\/ met in smoke-\w+\n$/);
});

proxied("two clients meet by one origin, or by a way of one's own", async ({ cluster }) => {
  const gate = `ws://${at(cluster.web)}/gate`;
  const { code, stdout, stderr } = await run("loadgen", "smoke", "--gate", gate);
  assert.deepEqual([code, stderr], [0, ""]);
  const web = at(cluster.web);
  assert.ok(stdout.includes(` at ${web}/ws?:${cluster.web} and `), stdout);
  assert.ok(stdout.includes(` at ${web}/ws met in `), stdout);
  const connector = `ws://${at(cluster.connectors[0].port)}/any`;
  const direct = await run("loadgen", "smoke", "--gate", gate, "--connector", connector);
  assert.equal(direct.code, 0, direct.stderr);
  assert.ok(direct.stdout.includes(` at ${at(cluster.connectors[0].port)}/any met in `));
});

test("what does not work is told in one line", async ({ cluster }) => {
  const nobody = await freePort();
  const gate = `ws://${at(cluster.gate.port)}`;
  for (const [args, expected] of [
    [["--gate", `ws://${at(nobody)}`], /: the plain client asks the gate: dial .*refused/],
    [["--gate", gate, "--connector", `ws://${at(nobody)}`], /: the plain client enters: dial /],
    // No connector, but a gate, which knows no rooms.
    [["--gate", gate, "--connector", gate], /: the plain client enters: refused: .*500/],
  ]) {
    const { code, stdout, stderr } = await run("loadgen", "smoke", ...args);
    assert.deepEqual([code, stdout], [1, ""], stderr);
    assert.match(stderr, /^loadgen: smoke failed: [^\n]*\n$/);
    assert.match(stderr, expected);
  }
  const { code, stderr } = await run("loadgen", "smoke", "--gate", "wss://h:1");
  assert.equal(code, 2);
  assert.match(stderr, /this program speaks no TLS/);
});

test("all addresses serve and say what", async ({ cluster }) => {
  const addrs = cluster.processes.map(({ grpc }) => at(grpc));
  const { code, stdout, stderr } = await run("shaddock-admin", "health", ...addrs);
  assert.deepEqual([code, stderr], [0, ""], stdout);
  const [heads, ...lines] = stdout.trimEnd().split("\n");
  assert.match(heads, /^name +address +health +v1 +v1alpha +result$/);
  assert.equal(lines.length, addrs.length);
  lines.forEach((line, i) => {
    assert.match(line, /^(\S+) +\1 +SERVING +([2-9]) +\2 +ok$/);
    assert.ok(line.startsWith(addrs[i]));
  });
  // This machine is one, whatever addresses it has.
  const local = await run("shaddock-admin", "health", `localhost:${cluster.gate.grpc}`);
  assert.equal(local.code, 0, local.stdout);
});

test("who is not there, hangs or is somebody else has a line with the reason", async ({ cluster }) => {
  const silent = net.createServer(() => {}).listen(0, "127.0.0.1");
  await new Promise((resolve) => silent.once("listening", resolve));
  const [nobody, hangs] = [await freePort(), silent.address().port];
  const others = [at(nobody), at(hangs), "nobody.invalid:1"];
  const started = Date.now();
  const { code, stdout } = await run("shaddock-admin", "health", at(cluster.gate.grpc), ...others);
  silent.close();
  assert.equal(code, 1);
  assert.ok(Date.now() - started < 30_000);
  const lines = stdout.trimEnd().split("\n").slice(1);
  assert.match(lines[0], / SERVING .* ok$/);
  assert.match(lines[1], /^\S+ +\S+ +- +- +- +cannot connect: Connection refused/);
  assert.match(lines[2], / +- +- +- +(no answer within 5s|health: .+)$/);
  assert.match(lines[3], /^nobody\.invalid:1 +- +- +- +- +no address/);
});

plain("what is wrong with the command line is one line", async () => {
  const { code, stderr } = await run("shaddock-admin", "health");
  assert.equal(code, 2);
  assert.match(stderr, /^shaddock-admin: [^\n]*\n$/);
});
