/** Where lines stand, with a server that numbers its messages. */

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { LINES_MAX, LINES_READ_MAX, Timeline } from '../public/timeline.js';
import { Random } from './fake-room.mjs';
import { render, show } from './shown.mjs';

const E1 = '0000000000000001';
const E2 = '0000000000000002';

function entry(seq, parts = {}) {
  return { epoch: E1, seq, at: seq, from: 'bob', target: '*', msg: `b${seq}`, cmid: `c${seq}`, ...parts };
}

function page(entries, parts = {}) {
  return { epoch: E1, head: 9, taken: 0, complete: false, entries, ...parts };
}

/** A timeline of a log that goes on after `seq`, and what is shown of it. */
function begun(seq) {
  const { shown, listener } = show();
  const timeline = new Timeline(listener);
  timeline.begin({ epoch: E1, seq });
  return { timeline, shown, texts: () => render(shown).map((line) => line.replace(/^\S+>\S+ | sent$/g, '')) };
}

test('pages go before pushes, and a tip stays where it was said', () => {
  const { timeline, texts } = begun(4);
  timeline.tip('tipEntered');
  timeline.pushed(entry(6), 'ann');
  assert.equal(timeline.before, 5);
  assert.equal(timeline.paged(page([entry(2), entry(4)]), 5, 'ann'), true);
  assert.deepEqual(texts(), ['b2', 'b4', 'tipEntered', 'b6']);
  assert.deepEqual([timeline.before, timeline.edge], [2, 'more']);
  assert.equal(timeline.paged(page([entry(1)]), 5, 'ann'), false, 'a page that was asked for earlier');
  assert.equal(timeline.paged(page([entry(1)], { complete: true }), 2, 'ann'), true);
  assert.deepEqual([texts()[0], timeline.edge], ['b1', 'start']);
  assert.deepEqual(timeline.position, { epoch: E1, seq: 6 });
});

test('where retention took something, that is said to be gone', () => {
  const { timeline, texts } = begun(9);
  timeline.paged(page([entry(8)], { complete: true, taken: 7 }), 10, 'ann');
  assert.deepEqual([texts(), timeline.edge], [['b8'], 'gone']);
});

test('ours is placed by whatever tells of it first, and only once', () => {
  for (const order of ['ack push page', 'push ack page', 'page push ack', 'push page ack', 'page ack push']) {
    const { timeline, texts } = begun(5);
    timeline.queued('ann', '*', 'mine', 'm1');
    const [line] = timeline.waiting;
    timeline.pushed(entry(7), 'ann');
    assert.deepEqual(texts(), ['b7', 'mine sending']);
    const ours = entry(6, { from: 'ann', msg: 'mine', cmid: 'm1' });
    const tell = {
      ack: () => timeline.acknowledged(line, { epoch: E1, seq: 6, at: 6 }),
      push: () => timeline.pushed(ours, 'ann'),
      page: () => timeline.reread(page([ours, entry(7)]), 'ann'),
    };
    for (const what of order.split(' ')) tell[what]();
    assert.deepEqual(texts(), ['mine', 'b7'], order);
    assert.deepEqual(timeline.unsent, []);
  }
});

test('a reply does not tell that all before it has come', () => {
  const { timeline } = begun(5);
  timeline.queued('ann', 'bob', 'mine', 'm1');
  timeline.acknowledged(timeline.waiting[0], { epoch: E1, seq: 9, at: 9 });
  assert.deepEqual(timeline.position, { epoch: E1, seq: 5 });
});

test('the id of somebody else is not mistaken for ours', () => {
  const { timeline, texts } = begun(5);
  timeline.queued('ann', '*', 'mine', 'm1');
  timeline.pushed(entry(6, { cmid: 'm1' }), 'ann');
  assert.deepEqual(texts(), ['b6', 'mine sending']);
});

test('what the server made of a text is what is shown', () => {
  const { timeline, texts } = begun(5);
  timeline.queued('ann', '*', 'a bad word', 'm1');
  timeline.acknowledged(timeline.waiting[0], { epoch: E1, seq: 6, at: 6 });
  timeline.pushed(entry(6, { from: 'ann', msg: 'a *** word', cmid: 'm1' }), 'ann');
  assert.deepEqual(texts(), ['a *** word']);
});

