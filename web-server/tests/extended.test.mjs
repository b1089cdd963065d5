/** The page with a server that numbers its messages: nothing is lost, nothing doubled. */

import assert from 'node:assert/strict';
import { beforeEach, mock, test } from 'node:test';

import { BASE_MS } from '../public/backoff.js';
import { Chat } from '../public/chat.js';
import { Outbox } from '../public/outbox.js';
import { connect } from '../public/pomelo.js';
import { STAYS_MAX, Stays, UNSENT_MAX } from '../public/stays.js';
import { Timeline } from '../public/timeline.js';
import { FakeSocket, FakeStorage, kick } from './fake-socket.mjs';
import { advance, settled } from './helpers.mjs';
import { render, show } from './shown.mjs';

const CONFIG = { gate: 'ws://:3014', connectors: {} };
const LOCATION = { protocol: 'http:', host: 'chat.test:80', hostname: 'chat.test' };
const E1 = '00000000000000e1';
const E2 = '00000000000000e2';

beforeEach(() => {
  mock.timers.reset();
  mock.timers.enable({ apis: ['setTimeout', 'Date'] });
  FakeSocket.all.length = 0;
});

function start(storage = new FakeStorage()) {
  const { shown, listener } = show();
  const chat = new Chat(listener, {
    connect: (url, options) => connect(url, { ...options, WebSocket: FakeSocket, storage: new FakeStorage() }),
    fetch: async () => ({ ok: true, json: async () => CONFIG }),
    location: LOCATION,
    random: () => 1,
    storage,
  });
  return { chat, shown, storage };
}

/** Answers gate and handshake; the request to enter is the newest. */
async function atTheDoor() {
  await settled();
  FakeSocket.last.shake();
  await settled();
  FakeSocket.last.reply({ code: 200, host: '127.0.0.1', port: 3050 });
  await settled();
  FakeSocket.last.shake({}, 200, { shaddock: 1 });
  await settled();
  return FakeSocket.last;
}

/** Lets the user in, with what the server says of the room's log. */
async function letIn({ seq, epoch = E1, ...parts }) {
  const socket = await atTheDoor();
  socket.reply({ code: 200, users: ['ann', 'bob'], position: { epoch, seq }, resume: 'x', ...parts });
  await settled();
  return socket;
}

/** Answers the request for a page of history. */
async function turnPage(socket, seqs, parts = {}) {
  const request = open(socket).findLast(({ route }) => route === 'room.history');
  const entries = seqs.map((seq) => said(seq));
  socket.reply({ code: 200, epoch: E1, head: 9, taken: 0, complete: false, entries, ...parts }, request.id);
  request.isAnswered = true;
  await settled();
  return request.body;
}

function open(socket) {
  return socket.messages().map(({ id, route, body }) => ({ id, route, body: JSON.parse(String(Buffer.from(body))) }));
}

function sends(socket) {
  return open(socket).filter(({ route }) => route === 'chat.chatHandler.send');
}

function said(seq, parts = {}) {
  return { epoch: E1, seq, at: seq, from: 'bob', target: '*', msg: `b${seq}`, cmid: `c${seq}`, ...parts };
}

async function answer(socket, body) {
  socket.reply(body, sends(socket).at(-1).id);
  await settled();
}

/** Ann is in the lobby, has read its only page, and messages come after seq 5. */
async function logIn() {
  const started = start();
  started.chat.enter('ann', 'lobby');
  const socket = await letIn({ seq: 5 });
  await turnPage(socket, [4, 5], { complete: true });
  return { ...started, socket };
}

const texts = (shown) => render(shown).filter((line) => line.includes('>')).map((line) => line.replace(/^\S+>\S+ /, ''));

test('whoever enters shows a secret, and reads what was said last', async () => {
  const { chat, shown } = start();
  chat.enter('ann', 'lobby');
  const socket = await letIn({ seq: 5 });
  const [enter, history] = open(socket);
  assert.match(enter.body.secret, /^[0-9a-f]{32}$/);
  assert.equal('resume' in enter.body, false);
  assert.deepEqual([history.route, history.body], ['room.history', { before: 6, limit: 50 }]);
  assert.equal(shown.edge, 'loading');
  socket.push('onChat', said(6));
  await turnPage(socket, [3, 4, 5]);
  assert.deepEqual(render(shown), ['bob>* b3 sent', 'bob>* b4 sent', 'bob>* b5 sent', 'tipEntered', 'bob>* b6 sent']);
  assert.equal(shown.edge, 'more');
  chat.loadOlder();
  chat.loadOlder();
  assert.deepEqual(await turnPage(socket, [1], { complete: true }), { before: 3, limit: 50 });
  assert.deepEqual([shown.edge, open(socket).length], ['start', 3]);
});

