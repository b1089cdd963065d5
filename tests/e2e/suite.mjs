// Everything that an operator does, and what may happen to a cluster, to an installation of
// the chart on the cluster that KUBECONFIG names, with 500 clients in its rooms: half of
// them the official client from npm, half our own. Prints a table, ends with 1 if something
// failed, and takes away what it made. It wants two nodes, and the two images there: ours
// ($IMAGE, or the chart's default name) and PostgreSQL's.
//
//   node tests/e2e/suite.mjs [word] …     only the steps whose names have one of these
//
// What only the cluster's owner can do is done by commands of his; what is not given is
// left out:
//
//   E2E_API_STOP, E2E_API_START      the API server
//   E2E_CONTAINER_KILL NODE ID       kill -9 a container by its id, without the API server
//   E2E_NODE_LOST=NAME, E2E_NODE_STOP, E2E_NODE_START     cut a node off, and mend it
//   E2E_GATE=ws://HOST:PORT/gate     the way in, if the Service's address is out of reach

import { changes, moreChanges } from "./lib/changes.mjs";
import { install, start, stop, World } from "./lib/world.mjs";
import { misfortunes } from "./lib/misfortunes.mjs";

const world = new World(`shaddock-e2e-${process.pid}`, process.argv.slice(2));
const interrupted = new Promise((_, reject) => {
  for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => reject(new Error(signal)));
});
try {
  await Promise.race([all(), interrupted]);
} catch (error) {
  await world.suite.act("the suite", () => Promise.reject(error));
} finally {
  await world.remove();
  process.exitCode = world.suite.print() ? 0 : 1;
}
// What was interrupted may still wait for something.
process.exit();

async function all() {
  if (!(await install(world))) return;
  if (!(await start(world))) return;
  await changes(world);
  await misfortunes(world);
  await moreChanges(world);
  await stop(world);
}
