// All that is known of how close we are to the original and to its clients, as one table.
//
//   node tests/conformance/all.mjs        (`make conformance` builds first)
//
// Ends with 1 if anything is not as it should be.

import { CLIENTS, PROFILES, tryAll } from "./lib/clients.mjs";
import { recordFrames } from "./lib/frames.mjs";
import { count, playAll, problems } from "./lib/goldens.mjs";
import { runVectors, total } from "./lib/vectors.mjs";

const wrong = [];
const summary = [];
let passed = 0;

const heading = (text) => console.log(`\n${text}\n`);
const [NARROW, WIDE] = [12, 58];
const row = (first, width, cells) => {
  const rest = cells.map((cell) => String(cell).padEnd(23)).join("");
  console.log(`  ${first.padEnd(width)}${rest}`.trimEnd());
};

/** Counts one thing that was checked, and remembers it if it is wrong. */
function judge(isRight, name, text = "") {
  if (isRight) passed += 1;
  else wrong.push(`${name}: ${text}`);
}

async function vectors() {
  const { layers, deviations, error } = await runVectors();
  const sum = (key) => layers.reduce((all, layer) => all + layer[key], 0);
  const [followed, deviating, all] = [sum("followed"), sum("deviating"), total()];
  heading(`Vectors: ${followed + deviating}/${all}, ${followed} exact and ${deviating} deviations`);
  summary.push([
    "vectors",
    `${followed + deviating}/${all}`,
    `${followed} exact, ${deviating} deviations`,
  ]);
  row("", NARROW, ["exact", "deviations"]);
  for (const layer of layers) row(layer.name, NARROW, [layer.followed, layer.deviating]);
  console.log();
  for (const line of deviations) console.log(`  ${line}`);
  passed += followed + deviating;
  if (error) wrong.push(`vectors: ${error}`);
  if (followed + deviating !== all)
    wrong.push(`vectors: ${followed + deviating} of ${all} were run`);
  if (deviations.length !== deviating) wrong.push("vectors: a deviation has no reason");
}

async function clients() {
  const results = await tryAll();
  const profiles = Object.keys(PROFILES);
  const kinds = Object.keys(CLIENTS);
  heading(`Clients: ${kinds.length}, in ${profiles.length} profiles`);
  const notes = new Map();
  const noteOf = (text) => {
    if (!notes.has(text)) notes.set(text, notes.size + 1);
    return notes.get(text);
  };
  row("", WIDE, profiles);
  for (const kind of kinds) {
    const { package: name, language, transport } = CLIENTS[kind];
    const cells = profiles.map((profile) => {
      const { state, reasons } = results.get(`${kind}/${profile}`);
      judge(state !== "FAILED", `${kind} in ${profile}`, reasons.join());
      return reasons.length ? `${state} (${reasons.map(noteOf).join()})` : state;
    });
    row(`${name} (${language}, ${transport})`, WIDE, cells);
  }
  const asTold = [...results.values()].filter(({ state }) => state !== "FAILED").length;
  const working = count(results, "ok");
  summary.push([
    "clients",
    `${asTold}/${results.size}`,
    `${working} whole, ${asTold - working} as far as they can`,
  ]);
  console.log("\n  starter+ is starter with --server-protos, a file without a message in it.");
  for (const [text, number] of notes) console.log(`  (${number}) ${text}`);
}

async function frames() {
  heading("Bytes of the official client in profile full");
  const all = await recordFrames();
  const same = all.filter(({ expected, came }) => expected === came).length;
  summary.push(["bytes", `${same}/${all.length}`, "of the official client in profile full"]);
  for (const { dir, what, expected, came } of all) {
    console.log(`  ${dir === "in" ? "S→C" : "C→S"}  ${what.padEnd(32)}${came}`);
    judge(came === expected, what, `${came}, not ${expected}`);
  }
}

async function goldens() {
  const results = await playAll();
  const lists = problems();
  const [exact, deviate] = [count(results, "exact"), count(results, "deviates")];
  heading(`Goldens: ${exact}/${results.size} exact, ${deviate} deviations`);
  summary.push([
    "goldens",
    `${exact + deviate}/${results.size}`,
    `${exact} exact, ${deviate} deviations`,
  ]);
  for (const [name, { state, text }] of results) {
    if (state !== "exact") console.log(`  ${name.padEnd(36)}${state}: ${text}`);
    judge(["exact", "deviates"].includes(state), name, text);
  }
  for (const problem of lists) judge(false, "lists", problem);
}

for (const part of [vectors, clients, frames, goldens]) {
  try {
    await part();
  } catch (error) {
    wrong.push(`${part.name}: ${error.stack}`);
  }
}
heading("In short");
for (const [first, ...cells] of summary) row(first, NARROW, cells);
if (wrong.length) heading("Wrong");
for (const line of wrong) console.log(`  ${line}`);
console.log(`\n${passed} passed, ${wrong.length} failed`);
process.exit(wrong.length ? 1 : 0);
