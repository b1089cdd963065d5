// Tests of the Helm chart that need no cluster, as a table and lists:
//
//   * every values file in helm/ci, rendered by Helm 4 and 3 for the oldest and the newest
//     Kubernetes, linted, and its objects checked with the schemas of all versions;
//   * the policies of policies.mjs on what was rendered;
//   * values that have to be refused, with the words that have to be in the message;
//   * that schema, values, README, documents and the programs' options fit together.
//
//   node tests/chart/all.mjs [values file] …     only these, as `default`; default: all
//
// Prints "N passed, M failed" at the end, and ends with 1 if something failed.

import { agreements } from "./agreements.mjs";
import { each, helm, HELMS, objects, template, VALUES, valuesFile, withoutChance, CHART } from "./lib/render.mjs";
import { faults, KUBERNETES, UNCHECKED } from "./lib/schemas.mjs";
import { policies } from "./policies.mjs";
import { refusals } from "./refusals.mjs";

const counted = { passed: 0, failed: 0 };
const checked = KUBERNETES.filter((version) => !UNCHECKED.includes(version));
const [oldest, newest] = [checked.at(0), checked.at(-1)];

/** Counts one check; tells what is wrong. */
function verdict(name, wrong) {
  counted[wrong.length > 0 ? "failed" : "passed"] += 1;
  const shown = wrong.slice(0, 10).map((line) => `\n      ${line.replaceAll("\n", "\n      ")}`);
  console.log(`  ${wrong.length > 0 ? "FAILED" : "ok    "} ${name}${shown.join("")}`);
}

const rendered = new Map();
const wrongs = new Map();
await each(VALUES.flatMap((name) => HELMS.map((major) => [name, major])), async ([name, major]) => {
  wrongs.set(`${name} ${major}`, await tryValues(name, major));
});

const columns = HELMS.map((major) => `Helm ${major}`.padEnd(8)).join("");
console.log(`${"values".padEnd(14)}${"objects".padStart(8)}  ${columns}Kubernetes`);
for (const name of VALUES) {
  const cells = HELMS.map((major) => (wrongs.get(`${name} ${major}`).length > 0 ? "FAILED" : "valid").padEnd(8));
  const count = String(rendered.get(name)?.length ?? "").padStart(8);
  console.log(`${name.padEnd(14)}${count}  ${cells.join("")}${oldest} to ${newest}, ${checked.length} versions`);
}
console.log(`not checked, for want of schemas: ${UNCHECKED.join(" ") || "none"}\n`);
for (const [cell, wrong] of [...wrongs].sort()) {
  if (wrong.length > 0) verdict(`values ${cell}`, wrong);
  else counted.passed += checked.length;
}

console.log("policies, on the objects of all values files");
for (const [name, policy] of Object.entries(policies)) {
  verdict(name, [...rendered].flatMap(([values, all]) =>
    policy(all, values).map((line) => `${values}: ${line}`)));
}

console.log("\nvalues that are refused, by Helm 4 and 3");
for (const { name, args, words } of refusals) {
  const wrong = [];
  for (const major of HELMS) {
    const text = await template(major, args).then(() => undefined, (error) => error.message);
    if (text === undefined) wrong.push(`Helm ${major} takes it`);
    else if (!words.every((word) => text.includes(word))) wrong.push(`Helm ${major}: ${text}`);
  }
  verdict(`${name}: names ${words.join(", ")}`, wrong);
}

console.log("\nwhat has to fit together");
for (const [name, agreement] of Object.entries(agreements)) {
  verdict(name, await agreement(rendered).catch((error) => [error.stack]));
}

console.log(`\n${counted.passed} passed, ${counted.failed} failed`);
process.exitCode = counted.failed > 0 ? 1 : 0;

/** What is wrong with a values file. */
async function tryValues(name, major) {
  const args = ["--values", valuesFile(name)];
  try {
    const old = await template(major, args, oldest);
    const text = await template(major, args, newest);
    const lint = await helm(major, "lint", "--strict", "--kube-version", `${newest}.0`, CHART, ...args);
    const wrong = lint.code === 0 ? [] : [`lint: ${lint.stdout}${lint.stderr}`];
    if (withoutChance(old) !== withoutChance(text)) {
      wrong.push(`rendering twice, for ${oldest} and ${newest}, gives two things`);
    }
    const all = objects(text);
    if (!rendered.has(name)) rendered.set(name, all);
    else if (content(rendered.get(name)) !== content(all)) wrong.push("Helm 4 and 3 give two things");
    for (const version of checked) {
      for (const object of all) {
        wrong.push(...faults(version, object).map((fault) => `${version}: ${fault}`));
      }
    }
    return wrong;
  } catch (error) {
    return [error.message];
  }
}

function content(all) {
  return withoutChance(all.map((object) => `${JSON.stringify(object, (key, value) =>
    /^(admin-token|cluster-token|password)$/.test(key) ? "…" : value)}`).sort().join("\n"));
}
