// The test vectors of the wire, which crates/wire runs itself.

import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import path from "node:path";
import { ROOT } from "../../clients/lib/process.mjs";

const TEST = "vectors::every_vector_is_followed_or_named_as_a_deviation";

/** How many there are, by the file itself. */
export const total = () => {
  const file = path.join(ROOT, "crates/wire/vectors/wire-vectors.json");
  return JSON.parse(readFileSync(file, "utf8")).vectors.length;
};

/** {layers: [{name, followed, deviating}], deviations: [text], error} */
export async function runVectors() {
  // The whole workspace: the same features as when all was built.
  const args = ["test", "--locked", "--workspace", "--test", "it", TEST];
  const { code, output } = await run("cargo", [...args, "--", "--exact", "--nocapture"]);
  const layers = [...output.matchAll(/^(\w+) +(\d+) +(\d+)$/gm)].map(([, name, ...counts]) => {
    const [followed, deviating] = counts.map(Number);
    return { name, followed, deviating };
  });
  const deviations = [...output.matchAll(/^[A-Z]+-\w+: .*; .*$/gm)].map(([line]) => line);
  return { layers, deviations, error: code === 0 ? null : output };
}

async function run(file, args) {
  const child = spawn(file, args, { cwd: ROOT, stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (text) => (output += text));
  }
  return await new Promise((resolve) => {
    child.once("error", (error) => resolve({ code: 127, output: error.message }));
    child.once("close", (code) => resolve({ code, output }));
  });
}
