// `make example-time`, without the building.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import path from "node:path";
import { test } from "node:test";
import { ROOT } from "../clients/lib/process.mjs";

test("the example of docs/extending.md runs, and ends what it started", { timeout: 90_000 }, async () => {
  const file = path.join(ROOT, "examples/time/run.mjs");
  const { code, output } = await new Promise((resolve) =>
    execFile(process.execPath, [file], (error, stdout, stderr) =>
      resolve({ code: error ? error.code : 0, output: stdout + stderr }),
    ),
  );
  assert.equal(code, 0, output);
  for (const line of [
    /^ {2}ann +connector 127\.0\.0\.1:\d+ +time-0 says 20\d\d-/m,
    /^ {2}gus +connector 127\.0\.0\.1:\d+ +time-1 says 20\d\d-/m,
    /^ {2}gus +connector 127\.0\.0\.1:\d+ +time-0 says 20\d\d-/m,
    /^ {2}gus +connector 127\.0\.0\.1:\d+ +no time server is ready$/m,
    /^All processes are ended\.$/m,
  ]) {
    assert.match(output, line);
  }
});
