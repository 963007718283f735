"use strict";
// A headless Chromium with one player, which takes scenarios from us and reports what it saw.
//
// The page asks for its next scenario and posts its report: no browser driver is needed.

const { spawn } = require("node:child_process");
const { once } = require("node:events");
const { readFile } = require("node:fs/promises");
const http = require("node:http");
const { join } = require("node:path");

// For a page that hangs; one that does not knows better when a player does.
const MS_TO_REPORT = 300_000;
const REPORT_BYTES_MAX = 16 << 20;

const scripts = {
  "hls.js": "hls.js/dist/hls.min.js",
  shaka: "shaka-player/dist/shaka-player.compiled.js",
  dash: "dashjs/dist/modern/umd/dash.all.min.js",
};

const FLAGS = [
  "--headless",
  "--no-sandbox",
  "--disable-dev-shm-usage",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--autoplay-policy=no-user-gesture-required",
];

class Browser {
  // One browser with this player.
  static async start(player, folder) {
    const browser = new Browser();
    browser.player = player;
    browser.server = http.createServer((request, response) => {
      browser.serve(request, response).catch((error) => response.writeHead(500).end(String(error)));
    });
    browser.server.listen(0, "127.0.0.1");
    await once(browser.server, "listening");
    const { port } = browser.server.address();
    const profile = join(folder, `chromium-${player}`);
    const address = `http://127.0.0.1:${port}/?player=${encodeURIComponent(player)}`;
    const command = ["--pdeathsig", "KILL", "chromium", ...FLAGS, `--user-data-dir=${profile}`, address];
    browser.process = spawn("setpriv", command, { stdio: ["ignore", 2, 2] });
    return browser;
  }

  async serve(request, response) {
    const { pathname } = new URL(request.url, "http://localhost");
    const file = (type, path) =>
      readFile(path).then((body) => response.writeHead(200, { "content-type": type }).end(body));
    switch (pathname) {
      case "/":
        return file("text/html", join(__dirname, "page.html"));
      case "/player.js":
        return file("text/javascript", join(process.env.NODE_PATH, scripts[this.player]));
      case "/adapters.js":
      case "/page.js":
        return file("text/javascript", join(__dirname, pathname));
      case "/next":
        return response.end(JSON.stringify(await this.next()));
      case "/began":
        this.playing?.began();
        return response.end();
      case "/report":
        this.reported(JSON.parse(await body(request)));
        return response.end();
      default:
        return response.writeHead(404).end();
    }
  }

  // The scenario that `view` hands in, then or later.
  next() {
    return new Promise((resolve) => {
      this.take = resolve;
      this.give();
    });
  }

  give() {
    if (!this.take || !this.playing) return;
    this.take(this.playing.scenario);
    this.take = null;
  }

  // What comes too late is of a scenario that was given up.
  reported(report) {
    this.playing?.resolve(report);
    this.playing = null;
  }

  // Plays a scenario, and answers with what was seen. One at a time. `began` is told when the
  // film moves.
  async view(scenario, began = () => {}) {
    let late;
    const report = await new Promise((resolve, reject) => {
      late = setTimeout(() => reject(new Error("the page does not report")), MS_TO_REPORT);
      this.playing = { scenario, resolve, began };
      this.give();
    }).finally(() => clearTimeout(late));
    if (report.error) throw new Error(`${report.error}\n${told(report)}`);
    return report;
  }

  async end() {
    this.server.closeAllConnections();
    this.server.close();
    if (this.process.exitCode !== null) return;
    const exit = once(this.process, "exit");
    this.process.kill("SIGKILL");
    await exit;
  }
}

// A report without every picture in it.
function told({ shown, seeks, ...rest }) {
  return JSON.stringify({ ...rest, shown: shown?.length, seeks: seeks?.length });
}

async function body(request) {
  const parts = [];
  let bytes = 0;
  for await (const part of request) {
    bytes += part.length;
    if (bytes > REPORT_BYTES_MAX) throw new Error("the report is too long");
    parts.push(part);
  }
  return Buffer.concat(parts).toString();
}

module.exports = { Browser, players: Object.keys(scripts), told };
