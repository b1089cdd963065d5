/** The messages of the room: what a `Timeline` tells, as elements. */

import { byId, element } from './dom.js';
import { MessageView } from './view-message.js';

/** Messages of one author that are closer than this are shown as one block. */
const GROUP_MS = 3 * 60_000;

/** Nearer to the end than this counts as being at the end, in pixels. */
const END_SLACK_PX = 40;

/** Nearer to the beginning than this, older messages are wanted. */
const BEGIN_SLACK_PX = 240;

/** A page of old messages is not read aloud: so long nothing is. */
const QUIET_MS = 300;

/** What lies before the first message, and its words. */
const EDGES = {
  more: '',
  loading: 'edgeLoading',
  failed: 'edgeFailed',
  start: 'edgeStart',
  gone: 'edgeGone',
  full: 'edgeFull',
};

export class LogView {
  #log = byId('log');
  #edge = byId('edge');
  #edgeText = byId('edge-text');
  #loadOlder = byId('load-older');
  #toNewest = byId('to-newest');
  #nodes = new Map();
  #lines = new WeakMap();
  #t;
  #actions;
  #messages;
  #paging = null;
  #quiet = null;
  #state = null;
  #follows = true;

  /** `actions`: those of `MessageView`, and loadOlder(), trim(), announce(text). */
  constructor(t, language, actions) {
    this.#t = t;
    this.#actions = actions;
    this.#messages = new MessageView(t, language, actions);
    this.#log.setAttribute('aria-label', t('messages'));
    byId('to-newest-text').textContent = t('newMessages');
    this.#toNewest.addEventListener('click', () => this.scrollToEnd());
    this.#loadOlder.addEventListener('click', () => actions.loadOlder());
    this.#log.addEventListener('scroll', () => this.#scrolled());
    // A keyboard that slides in, or a growing text box, must not hide the end.
    new ResizeObserver(() => this.#follows && this.scrollToEnd()).observe(this.#log);
  }

  scrollToEnd() {
    this.#log.scrollTop = this.#log.scrollHeight;
    this.#follows = true;
    this.#toNewest.hidden = true;
  }

  added(line, before) {
    const follow = this.#atEnd() || (line.mine && line.state === 'sending');
    const node = line.kind === 'tip' ? this.#tip(line) : this.#messages.create(line);
    this.#nodes.set(line.id, node);
    this.#lines.set(node, line);
    this.#keepingSight(() => this.#insert(node, before));
    if (this.#paging) return;
    if (follow) {
      this.scrollToEnd();
      this.#actions.trim();
    } else if (line.kind === 'message') {
      this.#toNewest.hidden = false;
    }
  }

  updated(line) {
    const node = this.#nodes.get(line.id);
    if (!node) return;
    const follow = this.#atEnd();
    this.#messages.update(node, line);
    if (follow && !this.#paging) this.scrollToEnd();
  }

  moved(line, before) {
    const node = this.#nodes.get(line.id);
    const next = node.nextElementSibling;
    const hadFocus = node.contains(document.activeElement);
    this.#insert(node, before);
    this.#group(next);
    if (hadFocus) this.#log.focus({ preventScroll: true });
  }

  removed(line) {
    const node = this.#nodes.get(line.id);
    const next = node.nextElementSibling;
    const hadFocus = node.contains(document.activeElement);
    this.#nodes.delete(line.id);
    this.#keepingSight(() => {
      node.remove();
      this.#group(next);
    });
    if (hadFocus) this.#log.focus({ preventScroll: true });
  }

  cleared() {
    for (const node of this.#nodes.values()) node.remove();
    this.#nodes.clear();
    this.#toNewest.hidden = true;
  }

  /** A page of history follows. What is in sight stays where it is. */
  pageBegins() {
    this.#paging = { follow: this.#atEnd(), sight: this.#sight() };
    this.#log.setAttribute('aria-live', 'off');
  }

  pageEnds(count) {
    const { follow, sight } = this.#paging;
    this.#paging = null;
    if (follow) this.scrollToEnd();
    else this.#restore(sight);
    clearTimeout(this.#quiet);
    this.#quiet = setTimeout(() => this.#log.setAttribute('aria-live', 'polite'), QUIET_MS);
    if (!follow && count > 0) this.#actions.announce(this.#t('olderLoaded', { count }));
  }

  edgeChanged(edge) {
    if (edge === this.#state) return;
    const hadFocus = document.activeElement === this.#loadOlder;
    this.#state = edge;
    const canLoad = edge === 'more' || edge === 'failed';
    this.#keepingSight(() => {
      this.#edge.hidden = edge === null;
      this.#edge.dataset.edge = edge;
      this.#edgeText.textContent = EDGES[edge] ? this.#t(EDGES[edge]) : '';
      this.#loadOlder.hidden = !canLoad;
    });
    if (hadFocus && !canLoad) this.#log.focus({ preventScroll: true });
    // Perhaps there is still room above. A moment later: a page may just be shown.
    if (edge === 'more') requestAnimationFrame(() => this.#wantOlder());
  }

  #scrolled() {
    this.#follows = this.#atEnd();
    if (this.#follows) this.#toNewest.hidden = true;
    this.#wantOlder();
  }

  #wantOlder() {
    const isShown = this.#log.clientHeight > 0;
    if (isShown && this.#state === 'more' && this.#log.scrollTop < BEGIN_SLACK_PX) {
      this.#actions.loadOlder();
    }
  }

  #atEnd() {
    const { scrollHeight, scrollTop, clientHeight } = this.#log;
    return scrollHeight - scrollTop - clientHeight < END_SLACK_PX;
  }

  /** Changes something above or below what is read, which stays where it is. */
  #keepingSight(change) {
    if (this.#paging || this.#atEnd()) return change();
    const sight = this.#sight();
    change();
    this.#restore(sight);
  }

  /** The first line in sight, and how far down it is. */
  #sight() {
    const top = this.#log.scrollTop;
    const lines = this.#log.children;
    // The lines are in order, and there may be thousands.
    let [low, high] = [0, lines.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (lines[middle].offsetTop + lines[middle].offsetHeight > top) high = middle;
      else low = middle + 1;
    }
    const node = lines[low] === this.#edge ? lines[low + 1] : lines[low];
    return node ? { node, above: node.offsetTop - top } : null;
  }

  #restore(sight) {
    if (sight?.node.isConnected) this.#log.scrollTop = sight.node.offsetTop - sight.above;
  }

  #insert(node, before) {
    this.#log.insertBefore(node, before ? this.#nodes.get(before.id) : null);
    this.#group(node);
    this.#group(node.nextElementSibling);
  }

  /** Hides the head of a message that goes on where the one above it stopped. */
  #group(node) {
    const line = node && this.#lines.get(node);
    if (!line) return;
    const above = this.#lines.get(node.previousElementSibling);
    const goesOn =
      above?.kind === 'message' &&
      line.kind === 'message' &&
      above.from === line.from &&
      above.target === line.target &&
      Math.abs(line.at - above.at) < GROUP_MS;
    node.classList.toggle('grouped', Boolean(goesOn));
  }

  #tip(line) {
    const node = element('p', `line tip ${line.key}`);
    node.append(element('span', '', this.#t(line.key, { name: line.about })));
    return node;
  }
}
