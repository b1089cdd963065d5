// Helm, and what it makes of the chart.

import { execFile } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { parse, parseAllDocuments } from "yaml";

export const ROOT = fileURLToPath(new URL("../../../", import.meta.url));
export const CHART = path.join(ROOT, "helm");
export const TOOLS = path.join(ROOT, "target/tools");
export const HELMS = [4, 3];
export const NAMESPACE = "somewhere";

const wanted = process.argv.slice(2);

/** Whether all values files are tried. */
export const IS_WHOLE = wanted.length === 0;

/** The values files that the chart is tested with, without their ending; those of the command line. */
export const VALUES = fs
  .readdirSync(path.join(CHART, "ci"))
  .filter((file) => file.endsWith("-values.yaml"))
  .map((file) => file.replace("-values.yaml", ""))
  .filter((name) => IS_WHOLE || wanted.includes(name))
  .sort();

export const valuesFile = (name) => path.join(CHART, "ci", `${name}-values.yaml`);

/** Reads a file of the project. */
export const read = (file) => fs.readFileSync(path.join(ROOT, file), "utf8");

/** Runs Helm; without a configuration of its user, and without a cluster. */
export function helm(major, ...args) {
  const home = path.join(ROOT, "target/helm-home");
  const env = { PATH: process.env.PATH, HOME: home, KUBECONFIG: path.join(home, "none") };
  return new Promise((resolve) => {
    const options = { env, maxBuffer: 1 << 26, timeout: 60_000 };
    execFile(path.join(TOOLS, `bin/helm${major}`), args, options, (error, stdout, stderr) =>
      resolve({ code: error ? (error.code ?? 1) : 0, stdout, stderr }),
    );
  });
}

/** What the chart is with some values, as text. */
export async function template(major, args, kubernetes = "1.37") {
  const { code, stdout, stderr } = await helm(major, "template", "chat", CHART, "--namespace",
    NAMESPACE, "--kube-version", `${kubernetes}.0`, ...args);
  if (code !== 0) throw new Error(stderr.trim());
  return stdout;
}

/** The objects in a text. */
export function objects(text) {
  return parseAllDocuments(text, { schema: "yaml-1.1" }).flatMap((document) => {
    if (document.errors.length > 0) throw document.errors[0];
    const object = document.toJS();
    return object === null ? [] : [object];
  });
}

export { parse };

/** What the Secrets have that is drawn by chance at the first installation. */
export const withoutChance = (text) =>
  text.replaceAll(/^( +(?:admin-token|cluster-token|password): )\S+==?$/gm, "$1…");

/** Runs `work` on all, so many at a time. */
export async function each(all, work, atOnce = 3) {
  const queue = [...all];
  const worker = async () => {
    for (let one = queue.shift(); one !== undefined; one = queue.shift()) await work(one);
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
}