test('a page that cannot be read is asked for again, and then it is said', async () => {
  const { chat, shown } = start();
  chat.enter('ann', 'lobby');
  const socket = await letIn({ seq: 5 });
  for (let failures = 1; failures <= 3; failures += 1) {
    await turnPage(socket, [], { code: 503 });
    assert.equal(shown.edge, failures < 3 ? 'loading' : 'failed');
    if (failures < 3) advance(5000);
    await settled();
  }
  chat.loadOlder();
  await turnPage(socket, [5], { complete: true });
  assert.deepEqual([texts(shown), shown.edge], [['b5 sent'], 'start']);
});

test('a message is sending, and sent at its place by the reply', async () => {
  const { chat, shown, socket } = await logIn();
  assert.equal(chat.send('mine', '*'), null);
  const [{ body }] = sends(socket);
  assert.match(body.cmid, /^[0-9a-f]{32}$/);
  assert.deepEqual(body, { rid: 'lobby', content: 'mine', from: 'ann', target: '*', cmid: body.cmid });
  socket.push('onChat', said(6));
  assert.deepEqual(texts(shown).slice(2), ['b6 sent', 'mine sending']);
  await answer(socket, { code: 200, epoch: E1, seq: 7, at: 77, cmid: body.cmid });
  socket.push('onChat', said(7, { from: 'ann', msg: 'mine', cmid: body.cmid }));
  socket.push('onChat', said(8));
  assert.deepEqual(texts(shown).slice(2), ['b6 sent', 'mine sent', 'b8 sent']);
  assert.equal(shown.lines.at(-2).at, 7);
});

test('one after the other: what is refused for now holds up what comes after', async () => {
  const { chat, shown, socket } = await logIn();
  for (const text of ['one', 'two']) chat.send(text, '*');
  assert.equal(sends(socket).length, 1);
  const { cmid } = sends(socket)[0].body;
  for (const code of [429, 503]) {
    await answer(socket, { code, error: 'later' });
    assert.equal(shown.lines.at(-1).why, 'busy');
    advance(5000);
    await settled();
    assert.equal(sends(socket).at(-1).body.cmid, cmid);
  }
  advance(10_000);
  await settled();
  advance(5000);
  await settled();
  assert.deepEqual(sends(socket).map(({ body }) => body.content), ['one', 'one', 'one', 'one'], 'also without an answer');
  await answer(socket, { code: 200, epoch: E1, seq: 6, at: 6, cmid });
  await answer(socket, { code: 200, epoch: E1, seq: 7, at: 7 });
  assert.deepEqual(texts(shown).slice(2), ['one sent', 'two sent']);
  assert.equal(new Set(sends(socket).map(({ body }) => body.cmid)).size, 2);
});

test('a late answer of an old connection means nothing any more', async () => {
  const timeline = new Timeline(show().listener);
  timeline.begin({ epoch: E1, seq: 5 });
  for (const text of ['one', 'two']) timeline.queued('ann', '*', text, text);
  const outbox = new Outbox(timeline, { changed: () => {} });
  const asked = [];
  const request = (name) => (line) => new Promise((resolve) => asked.push([name, line.content, resolve]));
  outbox.start(request('old'));
  outbox.start(request('new'));
  asked[0][2]({ code: 503 });
  await settled();
  assert.deepEqual(asked.map(([name, content]) => `${name} ${content}`), ['old one', 'new one']);
  asked[1][2]({ code: 200, epoch: E1, seq: 6, at: 6 });
  await settled();
  assert.deepEqual(timeline.waiting.map(({ content, why }) => [content, why]), [['two', null]]);
});

