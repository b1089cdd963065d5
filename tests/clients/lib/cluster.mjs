// A system under test: gate, connectors and chat shards, each a process, on ports
// that are free.

import { Client } from "./client.mjs";
import { grpc } from "./grpcurl.mjs";
import { freePort } from "./ports.mjs";
import { Process } from "./process.mjs";
import { until } from "./wait.mjs";

const HOST = "127.0.0.1";

export class Cluster {
  clients = [];

  /** Lays out a system without starting anything. */
  static async plan({ connectors = 3, shards = 3, flags = {}, tls } = {}) {
    const cluster = new Cluster();
    const ports = async (count) => {
      const all = [];
      while (all.length < count) {
        all.push({ port: await freePort(), grpc: await freePort(), admin: await freePort() });
      }
      return all;
    };
    const chat = await ports(shards);
    const front = await ports(connectors);
    const [gate] = await ports(1);

    const list = chat.map(({ grpc }, i) => `chat-${i}=${HOST}:${grpc}`).join();
    cluster.shards = chat.map((ports, i) =>
      service(`chat-${i}`, "chat", ports, [
        ...["--shard-id", `chat-${i}`, "--shards", list],
        ...(flags.chat ?? []),
      ]),
    );
    cluster.connectors = front.map((ports, i) =>
      service(`connector-${i + 1}`, "connector", ports, [
        ...["--connector-id", `connector-${i + 1}`, "--shards", list],
        ...["--listen-addr", `${HOST}:${ports.port}`],
        ...(flags.connector ?? []),
      ]),
    );
    cluster.gate = service("gate", "gate", gate, [
      ...["--listen-addr", `${HOST}:${gate.port}`],
      ...["--connectors", front.map(({ grpc }) => `${HOST}:${grpc}`).join()],
      ...(flags.gate ?? []),
    ]);
    for (const one of cluster.processes) one.tls = tls;
    return cluster;
  }

  /** Starts a system, and waits until a client could use it. */
  static async start(options) {
    const cluster = await Cluster.plan(options);
    return await cluster.startOrStop(async () => {
      for (const one of cluster.processes) one.launch();
      await cluster.ready();
    });
  }

  /** Leaves no process behind if the start fails. */
  async startOrStop(start) {
    try {
      await start();
      return this;
    } catch (error) {
      await this.stop();
      throw error;
    }
  }

  get processes() {
    return [...this.shards, ...this.connectors, this.gate];
  }

  /** Waits until all processes are ready, and the gate knows all connectors. */
  async ready() {
    await Promise.all(this.processes.map((one) => one.ready()));
    await until(10_000, "the gate knows all connectors", async () => {
      const { connectors = [] } = await grpc(this.gate, "gate.v1.GateService/Connectors");
      const ready = connectors.filter(({ state }) => state === "CONNECTOR_STATE_READY");
      return ready.length === this.connectors.length;
    });
  }

  /** A client that is not connected yet; it ends with the cluster. */
  client(kind) {
    const client = new Client(kind);
    this.clients.push(client);
    return client;
  }

  /** A client in a room, by way of the gate or of one connector. */
  async login(name, room, { kind, via, ...how } = {}) {
    const client = this.client(kind);
    const address = via ?? (await client.ask(this.gate, name));
    await client.connect(address, how);
    await client.enter(name, room);
    return client;
  }

  /** The connector that a client is connected to. */
  connectorOf(client) {
    return this.connectors.find(({ port }) => port === client.address.port);
  }

  /** The shard that serves a room which has members. */
  async shardOf(room) {
    const { shardId } = await this.members(room);
    return this.shards.find(({ name }) => name === shardId);
  }

  /** What the owner of a room says about it: {members, shardId}. */
  async members(room, ask = this.shards.find((one) => one.isRunning)) {
    const answer = await grpc(ask, "chat.v1.ChatService/Members", { room });
    return { members: [], shardId: "", ...answer };
  }

  /** Names for `count` rooms, the first on the first shard, and so on. */
  async roomsOnEachShard(prefix) {
    const found = new Map();
    for (let i = 0; found.size < this.shards.length; i += 1) {
      const room = `${prefix}-${i}`;
      await grpc(this.shards[0], "chat.v1.ChatRemote/Add", { room, user: "probe" });
      const { shardId } = await this.members(room);
      await grpc(this.shards[0], "chat.v1.ChatRemote/Kick", { room, user: "probe" });
      if (!found.has(shardId)) found.set(shardId, room);
    }
    return this.shards.map(({ name }) => found.get(name));
  }

  /** Ends the clients, and leaves the system as it is. */
  async release() {
    await Promise.all(this.clients.splice(0).map((client) => client.stop()));
  }

  async stop() {
    await this.release();
    await Promise.all(this.processes.map((one) => one.isRunning && one.kill()));
  }
}

/** The same as one process, `standalone`, with the page. */
export class Standalone extends Cluster {
  static async start({ flags = [] } = {}) {
    const names = ["web", "gate-client", "connector-client", "gate-grpc"];
    names.push("connector-grpc", "chat-grpc", "admin");
    const ports = {};
    for (const name of names) ports[name] = await freePort();
    const addresses = names.flatMap((name) => [`--${name}-addr`, `${HOST}:${ports[name]}`]);
    const admin = ports.admin;
    // Not where its user keeps what was said.
    const store = flags.includes("--data") ? [] : ["--store", "memory"];
    const args = [...addresses, ...store, ...flags];
    const all = new Process("standalone", "standalone", args, { admin });

    // The three services, each a view of the one process.
    const view = (name, of) => ({
      ...{ name, host: HOST, ...of },
      get isRunning() {
        return all.isRunning;
      },
    });
    const cluster = new Standalone();
    cluster.process = all;
    cluster.web = ports.web;
    cluster.shards = [view("chat", { grpc: ports["chat-grpc"] })];
    cluster.connectors = [
      view("connector", { port: ports["connector-client"], grpc: ports["connector-grpc"] }),
    ];
    cluster.gate = view("gate", { port: ports["gate-client"], grpc: ports["gate-grpc"] });
    return await cluster.startOrStop(() => all.start());
  }

  get processes() {
    return [this.process];
  }
}

function service(name, program, { port, grpc, admin }, flags) {
  const common = ["--grpc-addr", `${HOST}:${grpc}`, "--admin-addr", `${HOST}:${admin}`];
  const one = new Process(name, program, [...common, ...flags], { admin });
  return Object.assign(one, { host: HOST, port, grpc });
}
