/** The messages of the room: what a `Timeline` tells, as elements. */

import { avatar, button, byId, element, icon } from './dom.js';

/** Messages of one author that are closer than this are shown as one block. */
const GROUP_MS = 3 * 60_000;

/** Nearer to the end than this counts as being at the end, in pixels. */
const END_SLACK_PX = 40;

/** After these a second try of the same text can succeed. */
const RETRIABLE = new Set([429, 500, 503, 'timeout', 'closed']);

/** After these the message may have arrived all the same. */
const UNSURE = new Set([503, 'timeout', 'closed']);

export class LogView {
  #log = byId('log');
  #toNewest = byId('to-newest');
  #nodes = new Map();
  #lines = new WeakMap();
  #t;
  #actions;
  #clock;

  /** `actions`: retry(line), edit(line), discard(line), whisper(name), isHere(name). */
  constructor(t, language, actions) {
    this.#t = t;
    this.#actions = actions;
    this.#clock = new Intl.DateTimeFormat(language, { timeStyle: 'short' });
    this.#log.setAttribute('aria-label', t('messages'));
    byId('to-newest-text').textContent = t('newMessages');
    this.#toNewest.addEventListener('click', () => this.scrollToEnd());
    this.#log.addEventListener('scroll', () => {
      if (this.#atEnd()) this.#toNewest.hidden = true;
    });
    // A keyboard that slides in, or a growing text box, must not hide the end.
    let wasAtEnd = true;
    this.#log.addEventListener('scroll', () => (wasAtEnd = this.#atEnd()));
    new ResizeObserver(() => wasAtEnd && this.scrollToEnd()).observe(this.#log);
  }

  scrollToEnd() {
    this.#log.scrollTop = this.#log.scrollHeight;
    this.#toNewest.hidden = true;
  }

  added(line, before) {
    const follow = this.#atEnd() || (line.mine && line.floating);
    const node = line.kind === 'tip' ? this.#tip(line) : this.#message(line);
    this.#nodes.set(line.id, node);
    this.#lines.set(node, line);
    this.#insert(node, before);
    if (follow) this.scrollToEnd();
    else if (line.kind === 'message') this.#toNewest.hidden = false;
  }

  updated(line) {
    const node = this.#nodes.get(line.id);
    if (!node) return;
    const follow = this.#atEnd();
    node.querySelector('.bubble').textContent = line.content;
    this.#delivery(node, line);
    if (follow) this.scrollToEnd();
  }

  moved(line, before) {
    const node = this.#nodes.get(line.id);
    const next = node.nextElementSibling;
    this.#insert(node, before);
    this.#group(next);
  }

  removed(line) {
    const node = this.#nodes.get(line.id);
    const next = node.nextElementSibling;
    this.#nodes.delete(line.id);
    node.remove();
    this.#group(next);
  }

  cleared() {
    this.#nodes.clear();
    this.#log.replaceChildren();
    this.#toNewest.hidden = true;
  }

  #atEnd() {
    const { scrollHeight, scrollTop, clientHeight } = this.#log;
    return scrollHeight - scrollTop - clientHeight < END_SLACK_PX;
  }

  #insert(node, before) {
    this.#log.insertBefore(node, before ? this.#nodes.get(before.id) : null);
    this.#group(node);
    this.#group(node.nextElementSibling);
  }

  /** Hides the head of a message that goes on where the one above it stopped. */
  #group(node) {
    if (!node) return;
    const line = this.#lines.get(node);
    const above = this.#lines.get(node.previousElementSibling);
    const goesOn =
      above?.kind === 'message' &&
      line.kind === 'message' &&
      above.from === line.from &&
      above.target === line.target &&
      line.at - above.at < GROUP_MS;
    node.classList.toggle('grouped', Boolean(goesOn));
  }

  #tip(line) {
    const node = element('p', `line tip ${line.key}`);
    node.append(element('span', '', this.#t(line.key, { name: line.about })));
    return node;
  }

  #message(line) {
    const whisper = line.target !== '*';
    const node = element('article', 'line message');
    node.classList.toggle('mine', line.mine);
    node.classList.toggle('whisper', whisper);
    const body = element('div', 'body');
    body.append(this.#head(line, whisper), element('p', 'bubble', line.content));
    node.append(avatar(line.from), body);
    this.#delivery(node, line);
    return node;
  }

  #head(line, whisper) {
    const head = element('p', 'head');
    if (line.mine) {
      head.append(element('span', 'author', line.from));
    } else {
      const author = button('author', line.from, () => this.#actions.whisper(line.from));
      author.title = this.#t('whisperTo', { name: line.from });
      head.append(author);
    }
    if (whisper) {
      const words = line.mine
        ? this.#t('whisperedTo', { name: line.target })
        : this.#t('whisperedToYou');
      const mark = element('span', 'whisper-mark');
      mark.append(icon('lock'), words);
      head.append(' ', mark);
    }
    const time = element('time', '', this.#clock.format(line.at));
    time.dateTime = new Date(line.at).toISOString();
    head.append(' ', time);
    return head;
  }

  #delivery(node, line) {
    node.classList.toggle('sending', line.state === 'sending');
    node.classList.toggle('failed', line.state === 'failed');
    node.dataset.state = line.state;
    if (line.code !== undefined) node.dataset.code = line.code;
    node.querySelector('.delivery')?.remove();
    if (line.state === 'sending') {
      const text = element('p', 'delivery', this.#t('sending'));
      // For most messages it is over in a moment, and not worth a word.
      text.setAttribute('aria-hidden', 'true');
      node.querySelector('.body').append(text);
    } else if (line.state === 'failed') {
      node.querySelector('.body').append(this.#failure(line));
    }
  }

  #failure(line) {
    const key = UNSURE.has(line.code) ? 'unsure' : 'failed';
    const text = element('p', 'delivery', this.#t(key, { why: this.#why(line) }));
    const { retry, edit, discard } = this.#actions;
    const again = RETRIABLE.has(line.code)
      ? button('link', this.#t('retry'), () => retry(line))
      : button('link', this.#t('edit'), () => edit(line));
    text.append(' ', again, ' ', button('link', this.#t('discard'), () => discard(line)));
    return text;
  }

  #why({ code, target }) {
    if (target !== '*' && (code === 404 || (code === 500 && !this.#actions.isHere(target)))) {
      return this.#t('failedAbsent', { name: target });
    }
    const known = new Set([400, 413, 429, 503]);
    if (known.has(code)) return this.#t(`failed${code}`);
    if (code === 'timeout') return this.#t('failedTimeout');
    return this.#t(code === 'closed' ? 'failedClosed' : 'failed500');
  }
}
