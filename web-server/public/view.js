/** The page: which of its two sides is shown, and what goes from one part to another. */

import { byId } from './dom.js';
import { nameProblem, normalizeName } from './names.js';
import { ComposerView } from './view-composer.js';
import { LogView } from './view-log.js';
import { EVERYBODY, PeopleView } from './view-people.js';

/** The last name and room, so that nobody has to type them twice. */
const REMEMBERED = 'shaddock.login';

/** Implements the listener of `Chat` and `Timeline`. */
export class View {
  #t;
  #chat = null;
  #log;
  #people;
  #composer;
  #target = EVERYBODY;
  #unread = 0;
  #me = '';
  #room = '';

  constructor(t, language) {
    this.#t = t;
    const choose = (name) => this.#choose(name);
    const isHere = (name) => this.#chat.isHere(name);
    this.#people = new PeopleView(t, language, choose);
    this.#composer = new ComposerView(t, {
      choose,
      isHere,
      send: (content, target) => this.#send(content, target),
    });
    this.#log = new LogView(t, language, {
      isHere,
      whisper: (name) => isHere(name) && choose(name),
      retry: (line) => this.#taken(this.#chat.retry(line)),
      discard: (line) => this.#chat.discard(line),
      edit: (line) => {
        this.#chat.discard(line);
        this.#composer.edit(line.content);
      },
      loadOlder: () => this.#chat.loadOlder(),
      trim: () => this.#chat.trim(),
      announce: (text) => (byId('announcer').textContent = text),
    });
    this.#listen();
    this.#fillIn();
  }

  /** The one that does what the user wants. A reload goes on where it left off. */
  serve(chat) {
    this.#chat = chat;
    // Unless the address leads elsewhere.
    if (['', chat.stayedIn].includes(roomOfAddress())) chat.restore();
  }

  phaseChanged(phase, { name, room, problem, keepsUnsent }) {
    const inside = phase === 'in' || phase === 'lost';
    const wasInside = !byId('chat').hidden;
    this.#me = name;
    this.#room = room;
    byId('chat').hidden = !inside;
    byId('login').hidden = inside;
    byId('login-button').disabled = phase === 'entering';
    byId('login-button').textContent = this.#t(phase === 'entering' ? 'entering' : 'enter');
    byId('login-problem').textContent = problem ? this.#t(problem.key, problem) : '';
    this.#connection(phase === 'in', keepsUnsent);
    if (inside && !wasInside) this.#enterRoom();
    if (phase === 'out') this.#showLogin(problem);
    this.#retitle();
  }

  usersReset(users) {
    this.#people.reset(users, this.#me);
    this.#composer.chosen(this.#target);
  }

  userJoined(user) {
    this.#people.joined(user);
    if (user === this.#target) this.#composer.chosen(user);
  }

  userLeft(user) {
    this.#people.left(user);
    // The choice stays: a whisper must not turn into a word to everybody.
    if (user === this.#target) this.#composer.chosen(user);
  }

  lineAdded(line, before) {
    this.#log.added(line, before);
    if (document.hidden && line.kind === 'message' && !line.mine && !line.old) {
      this.#unread += 1;
      this.#retitle();
    }
  }

  lineUpdated(line) {
    this.#log.updated(line);
  }

  lineMoved(line, before) {
    this.#log.moved(line, before);
  }

  lineRemoved(line) {
    this.#log.removed(line);
  }

  linesCleared() {
    this.#log.cleared();
  }

  pageBegins() {
    this.#log.pageBegins();
  }

  pageEnds(count) {
    this.#log.pageEnds(count);
  }

  edgeChanged(edge) {
    this.#log.edgeChanged(edge);
  }

  #listen() {
    byId('login-form').addEventListener('submit', (event) => {
      event.preventDefault();
      this.#login();
    });
    for (const id of ['name', 'room']) {
      byId(id).addEventListener('input', () => this.#fieldProblem(id, null));
    }
    byId('leave').addEventListener('click', () => this.#chat.leave());
    byId('try-now').addEventListener('click', () => this.#chat.wake());
    addEventListener('online', () => this.#chat.wake());
    addEventListener('pagehide', () => this.#chat.suspend());
    document.addEventListener('visibilitychange', () => {
      if (document.hidden) return this.#chat.suspend();
      this.#unread = 0;
      this.#retitle();
      this.#chat.wake();
    });
  }

  #login() {
    const [name, room] = ['name', 'room'].map((id) => normalizeName(byId(id).value));
    const problems = { name: nameProblem(name), room: nameProblem(room) };
    for (const [id, problem] of Object.entries(problems)) this.#fieldProblem(id, problem);
    const wrong = Object.keys(problems).find((id) => problems[id]);
    if (wrong) return byId(wrong).focus();
    remember({ name, room });
    this.#chat.enter(name, room);
  }

  #fieldProblem(id, key) {
    byId(`${id}-problem`).textContent = key ? this.#t(key) : '';
    byId(id).setAttribute('aria-invalid', String(Boolean(key)));
  }

  /** What was used last, and above it the room that the address names. */
  #fillIn() {
    const { name = '', room = '' } = remembered();
    byId('name').value = name;
    byId('room').value = roomOfAddress() || room;
    byId(name ? 'room' : 'name').focus();
  }

  #enterRoom() {
    history.replaceState(null, '', `#${encodeURIComponent(this.#room)}`);
    byId('room-name').textContent = this.#room;
    this.#composer.reset();
    this.#choose(EVERYBODY);
    this.#log.scrollToEnd();
  }

  #showLogin(problem) {
    this.#people.close();
    byId('announcer').textContent = '';
    const field = byId(problem?.key === 'problemTaken' || !byId('name').value ? 'name' : 'room');
    field.focus();
    field.select();
  }

  #connection(online, keepsUnsent) {
    const status = online ? this.#t('online', { name: this.#me }) : this.#t('offline');
    const banner = online ? '' : this.#t(keepsUnsent ? 'bannerKept' : 'bannerLost');
    byId('status-text').textContent = status;
    byId('status-dot').classList.toggle('on', online);
    byId('banner').hidden = online;
    byId('banner-text').textContent = banner;
    byId('announcer').textContent = banner;
  }

  #choose(name) {
    this.#target = name;
    this.#people.chosen(name);
    this.#composer.chosen(name);
    this.#composer.focus();
  }

  #send(content, target) {
    return this.#taken(this.#chat.send(content, target));
  }

  /** Whether a message was taken; if not, the user is told why. */
  #taken(problem) {
    const text = problem ? this.#t(problem) : '';
    byId('announcer').textContent = text;
    this.#composer.explain(text);
    return problem === null;
  }

  #retitle() {
    const inside = !byId('chat').hidden;
    const count = this.#unread > 0 ? `(${this.#unread}) ` : '';
    document.title = inside ? `${count}${this.#room} · Shaddock` : 'Shaddock';
  }
}

function roomOfAddress() {
  try {
    return decodeURIComponent(location.hash.slice(1));
  } catch {
    return '';
  }
}

function remember(login) {
  try {
    localStorage.setItem(REMEMBERED, JSON.stringify(login));
  } catch {
    // Forbidden or full: it is typed again next time.
  }
}

function remembered() {
  try {
    return JSON.parse(localStorage.getItem(REMEMBERED)) ?? {};
  } catch {
    return {};
  }
}
