/** The server, the browser and the bookkeeping of `run.mjs`. */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect as connectHttp2 } from 'node:http2';
import { createConnection, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';

import { chromium } from 'playwright-core';

/** Nothing here takes longer, also on a busy machine. */
export const PATIENCE_MS = 60_000;

const CHROMIUM_FLAGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

/** The standalone binary, on ports of this test's own. */
export class Standalone {
  #binary;
  #extra;
  #child = null;
  #output = '';
  #folder = mkdtempSync(join(tmpdir(), 'shaddock-browser-'));

  constructor(binary, extra = '') {
    this.#binary = binary;
    this.#extra = extra.split(' ').filter(Boolean);
  }

  async start() {
    this.ports ??= await freePorts(4);
    const [web, gate, connector, chat] = this.ports.map((port) => `127.0.0.1:${port}`);
    const flags = { web, 'gate-client': gate, 'connector-client': connector, 'chat-grpc': chat };
    const anyPort = ['gate-grpc', 'connector-grpc', 'admin'];
    for (const name of anyPort) flags[name] = '127.0.0.1:0';
    const args = Object.entries(flags).flatMap(([name, addr]) => [`--${name}-addr`, addr]);
    // In a folder of its own: what it stores is there when it is started again.
    args.push('--data', this.#folder);
    const child = spawn(this.#binary, [...args, ...this.#extra], { cwd: this.#folder });
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (data) => (this.#output = `${this.#output}${data}`.slice(-20_000)));
    }
    child.on('error', (error) => (this.#output += error.message));
    this.#child = child;
    await Promise.all(this.ports.map((port) => this.#listening(port)));
  }

  get url() {
    return `http://127.0.0.1:${this.ports[0]}/`;
  }

  /** Says something in a room, as a back end does. */
  publish(room, name, content) {
    return this.#call('ChatService/Publish', [text(1, room), text(2, name), text(4, content)]);
  }

  /** Takes the content of a message away, as an operator does. */
  redact(room, seq) {
    return this.#call('ChatRemote/Redact', [text(1, room), number(3, seq)]);
  }

  /** The end of what it printed, to explain a failure. */
  get output() {
    return this.#output;
  }

  /** Ends it without a chance to say goodbye. */
  async kill() {
    const child = this.#child;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const gone = once(child, 'exit');
    child.kill('SIGKILL');
    await gone;
  }

  async remove() {
    await this.kill();
    rmSync(this.#folder, { recursive: true, force: true });
  }

  /** A unary gRPC call. Rejects unless its status is OK. */
  async #call(method, fields) {
    const session = connectHttp2(`http://127.0.0.1:${this.ports[3]}`);
    try {
      const stream = session.request({
        ':method': 'POST',
        ':path': `/chat.v1.${method}`,
        'content-type': 'application/grpc',
        te: 'trailers',
      });
      let status;
      const read = (headers) => (status = headers['grpc-status'] ?? status);
      stream.on('response', read).on('trailers', read).resume();
      const body = Buffer.concat(fields);
      const head = Buffer.alloc(5);
      head.writeUInt32BE(body.length, 1);
      stream.end(Buffer.concat([head, body]));
      await once(stream, 'close');
      if (status !== '0') throw new Error(`${method}: status ${status}`);
    } finally {
      session.close();
    }
  }

  async #listening(port) {
    const deadline = Date.now() + PATIENCE_MS;
    while (!(await accepts(port))) {
      const ended = this.#child.exitCode !== null || this.#child.pid === undefined;
      if (ended || Date.now() > deadline) {
        throw new Error(`nothing listens on port ${port}:\n${this.#output}`);
      }
      await pause(50);
    }
  }
}

/** A field of a protobuf message that holds text. */
function text(tag, value) {
  const bytes = Buffer.from(value);
  return Buffer.concat([Buffer.from([(tag << 3) | 2, ...varint(bytes.length)]), bytes]);
}

/** A field of a protobuf message that holds a number. */
function number(tag, value) {
  return Buffer.from([tag << 3, ...varint(value)]);
}

function varint(value) {
  return value < 0x80 ? [value] : [(value & 0x7f) | 0x80, ...varint(value >>> 7)];
}

function accepts(port) {
  return new Promise((resolve) => {
    const socket = createConnection({ port, host: '127.0.0.1' });
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
    socket.once('connect', () => socket.destroy());
  });
}

/** Ports that are free now; held together, so that they differ. */
async function freePorts(count) {
  const servers = Array.from({ length: count }, () => createServer().listen(0, '127.0.0.1'));
  await Promise.all(servers.map((server) => once(server, 'listening')));
  const ports = servers.map((server) => server.address().port);
  await Promise.all(servers.map((server) => once(server.close(), 'close')));
  return ports;
}

/** Chromium, and the people who sit before it. */
export class Browser {
  #browser;
  #url;
  #errors = [];

  static async start(url) {
    const executablePath = process.env.CHROMIUM ?? '/usr/bin/chromium';
    const self = new Browser();
    self.#url = url;
    // A fresh user-data-dir comes with each launch.
    self.#browser = await chromium.launch({ executablePath, headless: true, args: CHROMIUM_FLAGS });
    return self;
  }

  /** A page of somebody with a profile of their own. */
  async visit(options = {}) {
    const size = { width: 1100, height: 720 };
    const settings = { viewport: size, locale: 'en-US', colorScheme: 'light', ...options };
    const context = await this.#browser.newContext(settings);
    context.setDefaultTimeout(PATIENCE_MS);
    await context.addInitScript(() => {
      addEventListener('securitypolicyviolation', (event) => {
        console.error(`CSP: ${event.violatedDirective} ${event.blockedURI}`);
      });
    });
    const page = await context.newPage();
    page.on('console', (message) => {
      if (message.type() === 'error' || message.type() === 'warning') this.#errors.push(message.text());
    });
    page.on('pageerror', (error) => this.#errors.push(String(error)));
    await page.goto(this.#url);
    return page;
  }

  /** A second window of the same person, with a copy of what the first one keeps. */
  async duplicate(page) {
    const opened = page.waitForEvent('popup');
    await page.evaluate(() => void window.open(location.href));
    return opened;
  }

  /** What browsers complained about since the last time. */
  takeErrors() {
    return this.#errors.splice(0);
  }

  async close() {
    await this.#browser.close();
  }
}

/** Runs checks one after the other, and reports each as a line. */
export class Checks {
  #passed = 0;
  #failed = 0;

  async check(name, run) {
    const number = this.#passed + this.#failed + 1;
    try {
      await run();
      this.#passed += 1;
      console.log(`ok ${number} - ${name}`);
    } catch (error) {
      this.#failed += 1;
      console.log(`not ok ${number} - ${name}`);
      console.log(String(error?.stack ?? error).replace(/^/gm, '  # '));
    }
  }

  /** Prints the sum; true if all is well. */
  finish() {
    console.log(`${this.#passed} passed, ${this.#failed} failed`);
    return this.#failed === 0 && this.#passed > 0;
  }
}
