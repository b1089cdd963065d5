// Replays the recordings of the original against our processes.
//
//   node tests/conformance/run.mjs [--show] [golden …]
//
// With --show, all that came is printed beside what was expected.

import { names } from "./lib/golden.mjs";
import { count, playAll, problems } from "./lib/goldens.mjs";

const words = process.argv.slice(2);
const isShown = words.includes("--show");
const wanted = words.filter((word) => word !== "--show");
const unknown = wanted.filter((name) => !names().includes(name));
const wrong = [...problems(), ...unknown.map((name) => `no golden ${name}`)];
if (wrong.length) {
  console.error(wrong.join("\n"));
  process.exit(2);
}

const results = await playAll(wanted.length ? wanted : names(), { isShown });
for (const [name, { state, text }] of results) {
  console.log(`  ${name.padEnd(36)} ${state}${text ? `: ${text}` : ""}`);
}
const failed = count(results, "FAILED");
console.log(
  `goldens: ${count(results, "exact")}/${results.size} exact, ` +
    `${count(results, "deviates")} deviate, ${count(results, "pending")} pending, ${failed} failed`,
);
console.log(`${count(results, "exact") + count(results, "deviates")} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);
