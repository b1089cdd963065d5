// The process of one client: messages to it and from it, whatever language it is in.

import { fork, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import path from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { ROOT } from "./process.mjs";

const here = (file) => fileURLToPath(new URL(file, import.meta.url));
const PYTHON = path.join(ROOT, "target/tools/python/bin/python");

/** Starts the child for a kind of client: {send, end, kill, exited}. */
export function startChild(kind, hear) {
  return kind === "pypomelo" ? python(hear) : node(kind, hear);
}

/** A library from npm: JSON over Node's own channel. */
function node(kind, hear) {
  const child = fork(here("./child.cjs"), [kind], {
    stdio: ["ignore", "ignore", "inherit", "ipc"],
  });
  child.on("message", hear);
  const send = (message) => child.send(message);
  const end = () => child.connected && child.disconnect();
  return { ...common(child), send, end };
}

/** A library from PyPI: JSON lines over its standard input and output. */
function python(hear) {
  if (!existsSync(PYTHON)) throw new Error(`${PYTHON} is missing: run \`scripts/setup python\``);
  const child = spawn(PYTHON, [here("./child.py")], { stdio: ["pipe", "pipe", "inherit"] });
  createInterface({ input: child.stdout }).on("line", (line) => hear(JSON.parse(line)));
  // Writing to one that has ended is noticed by what does not come back.
  child.stdin.on("error", () => {});
  const send = (message) => child.stdin.write(`${JSON.stringify(message)}\n`);
  return { ...common(child), send, end: () => child.stdin.end() };
}

function common(child) {
  return {
    kill: () => child.kill("SIGKILL"),
    exited: new Promise((resolve) => child.once("exit", resolve)),
  };
}
