// Whether the vectors that the Rust code is held against are what the packages say. After a
// change of the generator:
//
//   node tests/clients/differential.test.mjs write

import assert from "node:assert/strict";
import fs from "node:fs";
import { test } from "node:test";
import { generate } from "./lib/differential.mjs";

const FILE = new URL("../../crates/wire/vectors/differential.json", import.meta.url);

if (process.argv[2] === "write") {
  fs.writeFileSync(FILE, generate());
} else {
  test("pomelo-protobuf says today what is in differential.json", () => {
    // Not by `equal`, which would show both in full.
    assert.ok(generate() === fs.readFileSync(FILE, "utf8"), "write the vectors anew and look");
  });
}
