"use strict";
// A platform to play from: `kinolog up` in a folder and on ports of its own.

const { spawn } = require("node:child_process");
const { randomUUID } = require("node:crypto");
const { once } = require("node:events");
const { chmod, mkdtemp, readFile, rm, stat } = require("node:fs/promises");
const { tmpdir } = require("node:os");
const { basename, join } = require("node:path");
const { setTimeout: pause } = require("node:timers/promises");

const MS_TO_START = 300_000;
const MS_TO_STOP = 60_000;
// For all the films at once, on a machine that is busy with other things.
const MS_TO_PROCESS = 300_000;
// Workers that are held do not lose their tasks meanwhile.
const MS_OF_LEASE = 300_000;

class Platform {
  static async start() {
    const platform = new Platform();
    platform.folder = await mkdtemp(join(tmpdir(), "kinolog-players-"));
    // The database runs as another user, who has to get there.
    await chmod(platform.folder, 0o755);
    const data = join(platform.folder, "data");
    const up = ["up", "--ports", "0", "--data", data];
    const command = ["--pdeathsig", "TERM", process.env.KINOLOG_BIN, ...up];
    // What it says is no TAP: its standard output is our standard error.
    const env = { ...process.env, KINOLOG_LEASE_MS: String(MS_OF_LEASE) };
    platform.process = spawn("setpriv", command, { stdio: ["ignore", 2, 2], env });
    try {
      platform.addresses = await platform.ready(join(data, "addresses.json"));
    } catch (error) {
      await platform.remove();
      throw error;
    }
    return platform;
  }

  async ready(path) {
    const deadline = Date.now() + MS_TO_START;
    for (;;) {
      const text = await readFile(path, "utf8").catch(() => null);
      if (text !== null) return JSON.parse(text);
      if (this.process.exitCode !== null || Date.now() > deadline) {
        throw new Error("the platform does not start");
      }
      await pause(50);
    }
  }

  async graphql(query, variables) {
    const headers = {
      "content-type": "application/json",
      authorization: `Bearer ${this.addresses.token}`,
    };
    const body = JSON.stringify({ query, variables });
    const answer = await fetch(this.addresses.graphql, { method: "POST", headers, body });
    const { data, errors } = await answer.json();
    if (errors) throw new Error(JSON.stringify(errors));
    return data;
  }

  // Answers with the video's id as soon as the file is there.
  async upload(path) {
    const input = {
      title: basename(path),
      fileName: basename(path),
      contentType: "application/octet-stream",
      sizeBytes: (await stat(path)).size,
      visibility: "PUBLIC",
      idempotencyKey: randomUUID(),
    };
    const { createUpload } = await this.graphql(
      `mutation($input: CreateUploadInput!) { createUpload(input: $input) {
        upload { method url headers { name value } } video { id } userErrors { message } } }`,
      { input },
    );
    const { upload, video, userErrors } = createUpload;
    if (userErrors.length > 0) throw new Error(JSON.stringify(userErrors));
    const headers = Object.fromEntries(upload.headers.map(({ name, value }) => [name, value]));
    const sent = await fetch(upload.url, { method: upload.method, headers, body: await readFile(path) });
    if (!sent.ok) throw new Error(`the store answers ${sent.status}`);
    await this.graphql(
      "mutation($input: CompleteUploadInput!) { completeUpload(input: $input) { userErrors { message } } }",
      { input: { videoId: video.id } },
    );
    return video.id;
  }

  // What is known of a video once `is` holds for it.
  async video(id, is) {
    const deadline = Date.now() + MS_TO_PROCESS;
    for (;;) {
      const { video } = await this.graphql(
        `query($id: ID!) { video(id: $id) { status playable durationMs failure { code message }
          renditions { id kind height } playback { hls dash } } }`,
        { id },
      );
      if (video && is(video)) return video;
      if (video?.status === "FAILED" || Date.now() > deadline) {
        throw new Error(`the video is not as wanted: ${JSON.stringify(video)}`);
      }
      await pause(50);
    }
  }

  // What was published stays so, and nothing more is.
  holdWorkers() {
    this.tellWorkers("SIGSTOP");
  }

  letWorkersGo() {
    this.tellWorkers("SIGCONT");
  }

  tellWorkers(signal) {
    const roles = Object.entries(this.addresses?.processes ?? {});
    for (const [role, pid] of roles) if (role.startsWith("worker-")) process.kill(pid, signal);
  }

  async remove() {
    const { process } = this;
    if (process.exitCode === null) {
      const exit = once(process, "exit");
      process.kill("SIGTERM");
      const late = pause(MS_TO_STOP, null, { ref: false }).then(() => process.kill("SIGKILL"));
      await Promise.race([exit, late]);
    }
    await rm(this.folder, { recursive: true });
  }
}

module.exports = { Platform };
