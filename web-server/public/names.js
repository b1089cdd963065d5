/** Names of users and rooms: what a server accepts, known before it is asked. */

/** Longest name, in bytes of UTF-8 after normalisation. */
export const NAME_LEN_MAX = 64;

/** Longest message that servers take by default, in bytes of UTF-8. */
export const CONTENT_LEN_MAX = 32 * 1024;

// The two joiners stay: emoji and several scripts are spelled with them.
const UNPRINTABLE =
  /(?![\u200c\u200d])[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Co}\p{Cs}\p{Cn}]/u;

export function normalizeName(raw) {
  return raw.trim().normalize('NFC');
}

/** Returns why `name` is none, as a key of the dictionary, or `null` if it is one. */
export function nameProblem(name) {
  if (name === '') return 'nameEmpty';
  if (byteLength(name) > NAME_LEN_MAX) return 'nameLong';
  if (name.includes('*')) return 'nameStar';
  return UNPRINTABLE.test(name) ? 'nameCharacter' : null;
}

export function byteLength(text) {
  return new TextEncoder().encode(text).length;
}