test('a final refusal is shown with the server’s words, holds up nothing, and can be tried again', async () => {
  const { chat, shown, socket } = await logIn();
  for (const text of ['bad', 'good']) chat.send(text, '*');
  const { cmid } = sends(socket)[0].body;
  await answer(socket, { code: 403, error: 'you are muted' });
  await answer(socket, { code: 200, epoch: E1, seq: 6, at: 6 });
  assert.deepEqual(texts(shown).slice(2), ['good sent', 'bad failed 403']);
  assert.equal(shown.lines.at(-1).error, 'you are muted');
  assert.equal(chat.retry(shown.lines.at(-1)), null);
  assert.equal(sends(socket).at(-1).body.cmid, cmid, 'it was not stored under it');
  await answer(socket, { code: 409, error: 'used' });
  chat.retry(shown.lines.at(-1));
  assert.notEqual(sends(socket).at(-1).body.cmid, cmid, 'that id is somebody else’s');
  for (const code of [400, 413, 500]) {
    await answer(socket, { code, error: 'no' });
    assert.equal(shown.lines.at(-1).code, code);
    chat.retry(shown.lines.at(-1));
  }
  await answer(socket, { code: 400, error: 'no' });
  chat.discard(shown.lines.at(-1));
  assert.deepEqual(texts(shown).slice(2), ['good sent']);
});

test('what a lost connection left open is sent again under its id, after what was missed', async () => {
  const { chat, shown, socket } = await logIn();
  for (const text of ['one', 'two']) chat.send(text, '*');
  const { cmid } = sends(socket)[0].body;
  socket.drop();
  await settled();
  assert.equal(chat.send('three', '*'), null);
  assert.deepEqual(texts(shown).slice(2), ['one sending', 'two sending', 'three sending']);
  assert.deepEqual(shown.lines.map(({ why }) => why).slice(-3), ['offline', 'offline', 'offline']);
  advance(BASE_MS);
  const again = await letIn({ seq: 7, verdict: { kind: 'complete' } });
  const [enter] = open(again);
  assert.equal(enter.body.secret, open(socket)[0].body.secret);
  assert.deepEqual(enter.body.resume, { epoch: E1, seq: 5 });
  again.push('onChat', said(6));
  again.push('onChat', said(7, { from: 'ann', msg: 'one', cmid }));
  await answer(again, { code: 200, epoch: E1, seq: 7, at: 7, cmid });
  assert.deepEqual(sends(again).map(({ body }) => body.content), ['one', 'two']);
  assert.equal(sends(again)[0].body.cmid, cmid);
  assert.deepEqual(render(shown).slice(3), ['tipLost', 'tipBack', 'bob>* b6 sent', 'ann>* one sent', 'ann>* two sending', 'ann>* three sending']);
});

test('a server that sends us away is left and come back to when it says, with nothing failed or doubled', async () => {
  const { chat, shown, socket } = await logIn();
  for (const text of ['one', 'two']) chat.send(text, '*');
  const { cmid } = sends(socket)[0].body;
  socket.push('onReconnect', { delay: 3456, place: 'gate' });
  assert.equal(shown.phase, 'in');
  const before = FakeSocket.all.length;
  socket.drop();
  await settled();
  assert.equal(shown.phase, 'lost');
  assert.deepEqual(texts(shown).slice(2), ['one sending', 'two sending']);
  advance(3450);
  // Others are to have their turn, too, whatever we would like.
  chat.wake();
  await settled();
  assert.equal(FakeSocket.all.length, before);
  advance(10);
  const again = await letIn({ seq: 6, verdict: { kind: 'complete' } });
  assert.match(FakeSocket.all[before].url, /:3014/);
  assert.deepEqual(open(again)[0].body.resume, { epoch: E1, seq: 5 });
  again.push('onChat', said(6, { from: 'ann', msg: 'one', cmid }));
  await answer(again, { code: 200, epoch: E1, seq: 6, at: 6, cmid });
  await answer(again, { code: 200, epoch: E1, seq: 7, at: 7 });
  assert.deepEqual(texts(shown).slice(2), ['one sent', 'two sent']);
  // The next loss is an ordinary one.
  again.drop();
  advance(BASE_MS);
  await settled();
  assert.equal(FakeSocket.all.length, before + 3);
});

test('a wait that makes no sense is none, or not too long', async () => {
  for (const [delay, waits] of [['soon', 0], [-5, 0], [1e12, 60_000], [undefined, 0]]) {
    const { socket } = await logIn();
    socket.push('onReconnect', { delay });
    const before = FakeSocket.all.length;
    socket.drop();
    advance(Math.max(waits - 10, 0));
    await settled();
    assert.equal(FakeSocket.all.length, before, String(delay));
    advance(20);
    await settled();
    assert.equal(FakeSocket.all.length, before + 1, String(delay));
  }
});

