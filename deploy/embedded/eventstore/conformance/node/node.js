"use strict";
// A node of the event store as a process, in a folder of its own.

const { spawn } = require("node:child_process");
const { once } = require("node:events");
const { mkdtemp, rm } = require("node:fs/promises");
const net = require("node:net");
const { tmpdir } = require("node:os");
const { join } = require("node:path");
const { setTimeout: pause } = require("node:timers/promises");

const MS_TO_START = 20_000;

class Node {
  static async start() {
    const node = new Node();
    node.folder = await mkdtemp(join(tmpdir(), "kinolog-conformance-"));
    node.port = await freePort();
    await node.start();
    return node;
  }

  // Starts it on the same folder and port as before. It dies with us.
  async start() {
    const serve = ["serve", "--dir", this.folder, "--listen", `127.0.0.1:${this.port}`];
    const command = ["--pdeathsig", "KILL", process.env.KINOLOG_EVENTSTORE_BIN, ...serve];
    // What a node says is no TAP: its standard output is our standard error.
    this.process = spawn("setpriv", command, { stdio: ["ignore", 2, 2] });
    const deadline = Date.now() + MS_TO_START;
    while (!(await answers(this.port))) {
      if (this.process.exitCode !== null || Date.now() > deadline) {
        throw new Error("the node does not answer");
      }
      await pause(10);
    }
  }

  stop() {
    return this.end("SIGTERM");
  }

  kill() {
    return this.end("SIGKILL");
  }

  async end(signal) {
    if (this.process.exitCode !== null || this.process.signalCode !== null) return;
    const exit = once(this.process, "exit");
    this.process.kill(signal);
    await exit;
  }

  async remove() {
    await this.kill();
    await rm(this.folder, { recursive: true });
  }
}

async function freePort() {
  const listener = net.createServer().listen(0, "127.0.0.1");
  await once(listener, "listening");
  const { port } = listener.address();
  await new Promise((resolve) => listener.close(resolve));
  return port;
}

function answers(port) {
  return new Promise((resolve) => {
    const probe = net.connect(port, "127.0.0.1");
    probe.on("connect", () => resolve(true)).on("error", () => resolve(false));
    probe.on("connect", () => probe.destroy());
  });
}

module.exports = { Node, freePort };
