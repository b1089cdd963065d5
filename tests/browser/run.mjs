/**
 * The web client in a real Chromium, against the standalone binary.
 *
 *     SHADDOCK_STANDALONE=target/debug/standalone node run.mjs
 *
 * CHROMIUM names the browser, SHADDOCK_STANDALONE_ARGS adds flags.
 */

import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

import { lowContrasts } from './contrast.mjs';
import { Browser, Checks, Standalone } from './harness.mjs';
import { lasting } from './lasting.mjs';
import {
  choose,
  delivered,
  enter,
  listed,
  logIn,
  message,
  online,
  overflows,
  people,
  say,
  texts,
  tip,
} from './people.mjs';

const SCREENSHOTS = fileURLToPath(new URL('screenshots/', import.meta.url));
const ROOM = 'lobby';
const LONG_LEN = 40 * 1024;

const binary = process.env.SHADDOCK_STANDALONE;
if (!binary) {
  console.error('SHADDOCK_STANDALONE must name the standalone binary');
  process.exit(2);
}
mkdirSync(SCREENSHOTS, { recursive: true });

const server = new Standalone(resolve(binary), process.env.SHADDOCK_STANDALONE_ARGS);
const checks = new Checks();
const check = (name, run) => checks.check(name, run);
const shot = (page, name) => page.screenshot({ path: `${SCREENSHOTS}${name}.png`, animations: 'disabled' });

let browser;
try {
  await server.start();
  browser = await Browser.start(server.url);
  await everything();
} catch (error) {
  await check('the test itself', () => Promise.reject(error));
} finally {
  await browser?.close();
  await server.remove();
}
const well = checks.finish();
if (!well) console.log(server.output.replace(/^/gm, '# '));
process.exit(well ? 0 : 1);

async function everything() {
  const [alice, bob, carol] = [await browser.visit(), await browser.visit(), await browser.visit()];
  await shot(alice, 'login');
  await logins(alice, bob, carol);
  await talk(alice, bob, carol);
  await departures(alice, bob, carol);
  await refusals(alice, bob);
  await scrolling(alice, bob);
  await looks(alice);
  await lasting({ browser, server, check, shot });
  await check('no error and no CSP violation in any console', () => {
    assert.deepEqual(browser.takeErrors(), []);
  });
  await crash(alice, bob);
}

async function logins(alice, bob, carol) {
  await check('two people log in, by keyboard alone', async () => {
    await alice.keyboard.type('alice');
    await alice.keyboard.press('Tab');
    await alice.keyboard.type(ROOM);
    await alice.keyboard.press('Enter');
    await online(alice);
    assert.equal(await alice.evaluate(() => document.activeElement.id), 'message');
    await enter(bob, 'bob', ROOM);
  });
  await check('they see each other, and a tip when somebody comes', async () => {
    await tip(alice, 'bob came in.');
    await listed(alice, ['alice', 'bob']);
    await listed(bob, ['alice', 'bob']);
    assert.deepEqual(await people(bob), ['bob', 'alice']);
  });
  await check('a name that is taken is refused with a word about it', async () => {
    await logIn(carol, 'alice', ROOM);
    await carol.locator('#login-problem').filter({ hasText: 'already has this name' }).waitFor();
    assert.equal(await carol.evaluate(() => document.activeElement.id), 'name');
    assert.equal(await carol.locator('#chat').isHidden(), true);
  });
  await check('the same page then enters under another name', async () => {
    await enter(carol, 'carol', ROOM);
    await tip(alice, 'carol came in.');
  });
  await check('names that no server takes are refused before it is asked', async () => {
    const page = await browser.visit();
    for (const name of ['a*b', 'x'.repeat(65), 'a\u202eb', '   ']) {
      await logIn(page, name, ROOM);
      await page.locator('#name-problem:not(:empty)').waitFor();
      assert.equal(await page.locator('#name').getAttribute('aria-invalid'), 'true');
    }
    await page.close();
  });
}