test('what was taken away while we were gone is taken away when we are back', async () => {
  const { shown, socket } = await logIn();
  socket.drop();
  advance(BASE_MS);
  const again = await letIn({ seq: 5, verdict: { kind: 'complete' } });
  const asked = await turnPage(again, [4], { entries: [said(4, { msg: '', redacted: true }), said(5)], complete: true });
  assert.deepEqual(asked, { before: 6, limit: 200 });
  assert.deepEqual(texts(shown), ['- sent', 'b5 sent']);
  again.push('onRedact', { epoch: E1, seq: 5 });
  assert.deepEqual(texts(shown), ['- sent', '- sent']);
});

test('a reload goes on in the room, with everything that was unsent', async () => {
  const { chat, socket, storage } = await logIn();
  for (const text of ['one', 'two', 'bad']) chat.send(text, '*');
  await answer(socket, { code: 200, epoch: E1, seq: 6, at: 6 });
  const { cmid } = sends(socket)[1].body;
  socket.push('onChat', said(8));
  chat.suspend();
  const again = start(storage);
  again.chat.restore();
  assert.deepEqual(texts(again.shown), ['two sending', 'bad sending']);
  assert.equal(again.shown.phase, 'lost');
  const reloaded = await letIn({ seq: 8, verdict: { kind: 'complete' } });
  const [enter] = open(reloaded);
  assert.deepEqual([enter.body.resume, enter.body.secret], [{ epoch: E1, seq: 8 }, open(socket)[0].body.secret]);
  await turnPage(reloaded, [5, 8]);
  assert.equal(sends(reloaded)[0].body.cmid, cmid);
  assert.deepEqual(texts(again.shown), ['b5 sent', 'b8 sent', 'two sending', 'bad sending']);
});

test('a log that begins anew is read anew, and what is unsent stays', async () => {
  const { chat, shown, socket } = await logIn();
  chat.send('mine', '*');
  socket.push('onVerdict', { kind: 'reset', position: { epoch: E2, seq: 3 } });
  socket.push('onChat', said(4, { epoch: E2 }));
  const asked = await turnPage(socket, [], { epoch: E2, complete: true, entries: [said(2, { epoch: E2 })] });
  assert.deepEqual(asked, { before: 4, limit: 50 });
  assert.deepEqual(render(shown), ['bob>* b2 sent', 'tipReset', 'bob>* b4 sent', 'ann>* mine sending']);
  socket.drop();
  advance(BASE_MS);
  const again = await letIn({ seq: 1, verdict: { kind: 'reset', position: { epoch: E1, seq: 1 } } });
  assert.deepEqual(open(again)[0].body.resume, { epoch: E2, seq: 4 });
  assert.deepEqual(render(shown), ['tipReset', 'ann>* mine sending']);
});

test('where messages are gone that were missed, that is said at the place', async () => {
  const { shown, socket } = await logIn();
  socket.drop();
  advance(BASE_MS);
  const again = await letIn({ seq: 90, verdict: { kind: 'truncated', first: 80 } });
  again.push('onChat', said(85));
  const asked = await turnPage(again, [], { complete: true, taken: 79 });
  assert.deepEqual(asked, { before: 80, limit: 50 });
  assert.deepEqual(render(shown), ['tipBack', 'tipTruncated', 'bob>* b85 sent']);
  assert.equal(shown.edge, 'gone');
});

test('where more was missed than is pushed, the rest is read and nothing is said to be gone', async () => {
  const { shown, socket } = await logIn();
  socket.drop();
  advance(BASE_MS);
  const again = await letIn({ seq: 90, verdict: { kind: 'truncated', first: 80 } });
  again.push('onChat', said(85));
  await turnPage(again, [78, 79]);
  assert.deepEqual(render(shown), ['bob>* b78 sent', 'bob>* b79 sent', 'tipBack', 'bob>* b85 sent']);
});

test('who has lost the name to somebody else is told, and is out', async () => {
  const { chat, shown, socket } = await logIn();
  chat.send('mine', '*');
  socket.drop();
  advance(BASE_MS);
  const again = await atTheDoor();
  again.reply({ code: 403, error: 'no', verdict: { kind: 'denied' } });
  await settled();
  assert.deepEqual([shown.phase, shown.problem, again.readyState], ['out', 'problemDenied', 3]);
});