test('what is unsent stays below all others, also when the log begins anew', () => {
  const { timeline, texts } = begun(5);
  timeline.queued('ann', '*', 'one', 'm1');
  timeline.queued('ann', '*', 'two', 'm2');
  timeline.failed(timeline.waiting[0], 403, 'no');
  timeline.pushed(entry(6), 'ann');
  timeline.tip('tipLost');
  assert.deepEqual(texts(), ['b6', 'tipLost', 'one failed 403', 'two sending']);
  timeline.begin({ epoch: E2, seq: 1 });
  assert.deepEqual(texts(), ['one failed 403', 'two sending']);
  assert.deepEqual(timeline.waiting.map(({ content }) => content), ['two']);
  assert.equal(timeline.pushed(entry(7), 'ann'), false, 'that is of the old log');
});

test('a redaction is kept, whichever comes first', () => {
  const { timeline, texts } = begun(5);
  timeline.pushed(entry(6), 'ann');
  timeline.redacted(E1, 6);
  timeline.redacted(E1, 5);
  timeline.redacted(E2, 7);
  timeline.pushed(entry(7), 'ann');
  timeline.paged(page([entry(5)]), 6, 'ann');
  timeline.reread(page([entry(6), entry(7)]), 'ann');
  assert.deepEqual(texts(), ['-', '-', 'b7']);
  timeline.reread(page([entry(7, { msg: '', redacted: true })]), 'ann');
  timeline.reread(page([entry(7)]), 'ann');
  assert.deepEqual(texts(), ['-', '-', '-'], 'an old page brings nothing back');
  timeline.queued('ann', '*', 'mine', 'm1');
  timeline.redacted(E1, 8);
  timeline.acknowledged(timeline.waiting[0], { epoch: E1, seq: 8, at: 8 });
  assert.deepEqual(texts(), ['-', '-', '-', '-']);
});

test('what retention took while we were away is not shown any more', () => {
  const { timeline, texts } = begun(1);
  for (const seq of [2, 3, 4]) timeline.pushed(entry(seq), 'ann');
  timeline.reread(page([entry(4)], { taken: 3 }), 'ann');
  assert.deepEqual([texts(), timeline.edge, timeline.before], [['b4'], 'gone', 4]);
});

test('old lines are dropped, and can be read again', () => {
  const { timeline, shown, texts } = begun(0);
  for (let seq = 1; seq <= LINES_READ_MAX + 5; seq += 1) timeline.pushed(entry(seq), 'ann');
  assert.deepEqual([shown.lines.length, timeline.edge], [LINES_READ_MAX, 'full']);
  timeline.trim();
  assert.equal(shown.lines.length, LINES_MAX);
  assert.deepEqual([timeline.edge, timeline.before], ['more', LINES_READ_MAX + 6 - LINES_MAX]);
  timeline.paged(page([entry(timeline.before - 1)]), timeline.before, 'ann');
  assert.deepEqual(texts()[0], `b${LINES_READ_MAX + 5 - LINES_MAX}`);
});

test('a plain server after another one loses nothing that is unsent', () => {
  const { timeline, texts } = begun(5);
  timeline.pushed(entry(6), 'ann');
  timeline.queued('ann', '*', 'mine', 'm1');
  timeline.failed(timeline.waiting[0], 'closed');
  timeline.plain();
  timeline.received('bob', '*', 'plain');
  assert.deepEqual([texts(), timeline.position], [['b6', 'plain', 'mine failed closed'], null]);
});

test('in whatever order it is told, the piece of the log that is held has no hole', () => {
  for (let seed = 1; seed <= 200; seed += 1) {
    const random = new Random(seed);
    const log = Array.from({ length: 40 }, (_, i) => entry(i + 1));
    const hidden = new Set(log.filter(() => random.chance(0.3)).map(({ seq }) => seq));
    const visible = log.filter(({ seq }) => !hidden.has(seq));
    const from = random.below(40);
    const { timeline, shown } = begun(from);
    const live = visible.filter(({ seq }) => seq > from);
    const told = [];
    for (let step = 0; step < 60; step += 1) {
      const { before } = timeline;
      const what = random.below(4);
      if (what === 0 && live.length > 0) timeline.pushed(told[told.push(live.shift()) - 1], 'ann');
      else if (what === 1 && told.length > 0) timeline.pushed(random.pick(told), 'ann');
      else if (what === 2) timeline.trim(5 + random.below(20));
      else if (what === 3) {
        const all = visible.filter(({ seq }) => seq < before);
        const entries = all.slice(-1 - random.below(6));
        timeline.paged(page(entries, { complete: entries.length === all.length }), before, 'ann');
      }
      const seqs = shown.lines.map(({ seq }) => seq);
      const held = visible.filter(({ seq }) => seq >= timeline.before && seq <= timeline.position.seq);
      assert.deepEqual(seqs, held.map(({ seq }) => seq), `seed ${seed}, step ${step}`);
    }
  }
});
