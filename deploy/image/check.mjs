// Tries the image without a container runtime: its files in a chroot, as user 65532, with a
// read-only root and networks, mounts and processes of its own. Needs root.
//
//   node deploy/image/check.mjs [ARCHIVE]      default: target/image/shaddock.tar
//
// Each program starts, becomes ready and ends in order when it is told to; a database is
// looked for by a name that only /etc/hosts knows, and by one that only a DNS server knows.

import { execFileSync, spawn } from "node:child_process";
import crypto from "node:crypto";
import dgram from "node:dgram";
import fs from "node:fs";
import net from "node:net";
import path from "node:path";

const WORK = path.resolve("target/image/check");
const ROOT = path.join(WORK, "root");
const SIZE_MAX = 40_000_000;
const USER = 65532;
const DEADLINE = 30_000;
const READY = ["--admin-addr", "127.0.0.1:9090"];

const run = (file, ...args) => execFileSync(file, args, { encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] });

function outside(archive) {
  if (process.getuid() !== 0) throw new Error("image-check needs root, for the chroot");
  fs.rmSync(WORK, { recursive: true, force: true });
  fs.mkdirSync(ROOT, { recursive: true });
  run("tar", "--extract", "--file", archive, "--directory", WORK);
  const index = JSON.parse(fs.readFileSync(path.join(WORK, "index.json"), "utf8"));
  const manifest = JSON.parse(blob(index.manifests[0].digest));
  const config = JSON.parse(blob(manifest.config.digest));
  assert(config.config.User === `${USER}:${USER}`, "the image's user is 65532");
  const size = manifest.layers.reduce((sum, layer) => sum + layer.size, 0);
  assert(size < SIZE_MAX, `${(size / 1e6).toFixed(1)} MB compressed, which is less than 40`);
  for (const layer of manifest.layers) {
    blob(layer.digest);
    run("tar", "--extract", "--gzip", "--same-owner", "--same-permissions", "--file",
      file(layer.digest), "--directory", ROOT);
  }
  const child = spawn("unshare", ["--mount", "--net", "--pid", "--fork", "--kill-child", process.execPath,
    import.meta.filename, "--inside"], { stdio: "inherit" });
  child.once("exit", (code) => (process.exitCode ||= code ?? 1));
}

const file = (digest) => path.join(WORK, "blobs/sha256", digest.replace("sha256:", ""));

/** A blob's content, if it is what its name says. */
function blob(digest) {
  const content = fs.readFileSync(file(digest));
  const is = `sha256:${crypto.createHash("sha256").update(content).digest("hex")}`;
  if (is !== digest) throw new Error(`${digest} is ${is}`);
  return content;
}

async function inside() {
  run("ip", "link", "set", "lo", "up");
  // What a kubelet mounts: names, processes, and a place to write.
  fs.mkdirSync(path.join(ROOT, "proc"), { recursive: true });
  for (const name of ["hosts", "resolv.conf"]) fs.writeFileSync(path.join(ROOT, "etc", name), "");
  fs.writeFileSync(path.join(ROOT, "etc/hosts"), "127.0.0.1 localhost by-hosts.test\n");
  fs.writeFileSync(path.join(ROOT, "etc/resolv.conf"), "nameserver 127.0.0.1\n");
  for (const name of ["admin-token", "cluster-token", "password"]) {
    fs.writeFileSync(path.join(ROOT, "run/shaddock", name), `${name}-of-a-test\n`);
  }
  run("mount", "--bind", ROOT, ROOT);
  run("mount", "-t", "proc", "proc", path.join(ROOT, "proc"));
  run("mount", "-t", "tmpfs", "-o", `uid=${USER},mode=700`, "tmpfs", path.join(ROOT, "state"));
  run("mount", "-o", "remount,ro,bind", ROOT);

  const programs = fs.readdirSync(path.join(ROOT, "usr/bin"));
  for (const program of programs.filter((name) => name !== "shaddock")) {
    const told = execFileSync("chroot", chroot(program, "--version"), { encoding: "utf8" });
    assert(told.startsWith(`${program} `), `${program} --version says ${told.trim()}`);
  }
  const tokens = ["--admin-token-file", "/run/shaddock/admin-token", "--cluster-token-file", "/run/shaddock/cluster-token"];
  const grpc = (port) => ["--grpc-addr", `0.0.0.0:${port}`, ...tokens, ...READY];
  await becomesReady("chat", grpc(6050));
  await becomesReady("connector", ["--listen-addr", "0.0.0.0:3050", "--advertise", "127.0.0.1:3050", ...grpc(4050)]);
  await becomesReady("gate", ["--listen-addr", "0.0.0.0:3014", ...grpc(4014)]);
  await becomesReady("web-server", ["--listen-addr", "0.0.0.0:8080", "--proxy", ...READY]);
  await becomesReady("standalone", ["--data", "/state", ...READY]);

  await dials("by-hosts.test");
  const names = await serveNames();
  await dials("by-dns.test");
  assert(names.asked.includes("by-dns.test"), "the name server was asked");
  process.exit(process.exitCode ?? 0);
}

