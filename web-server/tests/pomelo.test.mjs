import assert from 'node:assert/strict';
import { beforeEach, mock, test } from 'node:test';

import { encode } from '../public/protobuf.js';
import { CONNECT_TIMEOUT_MS, PomeloError, REQUEST_TIMEOUT_MS, connect } from '../public/pomelo.js';
import { FakeSocket, FakeStorage, HEARTBEAT, kick, push, response } from './fake-socket.mjs';
import { advance, bytes, hex, parseSchema, vectors } from './helpers.mjs';

const SECOND = 1000;
const SCHEMA = parseSchema({
  onChat: { 'required string msg': 1, 'required string from': 2, 'required string target': 3 },
});
const FULL = {
  dict: { 'chat.chatHandler.send': 1, onChat: 4 },
  dictVersion: 'd1',
  useDict: true,
  protos: { server: SCHEMA, client: {}, version: 'p1' },
  useProto: true,
};

beforeEach(() => {
  mock.timers.reset();
  mock.timers.enable({ apis: ['setTimeout', 'Date'] });
});

/** Starts to connect; what happens is noted in `log`. */
function start(options = {}) {
  const log = [];
  const client = connect('ws://test/', {
    WebSocket: FakeSocket,
    storage: new FakeStorage(),
    onPush: (route, body) => log.push([route, body]),
    onClose: (end) => log.push(['closed', end]),
    ...options,
  });
  return { client, log, socket: FakeSocket.last };
}

async function open(sys = {}, options = {}) {
  const { client, log, socket } = start(options);
  socket.shake(sys);
  return { client: await client, log, socket };
}

function kindOf(kind) {
  return (error) => error instanceof PomeloError && error.kind === kind;
}

test('the handshake says who we are, and is acknowledged', async () => {
  const { socket } = await open();
  const { type, version, rsa, protoVersion } = socket.handshake().sys;
  assert.deepEqual([type, typeof version, rsa, protoVersion], ['js-websocket', 'string', {}, 0]);
  assert.deepEqual(socket.sent.map((sent) => sent.type), [1, 2]);
});

test('a refused handshake, a refused connection and silence are errors', async () => {
  const refused = start();
  refused.socket.shake({}, 500);
  await assert.rejects(refused.client, kindOf('connect'));

  const dropped = start();
  dropped.socket.drop();
  await assert.rejects(dropped.client, kindOf('connect'));

  const silent = start();
  advance(CONNECT_TIMEOUT_MS);
  await assert.rejects(silent.client, kindOf('connect'));
  assert.deepEqual([refused.log, dropped.log, silent.log], [[], [], []]);
});

test('what the server said about itself is kept, and used when it says it no more', async () => {
  const storage = new FakeStorage();
  await open(FULL, { storage });
  const { log, socket } = await open({ useDict: true, useProto: true }, { storage });
  assert.equal(socket.handshake().sys.protoVersion, 'p1');
  assert.equal(socket.handshake().sys.dictVersion, 'd1');
  const value = { msg: 'hi', from: 'ann', target: '*' };
  socket.push(4, encode(SCHEMA, 'onChat', value));
  assert.deepEqual(log, [['onChat', value]]);
});

test('a server without schemas is not read by those of another', async () => {
  const storage = new FakeStorage();
  await open(FULL, { storage });
  const { log, socket } = await open({}, { storage });
  socket.push('onChat', { msg: 'plain' });
  assert.deepEqual(log, [['onChat', { msg: 'plain' }]]);
});

test('a damaged or forbidden cache is as good as none', async () => {
  const damaged = new FakeStorage();
  damaged.setItem('pomelo', '{');
  assert.equal((await open({}, { storage: damaged })).socket.handshake().sys.protoVersion, 0);
  const forbidden = {
    getItem: () => { throw new Error('no'); },
    setItem: () => { throw new Error('no'); },
  };
  const { socket } = await open(FULL, { storage: forbidden });
  assert.equal(socket.handshake().sys.protoVersion, 0);
});

test('requests carry ids and codes of routes, and get the reply with their id', async () => {
  const { client, log, socket } = await open(FULL);
  const first = client.request('chat.chatHandler.send', { content: 'a' });
  const second = client.request('connector.entryHandler.enter', {});
  const routes = socket.messages().map(({ id, route }) => [id, route]);
  assert.deepEqual(routes, [[1, 1], [2, 'connector.entryHandler.enter']]);
  socket.reply({ second: true }, 2);
  socket.reply({ first: true }, 1);
  socket.reply({ nobody: true }, 1);
  assert.deepEqual(await Promise.all([first, second]), [{ first: true }, { second: true }]);
  assert.deepEqual([socket.readyState, log], [1, []], 'a reply for nobody does no harm');
});

test('request bodies follow the schema, if there is one', async () => {
  const client = parseSchema({ r: { 'required string uid': 1 } });
  const { client: pomelo, socket } = await open({ protos: { server: {}, client, version: 'v' } });
  pomelo.request('r', { uid: 'alice' }).catch(() => {});
  assert.equal(hex(socket.messages()[0].body), '0a05616c696365');
});

test('a request without a reply ends after its time', async () => {
  const { client } = await open();
  const request = client.request('a.b.c', {});
  advance(REQUEST_TIMEOUT_MS);
  await assert.rejects(request, kindOf('timeout'));
});

