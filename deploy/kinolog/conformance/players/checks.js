"use strict";
// What a player has to be able to do with a video, whoever wrote it.

const assert = require("node:assert/strict");
const { told } = require("./browser");

// How far a playlist, a buffer and what was played may be from the truth.
const SECONDS_OFF_MAX = 0.1;
// How far from a boundary a picture is of one side for sure.
const FRAME_SECONDS = 0.04;

// Every check of one player: a sentence, and what must hold. `videos` are those that are ready.
function checksOf(player, videos) {
  const checks = [];
  for (const video of videos) {
    const add = (sentence, run) => checks.push([`${player}: ${video.name}: ${sentence}`, run]);
    const url = player === "dash" ? video.dash : video.hls;
    const { frames } = video;
    // Sound alone is played as it is.
    const heights = video.heights.length > 0 ? video.heights : [undefined];
    for (const height of heights) {
      const what = height ? `${height}p` : "it";
      add(`${what} plays from the beginning to the end`, async (browser) => {
        const report = await browser.view({ kind: "play", url, height, frames });
        wholeFilm(report, video);
        assert.deepEqual(heightsOf(report.shown), height ? [height] : [], told(report));
      });
    }
    // There is nothing to switch to.
    if (heights.length < 2) continue;
    add("it is switched at each boundary, down and up", async (browser) => {
      const report = await browser.view({ kind: "switches", url, heights: swinging(video), frames });
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
      found(report, places, high);
    });
  }
  return checks;
}

// Plays from the first picture while the rest is still being made; `began` is told when it moves.
async function playedWhileItGrows(browser, video, began) {
  const { hls: url, frames } = video;
  const report = await browser.view({ kind: "play", url, frames }, began);
  // It may wait for what is not there yet, but for nothing else.
  wholeFilm({ ...report, starved: [] }, video);
}

function wholeFilm(report, video) {
  atItsEnd(report, video);
  assert.deepEqual(report.starved, [], `it stalled: ${told(report)}`);
  inOnePiece(report.buffered, report);
  inOnePiece(report.played, report);
  everyPicture(report, video);
}

// From the first moment to the last.
function inOnePiece(ranges, report) {
  let reached = 0;
  for (const [from, to] of ranges) {
    assert(from - reached <= SECONDS_OFF_MAX, `a gap at ${reached} s: ${told(report)}`);
    reached = to;
  }
  assert(reached >= report.duration - SECONDS_OFF_MAX, `not to the end: ${told(report)}`);
}

// Each is decoded once; a player that seeks to where it begins may have some of the first twice.
// How many of them are shown is up to the machine.
function everyPicture(report, video) {
  const { frames } = video;
  const isEvery = report.hasSought ? report.frames >= frames : report.frames === frames;
  assert(isEvery, `not ${frames} pictures: ${told(report)}`);
}

function atItsEnd(report, video) {
  assert(report.ended, told(report));
  assert(Math.abs(report.duration - video.seconds) <= SECONDS_OFF_MAX, told(report));
  assert(report.currentTime >= report.duration - SECONDS_OFF_MAX, told(report));
  assert.equal(report.audioBytes > 0, video.hasSound, `its sound: ${told(report)}`);
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
    return heightsOf(report.shown.filter(within)).join(" and ");
  });
  assert.deepEqual(seen, wanted.map(String), told(report));
}

function found(report, places, first) {
  assert.equal(report.seeks.length, places.length, told(report));
  let height = first;
  for (const [index, { at, use }] of places.entries()) {
    height = use ?? height;
    const { shown } = report.seeks[index];
    const there = shown.filter(([time]) => time >= at - SECONDS_OFF_MAX && time <= at + 1);
    assert(there.length > 0, `nothing was shown at ${at} s: ${JSON.stringify(shown)}`);
    assert.deepEqual(heightsOf(there), [height], JSON.stringify(shown));
  }
}

// Which heights were shown, each once.
function heightsOf(shown) {
  return [...new Set(shown.map(([, height]) => height))];
}

module.exports = { checksOf, playedWhileItGrows };
