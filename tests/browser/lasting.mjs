/** What lasts: history, reloads, unsent messages, names. Beside `run.mjs`. */

import assert from 'node:assert/strict';

import { lowContrasts } from './contrast.mjs';
import { choose, delivered, enter, listed, logIn, message, online, overflows, say, texts, tip } from './people.mjs';

const ROOM = 'archive';
const OLD = 130;
const TELEPHONE = { viewport: { width: 375, height: 667 }, hasTouch: true };

export async function lasting({ browser, server, check, shot }) {
  const [ann, ben] = [await browser.visit(), await browser.visit()];
  await history({ server, check, shot }, ann);
  await reloads({ check, shot }, ann, ben);
  await unsent({ browser, check, shot }, ben);
  await redaction({ server, check, shot }, ann, ben);
  await telephone({ browser, check, shot }, ben);
  await windows({ browser, check, shot }, ann);
  await plain({ browser, check });
  await ben.close();
}

const numbered = (from, to) => Array.from({ length: to - from + 1 }, (_, i) => `old ${from + i}`);

async function history({ server, check, shot }, ann) {
  await check('whoever comes in sees what was said last, and where it begins is further up', async () => {
    for (const text of numbered(1, OLD)) await server.publish(ROOM, 'robot', text);
    await enter(ann, 'ann', ROOM);
    await message(ann, `old ${OLD}`);
    assert.deepEqual(await texts(ann), numbered(OLD - 49, OLD));
    assert.equal(await ann.locator('#load-older').isVisible(), true);
    const isAtEnd = await ann.locator('#log').evaluate((log) => log.scrollHeight - log.scrollTop - log.clientHeight < 5);
    assert.equal(isAtEnd, true);
  });
  await check('scrolling up reads more, and what is in sight stays where it is', async () => {
    const first = ann.locator('.message').filter({ hasText: new RegExp(`old ${OLD - 49}$`) });
    await ann.locator('#log').evaluate((log) => (log.scrollTop = 30));
    const before = (await first.boundingBox()).y;
    await message(ann, `old ${OLD - 99}`);
    assert.ok(Math.abs((await first.boundingBox()).y - before) < 2, 'it has not moved');
    assert.deepEqual(await texts(ann), numbered(OLD - 99, OLD));
    await shot(ann, 'older');
  });
  await check('the beginning is reached by keyboard alone, and said to be it', async () => {
    await ann.locator('#log').evaluate((log) => (log.scrollTop = 400));
    await ann.locator('#log').focus();
    await ann.keyboard.press('Home');
    await ann.locator('#edge').filter({ hasText: 'This is where the room begins.' }).waitFor();
    assert.deepEqual(await texts(ann), numbered(1, OLD));
    await ann.locator('#announcer').filter({ hasText: 'Older messages: 3' }).waitFor({ state: 'attached' });
    assert.equal(await ann.locator('#load-older').isHidden(), true);
    await ann.locator('#log').evaluate((log) => (log.scrollTop = 0));
    await shot(ann, 'beginning');
  });
}

async function reloads({ check, shot }, ann, ben) {
  await check('a reload keeps one in the room, with its history and ready to write', async () => {
    await enter(ben, 'ben', ROOM);
    await say(ben, 'hello ann');
    await delivered(ann, 'hello ann');
    await ann.reload();
    await online(ann);
    await delivered(ann, 'hello ann');
    assert.equal(await ann.locator('#login').isHidden(), true);
    assert.equal(await ann.evaluate(() => document.activeElement.id), 'message');
    await say(ann, 'hello ben');
    for (const page of [ann, ben]) await delivered(page, 'hello ben');
    await message(ann, `old ${OLD}`);
    const all = await texts(ann);
    assert.deepEqual(all, [...numbered(OLD + 1 - all.length + 2, OLD), 'hello ann', 'hello ben']);
    await listed(ann, ['ann', 'ben']);
    await shot(ann, 'reloaded');
  });
  await check('what was whispered is there after a reload, for both and no third', async () => {
    await choose(ann, 'ben');
    await say(ann, 'a secret');
    await delivered(ben, 'a secret');
    for (const page of [ann, ben]) {
      await page.reload();
      await online(page);
      await delivered(page, 'a secret');
      assert.equal(await page.locator('.whisper .bubble').filter({ hasText: 'a secret' }).count(), 1);
    }
  });
}

