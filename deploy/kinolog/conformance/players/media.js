"use strict";
// What is played: a moving picture with a tone, made here.

const { execFile } = require("node:child_process");
const { join } = require("node:path");
const { promisify } = require("node:util");

const run = promisify(execFile);

const FRAME_RATE = 25;

// A key frame every two seconds begins a closed group.
async function clip(folder, { name, seconds, width, height, mux }) {
  const path = join(folder, name);
  const frames = seconds * FRAME_RATE;
  const key = FRAME_RATE * 2;
  const picture = [
    `videotestsrc num-buffers=${frames} horizontal-speed=3`,
    `video/x-raw,width=${width},height=${height},framerate=${FRAME_RATE}/1`,
    `x264enc speed-preset=veryfast bitrate=1500 key-int-max=${key} option-string=scenecut=0:open-gop=0`,
    "video/x-h264,profile=high",
    "h264parse",
    "queue",
    "m.",
  ];
  // 48,000 samples a second in buffers of 1,920: as many buffers as frames.
  const sound = [
    `audiotestsrc num-buffers=${frames} samplesperbuffer=1920 wave=ticks`,
    "audio/x-raw,rate=48000,channels=2",
    "avenc_aac bitrate=128000",
    "aacparse",
    "queue",
    "m.",
  ];
  const description = `${mux} name=m ! filesink location=${path} ${picture.join(" ! ")} ${sound.join(" ! ")}`;
  await run("gst-launch-1.0", ["-q", ...description.split(" ")]);
  return { path, seconds, frames };
}

// Players could play it as it is.
const mp4 = "mp4mux faststart=true";
// The same, in a container that is never passed through.
const matroska = "matroskamux";

module.exports = { clip, matroska, mp4 };
