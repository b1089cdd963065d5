// The commands that the chart's NOTES show, run as they stand there.

import { spawn } from "node:child_process";
import net from "node:net";
import { output, until } from "./kube.mjs";

/** Runs them in order, and returns how many; port-forwards stay until all are done. */
export async function runNotes(notes, env) {
  const lines = notes.split("\n").filter((line) => /^  (\S+=\$\()?(kubectl|helm|grpcurl) /.test(line));
  const commands = lines.map((line) => line.trim()).filter((line) => !line.includes(" scale "));
  const forwards = [];
  try {
    for (const command of commands) {
      const port = / port-forward .* (\d+):/.exec(command)?.[1];
      if (port) forwards.push(await forward(command.replace(/ & sleep \d+$/, ""), Number(port), env));
      else if (/^TOKEN=/.test(command)) await output("bash", ["-c", `${command}; [[ $TOKEN ]]`], 30, env);
      else await output("bash", ["-c", command], 120, env);
    }
    const page = forwards.find(({ command }) => command.includes("web-server"));
    if (page) await (await fetch(`http://localhost:${page.port}/`)).text();
  } finally {
    for (const { child } of forwards) child.kill();
  }
  return commands.length;
}

async function forward(command, port, env) {
  const child = spawn("bash", ["-c", `exec ${command}`], { stdio: "ignore", env: { ...process.env, ...env } });
  await until(20, `${command} opens its port`, () =>
    new Promise((resolve) => {
      const socket = net.connect(port, "localhost");
      socket.on("connect", () => resolve(true)).on("error", () => resolve(false));
      socket.on("connect", () => socket.destroy());
    }));
  return { command, port, child };
}