const chroot = (program, ...args) => [`--userspec=${USER}:${USER}`, "--groups=", ROOT, `/usr/bin/${program}`, ...args];

function start(program, args) {
  const child = spawn("chroot", chroot(program, ...args), { stdio: ["ignore", "pipe", "pipe"] });
  child.log = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (data) => (child.log += data));
  child.ended = new Promise((resolve) => child.once("exit", (code, signal) => resolve(code ?? signal)));
  return child;
}

async function becomesReady(program, args) {
  const child = start(program, args);
  await until(child, `${program} is ready`, async () => (await fetch("http://127.0.0.1:9090/readyz")).ok);
  const proc = (name) => fs.readFileSync(path.join(ROOT, "proc", `${child.pid}`, name), "utf8");
  assert(/^Uid:\t65532\t65532\t65532\t65532$/m.test(proc("status")) && /^CapEff:\t0+$/m.test(proc("status")) &&
    /^\d+ \d+ \S+ \S+ \/ ro[, ]/m.test(proc("mountinfo")), `${program} is ready, as user 65532, without rights, on a read-only root`);
  child.kill("SIGTERM");
  const code = await child.ended;
  assert(code === 0, `${program} ends with ${code} when it is told to`, child.log);
}

/** A shard finds the database behind this name. */
async function dials(host) {
  const dialled = new Promise((resolve) => {
    const server = net.createServer((socket) => {
      resolve(true);
      socket.destroy();
      server.close();
    });
    server.listen(5432, "127.0.0.1");
  });
  const child = start("chat", ["--store", `postgres://chat@${host}:5432/chat`, "--store-password-file",
    "/run/shaddock/password", ...READY]);
  const late = new Promise((resolve) => setTimeout(resolve, DEADLINE, false).unref());
  assert(await Promise.race([dialled, late]), `chat finds ${host}`, child.log);
  child.kill("SIGKILL");
  await child.ended;
}

/** A name server that knows every name, as 127.0.0.1. */
async function serveNames() {
  const asked = [];
  const socket = dgram.createSocket("udp4", (query, peer) => {
    const labels = [];
    let at = 12;
    for (; query[at] > 0; at += query[at] + 1) labels.push(query.toString("latin1", at + 1, at + 1 + query[at]));
    asked.push(labels.join("."));
    const isA = query.readUInt16BE(at + 1) === 1;
    const question = query.subarray(12, at + 5);
    const head = Buffer.from([query[0], query[1], 0x81, 0x80, 0, 1, 0, isA ? 1 : 0, 0, 0, 0, 0]);
    const answer = Buffer.from([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4, 127, 0, 0, 1]);
    socket.send(Buffer.concat(isA ? [head, question, answer] : [head, question]), peer.port, peer.address);
  });
  await new Promise((resolve) => socket.bind(53, "127.0.0.1", resolve));
  return { asked };
}

async function until(child, what, test) {
  const deadline = Date.now() + DEADLINE;
  let ended;
  child.ended.then((code) => (ended = code));
  while (ended === undefined && Date.now() < deadline) {
    if (await test().catch(() => false)) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`${what}: not within ${DEADLINE / 1000} s, or it ended (${ended}):\n${child.log}`);
}

function assert(holds, what, log = "") {
  console.log(`${holds ? "ok    " : "FAILED"} ${what}`);
  if (holds) return;
  console.log(log);
  process.exitCode = 1;
}

if (process.argv[2] === "--inside") await inside();
else outside(process.argv[2] ?? "target/image/shaddock.tar");
