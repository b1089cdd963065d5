// Strict schemas: of Kubernetes' own objects by version, and of the others by their
// CustomResourceDefinitions, which are the same for all versions.

import fs from "node:fs";
import path from "node:path";
import Ajv from "ajv/dist/2020.js";
import { parseAllDocuments } from "yaml";
import { TOOLS } from "./render.mjs";

const SCHEMAS = path.join(TOOLS, "schemas/kubernetes_validate/kubernetes-json-schema");
const CRDS = path.join(TOOLS, "crds");

/** The versions that the chart is made for. */
export const KUBERNETES = ["1.30", "1.31", "1.32", "1.33", "1.34", "1.35", "1.36", "1.37"];

const folder = (version) => path.join(SCHEMAS, `v${version}.0-local-strict`);

/** Those whose schemas are not to be had. */
export const UNCHECKED = KUBERNETES.filter((version) => !fs.existsSync(folder(version)));

const newAjv = () => new Ajv({ strict: false, validateFormats: false, allErrors: true });
const compilers = new Map();
const validators = new Map();
let custom;

/** What is wrong with an object, one line each; by `version`'s schema. */
export function faults(version, object) {
  const { apiVersion, kind } = object;
  const key = `${version} ${apiVersion} ${kind}`;
  if (!validators.has(key)) validators.set(key, compile(version, apiVersion, kind));
  const validate = validators.get(key);
  if (validate === undefined) return [`${apiVersion} ${kind} is not in Kubernetes ${version}`];
  if (validate(object)) return [];
  return validate.errors.map(({ instancePath, message, params }) =>
    `${kind}/${object.metadata?.name} ${instancePath || "/"} ${message} ${JSON.stringify(params)}`);
}

function compile(version, apiVersion, kind) {
  custom ??= customSchemas();
  const schema = custom.get(`${apiVersion} ${kind}`);
  if (schema !== undefined) return newAjv().compile(schema);
  // apps/v1 → apps-v1, rbac.authorization.k8s.io/v1 → rbac-v1, v1 → v1
  const group = apiVersion.replace(/^([^./]*)(\.[^/]*)?\//, "$1-");
  const file = path.join(folder(version), `${kind.toLowerCase()}-${group}.json`);
  if (!fs.existsSync(file)) return undefined;
  if (!compilers.has(version)) {
    const definitions = path.join(folder(version), "_definitions.json");
    compilers.set(version, newAjv().addSchema(JSON.parse(fs.readFileSync(definitions, "utf8"))));
  }
  return compilers.get(version).compile({
    $id: `https://kubernetes.io/api/${path.basename(file)}`,
    ...JSON.parse(fs.readFileSync(file, "utf8")),
  });
}

function customSchemas() {
  const schemas = new Map();
  for (const file of fs.readdirSync(CRDS).filter((file) => file.endsWith(".yaml"))) {
    const text = fs.readFileSync(path.join(CRDS, file), "utf8");
    if (!/^kind: CustomResourceDefinition$/m.test(text)) continue;
    // Parsing takes a second for the longest: only those that charts have.
    if (!/httproutes|scaledobjects|certificates\.|issuers|podmon|servicemon|prometheusrules/.test(file)) {
      continue;
    }
    for (const document of parseAllDocuments(text)) {
      const { spec } = document.toJS();
      for (const { name, served, schema } of spec.versions) {
        if (!served) continue;
        const known = { apiVersion: {}, kind: {}, metadata: {} };
        const openapi = schema.openAPIV3Schema;
        const whole = { ...openapi, properties: { ...openapi.properties, ...known } };
        schemas.set(`${spec.group}/${name} ${spec.names.kind}`, strict(whole));
      }
    }
  }
  return schemas;
}

/** The same schema, in which a field that is not there is a fault. */
function strict(schema) {
  if (Array.isArray(schema)) return schema.map(strict);
  if (typeof schema !== "object" || schema === null) return schema;
  const copy = Object.fromEntries(
    Object.entries(schema).map(([key, value]) => [
      key,
      key === "properties"
        ? Object.fromEntries(Object.entries(value).map(([name, one]) => [name, strict(one)]))
        : ["items", "additionalProperties"].includes(key) ? strict(value) : value,
    ]),
  );
  if (copy["x-kubernetes-int-or-string"]) delete copy.type;
  // Go's expressions have a flag that JavaScript's have not.
  if (copy.pattern?.includes("(?i)")) delete copy.pattern;
  const isOpen = copy["x-kubernetes-preserve-unknown-fields"] || "additionalProperties" in copy;
  if (copy.properties && !isOpen) copy.additionalProperties = false;
  return copy;
}
