// A connector is told to end, under clients who chat: they go on elsewhere.

import assert from "node:assert/strict";
import { ROUTES } from "../clients/lib/client.mjs";
import { mark, onCluster, since } from "../clients/lib/scenario.mjs";
import { sleep, until } from "../clients/lib/wait.mjs";

const draining = (grace) => ({ connector: ["--drain-time", "3s", "--accept-grace", grace] });
const test = onCluster({ fresh: true, connectors: 2, shards: 2, flags: draining("3s") });
const bare = onCluster({ fresh: true, connectors: 1, shards: 1, flags: draining("1s") });

/** Between two messages of one client. */
const PACE = 80;
/** How long the way back may take, beside the wait that the server asks for. */
const BACK = 20_000;

/** Somebody who talks, and comes back by the gate whenever the connection ends. */
class Talker {
  said = [];
  /** What was acknowledged. */
  acked = [];
  /** What has no answer, and is not said again. */
  unknown = [];
  comings = 0;
  isOver = false;

  constructor(cluster, name, room, isExtended) {
    Object.assign(this, { cluster, name, room, isExtended });
    this.client = cluster.client();
    this.secret = `what only ${name} knows`;
  }

  async enter(address) {
    const { client, name, isExtended } = this;
    await client.connect(address, isExtended ? { user: { shaddock: 1 } } : {});
    this.isGone = false;
    this.gone = client.next("disconnect", { ms: 120_000 }).catch(() => {});
    this.gone.then(() => (this.isGone = true));
    const body = { username: name, rid: this.room };
    if (isExtended) Object.assign(body, { secret: this.secret, resume: this.position });
    const answer = await client.request(ROUTES.enter, body);
    if (!answer.users) throw new Error(`${name} may not enter: ${JSON.stringify(answer)}`);
    if (answer.verdict) assert.equal(answer.verdict.kind, "complete", JSON.stringify(answer));
    this.start ??= answer.position;
    this.comings += 1;
  }

  /** The last message that it has. */
  get position() {
    const last = this.heard.at(-1);
    return last ? { epoch: last.epoch, seq: last.seq } : this.start;
  }

  get heard() {
    return this.client.all("onChat");
  }

  async comeBack() {
    const told = this.client.all("onReconnect");
    if (this.isExtended) {
      assert.equal(told.length, this.comings, `${this.name} is told when`);
      const { delay, place } = told.at(-1);
      assert.equal(place, "gate");
      assert.ok(delay >= 0 && delay <= 5_000, delay);
      await sleep(delay);
    } else {
      assert.match(this.client.all("onKick").at(-1)?.reason ?? "", /^draining: /);
    }
    await until(BACK, `${this.name} is back`, async () => {
      await this.enter(await this.client.ask(this.cluster.gate, this.name));
      return true;
    });
  }

  async talk() {
    while (!this.isOver) {
      await this.say(`${this.name}-${this.said.length}`);
      await sleep(PACE);
      // Also who has nothing to say has to notice.
      if (this.isGone) await this.comeBack();
    }
  }

  async say(content) {
    const { client, name } = this;
    this.said.push(content);
    const body = { rid: this.room, content, from: name, target: "*" };
    if (this.isExtended) body.cmid = content;
    for (;;) {
      const asked = client.request(ROUTES.send, body).catch(() => null);
      const answer = await Promise.race([asked, this.gone.then(() => null)]);
      const code = answer?.code ?? 200;
      if (answer && code === 200) return this.acked.push(content);
      if (answer) {
        assert.equal(code, 503, `${name}: ${JSON.stringify(answer)}`);
        await Promise.race([sleep(50), this.gone]);
        if (!this.isGone) continue;
      }
      await this.comeBack();
      // Refused is not said; and what has no answer only the number makes safe to repeat.
      if (!answer && !this.isExtended) return this.unknown.push(content);
    }
  }
}

