import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { test } from 'node:test';

import { connectorUrl, socketUrl } from '../public/address.js';
import { BASE_MS, Backoff, CAP_MS } from '../public/backoff.js';
import { LANGUAGES, pickLanguage, translator } from '../public/i18n.js';
import { nameProblem, normalizeName } from '../public/names.js';
import { LINES_MAX, Timeline } from '../public/timeline.js';

const HTTP = { protocol: 'http:', host: 'chat.test:3001', hostname: 'chat.test' };
const HTTPS = { protocol: 'https:', host: 'chat.test', hostname: 'chat.test' };
const IPV6 = { protocol: 'http:', host: '[::1]:3001', hostname: '[::1]' };

test('addresses become what the page can reach', () => {
  const cases = [
    ['/gate', HTTP, 'ws://chat.test:3001/gate'],
    ['/gate', HTTPS, 'wss://chat.test/gate'],
    ['ws://:3014', HTTP, 'ws://chat.test:3014/'],
    ['ws://0.0.0.0:3014', HTTP, 'ws://chat.test:3014/'],
    ['ws://[::]:3014', IPV6, 'ws://[::1]:3014/'],
    ['wss://gate.test', HTTP, 'wss://gate.test/'],
    ['ws://[2001:db8::1]:3014/x', HTTP, 'ws://[2001:db8::1]:3014/x'],
  ];
  for (const [address, location, expected] of cases) {
    assert.equal(socketUrl(address, location), expected);
    assert.equal(new URL(expected).href, expected);
  }
  for (const bad of ['http://a', 'gate', '', 'javascript:alert(1)']) {
    assert.throws(() => socketUrl(bad, HTTP));
  }
});

test('connectors are reached through the proxy if listed, else directly', () => {
  const config = { connectors: { '10.0.0.1:3050': '/ws/c1', '[::1]:3050': 'wss://edge.test/c2' } };
  const cases = [
    ['10.0.0.1', 3050, 'ws://chat.test:3001/ws/c1'],
    ['::1', 3050, 'wss://edge.test/c2'],
    ['10.0.0.1', 3051, 'ws://10.0.0.1:3051/'],
    ['0.0.0.0', 3051, 'ws://chat.test:3051/'],
    ['', 3051, 'ws://chat.test:3051/'],
    ['fd00::2', 3051, 'ws://[fd00::2]:3051/'],
  ];
  for (const [host, port, expected] of cases) {
    assert.equal(connectorUrl(config, { host, port }, HTTP), expected);
  }
  assert.equal(connectorUrl({}, { host: 'c.test', port: 443 }, HTTPS), 'wss://c.test:443/');
  assert.equal(connectorUrl({}, { host: 'c', port: 1, tls: true }, HTTP), 'wss://c:1/');
});

test('connectors that share a path are reached there, at our own origin if the gate is', () => {
  const named = { host: 'c.test', port: 8080, tls: false, path: '/ws' };
  const proxied = { gate: '/gate', connectors: { 'c.test:1': '/ws/c1' }, connector: '/to/chat' };
  const cases = [
    [proxied, named, HTTPS, 'wss://chat.test/to/chat'],
    [proxied, { ...named, port: 1 }, HTTP, 'ws://chat.test:3001/ws/c1'],
    // The gate says which of them it chose.
    [proxied, { ...named, path: '/to/chat/0af40105' }, HTTP, 'ws://chat.test:3001/to/chat/0af40105'],
    [proxied, { ...named, path: '/to/chatter' }, HTTP, 'ws://chat.test:3001/to/chat'],
    [proxied, { ...named, path: '' }, HTTP, 'ws://chat.test:3001/to/chat'],
    [{ gate: '/gate', connectors: {} }, named, HTTPS, 'wss://chat.test/ws'],
    [{ gate: '/gate', connectors: {} }, named, HTTP, 'ws://chat.test:3001/ws'],
    [{ gate: 'ws://gate.test/gate' }, named, HTTP, 'ws://c.test:8080/ws'],
    [{ gate: 'ws://gate.test/gate' }, named, HTTPS, 'wss://c.test:8080/ws'],
    [{ gate: 'ws://gate.test/gate' }, { ...named, tls: true }, HTTP, 'wss://c.test:8080/ws'],
  ];
  for (const [config, entry, location, expected] of cases) {
    assert.equal(connectorUrl(config, entry, location), expected);
    assert.equal(new URL(expected).href, expected);
  }
});

