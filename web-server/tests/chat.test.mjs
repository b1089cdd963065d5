/** The plain client: what the page is to a server that does not number its messages. */

import assert from 'node:assert/strict';
import { beforeEach, mock, test } from 'node:test';

import { BASE_MS } from '../public/backoff.js';
import { Chat, HELD_NAME_MS } from '../public/chat.js';
import { connect } from '../public/pomelo.js';
import { FakeSocket, FakeStorage, kick, push, response } from './fake-socket.mjs';
import { advance, settled } from './helpers.mjs';
import { render, show } from './shown.mjs';

const CONFIG = { gate: 'ws://:3014', connectors: { '127.0.0.1:3050': '/ws/connector-1' } };
const LOCATION = { protocol: 'http:', host: 'chat.test:80', hostname: 'chat.test' };

beforeEach(() => {
  mock.timers.reset();
  mock.timers.enable({ apis: ['setTimeout', 'Date'] });
  FakeSocket.all.length = 0;
});

/** A chat whose listener keeps what the page would show. */
function start({ fetch, random = () => 1, storage = new FakeStorage() } = {}) {
  const { shown, listener } = show();
  const chat = new Chat(listener, {
    connect: (url, options) => connect(url, { ...options, WebSocket: FakeSocket, storage }),
    fetch: fetch ?? (async () => ({ ok: true, json: async () => CONFIG })),
    location: LOCATION,
    random,
    storage,
  });
  return { chat, shown, storage };
}

/** Lets the gate answer, and returns the connector's socket. */
async function passGate(answer = { code: 200, host: '127.0.0.1', port: 3050 }) {
  await settled();
  const gate = FakeSocket.last;
  gate.shake();
  await settled();
  gate.reply(answer);
  await settled();
  assert.equal(gate.readyState, 3, 'the gate is left');
  return FakeSocket.last;
}

async function passConnector(reply) {
  const connector = FakeSocket.last;
  connector.shake({ heartbeat: 3 });
  await settled();
  connector.reply(reply);
  await settled();
  return connector;
}

test('the gate may name a path of its own', async () => {
  const { chat } = start();
  chat.enter('ann', 'lobby');
  const answer = { code: 200, host: 'c.test', port: 8080, tls: true, path: '/ws' };
  const connector = await passGate(answer);
  assert.equal(connector.url, 'wss://c.test:8080/ws');
  chat.leave();
});

async function logIn(users = ['ann', 'bob']) {
  const { chat, shown, storage } = start();
  chat.enter('ann', 'lobby');
  await passGate();
  const socket = await passConnector({ users });
  return { chat, shown, socket, storage };
}

test('the way in leads over the configuration and the gate', async () => {
  const { chat, shown } = start();
  chat.enter('ann', 'lobby');
  assert.equal(shown.phase, 'entering');
  const connector = await passGate();
  assert.equal(FakeSocket.all[0].url, 'ws://chat.test:3014/');
  assert.equal(FakeSocket.all[0].request().body.uid, 'ann');
  assert.equal(connector.url, 'ws://chat.test:80/ws/connector-1');
  await passConnector({ users: ['ann', 'bob'] });
  assert.deepEqual(connector.request().body, { username: 'ann', rid: 'lobby' });
  assert.deepEqual([shown.phase, shown.users], ['in', ['ann', 'bob']]);
});

test('each refusal has its own word, and leaves no connection behind', async () => {
  const cases = [
    [{ code: 500, error: true }, 'problemTaken'],
    [{ code: 400, error: 'bad name' }, 'problemInvalid'],
    [{ code: 503, error: 'later' }, 'problemBusy'],
    [{ code: 500 }, 'problemRefused'],
  ];
  for (const [reply, problem] of cases) {
    const { chat, shown } = start();
    chat.enter('ann', 'lobby');
    await passGate();
    const connector = await passConnector(reply);
    assert.deepEqual([shown.phase, shown.problem], ['out', problem]);
    assert.equal(connector.readyState, 3);
    assert.equal(connector.onclose, null);
  }
});

test('without a server the login says so', async () => {
  const noGate = start({ fetch: async () => ({ ok: false, status: 502 }) });
  noGate.chat.enter('ann', 'lobby');
  await settled();
  assert.deepEqual([noGate.shown.phase, noGate.shown.problem], ['out', 'problemUnreachable']);

  const noConnector = start();
  noConnector.chat.enter('ann', 'lobby');
  await settled();
  FakeSocket.last.shake();
  await settled();
  FakeSocket.last.reply({ code: 500 });
  await settled();
  assert.deepEqual([noConnector.shown.phase, noConnector.shown.problem], ['out', 'problemNoServer']);
});

test('people come and go, each once', async () => {
  const { shown, socket } = await logIn();
  socket.push('onAdd', { route: 'onAdd', user: 'cat' });
  socket.push('onAdd', { user: 'ann' });
  socket.push('onLeave', { user: 'bob' });
  socket.push('onLeave', { user: 'bob' });
  assert.deepEqual(shown.users, ['ann', 'cat']);
  assert.deepEqual(render(shown), ['tipEntered', 'tipJoined cat', 'tipLeft bob']);
});

