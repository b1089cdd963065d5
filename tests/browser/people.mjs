/** What people do with the page, and what they see there. */

export async function logIn(page, name, room) {
  await page.getByLabel(/^(Your name|你的名字)$/).fill(name);
  await page.getByLabel(/^(Room|房间)$/).fill(room);
  await page.keyboard.press('Enter');
}

export async function enter(page, name, room) {
  await logIn(page, name, room);
  await online(page);
}

/** Waits until the page is in its room and connected. */
export async function online(page) {
  await page.locator('#chat:not([hidden]) #status-dot.on').waitFor();
}

export async function say(page, content) {
  await page.locator('#message').fill(content);
  await page.locator('#message').press('Enter');
}

/** The bubble that holds exactly this text, once it is there. */
export async function message(page, content) {
  const bubbles = page.locator('.bubble').filter({ hasText: content });
  await bubbles.first().waitFor();
  return bubbles.first();
}

/** Waits until `author` of this text is shown, and it is delivered. */
export async function delivered(page, content) {
  await page.locator('.message[data-state="sent"] .bubble').filter({ hasText: content }).waitFor();
}

export async function tip(page, content) {
  await page.locator('.tip').filter({ hasText: content }).first().waitFor();
}

/** All that was said, from the first to the last line, in messages of one kind. */
export async function texts(page, kind = '.message') {
  return page.locator(`${kind} .bubble`).allTextContents();
}

/** The names in the list, our own first. */
export async function people(page) {
  return page.locator('#people-list .person-name').allTextContents();
}

/** Waits until exactly these are in the list. */
export async function listed(page, names) {
  await page.waitForFunction(
    (expected) =>
      [...document.querySelectorAll('#people-list .person-name')]
        .map((node) => node.textContent)
        .sort()
        .join('\n') === expected,
    [...names].sort().join('\n'),
  );
}

export async function choose(page, name) {
  await page.locator(`#people-list button[data-name="${name}"]`).click();
}

/** Whether something sticks out of the window to the side. */
export async function overflows(page) {
  return page.evaluate(() => document.documentElement.scrollWidth > innerWidth);
}
