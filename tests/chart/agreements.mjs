// What has to fit together: schema, values, README, documents, the programs' options.
// Each takes what was rendered, by values file, and gives what is wrong, one line each.

import fs from "node:fs";
import path from "node:path";
import { CHART, helm, HELMS, IS_WHOLE, objects, parse, read, ROOT, template, VALUES, valuesFile } from "./lib/render.mjs";
import { readme } from "./readme.mjs";

/** The paths of all values, as `gate.service.port`; what is free to be anything is one. */
function paths(values, schema, root, prefix = "") {
  return Object.entries(values).flatMap(([key, value]) => {
    const at = `${prefix}${key}`;
    const own = resolve(schema.properties?.[key], root);
    if (own === undefined) return [`${at} is not in the schema`];
    const isOpen = own.properties === undefined || typeof value !== "object" || value === null;
    return isOpen ? [at] : paths(value, own, root, `${at}.`);
  });
}

function declared(schema, root, prefix = "") {
  return Object.entries(schema.properties).flatMap(([key, raw]) => {
    const own = resolve(raw, root);
    return own.properties ? declared(own, root, `${prefix}${key}.`) : [`${prefix}${key}`];
  });
}

const resolve = (schema, root) =>
  schema?.$ref ? root.definitions[schema.$ref.replace("#/definitions/", "")] : schema;

/** All objects in the schema that would take a key that they do not know. */
function open(schema, at = "") {
  if (typeof schema !== "object" || schema === null) return [];
  const here = schema.properties && schema.additionalProperties !== false ? [at] : [];
  return [...here, ...Object.entries(schema).flatMap(([key, value]) => open(value, `${at}/${key}`))];
}

const sources = () =>
  ["crates", "services", "web-server"].flatMap((folder) =>
    fs.readdirSync(path.join(ROOT, folder), { recursive: true })
      .filter((file) => file.endsWith(".rs") && file.includes("src/"))
      .map((file) => read(path.join(folder, file))));

