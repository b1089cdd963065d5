/** The server, the browser and the bookkeeping of `run.mjs`. */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
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
    this.ports ??= await freePorts(3);
    const [web, gate, connector] = this.ports.map((port) => `127.0.0.1:${port}`);
    const flags = { web, 'gate-client': gate, 'connector-client': connector };
    const anyPort = ['gate-grpc', 'connector-grpc', 'chat-grpc', 'admin'];
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
