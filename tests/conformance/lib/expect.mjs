// What a list of deviations changes in what a recording expects, and whether something
// that came is what is expected.

import { decode, entry, isLike, show } from "./pomelo.mjs";
import { hash } from "./golden.mjs";

/** Later than this, nothing is expected any more. */
const SLACK_MS = 1_000;

/**
 * Applies the edits of one deviation:
 *   {at: seq | [seq…], becomes: package}   another package instead of the recorded one
 *   {at: seq | [seq…], never: true}        the recorded package or close does not come
 *   {after: seq, conn, comes: package}     a package that the recording does not have
 *   {…, comes: package, anytime: true}     the same, at any place among the others
 *   {after: seq, conn, closes: code, ms}   the server closes; the rest of the connection
 *                                          is void; `ms` is [from, to] since its opening
 *   {…, closes: code, optional: true}      the same; the close frame may be missing
 *   {after: seq, conn, ends: true}         the same without a close frame
 */
export function edited(steps, edits = []) {
  let result = steps;
  for (const edit of edits) {
    for (const seq of [edit.at ?? edit.after].flat()) result = apply(result, seq, edit);
  }
  return result;
}

function apply(steps, seq, edit) {
  const isIt = (step) => step.seq === seq && (edit.conn === undefined || edit.conn === step.conn);
  const index =
    edit.at === undefined
      ? steps.findLastIndex((step) => step.seq === seq)
      : steps.findIndex((one) => isIt(one) && one.expect);
  if (index < 0) throw new Error(`the edit of event ${seq} finds nothing`);
  const step = steps[index];
  const { seq: _, t } = step;
  const conn = edit.conn ?? step.conn;
  if (edit.never) return steps.filter((one) => !(isIt(one) && one.expect));
  if (edit.becomes) {
    const [kind, like] = edit.becomes.raw
      ? ["raw", edit.becomes.raw]
      : [step.expect.kind, edit.becomes];
    return steps.with(index, { ...step, expect: { kind, like } });
  }
  const before = steps.slice(0, index + 1);
  const after = steps.slice(index + 1);
  const come = (expect) => ({ seq, t, conn, expect });
  if (edit.comes) {
    const kind = edit.comes.raw ? "raw" : "frame";
    const { anytime } = edit;
    return [...before, come({ kind, like: edit.comes.raw ?? edit.comes, anytime }), ...after];
  }
  const gone = edit.ends
    ? []
    : [come({ kind: "close", code: edit.closes, ms: edit.ms, optional: edit.optional })];
  const rest = after.filter((one) => one.conn !== conn);
  return [...before, ...gone, come({ kind: "end" }), ...rest];
}

/** Why an item that came is not the one expected, or null if it is. */
export function unlike(item, expected, context) {
  if (item.kind !== expected.kind) return "another kind";
  if (expected.kind === "end") return null;
  if (expected.kind === "head")
    return isLikeText(item.text, expected.like ?? { is: expected.text });
  if (expected.kind === "close") return unlikeClose(item, expected, context);
  const { payload } = item;
  if (expected.like?.starts) return isLikeText(payload.toString("latin1"), expected.like);
  if (expected.like?.plain)
    return item.first === 0x82 && payload.length === expected.like.plain ? null : "the frame";
  if (expected.like) return isLike(payload, expected.like) ? null : "the package";
  if (expected.wire !== undefined) {
    const same = item.first.toString(16) === expected.first && item.size === expected.wire;
    return same && payload.length === expected.bytes ? null : "the frame";
  }
  if (expected.sha) return hash(payload) === expected.sha ? null : "the bytes";
  if (payload.toString("hex") === expected.hex) return null;
  return isSameEntry(payload, Buffer.from(expected.hex, "hex"), context) ? null : "the bytes";
}

/** Which connector the gate names depends on the run. */
function isSameEntry(payload, recorded, { ports }) {
  const [ours, theirs] = [entry(payload), entry(recorded)];
  return ours !== null && theirs !== null && ours.rest === theirs.rest && ports.includes(ours.port);
}

function unlikeClose(item, { code, isAnswer, silentMs, ms }, { alive, opened, left }) {
  if (item.code !== code || item.reason !== "") return "the code";
  if (isAnswer && !(left <= item.at)) return "the server closes first";
  if (silentMs !== undefined && Math.abs(item.at - alive - silentMs) > SLACK_MS) {
    return `after ${Math.round(item.at - alive)} ms of silence, not ${Math.round(silentMs)}`;
  }
  const age = item.at - opened;
  if (ms && (age < ms[0] || age > ms[1]))
    return `after ${Math.round(age)} ms, not ${ms.join(" to ")}`;
  return null;
}

function isLikeText(text, { is, starts, without }) {
  if (is !== undefined) return text === is ? null : "the text";
  const lower = text.toLowerCase();
  if (!lower.startsWith(starts.toLowerCase())) return "the text";
  return without && lower.includes(without.toLowerCase()) ? "the text" : null;
}

/** An expected or actual item, for people: words and hex. */
export function describe(item) {
  if (!item) return "nothing";
  if (item.kind === "close") return `close ${item.code}${item.reason ? ` "${item.reason}"` : ""}`;
  if (item.kind === "end") return "end of the TCP connection";
  if (item.kind === "head") return JSON.stringify(item.text ?? item.like);
  if (item.like) return JSON.stringify(item.like);
  if (item.wire !== undefined)
    return `frame ${item.first}, ${item.wire} bytes on the wire for ${item.bytes}`;
  const bytes = item.payload ?? Buffer.from(item.hex, "hex");
  if (item.kind !== "frame") return `${item.kind} ${JSON.stringify(bytes.toString("latin1"))}`;
  const hex = bytes.toString("hex");
  const cut = (text, length) => (text.length > length ? `${text.slice(0, length)}…` : text);
  return `${cut(show(bytes), 160)}  [${cut(hex, 120)}]`;
}

/** Whether an item is a push, which may overtake the answers. */
export function isPushItem({ kind, payload, hex, like }) {
  if (kind !== "frame") return false;
  if (like) return like.push !== undefined;
  const bytes = payload ?? Buffer.from(hex, "hex");
  return bytes[0] === 4 && bytes[4] >> 1 === 3 && decode(bytes).package !== "cut";
}
