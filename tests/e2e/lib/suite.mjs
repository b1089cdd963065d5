// What the whole suite is made of: one installation, clients that stay, and steps, in each
// of which an operator or bad luck does something, and every client is asked afterwards.

import { until } from "./kube.mjs";

const BACK_WITHIN = 60;
/** Answers come within 10 s, or the client has gone; and a lost link has been mended. */
const LATE = 30;

export class Suite {
  rows = [];
  skipped = [];
  crowd;
  others;
  /** Pairs that come and go; in the place of the others where these are not to be had. */
  meetings;

  /** @param {string[]} only words of the steps that are wanted; none: all */
  constructor(only = []) {
    this.only = only;
  }

  /** Something to do, with nobody there yet, or when all have gone. */
  async act(name, work) {
    const started = Date.now();
    const row = { name, figures: "" };
    try {
      row.figures = (await work()) ?? "";
    } catch (error) {
      row.wrong = error.message;
    }
    this.#add(row, started);
    return !row.wrong;
  }

  leaveOut(name, why) {
    this.skipped.push(name);
    console.log(`left out ${name}: ${why}`);
  }

  /**
   * Something to do under the eyes of all clients. `back`: seconds within which all have to
   * be there again. `pace`: kicks in one second. `refused`, `broken`: how many messages may
   * be refused or stay without an answer, and connections end without a kick. `answered`:
   * milliseconds within which 99 of 100 messages have to be acknowledged. `again`: how many
   * clients may have to come back more than once. `returns`: how many may come back in one
   * second.
   */
  async step(name, { back = BACK_WITHIN, ...limits }, work) {
    if (this.only.length > 0 && !this.only.some((word) => name.includes(word))) return;
    const from = Date.now();
    const row = { name, figures: "" };
    this.meetings?.take();
    try {
      this.others?.tell("begin", name);
      row.figures = (await work()) ?? "";
    } catch (error) {
      row.wrong = error.message;
    }
    try {
      const { crowd } = this;
      await until(back, "all clients are in their rooms", () => crowd.present === crowd.clients.length && !crowd.isWaiting);
    } catch (error) {
      row.wrong ??= `${error.message}: ${this.crowd.present}`;
    }
    this.others?.tell("end", name);
    const to = Date.now();
    const judge = () => this.crowd.judge(from, to);
    const isSettled = ({ lost, pending }) => pending === 0 && lost.length === 0;
    await until(LATE, "all was answered, and has come", () => isSettled(judge())).catch(() => {});
    row.plain = judge();
    row.wrong ??= unlike(row.plain, limits);
    if (this.meetings) {
      const { met, failures } = this.meetings.take();
      row.figures += ` (${met} pairs met, ${failures.length} not)`;
    }
    this.#add(row, from);
  }

  #add(row, started) {
    row.seconds = (Date.now() - started) / 1000;
    this.rows.push(row);
    const verdict = row.wrong ? "FAILED" : "ok    ";
    console.log(`${verdict} ${row.name.padEnd(48)}${row.seconds.toFixed(0).padStart(4)} s  ${row.figures}`);
    if (row.plain) console.log(`         ${inWords(row.plain)}`);
    if (row.wrong) console.log(`         ${row.wrong}`);
  }

  /** The table at the end; true if all is well. */
  print() {
    const columns = ["what", "seconds", "messages", "p99 ms", "refused", "lost", "under way", "doubled", "kicked", "broken", "away ≤ s", "kicks/s ≤", "back/s ≤", ""];
    console.log(`\n| ${columns.join(" | ")} |\n|${"---|".repeat(columns.length)}`);
    for (const { name, seconds, plain, figures, wrong } of this.rows) {
      const cells = plain
        ? [plain.acked, plain.p99, plain.refused + plain.unanswered, plain.lost.length, plain.cut, plain.doubled, plain.kicks, plain.broken,
          plain.away.toFixed(1), plain.kicksPeak, plain.returnsPeak]
        : Array(11).fill("");
      console.log(`| ${[name, seconds.toFixed(0), ...cells, wrong ? `FAILED: ${wrong.split("\n")[0]}` : figures].join(" | ")} |`);
    }
    const failed = this.rows.filter(({ wrong }) => wrong).length;
    console.log(`\n${this.rows.length - failed} passed, ${failed} failed${this.skipped.length ? `, left out: ${this.skipped.join(", ")}` : ""}`);
    return failed === 0;
  }
}

function unlike(plain, { pace = Infinity, refused = 0, broken = 0, answered = Infinity, again = Infinity, returns = Infinity }) {
  const { lost, doubled, disordered, kicksPeak, unexplained } = plain;
  const later = lost.filter(({ why }) => why === "later").length;
  const first = lost[0] && ` (${later} before others that came; first: ${lost[0].key} to ${lost[0].client})`;
  if (lost.length > 0) return `${lost.length} lost${first}`;
  if (doubled > 0) return `${doubled} doubled`;
  if (disordered > 0) return `${disordered} out of order`;
  if (plain.acked === 0) return "nobody said anything";
  if (kicksPeak > pace) return `${kicksPeak} kicks in one second; the pace is ${pace}`;
  if (unexplained > refused) return `${unexplained} messages were refused or not answered`;
  if (plain.broken > broken) return `${plain.broken} connections broke`;
  if (plain.p99 > answered) return `answers took ${plain.p99} ms at p99; the limit is ${answered}`;
  if (plain.returnsPeak > returns) return `${plain.returnsPeak} came back in one second; ${returns} may`;
  if (plain.again > again) return `${plain.again} clients had to come back more than once; ${again} may`;
  return undefined;
}

function inWords(plain) {
  const { acked, refused, unanswered, p99, slowest, lost, doubled, kicks, broken, returns, away } = plain;
  return [
    `${acked} messages, p99 ${p99} ms, slowest ${slowest} ms, ${refused} refused${plain.codes}, ${unanswered} unanswered`,
    `${lost.length} lost, ${plain.cut} under way to who had to go, ${doubled} doubled`,
    `${kicks} kicked, ${broken} broken, ${returns} back, away ≤ ${away.toFixed(1)} s, more than once: ${plain.again}`,
    ...(kicks > 0 ? [`kicked: ${plain.reasons.join(", ")}`] : []),
    `≤ ${plain.kicksPeak} kicks/s, ≤ ${plain.returnsPeak} back/s`,
  ].join("; ");
}