test('a push that comes with the reply to enter is not lost', async () => {
  const { chat, shown } = start();
  chat.enter('ann', 'lobby');
  const socket = await passGate();
  socket.shake();
  await settled();
  socket.deliver(response(1, { users: ['ann'] }), push('onAdd', { user: 'bob' }));
  await settled();
  assert.deepEqual(shown.users, ['ann', 'bob']);
});

test('a connection that ends with the reply to enter is not mistaken for a session', async () => {
  const { chat, shown } = start();
  chat.enter('ann', 'lobby');
  const socket = await passGate();
  socket.shake();
  await settled();
  socket.deliver(response(1, { users: ['ann'] }), kick('too late'));
  await settled();
  assert.deepEqual([shown.phase, shown.problem], ['out', 'problemUnreachable']);
});

test('a broadcast is shown once, when it comes back', async () => {
  const { chat, shown, socket } = await logIn();
  chat.send('hi', '*');
  assert.deepEqual(socket.request().body, { rid: 'lobby', content: 'hi', from: 'ann', target: '*' });
  assert.deepEqual(render(shown).slice(1), ['ann>* hi sending']);
  socket.reply({});
  socket.push('onChat', { msg: 'hi', from: 'ann', target: '*' });
  await settled();
  assert.deepEqual(render(shown).slice(1), ['ann>* hi sent']);
});

test('everybody sees one order: ours float until the room has placed them', async () => {
  const { chat, shown, socket } = await logIn();
  chat.send('mine 1', '*');
  socket.reply({});
  chat.send('mine 2', '*');
  await settled();
  chat.send('secret', 'bob');
  socket.push('onChat', { msg: 'first', from: 'bob', target: '*' });
  socket.push('onChat', { msg: 'mine 1', from: 'ann', target: '*' });
  socket.reply({});
  await settled();
  socket.push('onChat', { msg: 'second', from: 'bob', target: '*' });
  socket.push('onChat', { msg: 'mine 2', from: 'ann', target: '*' });
  assert.deepEqual(render(shown).slice(1), [
    'bob>* first sent',
    'ann>* mine 1 sent',
    'ann>bob secret sent',
    'bob>* second sent',
    'ann>* mine 2 sent',
  ]);
});

test('equal messages are matched in order, altered ones by order alone', async () => {
  const { chat, shown, socket } = await logIn();
  for (const text of ['same', 'same', 'bad word']) chat.send(text, '*');
  for (const msg of ['same', 'same', '*** word']) socket.push('onChat', { msg, from: 'ann', target: '*' });
  const own = ['ann>* same sent', 'ann>* same sent', 'ann>* *** word sent'];
  assert.deepEqual(render(shown).slice(1), own);
  socket.push('onChat', { msg: 'from elsewhere', from: 'ann', target: '*' });
  assert.deepEqual(render(shown).slice(1), [...own, 'ann>* from elsewhere sent']);
});

test('a whisper is delivered by its reply, and failed by an error', async () => {
  const { chat, shown, socket } = await logIn();
  chat.send('psst', 'bob');
  socket.reply({});
  chat.send('hey', 'zoe');
  socket.reply({ code: 500 });
  await settled();
  assert.deepEqual(render(shown).slice(1), ['ann>bob psst sent', 'ann>zoe hey failed 500']);
});

test('each error makes a message failed, and it can be sent again', async () => {
  const { chat, shown, socket } = await logIn();
  for (const code of [400, 413, 429, 500, 503]) {
    chat.send(`is ${code}`, '*');
    socket.reply({ code, error: 'no' });
  }
  await settled();
  const expected = [400, 413, 429, 500, 503].map((code) => `ann>* is ${code} failed ${code}`);
  assert.deepEqual(render(shown).slice(1), expected);
  chat.retry(shown.lines[3]);
  assert.equal(socket.request().body.content, 'is 429');
  assert.deepEqual(render(shown).slice(-1), ['ann>* is 429 sending']);
  assert.equal(shown.lines.length, 6);
});

test('a message without an answer is failed, until its push comes after all', async () => {
  const { chat, shown, socket } = await logIn();
  chat.send('slow', '*');
  advance(10_000);
  await settled();
  assert.deepEqual(render(shown).slice(1), ['ann>* slow failed timeout']);
  socket.push('onChat', { msg: 'slow', from: 'ann', target: '*' });
  assert.equal(shown.lines[1].state, 'sent');
});

test('a lost connection fails what was under way, and comes back by itself', async () => {
  const { chat, shown, socket } = await logIn();
  chat.send('lost?', '*');
  socket.drop();
  await settled();
  assert.equal(shown.phase, 'lost');
  assert.equal(chat.send('later', '*'), 'notConnected');
  assert.deepEqual(render(shown).slice(1), ['ann>* lost? failed closed', 'tipLost']);
  advance(BASE_MS);
  await passGate();
  const again = await passConnector({ users: ['ann', 'eve'] });
  assert.deepEqual(again.request().body, { username: 'ann', rid: 'lobby' });
  assert.deepEqual([shown.phase, shown.users], ['in', ['ann', 'eve']]);
  assert.equal(render(shown).at(-1), 'tipBackPlain');
  socket.onclose?.();
  assert.equal(shown.phase, 'in', 'the old connection means nothing any more');
});

