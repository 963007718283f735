"use strict";
// Plays what the platform makes in players that nobody here wrote, in a headless Chromium.
//
// Each player has a browser of its own; the browsers play beside each other. `KINOLOG_BIN` names
// the platform's program.

const assert = require("node:assert/strict");
const { mkdir } = require("node:fs/promises");
const { join } = require("node:path");
const { judge, plan } = require("../../../embedded/eventstore/conformance/node/tap");
const { Browser, players } = require("./browser");
const { checksOf, playedWhileItGrows } = require("./checks");
const { FILMS, GROWING, film } = require("./media");
const { Platform } = require("./platform");

// Longer than a page that hangs is waited for.
const SECONDS_MAX = 310;
// DASH is offered once all is there.
const PLAY_WHILE_GROWING = ["hls.js", "shaka"];

async function main() {
  const platform = await Platform.start();
  const browsers = [];
  // Whoever runs out of patience with us finds nothing left behind.
  process.once("SIGTERM", () => platform.remove().finally(() => process.exit(1)));
  try {
    const folder = join(platform.folder, "media");
    await mkdir(folder);
    const videos = await Promise.all(FILMS.map((one) => ready(platform, folder, one)));
    for (const player of players) browsers.push(await Browser.start(player, platform.folder));
    const lanes = players.map((player) => checksOf(player, videos));
    const count = lanes.flat().length;
    plan(count + GROWING.length * PLAY_WHILE_GROWING.length);
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

// The players beside each other, with one film after the other.
async function whileGrowing(platform, folder, browsers, before) {
  let [passed, number] = [true, before];
  for (const one of GROWING) {
    const growing = begun(platform, folder, one);
    const viewings = PLAY_WHILE_GROWING.map((player) => {
      return viewing(growing, browsers[players.indexOf(player)]);
    });
    const held = heldUntilPlayed(platform, growing, viewings);
    const verdicts = viewings.map(({ over }, n) => {
      const sentence = `${PLAY_WHILE_GROWING[n]}: ${one.name}: it plays to the end while it is being made`;
      return judge(++number, sentence, SECONDS_MAX, () => Promise.all([held, over]));
    });
    const all = await Promise.all(verdicts);
    passed = all.every(Boolean) && passed;
  }
  return passed;
}

// A film that has only just become playable, and does not grow until it is let.
async function begun(platform, folder, one) {
  const made = await film(folder, one);
  const id = await platform.upload(made.path);
  const { playback } = await platform.video(id, ({ playable }) => playable);
  platform.holdWorkers();
  return { ...made, id, hls: playback.hls };
}

// When a player shows that it has begun, and what became of it.
function viewing(growing, browser) {
  let began;
  const begins = new Promise((resolve) => (began = resolve));
  const over = growing.then((video) => playedWhileItGrows(browser, video, began));
  return { begins, over };
}

// Nothing more is made until every player has begun: how fast this machine is does not matter.
async function heldUntilPlayed(platform, growing, viewings) {
  try {
    const { id } = await growing;
    // One that failed says so itself.
    const played = viewings.map(({ begins, over }) => Promise.race([begins, over.catch(() => {})]));
    await Promise.all(played);
    const { status } = await platform.video(id, () => true);
    assert.equal(status, "PROCESSING", "all of it was there before it was played");
  } finally {
    platform.letWorkersGo();
  }
}

// A video that is made to its end, and what its players have to find in it.
async function ready(platform, folder, one) {
  const made = await film(folder, one);
  const id = await platform.upload(made.path);
  const { playback, renditions } = await platform.video(id, ({ status }) => status === "READY");
  const pictures = renditions.filter(({ height }) => height);
  const heights = pictures.map(({ height }) => height).sort((a, b) => b - a);
  const { hls, dash } = playback;
  return { ...made, hls, dash, heights, boundaries: await boundaries(hls) };
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