test("SIGTERM: all go on elsewhere, and nobody in the room notices", async ({ cluster, room }) => {
  const [drained, other] = cluster.connectors;
  const crowd = [];
  for (const name of ["p0", "p1", "p2", "e0", "e1", "e2", "e3"]) {
    const talker = new Talker(cluster, name, room, name.startsWith("e"));
    await talker.enter(drained);
    crowd.push(talker);
  }
  const watcher = new Talker(cluster, "w", room, true);
  await watcher.enter(other);
  const marks = mark(watcher.client);
  const talks = Promise.all(crowd.map((talker) => talker.talk()));
  // Looked at in the end; until then what fails first is of interest.
  talks.catch(() => {});
  const late = cluster.client();
  await late.ask(cluster.gate, "late");
  await until(20_000, "all talk", () => crowd.every(({ acked }) => acked.length >= 5));

  const began = Date.now();
  drained.signal("SIGTERM");
  await until(5_000, "it is not ready", async () => !(await drained.isReady()));
  // Who was told of it just before still gets in.
  await late.connect(drained);
  await late.enter("late", `${room}-other`);
  assert.deepEqual(await drained.exit(), { code: 0, signal: null }, drained.log);
  assert.ok(Date.now() - began >= 3_000, "not before the accept grace is over");
  assert.match((await late.next("onKick")).reason, /^draining: /);

  await until(BACK, "all are back", () => crowd.every(({ comings }) => comings === 2));
  const before = crowd.map(({ acked }) => acked.length);
  await until(BACK, "all go on", () => crowd.every(({ acked }, i) => acked.length >= before[i] + 5));
  crowd.forEach((talker) => (talker.isOver = true));
  await talks;

  // Whoever stayed has all, once, in order; whom the room lost for a moment it lost in silence.
  const acked = crowd.flatMap(({ acked }) => acked);
  await until(5_000, "all is heard", () => new Set(watcher.heard.map(({ msg }) => msg)).size >= acked.length);
  const heard = watcher.heard.map(({ msg }) => msg);
  assert.equal(new Set(heard).size, heard.length, "nothing is doubled");
  for (const { name, said, acked, unknown } of crowd) {
    const its = heard.filter((msg) => msg.startsWith(`${name}-`));
    assert.deepEqual(its, said.filter((msg) => its.includes(msg)), `${name}: in order`);
    assert.deepEqual(acked.filter((msg) => !its.includes(msg)), [], `${name}: what was acknowledged is there`);
    // What came when it was too late was not heard: whatever was taken was answered.
    assert.deepEqual(unknown.filter((msg) => its.includes(msg)), [], `${name}: no answer, not said`);
  }
  assert.deepEqual(since(marks, "onAdd", "onLeave", "disconnect"), []);
  for (const talker of crowd.filter(({ isExtended }) => isExtended)) {
    const seqs = talker.heard.map(({ seq }) => seq);
    const all = watcher.heard.map(({ seq }) => seq).filter((seq) => seq >= seqs[0]);
    await until(5_000, `${talker.name} has heard all`, () => talker.heard.length >= all.length);
    assert.deepEqual(talker.heard.map(({ seq }) => seq), all, `${talker.name}: no hole, nothing twice`);
  }
}, { seconds: 180 });

bare("without clients it ends when the accept grace is over", async ({ cluster }) => {
  const [connector] = cluster.connectors;
  const began = Date.now();
  assert.deepEqual(await connector.stop(), { code: 0, signal: null });
  const took = Date.now() - began;
  assert.ok(took >= 1_000 && took < 3_000, took);
});

bare("a second signal ends it at once", async ({ cluster, login }) => {
  const [connector] = cluster.connectors;
  await login("ann", "room");
  connector.signal("SIGTERM");
  await until(5_000, "it is not ready", async () => !(await connector.isReady()));
  connector.signal("SIGTERM");
  assert.deepEqual(await connector.exit(), { code: 1, signal: null });
  assert.match(connector.log, /SIGTERM during shutdown/);
});

bare("also the gate is not ready and takes clients until the accept grace is over", async ({ cluster }) => {
  const gate = await gateWithGrace(cluster);
  try {
    gate.signal("SIGTERM");
    await until(5_000, "it is not ready", async () => !(await gate.isReady()));
    const ann = cluster.client();
    assert.equal((await ann.ask(gate, "ann")).port, cluster.connectors[0].port);
    assert.deepEqual(await gate.exit(), { code: 0, signal: null }, gate.log);
  } finally {
    if (gate.isRunning) await gate.kill();
  }
});

/** The cluster's gate, started anew. */
async function gateWithGrace(cluster) {
  const { gate } = cluster;
  await gate.kill();
  gate.flags.push("--accept-grace", "2s");
  await gate.start();
  await until(10_000, "the gate knows the connector", async () => {
    const client = cluster.client();
    return await client.ask(gate, "probe").finally(() => client.stop());
  });
  return gate;
}
