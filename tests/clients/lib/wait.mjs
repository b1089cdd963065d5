// Waiting is always for something, and never for ever.

/** The time that anything which should happen at once is given, in ms. */
export const SOON = 5_000;

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Rejects with `what` unless `promise` settles within `ms`. */
export async function within(ms, what, promise) {
  let timer;
  const late = new Promise((_, reject) => {
    const message = () => (typeof what === "function" ? what() : what);
    timer = setTimeout(() => reject(new Error(`not within ${ms} ms: ${message()}`)), ms);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/**
 * Asks `probe` again and again until it returns something true, and returns that.
 * For what tells nobody when it changes; throws what `probe` threw last, or `what`.
 */
export async function until(ms, what, probe) {
  const end = Date.now() + ms;
  let last = new Error(`not within ${ms} ms: ${what}`);
  do {
    try {
      const answer = await probe();
      if (answer) return answer;
    } catch (error) {
      last = new Error(`not within ${ms} ms: ${what}: ${error.message}`);
    }
    await sleep(50);
  } while (Date.now() < end);
  throw last;
}
