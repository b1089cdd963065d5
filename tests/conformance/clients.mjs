// Tries clients that nobody here wrote, each in every profile.
//
//   node tests/conformance/clients.mjs [client | profile] …

import { CLIENTS, PROFILES, tryAll } from "./lib/clients.mjs";

const words = process.argv.slice(2);
const known = [...Object.keys(CLIENTS), ...Object.keys(PROFILES)];
const unknown = words.filter((word) => !known.includes(word));
if (unknown.length) {
  console.error(`no client or profile ${unknown.join(", ")}; there are: ${known.join(" ")}`);
  process.exit(2);
}
const among = (all) => {
  const wanted = words.filter((word) => word in all);
  return wanted.length ? wanted : Object.keys(all);
};
const results = await tryAll({ kinds: among(CLIENTS), profiles: among(PROFILES) });
for (const [cell, { state, reasons }] of [...results].sort()) {
  console.log(`  ${[cell.padEnd(20) + state, ...reasons].join("\n      ")}`);
}
const failed = [...results.values()].filter(({ state }) => state === "FAILED").length;
console.log(`${results.size - failed} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);
