/** What the page would show: a listener of `Chat` and `Timeline` that keeps it. */

import assert from 'node:assert/strict';

export function show() {
  const shown = { phase: 'out', problem: null, users: [], lines: [], edge: null };
  const listener = {
    phaseChanged: (phase, { problem }) => Object.assign(shown, { phase, problem: problem?.key }),
    usersReset: (users) => (shown.users = users),
    userJoined: (user) => shown.users.push(user),
    userLeft: (user) => (shown.users = shown.users.filter((other) => other !== user)),
    lineAdded: (line, before) => insert(shown.lines, line, before),
    lineMoved: (line, before) => {
      take(shown.lines, line);
      insert(shown.lines, line, before);
    },
    lineUpdated: (line) => assert.ok(shown.lines.includes(line)),
    lineRemoved: (line) => take(shown.lines, line),
    linesCleared: () => (shown.lines.length = 0),
    pageBegins: () => {},
    pageEnds: () => {},
    edgeChanged: (edge) => (shown.edge = edge),
  };
  return { shown, listener };
}

function insert(lines, line, before) {
  assert.ok(!lines.includes(line), 'it is shown already');
  const at = before ? lines.indexOf(before) : lines.length;
  assert.ok(at >= 0, 'what it comes before is not shown');
  lines.splice(at, 0, line);
}

function take(lines, line) {
  assert.ok(lines.includes(line), 'it is not shown');
  lines.splice(lines.indexOf(line), 1);
}

/** `"from>target text state"`, or the key of a tip. */
export function render({ lines }) {
  return lines.map((line) => {
    if (line.kind === 'tip') return [line.key, line.about].filter(Boolean).join(' ');
    const parts = [`${line.from}>${line.target}`, line.redacted ? '-' : line.content, line.state, line.code];
    return parts.filter((part) => part !== undefined).join(' ');
  });
}
