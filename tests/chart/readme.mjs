// The table of values in helm/README.md, from the comments in values.yaml:
//
//   node tests/chart/readme.mjs      writes it
//
// A line "# -- text" describes the key below; keys without one are groups.

import fs from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { isMap, parseDocument } from "yaml";
import { CHART, read } from "./lib/render.mjs";

const [BEGIN, END] = ["<!-- values, made by `make chart-readme` -->\n", "<!-- end of values -->\n"];

/** What helm/README.md has to be. */
export function readme() {
  const text = read("helm/README.md");
  const [head, rest] = text.split(BEGIN);
  const table = ["| value | is | default |", "|---|---|---|", ...rows(parseDocument(read("helm/values.yaml")).contents)];
  return `${head}${BEGIN}\n${table.join("\n")}\n\n${END}${rest.split(END)[1]}`;
}

function rows(map, prefix = "") {
  return map.items.flatMap(({ key, value }, index) => {
    const comment = key.commentBefore ?? (index === 0 ? map.commentBefore : undefined);
    const about = comment?.split("\n").filter((line) => line.startsWith(" -- ")).map((line) => line.slice(4)).join(" ");
    const name = `${prefix}${key.value}`;
    if (about) return [`| \`${name}\` | ${about} | \`${JSON.stringify(value.toJSON()).replaceAll("|", "\\|")}\` |`];
    // A map without a description, and with keys of its own that may have some.
    if (isMap(value) && value.items.length > 0) return rows(value, `${name}.`);
    return [`| \`${name}\` | | \`${JSON.stringify(value.toJSON())}\` |`];
  });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  fs.writeFileSync(path.join(CHART, "README.md"), readme());
}