/** The families of metrics in the programs' sources, without `_total` and `_bucket`. */
function metrics() {
  const places = {
    "services/gate": ["gate_"],
    "services/connector": ["connector_"],
    "services/chat": ["chat_"],
    "web-server": ["web_server_"],
    "crates/frontend": ["gate_", "connector_"],
    "crates/chassis": [""],
    "crates/cluster": [""],
  };
  const register = /\.register(?:_with_unit)?\(\s*"(\w+)",[^;]*?\)(?=;)|encode_descriptor\(\s*"(\w+)"/g;
  return new Set(Object.entries(places).flatMap(([place, prefixes]) =>
    fs.readdirSync(path.join(ROOT, place, "src"), { recursive: true })
      .filter((file) => file.endsWith(".rs"))
      .flatMap((file) => [...read(path.join(place, "src", file)).matchAll(register)])
      .flatMap(([call, name, described]) => {
        if (described) return prefixes.map((prefix) => `${prefix}${described}`);
        const unit = /Unit::(\w+)/.exec(call)?.[1].toLowerCase();
        return prefixes.map((prefix) => `${prefix}${name}${unit ? `_${unit}` : ""}`);
      })));
}

/** What an entry of a free-form list may have, or what a chart on top adds. */
const OPTIONAL = /^(global|tls\.certManager\.issuerRef\.|gateway\.timeouts\.|\w+\.resources\.|store\.bundled\.resources\.)/;

export const agreements = {
  "all values are in the schema, and all of the schema is in the values": async () => {
    const schema = JSON.parse(read("helm/values.schema.json"));
    const there = paths(parse(read("helm/values.yaml")), schema, schema);
    const strangers = there.filter((one) => one.endsWith("is not in the schema"));
    const missing = declared(schema, schema).filter((one) => !there.includes(one) && !OPTIONAL.test(one) &&
      !there.some((known) => one.startsWith(`${known}.`)));
    return [...strangers, ...missing.map((one) => `${one} is not in values.yaml`)];
  },

  "the schema takes no key that it does not know": async () => {
    const free = /^\/properties\/gateway\/properties\/parentRefs/;
    return open(JSON.parse(read("helm/values.schema.json"))).filter((at) => !free.test(at));
  },

  "all values have an effect": async () => {
    // A value that no template names is one that an operator sets in vain.
    const templates = fs.readdirSync(path.join(CHART, "templates"), { recursive: true })
      .filter((file) => /\.(yaml|tpl|txt)$/.test(file))
      .map((file) => read(path.join("helm/templates", file))).join("\n");
    const schema = JSON.parse(read("helm/values.schema.json"));
    return paths(parse(read("helm/values.yaml")), schema, schema)
      .map((one) => one.replace(/\.(requests|limits)$/, "").split(".").at(-1))
      .filter((key) => !new RegExp(`\\.${key}\\b`).test(templates));
  },

  "README has the table of the values (make chart-readme)": async () =>
    readme() === read("helm/README.md") ? [] : ["helm/README.md is not what tests/chart/readme.mjs makes"],

  "the chart's appVersion is the programs'": async () => {
    const [, version] = /^\[workspace\.package\][^[]*?^version = "(.*?)"/ms.exec(read("Cargo.toml"));
    const { appVersion } = parse(read("helm/Chart.yaml"));
    return appVersion === version ? [] : [`${appVersion} ≠ ${version}`];
  },

  "the image is built by the project's toolchain, and has the programs that the chart starts": async (rendered) => {
    const [, channel] = /^channel = "(.*)"/m.exec(read("rust-toolchain.toml"));
    const wrong = [...read("deploy/Dockerfile").matchAll(/(?:rust:|RUSTUP_TOOLCHAIN=)([\d.]+)/g)]
      .filter(([, version]) => version !== channel).map(([text]) => `${text} ≠ ${channel}`);
    const files = read("deploy/image/files");
    const started = new Set([...rendered.values()].flatMap((all) => all)
      .flatMap(({ spec }) => spec?.template?.spec.containers ?? spec?.containers ?? [])
      .flatMap(({ command }) => command?.[0] ?? []));
    return [...wrong, ...[...started].filter((name) => !files.includes(`/usr/bin/${name} `))];
  },

  "programs know the variables that the chart sets, or pending-options.txt does": async (rendered) => {
    const set = new Set([...rendered.values()].flatMap((all) => all)
      .flatMap(({ spec }) => spec?.template?.spec.containers ?? spec?.containers ?? [])
      .flatMap(({ env = [] }) => env.map(({ name }) => name))
      .filter((name) => name.startsWith("SHADDOCK_")));
    const known = new Set(sources().flatMap((text) => text.match(/(?<=env = ")SHADDOCK_\w+/g) ?? []));
    const pending = read("tests/chart/pending-options.txt").split("\n").filter((line) => /^SHADDOCK/.test(line));
    return [
      ...[...set].filter((name) => !known.has(name) && !pending.includes(name)),
      ...pending.filter((name) => known.has(name)).map((name) => `${name} is pending no longer`),
      // Some are set with certain values only.
      ...pending.filter((name) => !set.has(name) && IS_WHOLE).map((name) => `${name} is not set by the chart`),
    ];
  },

  "templates do not ask what the cluster has": async () =>
    // Then the objects would differ between `helm template` and an installation.
    fs.readdirSync(path.join(CHART, "templates"), { recursive: true })
      .filter((file) => /\.(yaml|tpl)$/.test(file))
      .filter((file) => read(path.join("helm/templates", file)).includes(".Capabilities")),

  "every alert has a row in docs/operations.md": async () => {
    const documents = read("docs/operations.md");
    return parse(read("helm/files/alerts.yaml")).map(({ alert }) => alert)
      .filter((alert) => !documents.includes(`| \`${alert}\` |`));
  },

  "alerts and panels ask for metrics that the programs have": async () => {
    const known = metrics();
    const text = read("helm/files/alerts.yaml").match(/^  expr: .*$/gm).join("\n") +
      read("helm/dashboards/shaddock.json").match(/"expr": .*/g).join("\n");
    const asked = new Set(text.match(/\b(?:gate|connector|chat|web_server|panics)_\w+/g));
    return [...asked].filter((name) => !known.has(name.replace(/_(total|bucket)$/, "")));
  },

  "alerts and panels are PrometheusRules and JSON that can be read": async (rendered) =>
    [...rendered.values()].flatMap((all) => all).flatMap((object) => {
      if (object.kind === "PrometheusRule") {
        const text = JSON.stringify(object);
        return /\$NAMESPACE|\$PREFIX/.test(text) ? ["a placeholder is left"] : [];
      }
      if (!object.metadata.name.endsWith("shaddock-dashboard")) return [];
      const { panels } = JSON.parse(object.data["shaddock.json"]);
      return panels.length >= 8 ? [] : ["panels are missing"];
    }),

  "NOTES say what to do, and what to fear": async () => {
    const wrong = [];
    for (const name of VALUES) {
      const { stdout, stderr } = await helm(4, "install", "chat", CHART, "--namespace", "somewhere",
        "--dry-run=client", "--values", valuesFile(name));
      const notes = stdout.split("\nNOTES:\n")[1] ?? stderr;
      const kind = parse(fs.readFileSync(valuesFile(name), "utf8"))?.store?.kind ?? "bundled";
      const word = { bundled: "EVALUATION", memory: "NOTHING IS KEPT" }[kind];
      if (!notes.includes("kubectl --namespace somewhere")) wrong.push(`${name}: ${notes}`);
      for (const one of ["EVALUATION", "NOTHING IS KEPT"]) {
        if (notes.includes(one) !== (one === word)) wrong.push(`${name}: ${one}`);
      }
      if (/<no value>|%!|\{\{/.test(notes.replaceAll(/="\{\{.*?\}\}"/g, ""))) wrong.push(`${name}: a hole in ${notes}`);
    }
    return wrong;
  },

  "an option of each workload reaches its own pods only": async () => {
    const wrong = [];
    for (const [key, name] of Object.entries({ gate: "gate", connector: "connector", chat: "chat", webServer: "web-server" })) {
      const value = '[{"name":"MARK","value":"x"}]';
      const all = objects(await template(HELMS[0], ["--set-json", `${key}.extraEnv=${value}`]));
      const marked = all.filter((object) => JSON.stringify(object).includes('"MARK"')).map(({ metadata }) => metadata.name);
      if (`${marked}` !== name) wrong.push(`${key}: ${marked}`);
    }
    return wrong;
  },
};
