"use strict";
// Plays what the platform makes in players that nobody here wrote, in a headless Chromium.
//
// Each player has a browser of its own; the browsers play beside each other. `KINOLOG_BIN` names
// the platform's program.

const { mkdir } = require("node:fs/promises");
const { join } = require("node:path");
const { judge, plan } = require("../../../embedded/eventstore/conformance/node/tap");
const { Browser, players } = require("./browser");
const { checksOf, playedWhileItGrows } = require("./checks");
const { clip, matroska, mp4 } = require("./media");
const { Platform } = require("./platform");

const SECONDS_MAX = 100;

// Short and small for everything that needs all of it; and one that takes longer to encode.
const SMALL = { seconds: 8, width: 640, height: 360 };
const GROWING = { seconds: 16, width: 1280, height: 720 };
const KINDS = [
  { kind: "encoded", extension: "mkv", mux: matroska },
  { kind: "passed through", extension: "mp4", mux: mp4 },
];
const PLAY_WHILE_GROWING = ["hls.js", "shaka"];

async function main() {
  const platform = await Platform.start();
  const browsers = [];
  // Whoever runs out of patience with us finds nothing left behind.
  process.once("SIGTERM", () => platform.remove().finally(() => process.exit(1)));
  try {
    const folder = join(platform.folder, "media");
    await mkdir(folder);
    const videos = [];
    for (const kind of KINDS) videos.push(await ready(platform, folder, kind));
    for (const player of players) browsers.push(await Browser.start(player, platform.folder));
    const lanes = players.map((player) => checksOf(player, videos));
    const growing = KINDS.length * PLAY_WHILE_GROWING.length;
    const count = lanes.flat().length;
    plan(count + growing);
    const passed = await inLanes(lanes, browsers);
    return (await whileGrowing(platform, folder, browsers, count)) && passed;
  } finally {
    for (const browser of browsers) await browser.end();
    await platform.remove();
  }
}

// The checks of each player one after the other, the players beside each other.
async function inLanes(lanes, browsers) {
  let number = 0;
  const lane = async (checks, browser) => {
    let passed = true;
    for (const [sentence, run] of checks) {
      passed = (await judge(++number, sentence, SECONDS_MAX, () => run(browser))) && passed;
    }
    return passed;
  };
  const all = await Promise.all(lanes.map((checks, n) => lane(checks, browsers[n])));
  return all.every(Boolean);
}

// The players begin at the same moment, when nothing but the first segments is there.
async function whileGrowing(platform, folder, browsers, before) {
  let [passed, number] = [true, before];
  for (const { kind, extension, mux } of KINDS) {
    const made = await clip(folder, { ...GROWING, name: `growing.${extension}`, mux });
    const growing = playable(platform, made);
    const lane = (player) => {
      const sentence = `${player}: ${kind}: it plays to the end while it is being made`;
      const browser = browsers[players.indexOf(player)];
      const run = async () => playedWhileItGrows(browser, await growing);
      return judge(++number, sentence, SECONDS_MAX, run);
    };
    const all = await Promise.all(PLAY_WHILE_GROWING.map(lane));
    passed = all.every(Boolean) && passed;
  }
  return passed;
}

// A video that has only just become playable.
async function playable(platform, made) {
  const id = await platform.upload(made.path);
  const { status, playback } = await platform.video(id, ({ playable }) => playable);
  if (status !== "PROCESSING") throw new Error(`it was ${status} before it was played`);
  return { ...made, hls: playback.hls };
}

// A video that is made to its end, and what its players have to find in it.
async function ready(platform, folder, { kind, extension, mux }) {
  const made = await clip(folder, { ...SMALL, name: `small.${extension}`, mux });
  const id = await platform.upload(made.path);
  const { playback, renditions } = await platform.video(id, ({ status }) => status === "READY");
  const pictures = renditions.filter(({ height }) => height);
  const heights = pictures.map(({ height }) => height).sort((a, b) => b - a);
  const { hls, dash } = playback;
  return { ...made, name: kind, hls, dash, heights, boundaries: await boundaries(hls) };
}

// The seconds at which segments begin.
async function boundaries(hls) {
  const text = async (url) => (await fetch(url)).text();
  const media = (await text(hls)).split("\n").find((line) => line && !line.startsWith("#"));
  const durations = [...(await text(new URL(media, hls))).matchAll(/#EXTINF:([\d.]+)/g)];
  let at = 0;
  return durations.map(([, seconds]) => {
    const begins = at;
    at += Number(seconds);
    return begins;
  });
}

main().then(
  (passed) => process.exit(passed ? 0 : 1),
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
