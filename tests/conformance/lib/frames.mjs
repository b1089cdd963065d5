// What the official client and we say to each other in `--profile full`, byte for byte:
// bodies in protobuf, routes as codes.

import { Standalone } from "../../clients/lib/cluster.mjs";

const pack = (...parts) => {
  const body = Buffer.concat(parts);
  return Buffer.concat([Buffer.from([4, 0, 0, body.length]), body]).toString("hex");
};
const bytes = (...all) => Buffer.from(all);
/** A field of type string: key, length, text. */
const text = (tag, value) =>
  Buffer.concat([bytes((tag << 3) | 2, Buffer.byteLength(value)), Buffer.from(value)]);

/** By hand from the protocol; the codes and tags are those of branch tutorial-protobuf. */
const EXPECTED = [
  ["out", "request 1, code 3: queryEntry", pack(bytes(1, 1, 0, 3), text(1, "bob"))],
  ["out", "request 2, code 2: enter", pack(bytes(1, 2, 0, 2), text(1, "bob"), text(2, "r"))],
  ["in", "answer 2, JSON", pack(bytes(4, 2), Buffer.from('{"users":["bob"]}'))],
  [
    "out",
    "request 3, code 1: send",
    pack(bytes(1, 3, 0, 1), text(1, "r"), text(2, "你好"), text(3, "bob"), text(4, "*")),
  ],
  ["in", "answer 3, JSON", pack(bytes(4, 3), Buffer.from("{}"))],
  [
    "in",
    "push, code 4: onChat",
    pack(bytes(7, 0, 4), text(1, "你好"), text(2, "bob"), text(3, "*")),
  ],
  ["in", "push, code 5: onAdd", pack(bytes(7, 0, 5), text(1, "cat"))],
  ["in", "push, code 6: onLeave", pack(bytes(7, 0, 6), text(1, "cat"))],
];

const DATA = "04";
/** Answers of the gate hold a port that differs each time. */
const isPort = ({ dir, hex }) => dir === "in" && Buffer.from(hex, "hex").includes('"port"');

/** [{dir, what, expected, came}], in order; `came` is undefined if nothing did. */
export async function recordFrames() {
  const cluster = await Standalone.start({ flags: ["--profile", "full"] });
  try {
    const bob = cluster.client("official");
    await bob.connect(cluster.gate, { frames: true });
    const { host, port } = await bob.request("gate.gateHandler.queryEntry", { uid: "bob" });
    await bob.disconnect();
    await bob.connect({ host, port }, { frames: true });
    await bob.enter("bob", "r");
    await bob.send("你好");
    await bob.next("onChat");
    const cat = await cluster.login("cat", "r");
    await bob.next("onAdd");
    await cat.disconnect();
    await bob.next("onLeave");
    const frames = bob.all("frame").filter((frame) => frame.hex.startsWith(DATA) && !isPort(frame));
    return Array.from({ length: Math.max(EXPECTED.length, frames.length) }, (_, i) => {
      const [dir, what, expected] = EXPECTED[i] ?? [frames[i].dir, "nothing"];
      const came = frames[i]?.dir === dir ? frames[i].hex : undefined;
      return { dir, what, expected, came };
    });
  } finally {
    await cluster.stop();
  }
}