async function talk(alice, bob, carol) {
  await check('a message reaches everybody, and its author once', async () => {
    await say(alice, 'hello everybody');
    for (const page of [alice, bob, carol]) await delivered(page, 'hello everybody');
    assert.equal(await alice.locator('.bubble').count(), 1);
  });
  await check('a whisper reaches one and is seen by no third', async () => {
    await choose(alice, 'bob');
    await say(alice, 'only for bob');
    await delivered(alice, 'only for bob');
    await delivered(bob, 'only for bob');
    assert.equal(await bob.locator('.message.whisper').count(), 1);
    await alice.keyboard.press('Escape');
    await say(alice, 'after the whisper');
    await delivered(carol, 'after the whisper');
    assert.equal(await carol.getByText('only for bob').count(), 0);
    assert.equal(await alice.getByText('only for bob').count(), 1);
  });
  await check('markup stays text', async () => {
    const markup = '<img src=x onerror="window.hacked=1"><b>bold</b> &amp; <script>window.hacked=1</script>';
    await say(alice, markup);
    for (const page of [alice, bob]) {
      const bubble = await message(page, markup);
      assert.equal(await bubble.textContent(), markup);
      assert.equal(await page.locator('#log :is(img, b, script)').count(), 0);
      assert.equal(await page.evaluate(() => window.hacked), undefined);
    }
  });
  await check('emoji, Chinese and line breaks arrive unharmed', async () => {
    const content = '你好，世界 😀👩‍👩‍👧 “quoted” \\u0041\nsecond line';
    await alice.locator('#message').fill(content.split('\n')[0]);
    await alice.locator('#message').press('Shift+Enter');
    await alice.keyboard.insertText(content.split('\n')[1]);
    await alice.keyboard.press('Enter');
    const bubble = await message(bob, '你好，世界');
    assert.equal(await bubble.textContent(), content);
    await delivered(alice, '你好，世界');
  });
}

async function departures(alice, bob, carol) {
  await check('who leaves is gone, with a tip', async () => {
    await choose(alice, 'carol');
    await carol.getByRole('button', { name: 'Leave' }).click();
    await carol.locator('#login:not([hidden])').waitFor();
    await tip(alice, 'carol left.');
    await tip(bob, 'carol left.');
    await listed(alice, ['alice', 'bob']);
  });
  await check('a whisper to somebody who has left is shown as failed, and nobody else gets it', async () => {
    await say(alice, 'are you there?');
    const failed = alice.locator('.message.failed').filter({ hasText: 'are you there?' });
    await failed.getByText('carol is not in the room').waitFor();
    await failed.getByRole('button', { name: 'Remove' }).click();
    await failed.waitFor({ state: 'detached' });
    await alice.locator('#target-clear').click();
    assert.equal(await bob.getByText('are you there?').count(), 0);
  });
}

async function refusals(alice, bob) {
  await check('a message that is too long is shown as failed, and the connection stays', async () => {
    await say(alice, 'y'.repeat(LONG_LEN));
    const failed = alice.locator('.message.failed[data-code="413"]');
    await failed.getByText('it is too long').waitFor();
    await shot(alice, 'too-long');
    await failed.getByRole('button', { name: 'Edit' }).click();
    assert.equal((await alice.locator('#message').inputValue()).length, LONG_LEN);
    await say(alice, 'shorter');
    await delivered(bob, 'shorter');
    await delivered(alice, 'shorter');
    assert.equal(await alice.locator('.failed').count(), 0);
  });
}

async function scrolling(alice, bob) {
  await check('the log follows at its end, and only there', async () => {
    const atEnd = () =>
      bob.evaluate(() => {
        const log = document.getElementById('log');
        return log.scrollHeight - log.scrollTop - log.clientHeight < 5;
      });
    for (let i = 1; i <= 5; i += 1) {
      await say(alice, `page ${i}${'\nline'.repeat(20)}`);
      await delivered(bob, `page ${i}`);
    }
    assert.equal(await atEnd(), true);
    await bob.locator('#log').evaluate((log) => (log.scrollTop = 0));
    await say(alice, 'while you were reading');
    await bob.locator('#to-newest:not([hidden])').waitFor();
    assert.equal(await bob.locator('#log').evaluate((log) => log.scrollTop), 0);
    await bob.locator('#to-newest').click();
    await bob.locator('#to-newest').waitFor({ state: 'hidden' });
    assert.equal(await atEnd(), true);
    await shot(alice, 'chat');
  });
}

