"use strict";
// Three players behind one face: what a page asks of them, in each one's own words.
//
// open(video, url, { height, heightOf, fail, say }) loads a video: all of it at `height`, or each
// segment at `heightOf(segment)`, or as the player itself decides. It answers with
// { use(height), close() }; what ends the player for good goes to `fail`, what it gets over to
// `say`.
//
// Players help themselves over a stall by a small jump. On a machine that is busy with other
// things a picture that is late looks like one, so none of them may: what is served has no stalls.

// Longer than a page waits for anything.
const SECONDS_TO_JUMP = 120;

const adapters = {
  "hls.js": openHls,
  shaka: openShaka,
  dash: openDash,
};

async function openHls(video, url, { height, heightOf, fail, say }) {
  // One segment ahead, so that the level is chosen before the next one is asked for.
  const ahead = heightOf ? { maxBufferLength: 1.5, maxMaxBufferLength: 1.5 } : {};
  const hls = new Hls({ highBufferWatchdogPeriod: SECONDS_TO_JUMP, ...ahead });
  const level = (height) => hls.levels.findIndex((level) => level.height === height);
  hls.on(Hls.Events.ERROR, (_, data) => {
    const tell = data.fatal ? fail : say;
    tell(`${data.type}: ${data.details}: ${data.error}`);
  });
  hls.on(Hls.Events.FRAG_BUFFERED, (_, { frag }) => {
    if (heightOf && frag.type === "main" && frag.sn !== "initSegment") {
      hls.loadLevel = level(heightOf(frag.sn + 1));
    }
  });
  const parsed = new Promise((resolve) => hls.once(Hls.Events.MANIFEST_PARSED, resolve));
  hls.attachMedia(video);
  hls.loadSource(url);
  await parsed;
  const first = height ?? heightOf?.(0);
  if (first) hls.loadLevel = level(first);
  return {
    use: (height) => (hls.currentLevel = level(height)),
    close: () => hls.destroy(),
  };
}

async function openShaka(video, url, { height, heightOf, fail, say }) {
  shaka.polyfill.installAll();
  const player = new shaka.Player();
  const tell = ({ severity, message }) =>
    (severity === shaka.util.Error.Severity.CRITICAL ? fail : say)(`shaka: ${message}`);
  player.addEventListener("error", ({ detail }) => tell(detail));
  await player.attach(video);
  // A busy machine shows fewer pictures than it decodes, and Shaka would take the rendition away.
  player.configure({ abr: { droppedFrames: false }, streaming: { stallEnabled: false } });
  const first = height ?? heightOf?.(0);
  if (first) {
    const restrictions = { minHeight: first, maxHeight: first };
    player.configure({ abr: { enabled: false, restrictions } });
  }
  const use = (height, clear) => {
    const track = player.getVariantTracks().find((track) => track.height === height);
    player.configure({ abr: { enabled: false } });
    player.selectVariantTrack(track, clear);
  };
  if (heightOf) {
    player.configure({ streaming: { segmentPrefetchLimit: 0 } });
    let segment = 0;
    player.addEventListener("segmentappended", ({ contentType }) => {
      if (contentType === "video") use(heightOf(++segment), false);
    });
  }
  await player.load(url).catch((error) => {
    throw new Error(`shaka: ${error.message}`);
  });
  return { use: (height) => use(height, true), close: () => player.destroy() };
}

async function openDash(video, url, { height, heightOf, fail }) {
  const player = dashjs.MediaPlayer().create();
  const { events } = dashjs.MediaPlayer;
  player.on(events.ERROR, ({ error }) => fail(`dash.js: ${error.message ?? error}`));
  // One segment ahead, so that the representation is chosen before the next one is asked for; two
  // where it is chosen while playing, because a player that has the last segment switches no more.
  const seconds = heightOf ? 1.5 : 3;
  const ahead = height ? {} : { bufferTimeDefault: seconds, bufferTimeAtTopQuality: seconds };
  player.updateSettings({
    streaming: {
      abr: {
        autoSwitchBitrate: { video: false },
        // The highest.
        initialBitrate: { video: 1_000_000 },
      },
      buffer: { fastSwitchEnabled: false, bufferToKeep: 600, ...ahead },
      gaps: { jumpGaps: false },
    },
  });
  const use = (height, clear = false) => {
    const index = player
      .getRepresentationsByType("video")
      .findIndex((representation) => representation.height === height);
    player.setRepresentationForTypeByIndex("video", index, clear);
  };
  if (height) player.registerCustomCapabilitiesFilter((it) => !it.height || it.height === height);
  player.initialize();
  player.attachView(video);
  if (heightOf) {
    player.on(events.FRAGMENT_LOADING_COMPLETED, ({ request }) => {
      if (request.mediaType === "video" && request.type === "MediaSegment") {
        use(heightOf(request.index + 1));
      }
    });
  }
  const loaded = new Promise((resolve) => player.on(events.STREAM_INITIALIZED, resolve));
  player.attachSource(url);
  await loaded;
  return { use: (height) => use(height, true), close: () => player.destroy() };
}
