// `make cluster` and `make cluster-down`, with the ports that they have for people.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import path from "node:path";
import { test } from "node:test";
import { Client } from "../clients/lib/client.mjs";
import { isFree } from "../clients/lib/ports.mjs";
import { BIN_DIR, ROOT } from "../clients/lib/process.mjs";

const PORTS = [3001, 3014, 3050, 3051, 3052, 4014, 4050, 4051, 4052, 6050, 6051, 6052];

test("up runs a system once, down ends it", { timeout: 120_000 }, async (t) => {
  const taken = [];
  for (const port of PORTS) if (!(await isFree(port))) taken.push(port);
  if (taken.length > 0) return t.skip(`in use on this machine: ${taken}`);

  const up = await script("up");
  const client = new Client();
  try {
    assert.equal(up.code, 0, up.output);
    assert.match(up.output, /http:\/\/127\.0\.0\.1:3001/);
    const page = await fetch("http://127.0.0.1:3001/");
    assert.match(await page.text(), /<html/);
    await client.login({ host: "127.0.0.1", port: 3014 }, "ann", "room");
    assert.deepEqual(await client.send("hi"), {});

    const again = await script("up");
    assert.equal(again.code, 1);
    assert.match(again.output, /already up/);
    assert.deepEqual(await client.send("still here"), {});
  } finally {
    await client.stop();
    const down = await script("down");
    assert.equal(down.code, 0, down.output);
  }
  for (const port of PORTS) assert.ok(await isFree(port), `something listens on ${port}`);
});

async function script(name) {
  const env = { ...process.env, BIN_DIR: path.relative(ROOT, BIN_DIR) };
  return await new Promise((resolve) => {
    const file = path.join(ROOT, "deploy/cluster", name);
    execFile(file, { env }, (error, stdout, stderr) =>
      resolve({ code: error ? error.code : 0, output: stdout + stderr }),
    );
  });
}