test('reconnecting waits within its bounds, goes on for ever, and can be hurried', async () => {
  let config = 0;
  const { chat, shown } = start({
    fetch: async () => {
      config += 1;
      return { ok: true, json: async () => CONFIG };
    },
  });
  chat.enter('ann', 'lobby');
  await passGate();
  (await passConnector({ users: ['ann'] })).drop();
  for (const wait of [500, 1000, 2000, 4000, 8000, 16000, 30000, 30000]) {
    const before = config;
    advance(wait - 10);
    assert.equal(config, before, `not before ${wait} ms`);
    advance(10);
    await settled();
    assert.equal(config, before + 1);
    FakeSocket.last.drop();
    await settled();
  }
  const before = config;
  chat.wake();
  chat.wake();
  assert.equal(config, before + 1, 'once, although hurried twice');
  assert.equal(shown.phase, 'lost');
});

test('our own name, held by the lost connection, is waited for', async () => {
  const { shown, socket } = await logIn();
  socket.drop();
  advance(BASE_MS);
  for (let held = 0; held < 3; held += 1) {
    await passGate();
    const refused = await passConnector({ code: 500, error: true });
    assert.deepEqual([shown.phase, refused.readyState], ['lost', 3]);
    advance(2000);
  }
  await passGate();
  await passConnector({ users: ['ann'] });
  assert.equal(shown.phase, 'in');
});

test('a name that stays held belongs to somebody else', async () => {
  const { shown, socket } = await logIn();
  socket.drop();
  advance(BASE_MS);
  for (let waited = 0; shown.phase === 'lost' && waited <= HELD_NAME_MS + 4000; waited += 2000) {
    await passGate();
    await passConnector({ code: 500, error: true });
    if (shown.phase === 'lost') advance(2000);
  }
  assert.deepEqual([shown.phase, shown.problem], ['out', 'problemTaken']);
});

test('a kick ends the session, a restart of the server does not', async () => {
  const kicked = await logIn();
  kicked.socket.deliver(kick('attack'));
  assert.deepEqual([kicked.shown.phase, kicked.shown.problem], ['out', 'problemKicked']);
  for (const reason of ['shutdown', 'draining: ask the gate for another connector']) {
    const drained = await logIn();
    drained.socket.deliver(kick(reason));
    assert.equal(drained.shown.phase, 'lost', reason);
  }
});

test('who leaves is out at once, in whatever phase', async () => {
  const inside = await logIn();
  inside.chat.leave();
  assert.deepEqual([inside.shown.phase, inside.socket.readyState], ['out', 3]);

  const lost = await logIn();
  lost.socket.drop();
  lost.chat.leave();
  const sockets = FakeSocket.all.length;
  advance(60_000);
  await settled();
  assert.deepEqual([lost.shown.phase, FakeSocket.all.length], ['out', sockets]);

  const entering = start();
  entering.chat.enter('ann', 'lobby');
  await passGate();
  entering.chat.leave();
  await settled();
  assert.deepEqual([entering.shown.phase, FakeSocket.last.readyState], ['out', 3]);
});

test('a reload leads back into the room, and a log-out does not', async () => {
  const { chat, storage } = await logIn();
  chat.suspend();
  const again = start({ storage });
  assert.equal(again.chat.stayedIn, 'lobby');
  again.chat.restore();
  assert.equal(again.shown.phase, 'lost');
  assert.equal(again.chat.send('too early', '*'), 'notConnected');
  await passGate();
  const socket = await passConnector({ users: ['ann'] });
  assert.deepEqual(socket.request().body, { username: 'ann', rid: 'lobby' });
  assert.deepEqual(render(again.shown), ['tipBackPlain']);
  again.chat.leave();
  assert.equal(start({ storage }).chat.stayedIn, null);
});

test('nothing is said of ids and secrets to who did not ask for them', async () => {
  const { chat, socket } = await logIn();
  assert.deepEqual(socket.handshake().user, { shaddock: 1 });
  chat.send('hi', '*');
  chat.loadOlder();
  for (const { body } of socket.messages()) assert.doesNotMatch(String(body), /cmid|secret|resume/);
  assert.equal(socket.messages().length, 2);
});

test('the last configuration serves while only the web server is away', async () => {
  let up = true;
  const { chat, shown } = start({
    fetch: async () => {
      if (!up) throw new Error('refused');
      return { ok: true, json: async () => CONFIG };
    },
  });
  chat.enter('ann', 'lobby');
  await passGate();
  const socket = await passConnector({ users: ['ann'] });
  up = false;
  socket.drop();
  advance(BASE_MS);
  await passGate();
  await passConnector({ users: ['ann'] });
  assert.equal(shown.phase, 'in');
});
