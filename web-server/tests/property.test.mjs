/** Whatever happens, and in whatever order: each message once, in the room's order. */

import assert from 'node:assert/strict';
import { mock, test } from 'node:test';

import { Chat } from '../public/chat.js';
import { FakeRoom, Random } from './fake-room.mjs';
import { FakeStorage } from './fake-socket.mjs';
import { settled } from './helpers.mjs';
import { show } from './shown.mjs';

const SEEDS = Number(process.env.PAGE_SEEDS ?? 60);
const STEPS = 160;
const CONFIG = { gate: 'ws://:3014', connectors: { '127.0.0.1:3050': '/ws/connector-1' } };
const LOCATION = { protocol: 'http:', host: 'chat.test:80', hostname: 'chat.test' };

/** One run: a user in a room that others talk in, over a network that fails. */
class Run {
  said = [];

  constructor(seed, mayReset) {
    this.random = new Random(seed);
    this.room = new FakeRoom(this.random);
    this.room.refusals = this.random.pick([0, 0.2, 0.6]);
    this.storage = new FakeStorage();
    this.mayReset = mayReset;
    for (let i = this.random.below(200); i > 0; i -= 1) this.#others();
  }

  /** Comes in. Until then, failures lead back to the login. */
  async enter() {
    this.#open();
    this.chat.enter('ann', 'lobby');
    do await settled();
    while (this.room.serve() || this.room.deliver());
    assert.equal(this.chat.phase, 'in');
  }

  #open() {
    const { listener, shown } = show();
    const page = { isGone: false };
    Object.assign(this, { shown, page });
    this.chat = new Chat(listener, {
      connect: (...args) => (page.isGone ? new Promise(() => {}) : this.room.connect(...args)),
      fetch: async () => ({ ok: true, json: async () => CONFIG }),
      location: LOCATION,
      random: () => this.random.next(),
      storage: this.storage,
    });
  }

  #others() {
    const [from, target] = this.random.pick([['bob', '*'], ['bob', 'ann'], ['bob', 'eve'], ['eve', '*'], [null, 'x']]);
    this.room.append({ from, target, msg: `${from} ${this.room.head}`, cmid: `b${this.room.head}` });
  }

  #say() {
    const content = `mine ${this.said.length}`;
    if (this.chat.send(content, this.random.pick(['*', '*', 'bob'])) === null) this.said.push(content);
  }

  /** The page is loaded anew; now and then without having been warned. */
  #reload() {
    if (this.random.chance(0.7)) this.chat.suspend();
    this.page.isGone = true;
    this.room.conn = null;
    this.#open();
    this.chat.restore();
  }

  async step() {
    const { room, chat, random } = this;
    const what = random.below(100);
    if (what < 30) room.deliver();
    else if (what < 50) room.serve();
    else if (what < 62) this.#others();
    else if (what < 72) this.#say();
    else if (what < 78) mock.timers.tick(random.below(3000));
    else if (what < 83) chat.loadOlder();
    else if (what < 85) room.lose();
    else if (what < 86) room.sendAway(random.below(5000));
    else if (what < 88) room.timeOut();
    else if (what < 90) room.visible.length > 0 && room.redact(random.pick(room.visible).seq);
    else if (what < 92) room.taken = Math.max(room.taken, random.below(room.head + 1) - 5);
    else if (what < 94) room.skip([{ from: 'bob', target: '*', msg: 'skipped', cmid: `s${room.head}` }]);
    else if (what < 95) this.mayReset && room.reset();
    else if (what < 97) this.#reload();
    else chat.wake();
    await settled();
    this.check();
  }

  /** Nothing fails any more, until nothing happens any more. */
  async heal() {
    this.room.refusals = 0;
    for (let quiet = 0; quiet < 40; quiet += 1) {
      while (this.room.serve() || this.room.deliver()) {
        quiet = 0;
        await settled();
        this.check();
      }
      mock.timers.tick(1000);
      await settled();
    }
  }

  get messages() {
    return this.shown.lines.filter(({ kind }) => kind === 'message');
  }

  /** What holds at any time. */
  check() {
    const { messages } = this;
    const seqs = messages.filter(({ seq }) => seq).map(({ seq }) => seq);
    assert.deepEqual(seqs, [...new Set(seqs)].sort((a, b) => a - b), 'in order, each once');
    const own = messages.filter(({ mine }) => mine).map(({ content, redacted }) => redacted ?? content);
    const texts = own.filter((text) => text !== true);
    assert.equal(new Set(texts).size, texts.length, 'ours are there once');
    const firstUnsent = messages.findIndex(({ state }) => state !== 'sent');
    const afterIt = firstUnsent < 0 ? [] : messages.slice(firstUnsent);
    assert.ok(afterIt.every(({ state }) => state !== 'sent'), 'what is unsent comes last');
  }

  /** What holds once everything that was under way has come. */
  checkEnd() {
    const { room, messages } = this;
    assert.equal(this.shown.phase, 'in');
    assert.deepEqual(messages.filter(({ state }) => state !== 'sent'), []);
    const shown = messages.map(({ seq, from, target, content, redacted }) => [seq, from, target, redacted ? '' : content]);
    const log = room.visible.map(({ seq, from, target, msg, redacted }) => [seq, from, target, redacted ? '' : msg]);
    assert.deepEqual(shown, log.slice(log.length - shown.length), 'the end of the log, without a hole');
    const left = log.filter(([seq]) => seq > room.taken).length;
    assert.ok(shown.length >= Math.min(50, left), 'and not too little of it');
    if (this.mayReset) return;
    const stored = room.log.filter(({ from }) => from === 'ann').map(({ msg }) => msg);
    assert.deepEqual(stored, this.said, 'what was said is stored, once, in its order');
  }
}

async function runs(seeds, mayReset) {
  for (let seed = 1; seed <= seeds; seed += 1) {
    mock.timers.reset();
    mock.timers.enable({ apis: ['setTimeout', 'Date'] });
    const run = new Run(seed, mayReset);
    try {
      await run.enter();
      for (let step = 0; step < STEPS; step += 1) await run.step();
      await run.heal();
      run.checkEnd();
      for (let pages = 0; run.shown.edge === 'more'; pages += 1) {
        assert.ok(pages < 100, 'the pages come to an end');
        run.chat.loadOlder();
        await run.heal();
        run.checkEnd();
      }
      assert.ok(['start', 'gone'].includes(run.shown.edge), run.shown.edge);
    } catch (error) {
      error.message = `seed ${seed}: ${error.message}`;
      throw error;
    }
  }
}

test('whatever is lost, each message is shown once, in order, and stored once', () => runs(SEEDS, false));

test('also when the log is another one all of a sudden', () => runs(SEEDS, true));