async function looks(alice) {
  await check('light and dark follow the system, with enough contrast', async () => {
    const dark = await browser.visit({ colorScheme: 'dark' });
    await enter(dark, 'dora', ROOM);
    await say(dark, 'good evening');
    await delivered(alice, 'good evening');
    const background = (page) =>
      page.evaluate(() => Number(/\d+/.exec(getComputedStyle(document.body).backgroundColor)[0]));
    assert.ok((await background(dark)) < 60 && (await background(alice)) > 200);
    assert.deepEqual([await lowContrasts(dark), await lowContrasts(alice)], [[], []]);
    await shot(dark, 'dark');
    await dark.close();
  });
  await check('a window of 360 pixels is wide enough', async () => {
    const narrow = await browser.visit({ viewport: { width: 360, height: 640 }, hasTouch: true });
    assert.equal(await overflows(narrow), false);
    await enter(narrow, 'w'.repeat(64), ROOM);
    await say(narrow, 'long'.repeat(200));
    await delivered(alice, 'longlong');
    assert.equal(await overflows(narrow), false);
    await shot(narrow, 'narrow');
    await narrow.locator('#people-toggle').click();
    await narrow.locator('#people[data-open="true"]').waitFor();
    assert.equal(await overflows(narrow), false);
    await narrow.keyboard.press('Escape');
    await narrow.locator('#people').waitFor({ state: 'hidden' });
    await narrow.locator('#people-toggle').click();
    await choose(narrow, 'alice');
    await say(narrow, 'from a telephone');
    await delivered(alice, 'from a telephone');
    await narrow.close();
  });
  await check('a Chinese browser gets Chinese words', async () => {
    const chinese = await browser.visit({ locale: 'zh-CN' });
    assert.equal(await chinese.locator('html').getAttribute('lang'), 'zh');
    await chinese.getByRole('button', { name: '进入房间' }).waitFor();
    await enter(chinese, '小明', ROOM);
    await tip(chinese, '你已进入房间。');
    await tip(alice, '小明 came in.');
    await shot(chinese, 'chinese');
    await chinese.close();
    await tip(alice, '小明 left.');
  });
}

async function crash(alice, bob) {
  await check('when the server is killed, the page says so and keeps what is typed', async () => {
    await server.kill();
    for (const page of [alice, bob]) {
      await page.locator('#banner:not([hidden])').filter({ hasText: 'connection' }).waitFor();
      await page.locator('#status-dot:not(.on)').waitFor();
    }
    for (const text of ['typed while away', 'and one more', 'and a third']) await say(alice, text);
    assert.equal(await alice.locator('.message[data-state="sending"] .mark[aria-label="Being sent"]').count(), 3);
    assert.equal(await alice.locator('#message').inputValue(), '');
    await shot(alice, 'lost');
  });
  await check('when it is started again, everybody is back by themselves', async () => {
    await server.start();
    for (const [page, name] of [[alice, 'alice'], [bob, 'bob']]) {
      await online(page);
      await page.locator('#banner').waitFor({ state: 'hidden' });
      await tip(page, /^You are back\.$/);
      await page.locator('#status-text').filter({ hasText: `Online as ${name}` }).waitFor();
      assert.equal(await page.locator('#room-name').textContent(), ROOM);
    }
    for (const page of [alice, bob]) await listed(page, ['alice', 'bob']);
  });
  await check('what was said before is still there, what was typed is sent once, in its order', async () => {
    for (const page of [alice, bob]) await delivered(page, 'and a third');
    const before = await texts(bob, '.message:not(.whisper)');
    assert.deepEqual(before.slice(-3), ['typed while away', 'and one more', 'and a third']);
    assert.deepEqual(await texts(alice, '.message:not(.whisper)'), before);
    assert.ok(before.includes('while you were reading'));
    assert.equal(new Set(before).size, before.length, 'nothing is there twice');
    await alice.reload();
    await online(alice);
    await delivered(alice, 'and a third');
    assert.deepEqual(await texts(alice, '.message:not(.whisper)'), before);
  });
  await check('and they can go on talking', async () => {
    await say(bob, 'welcome back');
    await delivered(alice, 'welcome back');
    await shot(bob, 'back');
  });
}
