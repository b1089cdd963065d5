// Runs all checks and tests of the project, one line a stage, and ends with the sum.
//
//   node scripts/test.mjs [stage] …     only these stages; default: all
//
// What a stage said is in target/test-logs/; its end is shown if it failed.

import { spawn } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../", import.meta.url));
const LOGS = path.join(ROOT, "target/test-logs");
const BINARIES = path.join(ROOT, "target/debug");
const SHOWN_LINES = 80;
const MINUTE = 60_000;

/** Finds the test files of a folder that belongs to a stage. */
const testFiles = (folder) =>
  fs.existsSync(path.join(ROOT, folder))
    ? fs.readdirSync(path.join(ROOT, folder), { recursive: true })
        .filter((file) => /\.test\.(js|mjs)$/.test(file) && !file.includes("node_modules"))
        .map((file) => path.join(folder, file))
        .sort()
    : [];

const nodeTests = (folder, files = testFiles(folder)) => [
  "node",
  "--test",
  "--test-reporter=spec",
  "--test-concurrency=2",
  ...(files.length > 0 ? files : [`${folder}/*.test.mjs`]),
];

// A stage counts its tests by the closing lines of what it ran, or is one test.
const CARGO = /^test result: \w+\. (\d+) passed; (\d+) failed/gm;
const NODE = /^ℹ pass (\d+)$[^]*?^ℹ fail (\d+)$/gm;
const PLAIN = /^(\d+) passed, (\d+) failed$/gm;

/** In order. `needed`: without it, the stages after it make no sense. */
const STAGES = [
  { name: "toolchain", run: ["scripts/setup"], minutes: 15, needed: true },
  { name: "format", run: ["cargo", "fmt", "--all", "--check"] },
  {
    name: "lint",
    run: ["cargo", "clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"],
    minutes: 20,
  },
  {
    name: "docs",
    run: ["cargo", "doc", "--workspace", "--no-deps", "--locked"],
    env: { RUSTDOCFLAGS: "-D warnings" },
    minutes: 10,
  },
  {
    name: "deny",
    run: ["target/tools/bin/cargo-deny", "--locked", "check", "bans", "licenses", "sources"],
  },
  { name: "chart", run: ["node", "tests/chart/all.mjs"], counts: PLAIN },
  {
    name: "build",
    // All targets: the same features as for the tests, so that nothing is built twice.
    run: ["cargo", "build", "--workspace", "--all-targets", "--locked"],
    minutes: 20,
    needed: true,
  },
  {
    name: "cargo",
    run: ["cargo", "test", "--workspace", "--locked", "--no-fail-fast"],
    counts: CARGO,
    minutes: 20,
  },
  {
    name: "sim",
    // Optimised: most of a simulation is computing.
    run: ["cargo", "run", "--profile", "sim", "--package", "sim", "--locked", "--", "--seeds", "200"],
    counts: PLAIN,
    minutes: 20,
  },
  { name: "page", run: nodeTests("web-server/tests"), counts: NODE },
  { name: "clients", run: nodeTests("tests/clients"), counts: NODE },
  {
    name: "system",
    run: nodeTests("tests/system", testFiles("tests/system").filter((f) => !isGrpcurl(f))),
    counts: NODE,
    minutes: 10,
  },
  {
    name: "ops",
    run: [`${BINARIES}/verify`, "ops", "--bin-dir", BINARIES, "--quick"],
    counts: PLAIN,
  },
  { name: "grpcurl", run: nodeTests("tests/system", ["tests/system/grpcurl.test.mjs"]), counts: NODE },
  {
    name: "conformance",
    run: ["node", "tests/conformance/all.mjs"],
    env: { SHADDOCK_BIN_DIR: BINARIES },
    counts: PLAIN,
    minutes: 10,
  },
  { name: "browser", run: ["node", "tests/browser/run.mjs"], counts: PLAIN },
];

function isGrpcurl(file) {
  return file.endsWith("grpcurl.test.mjs");
}

const wanted = process.argv.slice(2);
const unknown = wanted.filter((name) => STAGES.every((stage) => stage.name !== name));
if (unknown.length > 0) {
  const names = STAGES.map(({ name }) => name).join(" ");
  console.error(`no such stage: ${unknown.join(" ")}; there are: ${names}`);
  process.exit(2);
}