test('waits are spread over all of a ceiling that doubles up to its cap', () => {
  const [low, high] = [new Backoff(() => 0), new Backoff(() => 1)];
  for (let attempt = 0; attempt < 2000; attempt += 1) {
    assert.equal(low.next(), 0);
    assert.equal(high.next(), Math.min(CAP_MS, BASE_MS * 2 ** attempt));
  }
  assert.equal(high.next(2000), 2000);
  high.reset();
  assert.equal(high.next(), BASE_MS);
  const real = new Backoff();
  const waits = Array.from({ length: 500 }, () => real.next()).slice(10);
  assert.ok(waits.every((wait) => wait >= 0 && wait < CAP_MS));
  assert.ok(Math.min(...waits) < CAP_MS / 4 && Math.max(...waits) > (CAP_MS * 3) / 4);
});

test('names are judged as the server judges them', () => {
  const good = ['a', '小明', 'José 2', '👩‍👩‍👧', 'x'.repeat(64), '柚'.repeat(21), 'a<b>&"'];
  for (const name of good) assert.equal(nameProblem(name), null, name);
  const bad = {
    '': 'nameEmpty',
    ['x'.repeat(65)]: 'nameLong',
    ['柚'.repeat(22)]: 'nameLong',
    'a*b': 'nameStar',
    'a\u0000': 'nameCharacter',
    'a\nb': 'nameCharacter',
    'a\u202eb': 'nameCharacter',
    '\ufeff1': 'nameCharacter',
    '\ud800': 'nameCharacter',
    '\ue000': 'nameCharacter',
    '\u{e0001}': 'nameCharacter',
  };
  for (const [name, problem] of Object.entries(bad)) assert.equal(nameProblem(name), problem);
  assert.equal(normalizeName('  e\u0301 '), 'é');
});

test('every language has every text, with the same blanks', () => {
  const blanks = (text) => (text.match(/\{\w+\}/g) ?? []).sort();
  const keys = Object.keys(LANGUAGES.en);
  for (const [language, words] of Object.entries(LANGUAGES)) {
    assert.deepEqual(Object.keys(words), keys, language);
    for (const key of keys) assert.deepEqual(blanks(words[key]), blanks(LANGUAGES.en[key]), key);
  }
  assert.equal(pickLanguage(['fr-FR', 'zh-Hant-TW', 'en']), 'zh');
  assert.equal(pickLanguage(['fr', '__proto__']), 'en');
  assert.equal(translator('en')('tipLeft', { name: "$& {name} $'" }), "$& {name} $' left.");
});

test('texts that the code asks for exist', () => {
  const used = new Set();
  for (const source of Object.values(sources('.js'))) {
    for (const [, key] of source.matchAll(/#?\bt\('(\w+)'/g)) used.add(key);
    for (const [, key] of source.matchAll(/'((?:tip|problem|name|edge|mark|sending|failed|banner)[A-Z]\w+)'/g)) used.add(key);
  }
  for (const [, key] of sources('.html')['index.html'].matchAll(/data-t[\w-]*="(\w+)"/g)) used.add(key);
  const known = new Set([...Object.keys(LANGUAGES.en), 'namePlaceholder']);
  assert.ok(used.size > 30);
  assert.deepEqual([...used].filter((key) => !known.has(key)), []);
});

test('a room that talks for ever does not fill the memory', () => {
  const lines = [];
  const timeline = new Timeline({
    lineAdded: (line) => lines.push(line),
    lineRemoved: (line) => lines.splice(lines.indexOf(line), 1),
  });
  for (let i = 0; i < LINES_MAX + 10; i += 1) timeline.received('bob', '*', String(i));
  timeline.trim();
  assert.equal(lines.length, LINES_MAX);
  assert.equal(lines[0].content, '10');
});

test('no text ever becomes markup or code', () => {
  const forbidden =
    /innerHTML|outerHTML|insertAdjacentHTML|setHTML|document\.write|DOMParser|createContextualFragment|\beval\b|new Function|srcdoc/;
  for (const [file, source] of Object.entries(sources('.js'))) {
    assert.doesNotMatch(source, forbidden, file);
  }
});

test('the page needs nothing inline and nothing from elsewhere', () => {
  for (const [file, source] of Object.entries({ ...sources('.html'), ...sources('.css') })) {
    assert.doesNotMatch(source, /\son\w+=|\sstyle=|<style|<script(?![^>]*\ssrc=)|javascript:/i, file);
    assert.doesNotMatch(source, /(?:src|href)="(?:\w+:)?\/\/|@import|url\(/i, file);
  }
});

test('the room list is a drawer in script and style alike', () => {
  const query = '(max-width: 760px)';
  assert.ok(sources('.js')['view-people.js'].includes(`'${query}'`));
  assert.ok(sources('.css')['style.css'].includes(`@media ${query}`));
});

function sources(extension) {
  const folder = new URL('../public/', import.meta.url);
  const files = readdirSync(folder).filter((file) => file.endsWith(extension));
  return Object.fromEntries(files.map((file) => [file, readFileSync(new URL(file, folder), 'utf8')]));
}