test('several packages in one message are all read, in order', async () => {
  const { client, log, socket } = await open();
  const request = client.request('a.b.c', {});
  socket.deliver(push('onAdd', { user: 'bob' }), response(1, {}), push('onLeave', { user: 'bob' }));
  assert.deepEqual(await request, {});
  assert.deepEqual(log, [['onAdd', { user: 'bob' }], ['onLeave', { user: 'bob' }]]);
});

test('malformed packages end the connection, text and unknown codes do nothing', async () => {
  const { client, log, socket } = await open();
  socket.onmessage({ data: '{"text":1}' });
  socket.push(77, {});
  const request = client.request('a.b.c', {});
  socket.deliver(bytes('04ffff'));
  await assert.rejects(request, kindOf('closed'));
  assert.equal(log.length, 1);
  assert.match(log[0][1].reason, /malformed/);
  assert.equal(socket.readyState, 3);
});

test('a kick tells its reason; our own close tells nothing', async () => {
  const kicked = await open();
  kicked.socket.deliver(kick('attack'));
  kicked.socket.drop();
  assert.deepEqual(kicked.log, [['closed', { reason: 'kicked', kicked: 'attack' }]]);

  const closed = await open();
  const request = closed.client.request('a.b.c', {});
  closed.client.close();
  await assert.rejects(request, kindOf('closed'));
  await assert.rejects(closed.client.request('a.b.c', {}), kindOf('closed'));
  assert.deepEqual(closed.log, []);
});

test('an abort ends the connection at any time', async () => {
  const before = new AbortController();
  const early = start({ signal: before.signal });
  before.abort();
  await assert.rejects(early.client, kindOf('connect'));
  const after = new AbortController();
  const { socket, log } = await open({}, { signal: after.signal });
  after.abort();
  assert.deepEqual([socket.readyState, log], [3, []]);
});

test('nothing beats before the server does', async () => {
  const { socket, log } = await open({ heartbeat: 1 });
  advance(60 * SECOND);
  assert.deepEqual([socket.beats(), log], [0, []]);
});

test('each heartbeat is answered after one interval, however many came', async () => {
  const { socket } = await open({ heartbeat: 3 });
  socket.deliver(HEARTBEAT);
  advance(1 * SECOND);
  socket.deliver(HEARTBEAT, HEARTBEAT);
  advance(2 * SECOND - 1);
  assert.equal(socket.beats(), 0);
  advance(1);
  assert.equal(socket.beats(), 1);
  socket.deliver(HEARTBEAT);
  advance(3 * SECOND);
  assert.equal(socket.beats(), 2);
});

test('a server silent for two intervals after our beat is gone', async () => {
  const { socket, log } = await open({ heartbeat: 1 });
  socket.deliver(HEARTBEAT);
  advance(1 * SECOND);
  assert.equal(socket.beats(), 1);
  advance(2 * SECOND - 1);
  assert.deepEqual(log, []);
  advance(1);
  assert.deepEqual(log, [['closed', { reason: 'server silent', kicked: null }]]);
});

test('any package counts as a sign of life, to within 100 ms', async () => {
  const { socket, log } = await open({ heartbeat: 1 });
  socket.deliver(HEARTBEAT);
  advance(1 * SECOND);
  // Silence is looked at two intervals after the beat; this one moves it by 1.5 s.
  advance(1.5 * SECOND);
  socket.push('onAdd', { user: 'bob' });
  log.length = 0;
  advance(2 * SECOND - 1);
  assert.deepEqual(log, []);
  advance(1);
  assert.equal(log.length, 1);

  const near = await open({ heartbeat: 1 });
  near.socket.deliver(HEARTBEAT);
  advance(1 * SECOND);
  advance(90);
  near.socket.push('onAdd', { user: 'bob' });
  near.log.length = 0;
  advance(2 * SECOND - 90);
  assert.equal(near.log.length, 1);
});

test('recorded sessions of the original are understood', async () => {
  for (const { id, frames } of vectors('capture')) {
    const { client, log, socket } = start();
    socket.open();
    // What alice's connection was sent, in order; replies are for requests 1, 2, 3 …
    const wanted = frames.filter(({ who, dir }) => who === 'alice' && dir === 'S->C');
    for (const frame of wanted.slice(0, 1)) socket.deliver(bytes(frame.hex));
    const pomelo = await client;
    const replies = wanted.filter(({ msg }) => msg?.type === 'response');
    const requests = replies.map(() => pomelo.request('no.such.route', {}).catch((error) => error));
    for (const frame of wanted.slice(1)) socket.deliver(bytes(frame.hex));
    const expected = wanted.filter(({ msg }) => msg?.type === 'push');
    const pushes = log.filter(([route]) => route !== 'closed');
    assert.equal(pushes.length, expected.length, id);
    assert.deepEqual(pushes.filter(([route]) => !/^on(Chat|Add|Leave)$/.test(route)), [], id);
    expected.forEach(({ msg }, index) => {
      if (msg.body_json) assert.deepEqual(pushes[index][1], msg.body_json, id);
    });
    const bodies = replies.map(({ msg }) => msg.body_json);
    pomelo.close();
    assert.deepEqual((await Promise.all(requests)).slice(0, bodies.length), bodies, id);
  }
});
