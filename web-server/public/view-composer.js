/** The text box: what is written, and to whom. */

import { byId } from './dom.js';
import { CONTENT_LEN_MAX, byteLength } from './names.js';
import { EVERYBODY } from './view-people.js';

/** From here on the user is told how much room is left, in bytes. */
const COUNTER_FROM = CONTENT_LEN_MAX - 1024;

/** The text box grows with its content up to here, in pixels. */
const HEIGHT_MAX_PX = 160;

export class ComposerView {
  #form = byId('composer');
  #message = byId('message');
  #target = byId('target');
  #clear = byId('target-clear');
  #counter = byId('counter');
  #why = byId('composer-why');
  #to = EVERYBODY;
  #t;
  #actions;

  /** `actions`: send(content, target) → whether it was taken, choose(name), isHere(name). */
  constructor(t, actions) {
    this.#t = t;
    this.#actions = actions;
    this.#form.addEventListener('submit', (event) => {
      event.preventDefault();
      this.#submit();
    });
    this.#message.addEventListener('input', () => this.#changed());
    this.#message.addEventListener('keydown', (event) => this.#key(event));
    this.#clear.addEventListener('click', () => actions.choose(EVERYBODY));
  }

  focus() {
    this.#message.focus();
  }

  /** Says why what is written could not be taken, or nothing. */
  explain(why) {
    this.#why.textContent = why;
  }

  /** Puts a text back, to be changed and sent again. */
  edit(content) {
    this.#message.value = content;
    this.#changed();
    this.focus();
  }

  reset() {
    this.#message.value = '';
    this.#changed();
  }

  /** Marks whom we write to. Called again when that user comes or goes. */
  chosen(name) {
    this.#to = name;
    const toAll = name === EVERYBODY;
    const key = this.#actions.isHere(name) ? 'targetOne' : 'targetGone';
    this.#target.textContent = toAll ? this.#t('targetAll') : this.#t(key, { name });
    this.#message.placeholder = this.#t(toAll ? 'messageToAll' : 'messageToOne', { name });
    this.#form.classList.toggle('whispering', !toAll);
    this.#clear.hidden = toAll;
  }

  #key(event) {
    // While an input method composes, Enter chooses a candidate and sends nothing.
    if (event.isComposing || event.keyCode === 229) return;
    if (event.key === 'Enter' && !event.shiftKey) {
      event.preventDefault();
      this.#submit();
    } else if (event.key === 'Escape' && this.#to !== EVERYBODY) {
      this.#actions.choose(EVERYBODY);
    }
  }

  #submit() {
    const content = this.#message.value;
    if (content.trim() === '') return;
    if (this.#actions.send(content, this.#to)) this.reset();
    this.focus();
  }

  #changed() {
    this.explain('');
    const box = this.#message;
    box.style.setProperty('height', 'auto');
    box.style.setProperty('height', `${Math.min(box.scrollHeight, HEIGHT_MAX_PX)}px`);
    // A character has at least one byte and at most three, so most texts need no count.
    const length = box.value.length * 3 < COUNTER_FROM ? 0 : byteLength(box.value);
    const left = CONTENT_LEN_MAX - length;
    const shown = length >= COUNTER_FROM;
    const key = left < 0 ? 'bytesOver' : 'bytesLeft';
    this.#counter.textContent = shown ? this.#t(key, { count: Math.abs(left) }) : '';
    this.#counter.classList.toggle('over', left < 0);
  }
}
