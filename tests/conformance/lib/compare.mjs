// Compares what came with what was expected, connection by connection.

import { describe, isPushItem, unlike } from "./expect.mjs";

/**
 * The first difference as {conn, number, seq, why, expected, actual}, or null. With
 * `orderVaries`, pushes are compared among themselves, and all else among itself.
 */
export function difference(lines, { orderVaries = false } = {}) {
  for (const [conn, { connection, expected, context, error }] of lines) {
    if (error) return { conn, number: 0, why: error, expected: "a connection", actual: "none" };
    const inbox = connection?.inbox ?? [];
    // Who ends a connection without a farewell expects nothing more of it.
    const came = expected.some(({ kind }) => kind === "end")
      ? inbox
      : inbox.filter(isNoMereEnd(connection));
    const parts = orderVaries
      ? [isPushItem, (item) => !isPushItem(item)].map((is) => [
          came.filter(is),
          expected.filter(is),
        ])
      : [[came, expected]];
    for (const [items, wanted] of parts) {
      const found = first(...withoutLoose(items, wanted, context), context);
      if (found) return { conn, ...found };
    }
  }
  return null;
}

/**
 * Takes out what may come at any time, and did; what did not is expected at the end.
 * Takes out what need not come at all, and did not.
 */
function withoutLoose(items, wanted, context) {
  const rest = [...items];
  const due = wanted.filter((one) => !one.optional || items.some(({ kind }) => kind === one.kind));
  const missing = due.filter((one) => {
    if (!one.anytime) return false;
    const index = rest.findIndex((item) => unlike(item, one, context) === null);
    if (index >= 0) rest.splice(index, 1);
    return index < 0;
  });
  return [rest, [...due.filter((one) => !one.anytime), ...missing]];
}

function first(items, wanted, context) {
  for (let i = 0; i < Math.max(items.length, wanted.length); i += 1) {
    const why = !wanted[i]
      ? "unexpected"
      : !items[i]
        ? "missing"
        : unlike(items[i], wanted[i], context);
    if (why) {
      const { seq } = wanted[i] ?? {};
      return { number: i, seq, why, expected: describe(wanted[i]), actual: describe(items[i]) };
    }
  }
  return null;
}

/** The end that follows the client's own, abrupt end is not the server's doing. */
const isNoMereEnd = (connection) => (item) => !(item.kind === "end" && connection.hasLeft);

export function report({ conn, number, seq, why, expected, actual }) {
  const where = `connection ${conn || '""'}, server frame ${number}${seq === undefined ? "" : ` (event ${seq})`}`;
  return `${where}: ${why}\n      expected ${expected}\n      actual   ${actual}`;
}

/** All of a run, for whoever looks for the reason of a difference. */
export function transcript(lines) {
  const rows = [...lines].flatMap(([conn, { connection, expected }]) => {
    const inbox = connection?.inbox ?? [];
    const count = Math.max(inbox.length, expected.length);
    return Array.from({ length: count }, (_, i) => {
      const { seq = "", ...wanted } = expected[i] ?? {};
      const same = inbox[i] && wanted.kind && describe(inbox[i]) === describe(wanted);
      const came = inbox[i] ? describe(inbox[i]) : "nothing";
      const instead = same
        ? ""
        : `\n        instead of event ${seq}: ${wanted.kind ? describe(wanted) : "nothing"}`;
      return `    ${conn} ${i}${same ? ` (event ${seq})` : ""}: ${came}${instead}`;
    });
  });
  return rows.join("\n");
}
