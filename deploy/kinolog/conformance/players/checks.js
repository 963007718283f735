"use strict";
// What a player has to be able to do with a video, whoever wrote it.

const assert = require("node:assert/strict");
const { told } = require("./browser");

// How far a playlist, a buffer and the end of playing may be from the truth.
const SECONDS_OFF_MAX = 0.1;
// How far from a boundary a picture is of one side for sure.
const FRAME_SECONDS = 0.04;

// Every check of one player: a sentence, and what must hold. `videos` are those that are ready.
function checksOf(player, videos) {
  const checks = [];
  for (const video of videos) {
    const add = (sentence, run) => checks.push([`${player}: ${video.name}: ${sentence}`, run]);
    const url = player === "dash" ? video.dash : video.hls;
    for (const height of video.heights) {
      add(`${height}p plays from the beginning to the end`, async (browser) => {
        const report = await browser.view({ kind: "play", url, height });
        wholeFilm(report, video);
        assert.deepEqual(heights(report.shown), [height], told(report));
      });
    }
    add("it is switched at each boundary, down and up", async (browser) => {
      const report = await browser.view({ kind: "switches", url, heights: swinging(video) });
      wholeFilm(report, video);
      switchedAtEachBoundary(report, video);
    });
    add("seeking goes forwards, backwards and across a switch", async (browser) => {
      const [high, low] = [video.heights[0], video.heights.at(-1)];
      const places = [
        { at: video.seconds * 0.7 },
        { at: video.seconds * 0.2 },
        { at: video.seconds * 0.5, use: low },
        { at: video.seconds * 0.1, use: high },
        { at: video.seconds * 0.8 },
      ];
      const report = await browser.view({ kind: "seek", url, height: high, places });
      atItsEnd(report, video);
      found(report, places);
    });
  }
  return checks;
}

// Played from its first picture while the rest is still being made.
async function playedWhileItGrows(browser, video) {
  const report = await browser.view({ kind: "play", url: video.hls });
  wholeFilm(report, video);
}

function wholeFilm(report, video) {
  atItsEnd(report, video);
  assert.deepEqual(report.starved, [], `it stalled: ${told(report)}`);
  const [first] = report.shown;
  assert(first[0] <= SECONDS_OFF_MAX, `it began at ${first[0]} s: ${told(report)}`);
  assert.equal(report.frames, video.frames, told(report));
  const { buffered } = report;
  assert(buffered[0][0] <= SECONDS_OFF_MAX, told(report));
  for (let n = 1; n < buffered.length; n++) {
    assert(buffered[n][0] - buffered[n - 1][1] <= SECONDS_OFF_MAX, `a gap: ${told(report)}`);
  }
}

function atItsEnd(report, video) {
  assert(report.ended, told(report));
  assert(Math.abs(report.duration - video.seconds) <= SECONDS_OFF_MAX, told(report));
  assert(report.currentTime >= report.duration - SECONDS_OFF_MAX, told(report));
  assert(report.audioBytes > 0, `no sound: ${told(report)}`);
}

// From the highest to the lowest and back, one step at each boundary.
function swinging({ heights, boundaries }) {
  const there = heights;
  const back = heights.slice(1, -1).reverse();
  const round = [...there, ...back];
  return boundaries.map((_, segment) => round[segment % round.length]);
}

function switchedAtEachBoundary(report, video) {
  const wanted = swinging(video);
  const seen = video.boundaries.map((from, segment) => {
    const to = video.boundaries[segment + 1] ?? video.seconds;
    const within = ([time]) => time >= from - FRAME_SECONDS / 2 && time < to - FRAME_SECONDS / 2;
    return heights(report.shown.filter(within)).join(" and ");
  });
  assert.deepEqual(seen, wanted.map(String), told(report));
}

function found(report, places) {
  assert.equal(report.seeks.length, places.length, told(report));
  let height;
  for (const [index, { at, use }] of places.entries()) {
    height = use ?? height;
    const { shown } = report.seeks[index];
    const there = shown.filter(([time]) => time >= at - SECONDS_OFF_MAX && time <= at + 1);
    assert(there.length > 0, `nothing was shown at ${at} s: ${JSON.stringify(shown)}`);
    if (height) assert.deepEqual(heights(there), [height], JSON.stringify(shown));
  }
}

// Which heights were shown, each once.
function heights(shown) {
  return [...new Set(shown.map(([, height]) => height))];
}

module.exports = { checksOf, playedWhileItGrows };
