"use strict";
// What is played: a moving picture with a tone, made here.

const { execFile } = require("node:child_process");
const { join } = require("node:path");
const { promisify } = require("node:util");

const run = promisify(execFile);

const FRAME_RATE = 25;
const SAMPLE_RATE = 48_000;
// What a film without a rate comes out at.
const RATE_OF_NO_RATE = 30;

// Players could play it as it is.
const mp4 = "mp4mux faststart=true";
// The same, in a container that is never passed through.
const matroska = "matroskamux";

// The films that are ready before they are played, and how each is made.
const FILMS = [
  { name: "encoded", file: "encoded.mkv", mux: matroska, ladder: true },
  { name: "passed through", file: "passed.mp4", mux: mp4, ladder: true },
  { name: "at a varying rate", file: "varying.mkv", mux: matroska, varying: true },
  { name: "a picture alone", file: "silent.mp4", mux: mp4, silent: true },
  { name: "sound alone", file: "unseen.mp4", mux: mp4, unseen: true },
];
// Those that are played while they are made: longer, and with more to be made.
const GROWING = [
  { name: "encoded", file: "growing.mkv", mux: matroska, ladder: true, grows: true },
  { name: "passed through", file: "growing.mp4", mux: mp4, ladder: true, grows: true },
];

// Makes a film in a folder; what is to be seen of it.
async function film(folder, { name, file, mux, ladder, grows, varying, silent, unseen }) {
  const path = join(folder, file);
  const seconds = grows ? 16 : ladder ? 8 : 4;
  const [width, height] = grows ? [1280, 720] : ladder ? [640, 360] : [160, 90];
  const size = `width=${width},height=${height}`;
  const parts = [`${mux} name=m ! filesink location=${path}`];
  if (!unseen) parts.push(varying ? halfAsFast(seconds, size) : steady(seconds, size));
  if (!silent) parts.push(sound(seconds));
  await run("gst-launch-1.0", ["-q", ...parts.join(" ").split(" ")]);
  const frames = unseen ? 0 : varying ? framesOfNoRate(seconds) : seconds * FRAME_RATE;
  return { name, path, seconds, frames, hasSound: !silent };
}

function steady(seconds, size) {
  return chain(...pictures(seconds * FRAME_RATE, size, `${FRAME_RATE}/1`), ...CODED);
}

// In its second half it has half as many pictures; nowhere does it say how many.
function halfAsFast(seconds, size) {
  const frames = (seconds / 2) * FRAME_RATE;
  const unsaid = "capssetter caps=video/x-raw,framerate=(fraction)0/1";
  const half = (frames, rate) => chain(...pictures(frames, size, rate), unsaid, "c.");
  const whole = chain("concat name=c", ...CODED);
  return [half(frames, `${FRAME_RATE}/1`), half(frames / 2, `${FRAME_RATE}/2`), whole].join(" ");
}

// Nothing says how long the last picture is to be seen: it comes out once.
function framesOfNoRate(seconds) {
  const last = seconds - 2 / FRAME_RATE;
  return Math.round(last * RATE_OF_NO_RATE) + 1;
}

function pictures(frames, size, rate) {
  return [
    `videotestsrc num-buffers=${frames} horizontal-speed=3`,
    `video/x-raw,format=I420,${size},framerate=${rate}`,
  ];
}

// A key frame every two seconds begins a closed group.
const CODED = [
  `x264enc speed-preset=veryfast bitrate=1500 key-int-max=${2 * FRAME_RATE} option-string=scenecut=0:open-gop=0`,
  "video/x-h264,profile=high",
  "h264parse",
  "queue",
  "m.",
];

// As many buffers as frames.
function sound(seconds) {
  const samples = SAMPLE_RATE / FRAME_RATE;
  return chain(
    `audiotestsrc num-buffers=${seconds * FRAME_RATE} samplesperbuffer=${samples} wave=ticks`,
    `audio/x-raw,rate=${SAMPLE_RATE},channels=2`,
    "avenc_aac bitrate=128000",
    "aacparse",
    "queue",
    "m.",
  );
}

function chain(...elements) {
  return elements.join(" ! ");
}

module.exports = { FILMS, GROWING, film };