async function unsent({ browser, check, shot }, ben) {
  await check('what the server has not acknowledged is kept over a reload, and stored once', async () => {
    const page = await browser.visit();
    let isDeaf = false;
    await page.routeWebSocket(/./, (socket) => {
      const server = socket.connectToServer();
      server.onMessage((data) => isDeaf || socket.send(data));
    });
    await page.reload();
    await enter(page, 'cay', ROOM);
    isDeaf = true;
    for (const text of ['no answer to this', 'nor to this']) await say(page, text);
    await delivered(ben, 'no answer to this');
    assert.equal(await page.locator('.message.mine[data-state="sending"]').count(), 2);
    await shot(page, 'sending');
    isDeaf = false;
    await page.reload();
    await online(page);
    for (const who of [page, ben]) {
      await delivered(who, 'nor to this');
      assert.deepEqual((await texts(who)).slice(-2), ['no answer to this', 'nor to this']);
    }
    await page.locator('.mark[aria-label="Sent"]').last().waitFor();
    await page.getByRole('button', { name: 'Leave' }).click();
    await page.locator('#login:not([hidden])').waitFor();
    await page.reload();
    await page.locator('#login:not([hidden])').waitFor();
    await page.close();
  });
}

async function redaction({ server, check, shot }, ann, ben) {
  await check('a text that is taken away disappears, and does not come back with a reload', async () => {
    await say(ben, 'something that must go');
    await delivered(ann, 'something that must go');
    const seq = await seqOf(ben, 'something that must go');
    await server.redact(ROOM, seq);
    for (const page of [ann, ben]) {
      await page.locator('.message.redacted').filter({ hasText: 'This message was removed.' }).waitFor();
      assert.equal(await page.getByText('something that must go').count(), 0);
    }
    await ann.reload();
    await ann.locator('.message.redacted').waitFor();
    await shot(ann, 'redacted');
    assert.deepEqual(await lowContrasts(ann), []);
  });
}

/** The number of a message, as history has it; its author's page learns it with the answer. */
async function seqOf(page, text) {
  const node = page.locator('.message[data-seq]').filter({ hasText: text });
  return Number(await node.getAttribute('data-seq'));
}

async function telephone({ browser, check, shot }, ben) {
  await check('a telephone shows history, marks and refusals, and nothing sticks out', async () => {
    const page = await browser.visit({ ...TELEPHONE, colorScheme: 'dark' });
    await enter(page, 'dee', ROOM);
    await message(page, 'hello ann');
    assert.equal(await overflows(page), false);
    await say(page, 'from a telephone, with a text that is long enough for two lines');
    await delivered(ben, 'from a telephone');
    await shot(page, 'telephone');
    await page.locator('#people-toggle').click();
    await choose(page, 'ben');
    await ben.getByRole('button', { name: 'Leave' }).click();
    await tip(page, 'ben left.');
    await say(page, 'are you there?');
    await page.locator('.message.failed').getByText('ben is not in the room').waitFor();
    await page.locator('#target-clear').click();
    assert.equal(await overflows(page), false);
    await shot(page, 'telephone-failed');
    await page.getByRole('button', { name: 'Remove' }).click();
    await page.locator('#log').evaluate((log) => (log.scrollTop = 0));
    await page.locator('#to-newest').waitFor({ state: 'hidden' });
    await say(page, 'and back at the end');
    await delivered(page, 'and back at the end');
    assert.equal(await overflows(page), false);
    await page.close();
  });
}

async function plain({ browser, check }) {
  await check('with a server that numbers no messages, the page is a plain client', async () => {
    const [eve, fay] = [await browser.visit(), await browser.visit()];
    await eve.routeWebSocket(/./, (socket) => {
      const server = socket.connectToServer();
      socket.onMessage((data) => server.send(withoutUser(data)));
    });
    await eve.reload();
    await enter(eve, 'eve', ROOM);
    await enter(fay, 'fay', ROOM);
    await say(eve, 'hello from the past');
    await delivered(fay, 'hello from the past');
    await say(fay, 'hello to the past');
    await delivered(eve, 'hello to the past');
    assert.deepEqual(await texts(eve), ['hello from the past', 'hello to the past']);
    assert.equal(await eve.locator('#edge').isHidden(), true);
    await eve.reload();
    await online(eve);
    await tip(eve, 'What was said in the meantime is not shown.');
    assert.deepEqual(await texts(eve), []);
    await eve.close();
    await fay.close();
  });
}

/** A handshake, as clients make it that know of no extended sessions. */
function withoutUser(data) {
  if (data[0] !== 1) return data;
  const { sys } = JSON.parse(data.subarray(4));
  const body = Buffer.from(JSON.stringify({ sys }));
  const head = Buffer.alloc(4);
  head.writeUInt32BE((1 << 24) | body.length);
  return Buffer.concat([head, body]);
}

async function windows({ browser, check, shot }, ann) {
  await check('somebody else does not get the name, whoever it is copied from does', async () => {
    const other = await browser.visit();
    await logIn(other, 'ann', ROOM);
    await other.locator('#login-problem').filter({ hasText: 'already has this name' }).waitFor();
    await other.close();
    const copy = await browser.duplicate(ann);
    await online(copy);
    await ann.locator('#login-problem').filter({ hasText: 'in another window' }).waitFor();
    await shot(ann, 'superseded');
    await ann.reload();
    await ann.locator('#login:not([hidden])').waitFor();
    await say(copy, 'now from here');
    await delivered(copy, 'now from here');
    await copy.close();
    await ann.close();
  });
}
