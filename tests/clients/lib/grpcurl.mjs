// Calls by grpcurl, as a person would make them: through reflection, without protos.

import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import path from "node:path";
import { promisify } from "node:util";
import { ROOT } from "./process.mjs";

const run = promisify(execFile);
const BUILT = path.join(ROOT, "target/tools/bin/grpcurl");

/** Runs grpcurl without TLS, and returns what it printed. */
export const grpcurl = (...args) => call("-plaintext", ...args);

async function call(...args) {
  const [file, before] = existsSync(BUILT)
    ? [BUILT, []]
    : ["go", ["-C", path.join(ROOT, "deploy/tools"), "tool", "grpcurl"]];
  const { stdout } = await run(file, [...before, "-max-time", "15", ...args]);
  return stdout;
}

/**
 * Calls a method of a process that has a `grpc` port, and returns the answer. If it has
 * `tls`, those are grpcurl's flags for it.
 */
export async function grpc({ grpc: port, tls = ["-plaintext"] }, method, request = {}) {
  const data = JSON.stringify(request);
  return JSON.parse(await call(...tls, "-d", data, `127.0.0.1:${port}`, method));
}

/** The status that a call is refused with: {code, message}. */
export async function refusal(process, method, request) {
  try {
    await grpc(process, method, request);
  } catch (error) {
    const [, code] = /Code: (\w+)/.exec(error.stderr) ?? [];
    const [, message] = /Message: (.*)/.exec(error.stderr) ?? [];
    if (code) return { code, message };
    throw error;
  }
  throw new Error(`${method} was not refused`);
}