test('who comes in elsewhere is out here, and a reload does not fight about it', async () => {
  const { shown, socket, storage } = await logIn();
  socket.deliver(kick('superseded: logged in elsewhere'));
  assert.deepEqual([shown.phase, shown.problem], ['out', 'problemSuperseded']);
  assert.equal(start(storage).chat.stayedIn, null);
});

test('what was unsent when its author left waits for a word', async () => {
  const { chat, shown, socket } = await logIn();
  chat.send('mine', '*');
  const { cmid } = sends(socket)[0].body;
  chat.leave();
  chat.enter('ann', 'lobby');
  const again = await letIn({ seq: 5, verdict: { kind: 'complete' } });
  await turnPage(again, [5]);
  assert.deepEqual(texts(shown), ['b5 sent', 'mine failed left']);
  assert.equal(sends(again).length, 0);
  chat.retry(shown.lines.at(-1));
  assert.equal(sends(again)[0].body.cmid, cmid);
});

test('a server that numbers nothing any more is told what we are not sure of', async () => {
  const { chat, shown, socket } = await logIn();
  chat.send('mine', '*');
  socket.drop();
  advance(BASE_MS);
  await settled();
  FakeSocket.last.shake();
  await settled();
  FakeSocket.last.reply({ code: 200, host: '127.0.0.1', port: 3050 });
  await settled();
  FakeSocket.last.shake();
  await settled();
  FakeSocket.last.reply({ users: ['ann'] });
  await settled();
  assert.deepEqual(texts(shown), ['b4 sent', 'b5 sent', 'mine failed closed']);
  assert.deepEqual([shown.edge, shown.phase], [null, 'in']);
  FakeSocket.last.push('onChat', { msg: 'plain', from: 'bob', target: '*' });
  assert.deepEqual(texts(shown)[2], 'plain sent');
  chat.retry(shown.lines.at(-1));
  assert.deepEqual(FakeSocket.last.request().body, { rid: 'lobby', content: 'mine', from: 'ann', target: '*' });
});

test('unsent messages have bounds', async () => {
  const { chat, socket, shown } = await logIn();
  socket.drop();
  for (let i = 0; i < UNSENT_MAX; i += 1) assert.equal(chat.send(`${i}`, '*'), null);
  assert.equal(chat.send('one more', '*'), 'tooManyUnsent');
  const long = await logIn();
  long.socket.drop();
  while (long.chat.send('x'.repeat(30_000), '*') === null);
  assert.equal(texts(long.shown).length, 2 + 8);
  assert.equal(texts(shown).length, 2 + UNSENT_MAX);
});

test('what a tab keeps is bounded, read with care, and not missed where nothing can be kept', () => {
  const storage = new FakeStorage();
  const stays = new Stays(storage);
  for (let i = 0; i < STAYS_MAX + 3; i += 1) stays.save(stays.open(`room ${i}`, 'ann'));
  assert.equal(storage.items.size, STAYS_MAX + 1);
  const { secret } = stays.open('room 9', 'ann');
  assert.equal(new Stays(storage).open('room 9', 'ann').secret, secret);
  assert.notEqual(stays.open('room 9', 'bob').secret, secret, 'another name is another stay');

  const key = [...storage.items.keys()].find((name) => name.includes('"room 9","ann"'));
  const damaged = ['', '7', '{}', '{"secret":"short"}', '{"secret":7}'];
  for (const text of damaged) {
    storage.setItem(key, text);
    assert.match(new Stays(storage).open('room 9', 'ann').secret, /^[0-9a-f]{32}$/);
  }
  const odd = { secret, position: { epoch: 'x', seq: 1 }, unsent: [{ cmid: 'a' }, null, { cmid: 'a', content: 'b', target: '*', at: 1 }] };
  storage.setItem(key, JSON.stringify(odd));
  const read = new Stays(storage).open('room 9', 'ann');
  assert.deepEqual([read.position, read.unsent.length, read.secret], [null, 1, secret]);
  storage.setItem('shaddock.stays', '{"here":true,"keys":["x",7]}');
  assert.equal(new Stays(storage).current(), null);

  const none = new Stays({ getItem: () => { throw new Error('no'); }, setItem: () => { throw new Error('no'); } });
  const stay = none.open('lobby', 'ann');
  none.save({ ...stay, position: { epoch: E1, seq: 3 } });
  assert.deepEqual(none.current(), { room: 'lobby', name: 'ann' });
  assert.deepEqual(none.open('lobby', 'ann').position, { epoch: E1, seq: 3 });
});
