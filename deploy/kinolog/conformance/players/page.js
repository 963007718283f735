"use strict";
// Takes one scenario after the other from whoever opened this page, and reports what was seen.

const { searchParams } = new URL(location.href);
const player = searchParams.get("player");
// A buffer that is shorter has run dry.
const SECONDS_AHEAD_MIN = 0.1;
// How far from the end nothing more has to come.
const SECONDS_OF_END = 0.3;
// Bytes that came later are played later.
const MS_TO_APPEND = 1000;
// How long a viewing may stand still. A busy machine is slow, and still moves.
const MS_STILL_MAX = 90_000;
const MS_BETWEEN_LOOKS = 500;
// Pictures are counted as they are rendered, and the last ones a moment after the film has ended.
const MS_TO_COUNT_MAX = 10_000;
// More than any film has requests.
const REQUESTS_MAX = 10_000;

const scenarios = { play, switches, seek };

async function main() {
  performance.setResourceTimingBufferSize(REQUESTS_MAX);
  for (;;) {
    const scenario = await (await fetch("/next")).json();
    performance.clearResourceTimings();
    let report;
    try {
      report = await scenarios[scenario.kind](scenario);
    } catch (error) {
      report = { error: String(error.stack ?? error) };
    }
    await fetch("/report", { method: "POST", body: JSON.stringify(report) });
  }
}

// From the beginning to the end, at one height or as the player decides.
function play({ url, height, frames }) {
  return view(url, { height }, async (viewing) => {
    await viewing.start();
    await viewing.reaches(SECONDS_AHEAD_MIN);
    await fetch("/began", { method: "POST" });
    await viewing.ended;
    await viewing.counts(frames);
  });
}

// Each segment at another height than the one before.
function switches({ url, heights, frames }) {
  const heightOf = (segment) => heights[segment % heights.length];
  return view(url, { heightOf }, async (viewing) => {
    await viewing.start();
    await viewing.ended;
    await viewing.counts(frames);
  });
}

// To these places, one after the other, some at another height; then to the end.
function seek({ url, height, places }) {
  return view(url, {}, async (viewing) => {
    viewing.opened.use(height);
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
  const { fail, say } = viewing;
  const guard = viewing.guard();
  try {
    const opening = adapters[player](video, url, { ...options, fail, say });
    viewing.opened = await Promise.race([opening, viewing.failed]);
    await Promise.race([watch(viewing), viewing.failed]);
    return viewing.report();
  } catch (error) {
    return { ...viewing.report(), error: String(error.stack ?? error) };
  } finally {
    clearInterval(guard);
    await viewing.opened?.close();
  }
}

// What can be seen from outside of a player: the element it plays on.
class Viewing {
  constructor(video) {
    this.video = video;
    this.shown = [];
    this.seeks = [];
    this.dry = [];
    this.said = [];
    this.say = (what) => this.said.push(`${video.currentTime}: ${what}`);
    this.hasEnded = false;
    this.failed = new Promise((_, reject) => (this.fail = (why) => reject(new Error(why))));
    this.failed.catch(() => {});
    this.ended = new Promise((resolve) => video.addEventListener("ended", resolve)).then(() => {
      this.hasEnded = true;
    });
    video.addEventListener("waiting", () => this.waits());
    video.addEventListener("error", () => this.fail(`the element: ${video.error.message}`));
    this.framesBefore = 0;
    this.hasSought = false;
    this.countFromSeeks();
    this.look();
  }

  // What was decoded before a player goes to where it begins is decoded again, and counted twice.
  countFromSeeks() {
    const { video } = this;
    const { get, set } = Object.getOwnPropertyDescriptor(HTMLMediaElement.prototype, "currentTime");
    const seeks = (seconds) => {
      this.hasSought = true;
      if (seconds < SECONDS_AHEAD_MIN) this.framesBefore = this.framesDecoded();
      set.call(video, seconds);
    };
    Object.defineProperty(video, "currentTime", { get: () => get.call(video), set: seeks });
  }

  framesDecoded() {
    return this.video.getVideoPlaybackQuality().totalVideoFrames;
  }

  async counts(frames) {
    const until = performance.now() + MS_TO_COUNT_MAX;
    while (this.framesDecoded() - this.framesBefore < frames && performance.now() < until) {
      await new Promise((resolve) => setTimeout(resolve, MS_BETWEEN_LOOKS));
    }
  }

  // Every picture that is shown: when it is of, and how high.
  look() {
    this.video.requestVideoFrameCallback((_, { mediaTime, height }) => {
      this.shown.push([mediaTime, height]);
      this.look();
    });
  }

  // Fails a viewing in which nothing moves.
  guard() {
    let [before, moved] = ["", performance.now()];
    return setInterval(() => {
      const now = JSON.stringify([this.video.currentTime, this.shown.length, ranges(this.video.buffered)]);
      if (now !== before) [before, moved] = [now, performance.now()];
      if (performance.now() - moved > MS_STILL_MAX) this.fail("nothing moves any more");
    }, MS_BETWEEN_LOOKS);
  }

  async start() {
    await this.video.play();
  }

  waits() {
    const { video } = this;
    if (video.currentTime === 0 || video.seeking) return;
    const isAtEnd = video.duration - video.currentTime < SECONDS_OF_END;
    if (this.ahead() >= SECONDS_AHEAD_MIN || isAtEnd) return;
    this.dry.push({ at: video.currentTime, ms: performance.now() });
  }

  // Where it ran dry though nothing that it had asked for was missing.
  starved() {
    const asked = performance.getEntriesByType("resource");
    const isMissing = ({ ms }) =>
      asked.some(({ name, startTime, responseEnd }) => {
        const isOurs = name.startsWith(location.origin);
        return !isOurs && startTime <= ms && ms <= responseEnd + MS_TO_APPEND;
      });
    return this.dry.filter((dry) => !isMissing(dry)).map(({ at }) => at);
  }

  ahead() {
    const now = this.video.currentTime;
    const range = ranges(this.video.buffered).find(([from, to]) => from <= now && now <= to);
    return range ? range[1] - now : 0;
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
      frames: this.framesDecoded() - this.framesBefore,
      hasSought: this.hasSought,
      audioBytes: video.webkitAudioDecodedByteCount,
      buffered: ranges(video.buffered),
      played: ranges(video.played),
      shown: this.shown,
      seeks: this.seeks,
      starved: this.starved(),
      said: this.said,
    };
  }
}

function ranges(times) {
  return Array.from({ length: times.length }, (_, n) => [times.start(n), times.end(n)]);
}

main();
