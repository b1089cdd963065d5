/** Who is in the room, and whom we write to. On narrow screens a drawer. */

import { avatar, button, byId, element } from './dom.js';

export const EVERYBODY = '*';

/** Where the list is a drawer; the same as in style.css. */
const NARROW = '(max-width: 760px)';

export class PeopleView {
  #panel = byId('people');
  #veil = byId('veil');
  #toggle = byId('people-toggle');
  #everybody = byId('everybody');
  #list = byId('people-list');
  #behind = document.querySelectorAll('.bar, .room');
  #names = [];
  #me = '';
  #chosen = EVERYBODY;
  #t;
  #choose;
  #collator;

  /** `choose(name)` is called when the user wants to write to `name`, or to `*`. */
  constructor(t, language, choose) {
    this.#t = t;
    this.#choose = choose;
    this.#collator = new Intl.Collator(language, { numeric: true });
    this.#everybody.addEventListener('click', () => this.#picked(EVERYBODY));
    this.#toggle.addEventListener('click', () => this.#open(true));
    byId('people-close').addEventListener('click', () => this.#open(false));
    this.#veil.addEventListener('click', () => this.#open(false));
    document.addEventListener('keydown', (event) => {
      if (event.key === 'Escape' && this.#isOpen()) this.#open(false);
    });
    // When the window grows, the list is no drawer any more.
    matchMedia(NARROW).addEventListener('change', () => this.close());
  }

  reset(names, me) {
    this.#me = me;
    this.#names = names.filter((name) => name !== me).sort(this.#collator.compare);
    this.#list.replaceChildren(this.#self(), ...this.#names.map((name) => this.#person(name)));
    this.#counted();
  }

  joined(name) {
    if (name === this.#me) return;
    const index = this.#position(name);
    this.#names.splice(index, 0, name);
    // One further, because we ourselves come first.
    this.#list.insertBefore(this.#person(name), this.#list.children[index + 1] ?? null);
    this.#counted();
  }

  left(name) {
    const index = this.#names.indexOf(name);
    if (index < 0) return;
    this.#names.splice(index, 1);
    this.#list.children[index + 1].remove();
    this.#counted();
  }

  /** Marks whom we write to. */
  chosen(name) {
    this.#chosen = name;
    this.#everybody.setAttribute('aria-pressed', String(name === EVERYBODY));
    for (const person of this.#list.querySelectorAll('button')) {
      person.setAttribute('aria-pressed', String(person.dataset.name === name));
    }
  }

  /** Closes the drawer without touching the focus. */
  close() {
    this.#panel.dataset.open = 'false';
    this.#veil.hidden = true;
    this.#toggle.setAttribute('aria-expanded', 'false');
    for (const node of this.#behind) node.inert = false;
  }

  #isOpen() {
    return this.#panel.dataset.open === 'true';
  }

  #open(open) {
    this.close();
    if (!open) return this.#toggle.focus();
    this.#panel.dataset.open = 'true';
    this.#veil.hidden = false;
    this.#toggle.setAttribute('aria-expanded', 'true');
    for (const node of this.#behind) node.inert = true;
    this.#everybody.focus();
  }

  #picked(name) {
    this.close();
    this.#choose(name);
  }

  /** Where `name` belongs in the sorted list. */
  #position(name) {
    let [low, high] = [0, this.#names.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#collator.compare(this.#names[middle], name) < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #self() {
    const item = element('li', 'person self');
    const label = element('span', 'person-name', this.#me);
    item.append(avatar(this.#me), label, element('span', 'you', this.#t('you')));
    return item;
  }

  #person(name) {
    const item = element('li');
    const person = button('person', '', () => this.#picked(name));
    person.dataset.name = name;
    person.title = this.#t('whisperTo', { name });
    person.setAttribute('aria-pressed', String(name === this.#chosen));
    person.append(avatar(name), element('span', 'person-name', name));
    item.append(person);
    return item;
  }

  #counted() {
    const count = this.#names.length + 1;
    byId('people-count').textContent = count;
    byId('people-toggle-count').textContent = count;
    this.#toggle.setAttribute('aria-label', this.#t('peopleOpen', { count }));
  }
}
