"use strict";
// Takes one scenario after the other from whoever opened this page, and reports what was seen.

const { searchParams } = new URL(location.href);
const player = searchParams.get("player");
// A buffer that is shorter has run dry.
const SECONDS_AHEAD_MIN = 0.1;
// How far from the end nothing more has to come.
const SECONDS_OF_END = 0.3;
// No scenario takes longer: the longest film is a quarter of a minute.
const MS_TO_PLAY = 60_000;

const scenarios = { play, switches, seek };

async function main() {
  for (;;) {
    const scenario = await (await fetch(`/next?player=${player}`)).json();
    if (scenario === null) return;
    let report;
    try {
      report = await scenarios[scenario.kind](scenario);
    } catch (error) {
      report = { error: String(error.stack ?? error) };
    }
    await fetch(`/report?player=${player}`, { method: "POST", body: JSON.stringify(report) });
  }
}

// From the beginning to the end, at one height or as the player decides.
function play({ url, height }) {
  return view(url, { height }, async (viewing) => {
    await viewing.start();
    await viewing.ended;
  });
}

// Each segment at another height than the one before.
function switches({ url, heights }) {
  const heightOf = (segment) => heights[segment % heights.length];
  return view(url, { heightOf }, async (viewing) => {
    await viewing.start();
    await viewing.ended;
  });
}

// To these places, one after the other, some at another height; then to the end.
function seek({ url, height, places }) {
  return view(url, { height: undefined }, async (viewing) => {
    if (height) viewing.opened.use(height);
    await viewing.start();
    await viewing.reaches(0.5);
    for (const { at, use } of places) {
      if (use) {
        viewing.opened.use(use);
        await viewing.shows(use);
      }
      await viewing.seek(at);
    }
    await viewing.ended;
  });
}

async function view(url, options, watch) {
  const old = document.getElementById("video");
  const video = old.cloneNode();
  old.replaceWith(video);
  const viewing = new Viewing(video);
  viewing.opened = await adapters[player](video, url, { ...options, fail: viewing.fail });
  try {
    setTimeout(() => viewing.fail("it is not over in time"), MS_TO_PLAY);
    await Promise.race([watch(viewing), viewing.failed]);
    return viewing.report();
  } catch (error) {
    return { ...viewing.report(), error: String(error.stack ?? error) };
  } finally {
    await viewing.opened.close();
  }
}

// What can be seen from outside of a player: the element it plays on.
class Viewing {
  constructor(video) {
    this.video = video;
    this.shown = [];
    this.seeks = [];
    this.starved = [];
    this.hasEnded = false;
    this.failed = new Promise((_, reject) => (this.fail = (why) => reject(new Error(why))));
    this.failed.catch(() => {});
    this.ended = new Promise((resolve) => video.addEventListener("ended", resolve)).then(() => {
      this.hasEnded = true;
    });
    video.addEventListener("waiting", () => this.waits());
    video.addEventListener("error", () => this.fail(`the element: ${video.error.message}`));
    this.look();
  }

  // Every picture that is shown: when it is of, and how high.
  look() {
    this.video.requestVideoFrameCallback((_, { mediaTime, height }) => {
      this.shown.push([mediaTime, height]);
      this.look();
    });
  }

  async start() {
    await this.video.play();
  }

  waits() {
    const { video } = this;
    if (this.shown.length === 0 || video.seeking) return;
    const isAtEnd = video.duration - video.currentTime < SECONDS_OF_END;
    if (this.ahead() < SECONDS_AHEAD_MIN && !isAtEnd) this.starved.push(video.currentTime);
  }

  ahead() {
    const now = this.video.currentTime;
    const range = this.ranges().find(([from, to]) => from <= now && now <= to);
    return range ? range[1] - now : 0;
  }

  ranges() {
    const { buffered } = this.video;
    return Array.from({ length: buffered.length }, (_, n) => [buffered.start(n), buffered.end(n)]);
  }

  reaches(seconds) {
    return new Promise((resolve) => {
      const check = () => {
        if (this.video.currentTime < seconds) return;
        this.video.removeEventListener("timeupdate", check);
        resolve();
      };
      this.video.addEventListener("timeupdate", check);
      check();
    });
  }

  // Before the film is over.
  async shows(height) {
    while (this.shown.at(-1)?.[1] !== height) {
      if (this.hasEnded) throw new Error(`${height}p was never shown`);
      const next = new Promise((resolve) => this.video.requestVideoFrameCallback(resolve));
      await Promise.race([next, this.ended]);
    }
  }

  // There, and half a second on.
  async seek(at) {
    const before = this.shown.length;
    const there = new Promise((resolve) => this.video.addEventListener("seeked", resolve, { once: true }));
    this.video.currentTime = at;
    await there;
    await this.reaches(at + 0.5);
    this.seeks.push({ at, shown: this.shown.slice(before) });
  }

  report() {
    const { video } = this;
    return {
      ended: this.hasEnded,
      currentTime: video.currentTime,
      duration: video.duration,
      frames: video.getVideoPlaybackQuality().totalVideoFrames,
      audioBytes: video.webkitAudioDecodedByteCount,
      buffered: this.ranges(),
      shown: this.shown,
      seeks: this.seeks,
      starved: this.starved,
    };
  }
}

main();
