// The recordings of the original, replayed against our processes.

import { readFileSync } from "node:fs";
import { difference, report, transcript } from "./compare.mjs";
import { edited } from "./expect.mjs";
import { load, names } from "./golden.mjs";
import { replay } from "./replay.mjs";
import { System, unknownFlag } from "./system.mjs";

/** Recordings played at once. */
const AT_ONCE = 2;

const read = (file) => readFileSync(new URL(`../${file}`, import.meta.url), "utf8");
const SETUPS = JSON.parse(read("setups.json"));
const DEVIATIONS = JSON.parse(read("deviations.json"));
const PENDING = JSON.parse(read("pending.json"));
const PROTOCOL = read("../../docs/protocol.md");

/** How one recording went: {state: "exact" | "deviates" | "pending" | "FAILED", text}. */
async function judge(name, isShown) {
  const setup = SETUPS[name] ?? {};
  const [deviation, pending] = [DEVIATIONS[name], PENDING[name]];
  const missing = unknownFlag(setup);
  if (missing) {
    const text = `no flag ${missing}`;
    return pending ? { state: "pending", text: `${pending} (${text})` } : { state: "FAILED", text };
  }
  const diff = await play(name, setup, deviation, isShown);
  if (pending) {
    return diff
      ? { state: "pending", text: pending }
      : { state: "FAILED", text: "it passes: take it out of pending.json" };
  }
  if (diff) return { state: "FAILED", text: diff };
  return deviation ? { state: "deviates", text: deviation.why } : { state: "exact", text: "" };
}

async function play(name, setup, deviation, isShown) {
  const golden = load(name, setup);
  const order = { orderVaries: golden.orderVaries || deviation?.order === "varies" };
  const steps = edited(golden.steps, deviation?.edits);
  const system = await System.start(golden.ports, setup);
  try {
    const lines = await replay(steps, system, setup);
    const diff = difference(lines, order);
    if (isShown) console.log(`${name}\n${transcript(lines)}`);
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

async function judgeSafely(name, isShown) {
  try {
    return await judge(name, isShown);
  } catch (error) {
    return { state: "FAILED", text: error.message };
  }
}

/** What is wrong with the lists: each deviation is of a golden, and a row of protocol.md. */
export function problems() {
  const all = names();
  const lists = { "setups.json": SETUPS, "deviations.json": DEVIATIONS, "pending.json": PENDING };
  const unknown = Object.entries(lists).flatMap(([file, list]) => {
    return Object.keys(list)
      .filter((name) => !all.includes(name))
      .map((name) => `${file}: no golden ${name}`);
  });
  return [...unknown, ...unexplained(DEVIATIONS, rows(PROTOCOL))];
}

/** The cases in the table of deviations, by which `see` names them. */
export function rows(protocol) {
  const [, section] = protocol.split("\n## Deviations\n");
  const lines = section.split("\n## ")[0].split("\n");
  const cells = lines
    .filter((line) => line.startsWith("|"))
    .map((line) => line.split("|")[1].trim());
  return cells.slice(2);
}

/** What the deviations do not say of themselves, or say and protocol.md does not. */
export function unexplained(deviations, cases) {
  return Object.entries(deviations).flatMap(([name, { why, see = [] }]) => {
    const said = why && see.length ? [] : [`deviations.json: ${name} has no why, or no see`];
    const gone = see.filter((one) => !cases.includes(one));
    return [
      ...said,
      ...gone.map((one) => `deviations.json: ${name}: no row "${one}" in protocol.md`),
    ];
  });
}

/** Plays the recordings, all by default: {state, text} by name. */
export async function playAll(chosen = names(), { isShown = false } = {}) {
  const results = new Map(chosen.map((name) => [name, null]));
  const queue = [...chosen];
  const work = async () => {
    for (let name = queue.shift(); name; name = queue.shift())
      results.set(name, await judgeSafely(name, isShown));
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  return results;
}

export const STATES = ["exact", "deviates", "pending", "FAILED"];

/** How many of the results are in this state. */
export const count = (results, state) =>
  [...results.values()].filter((one) => one.state === state).length;