fs.mkdirSync(LOGS, { recursive: true });
const results = [];
for (const stage of STAGES) {
  if (wanted.length > 0 && !wanted.includes(stage.name)) continue;
  const result = await runStage(stage);
  results.push(result);
  console.log(line(result));
  if (result.failed > 0) {
    console.log(`\n--- from ${path.relative(ROOT, result.log)}`);
    console.log(`${reason(result.text)}\n---\n`);
    if (stage.needed) break;
  }
}

const sum = (key) => results.reduce((total, result) => total + result[key], 0);
console.log(`\n${"stage".padEnd(12)}${"passed".padStart(8)}${"failed".padStart(8)}${"seconds".padStart(9)}`);
for (const { name, passed, failed, seconds } of results) {
  const numbers = String(passed).padStart(8) + String(failed).padStart(8);
  console.log(name.padEnd(12) + numbers + seconds.toFixed(1).padStart(9));
}
console.log(`${"".padEnd(28)}${sum("seconds").toFixed(1).padStart(9)}\n`);
console.log(`${sum("passed")} passed, ${sum("failed")} failed`);
process.exitCode = sum("failed") > 0 ? 1 : 0;

async function runStage({ name, run, env, counts, minutes = 5 }) {
  const log = path.join(LOGS, `${name}.log`);
  const started = Date.now();
  const code = await execute(run, { log, env, ms: minutes * MINUTE });
  const seconds = (Date.now() - started) / 1000;
  const text = fs.readFileSync(log, "utf8");
  const counted = counts ? count(text, counts) : { passed: code === 0 ? 1 : 0, failed: 0 };
  // A stage that broke, or that looked at nothing, has failed, whatever it counted.
  const broke = code !== 0 || counted.passed + counted.failed === 0;
  const failed = Math.max(counted.failed, broke ? 1 : 0);
  return { name, log, text, seconds, passed: counted.passed, failed };
}

function count(text, pattern) {
  const totals = { passed: 0, failed: 0 };
  for (const [, passed, failed] of text.matchAll(pattern)) {
    totals.passed += Number(passed);
    totals.failed += Number(failed);
  }
  return totals;
}

/** Runs a command with its output in a file, and returns its exit code. */
async function execute([file, ...args], { log, env, ms }) {
  const output = fs.openSync(log, "w");
  // A group of its own, so that all of it can be ended when it takes too long.
  const child = spawn(file, args, {
    cwd: ROOT,
    detached: true,
    stdio: ["ignore", output, output],
    env: {
      ...process.env,
      CARGO_TERM_COLOR: "never",
      SHADDOCK_BIN_DIR: BINARIES,
      SHADDOCK_STANDALONE: path.join(BINARIES, "standalone"),
      ...env,
    },
  });
  const end = (signal) => process.kill(-child.pid, signal);
  const late = setTimeout(() => {
    fs.writeSync(output, `\nended after ${ms / MINUTE} minutes\n`);
    end("SIGKILL");
  }, ms);
  const interrupted = () => {
    end("SIGTERM");
    process.exit(130);
  };
  process.once("SIGINT", interrupted).once("SIGTERM", interrupted);
  const code = await new Promise((resolve) => {
    child.once("error", (error) => {
      fs.writeSync(output, `${file}: ${error.message}\n`);
      resolve(127);
    });
    child.once("close", (code) => resolve(code ?? 1));
  });
  clearTimeout(late);
  process.off("SIGINT", interrupted).off("SIGTERM", interrupted);
  fs.closeSync(output);
  return code;
}

function line({ name, passed, failed, seconds }) {
  const verdict = failed > 0 ? "FAILED" : "ok";
  const tests = failed > 0 ? `${failed} of ${passed + failed}` : String(passed);
  const noun = passed + failed === 1 ? "test" : "tests";
  return `${name.padEnd(12)}${verdict.padEnd(8)}${`${tests} ${noun}`.padEnd(20)}${seconds.toFixed(1)} s`;
}

/** The part of a log that tells why: what the runner says of failures, else the end. */
function reason(text) {
  const cargo = [...text.matchAll(/^failures:\n\n----[^]*?^test result: FAILED.*$/gm)];
  const [node] = /^✖ failing tests:$[^]*/m.exec(text) ?? [];
  const told = cargo.length > 0 ? cargo.join("\n") : node;
  const lines = (told ?? text).trimEnd().split("\n");
  const shown = told ? lines.slice(0, SHOWN_LINES) : lines.slice(-SHOWN_LINES);
  return shown.join("\n");
}
