/** One message of the log: a line of a `Timeline`, as an element. */

import { avatar, button, element, icon } from './dom.js';

/** After these the message may have arrived all the same. */
const UNSURE = new Set([503, 'timeout', 'closed', 'left']);

/** Refusals for which we have words of our own. */
const EXPLAINED = new Set([400, 413, 429, 503]);

/** What became of a message of ours: a symbol, and its words. */
const MARKS = {
  sending: ['clock', 'markSending'],
  sent: ['check', 'markSent'],
  failed: ['alert', 'markFailed'],
};

/** What a message of ours waits for. */
const WAITS = { offline: 'sendingOffline', busy: 'sendingBusy' };

export class MessageView {
  #t;
  #actions;
  #time;
  #dateAndTime;

  /** `actions`: retry(line), edit(line), discard(line), whisper(name), isHere(name). */
  constructor(t, language, actions) {
    this.#t = t;
    this.#actions = actions;
    this.#time = new Intl.DateTimeFormat(language, { timeStyle: 'short' });
    this.#dateAndTime = new Intl.DateTimeFormat(language, { dateStyle: 'medium', timeStyle: 'short' });
  }

  create(line) {
    const node = element('article', 'line message');
    const whisper = line.target !== '*';
    node.classList.toggle('mine', line.mine);
    node.classList.toggle('whisper', whisper);
    node.classList.toggle('old', Boolean(line.old));
    const bubble = element('div', 'bubble-row');
    if (line.mine) bubble.append(this.#mark());
    bubble.append(element('p', 'bubble'));
    const body = element('div', 'body');
    body.append(this.#head(line, whisper), bubble);
    node.append(avatar(line.from), body);
    this.update(node, line);
    return node;
  }

  update(node, line) {
    const time = node.querySelector('time');
    time.textContent = this.#clock(line.at);
    time.dateTime = new Date(line.at).toISOString();
    node.querySelector('.bubble').textContent = line.redacted ? this.#t('redacted') : line.content;
    node.classList.toggle('redacted', Boolean(line.redacted));
    node.classList.toggle('sending', line.state === 'sending');
    node.classList.toggle('failed', line.state === 'failed');
    node.dataset.state = line.state;
    if (line.seq) node.dataset.seq = line.seq;
    if (line.code === undefined) delete node.dataset.code;
    else node.dataset.code = line.code;
    this.#delivery(node, line);
  }

  #clock(at) {
    const isToday = new Date(at).toDateString() === new Date().toDateString();
    return (isToday ? this.#time : this.#dateAndTime).format(at);
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
    head.append(' ', element('time'));
    return head;
  }

  /** What became of a message of ours. Read by who looks for it, and not aloud. */
  #mark() {
    const mark = element('span', 'mark');
    mark.setAttribute('role', 'img');
    return mark;
  }

  #delivery(node, line) {
    const mark = node.querySelector('.mark');
    if (mark && mark.dataset.state !== line.state) {
      const [symbol, words] = MARKS[line.state];
      mark.dataset.state = line.state;
      mark.title = this.#t(words);
      mark.setAttribute('aria-label', mark.title);
      mark.replaceChildren(icon(symbol));
    }
    node.querySelector('.delivery')?.remove();
    if (line.state === 'sending') {
      const text = element('p', 'delivery', this.#t(WAITS[line.why] ?? 'sending'));
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
    const choices = [['retry', retry], ['edit', edit], ['discard', discard]];
    for (const [name, act] of choices) text.append(' ', button('link', this.#t(name), () => act(line)));
    return text;
  }

  #why({ code, target, error }) {
    if (target !== '*' && (code === 404 || (code === 500 && !this.#actions.isHere(target)))) {
      return this.#t('failedAbsent', { name: target });
    }
    if (code === 'timeout') return this.#t('failedTimeout');
    if (code === 'closed') return this.#t('failedClosed');
    if (code === 'left') return this.#t('failedLeft');
    if (EXPLAINED.has(code)) return this.#said(this.#t(`failed${code}`), error);
    return code === 500 ? this.#t('failed500') : this.#said(this.#t('failedRefused'), error);
  }

  /** Our words, and the server's. */
  #said(words, error) {
    return error ? this.#t('failedWith', { why: words, error }) : words;
  }
}
