// Replays the recordings of the original against our processes.
//
//   node tests/conformance/run.mjs [--show] [golden …]
//
// With --show, all that came is printed beside what was expected.

import { readFileSync } from "node:fs";
import { difference, report, transcript } from "./lib/compare.mjs";
import { edited } from "./lib/expect.mjs";
import { load, names } from "./lib/golden.mjs";
import { replay } from "./lib/replay.mjs";
import { System, unknownFlag } from "./lib/system.mjs";

/** Recordings played at once. */
const AT_ONCE = 2;
const SHOW = process.argv.includes("--show");

const read = (file) => JSON.parse(readFileSync(new URL(file, import.meta.url), "utf8"));
const SETUPS = read("setups.json");
const DEVIATIONS = read("deviations.json");
const PENDING = read("pending.json");

/** How one recording went: {state: "exact" | "deviates" | "pending" | "FAILED", text}. */
async function judge(name) {
  const setup = SETUPS[name] ?? {};
  const [deviation, pending] = [DEVIATIONS[name], PENDING[name]];
  const missing = unknownFlag(setup);
  if (missing) {
    const text = `no flag ${missing}`;
    return pending ? { state: "pending", text: `${pending} (${text})` } : { state: "FAILED", text };
  }
  const diff = await play(name, setup, deviation);
  if (pending) {
    return diff
      ? { state: "pending", text: pending }
      : { state: "FAILED", text: "it passes: take it out of pending.json" };
  }
  if (diff) return { state: "FAILED", text: diff };
  return deviation ? { state: "deviates", text: deviation.why } : { state: "exact", text: "" };
}

async function play(name, setup, deviation) {
  const golden = load(name, setup);
  const order = { orderVaries: golden.orderVaries || deviation?.order === "varies" };
  const steps = edited(golden.steps, deviation?.edits);
  const system = await System.start(golden.ports, setup);
  try {
    const lines = await replay(steps, system, setup);
    const diff = difference(lines, order);
    if (SHOW) console.log(`${name}\n${transcript(lines)}`);
    if (diff) return report(diff);
    if (deviation?.edits && isExact(golden, lines))
      return "it replays exactly: take it out of deviations.json";
    return null;
  } finally {
    await system.stop();
  }
}

/** Whether what came is also what was recorded. */
function isExact(golden, lines) {
  const recorded = new Map();
  for (const [conn, line] of lines) {
    const expected = golden.steps.filter((step) => step.conn === conn && step.expect);
    recorded.set(conn, { ...line, expected: expected.map(({ expect }) => expect) });
  }
  return difference(recorded, golden) === null;
}

async function judgeSafely(name) {
  try {
    return await judge(name);
  } catch (error) {
    return { state: "FAILED", text: error.message };
  }
}

function unknownEntries(all) {
  const lists = { "setups.json": SETUPS, "deviations.json": DEVIATIONS, "pending.json": PENDING };
  return Object.entries(lists).flatMap(([file, list]) => {
    return Object.keys(list)
      .filter((name) => !all.includes(name))
      .map((name) => `${file}: no golden ${name}`);
  });
}

async function main(wanted) {
  const all = names();
  const wrong = [
    ...unknownEntries(all),
    ...wanted.filter((name) => !all.includes(name)).map((name) => `no golden ${name}`),
  ];
  if (wrong.length) {
    console.error(wrong.join("\n"));
    return 2;
  }
  const chosen = wanted.length ? wanted : all;
  const results = new Map();
  const queue = [...chosen];
  const work = async () => {
    for (let name = queue.shift(); name; name = queue.shift())
      results.set(name, await judgeSafely(name));
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));

  const count = (state) => [...results.values()].filter((one) => one.state === state).length;
  for (const name of chosen) {
    const { state, text } = results.get(name);
    console.log(`  ${name.padEnd(36)} ${state}${text ? `: ${text}` : ""}`);
  }
  const [exact, deviate, pending, failed] = ["exact", "deviates", "pending", "FAILED"].map(count);
  console.log(
    `goldens: ${exact}/${chosen.length} exact, ${deviate} deviate, ${pending} pending, ${failed} failed`,
  );
  console.log(`${exact + deviate} passed, ${failed} failed`);
  return failed === 0 ? 0 : 1;
}

process.exit(await main(process.argv.slice(2).filter((word) => word !== "--show")));
