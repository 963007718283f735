//! What playlists say of a rendition is true of the bytes that a player gets.

use axum::body::Bytes;
use domain::id::RenditionId;
use domain::media::{self, Kind, Published, Ratio};
use domain::playlist;
use gstreamer as gst;
use protocol::task::Spec;
use protocol::{EncodeSpec, Segment, Video};

use crate::encode::{audio, encode, encoded, target};
use crate::judge;
use crate::media::{matroska, mp4, painted, pictures, sound};
use crate::passthrough::passthrough;
use crate::played;
use crate::probe::probed;
use crate::worker::Run;

/// Longer than any segment of these films.
const SEGMENT_US_MAX: u64 = 3_000_000;

/// A rendition as a player gets it.
struct Made<'a> {
    run: &'a Run,
    published: Published,
}

impl Made<'_> {
    fn new<'a>(run: &'a Run, id: &str, kind: Kind) -> Made<'a> {
        let rendition = media::Rendition {
            id: RenditionId(id.to_owned()),
            bitrate_kbps: 200,
            kind,
        };
        let mut published = Published::nothing_of(rendition, SEGMENT_US_MAX);
        let init = run.desk.told.lock().unwrap().inits[id].clone();
        published.init = Some(media::Init {
            key: init.name,
            size_bytes: init.size_bytes,
            codec: init.codec,
            timescale: init.timescale,
        });
        let told = |segment: Segment| media::Segment {
            key: segment.name,
            size_bytes: segment.size_bytes,
            time: segment.time,
            duration: segment.duration,
            samples: segment.samples,
        };
        published.segments = run.segments(id).into_iter().map(told).collect();
        Made { run, published }
    }

    fn init(&self) -> &media::Init {
        self.published.init.as_ref().unwrap()
    }

    /// One segment as a player gets it that begins there.
    fn alone(&self, segment: &media::Segment) -> Vec<u8> {
        let init = self.run.store.object(&self.init().key);
        [init, self.run.store.object(&segment.key)].concat()
    }

    /// Sizes and times of every segment are those of its bytes; none needs another one.
    fn has_true_segments(&self) {
        let init = self.run.store.object(&self.init().key);
        assert_eq!(init.len() as u64, self.init().size_bytes);
        let mut time = 0;
        for segment in &self.published.segments {
            let bytes = self.run.store.object(&segment.key);
            assert_eq!(bytes.len() as u64, segment.size_bytes);
            assert_eq!((decode_time(&bytes), segment.time), (time, time));
            time += segment.duration;
            if matches!(self.published.rendition.kind, Kind::Video { .. }) {
                let shown = played::pictures(&self.alone(segment)).len();
                assert_eq!(shown, segment.samples as usize, "{segment:?}");
            }
        }
    }

    /// The lines of the master are what the bytes say; so are those of the media playlist.
    fn has_a_true_playlist(&self) {
        let master = playlist::hls_master(std::slice::from_ref(&self.published), &|id| {
            format!("{id}.m3u8")
        });
        let mut expected = vec![format!("CODECS=\"{}\"", self.codec())];
        let (bytes, units) = self.published.segments.iter().fold((0, 0), |sum, segment| {
            let stored = self.run.store.object(&segment.key).len() as u64;
            (sum.0 + stored, sum.1 + segment.duration)
        });
        let timescale = u64::from(self.init().timescale);
        let average = (bytes * 8 * timescale).div_ceil(units);
        expected.push(format!("AVERAGE-BANDWIDTH={average},"));
        if let Kind::Video { .. } = self.published.rendition.kind {
            let caps = self.caps();
            let caps = caps.structure(0).unwrap();
            let (width, height) = (caps.get::<i32>("width"), caps.get::<i32>("height"));
            expected.push(format!(
                "RESOLUTION={}x{},",
                width.unwrap(),
                height.unwrap()
            ));
            let samples = self
                .published
                .segments
                .iter()
                .map(|it| u64::from(it.samples));
            let rate = (samples.sum::<u64>() * timescale) as f64 / units as f64;
            expected.push(format!("FRAME-RATE={rate:.3},"));
        }
        for line in expected {
            assert!(master.contains(&line), "no {line} in {master}");
        }
        let media = playlist::hls_media(&self.published, true, &|key| key.to_owned());
        let target = format!("#EXT-X-TARGETDURATION:{}\n", SEGMENT_US_MAX / 1_000_000);
        assert!(media.contains(&target), "{media}");
        let longest = self.published.segments.iter().map(|it| it.duration).max();
        let longest_us = longest.unwrap() * 1_000_000 / timescale;
        assert!(longest_us <= SEGMENT_US_MAX, "{longest_us}");
    }

    /// What the stream itself says: the beginning of its sequence parameter set, or that of its
    /// sound's configuration.
    fn codec(&self) -> String {
        let caps = self.caps();
        let config = caps.structure(0).unwrap().get::<gst::Buffer>("codec_data");
        let config = config.unwrap();
        let config = config.map_readable().unwrap();
        match self.published.rendition.kind {
            // Behind the record's own head, the length of the set and the head of its unit.
            Kind::Video { .. } => {
                format!("avc1.{:02x}{:02x}{:02x}", config[9], config[10], config[11])
            }
            Kind::Audio { .. } => format!("mp4a.40.{}", config[0] >> 3),
        }
    }

    fn caps(&self) -> gst::Caps {
        let parser = match self.published.rendition.kind {
            Kind::Video { .. } => "h264parse ! video/x-h264,stream-format=avc",
            Kind::Audio { .. } => "aacparse ! audio/mpeg,stream-format=raw",
        };
        let film = self.alone(&self.published.segments[0]);
        let graph = format!("qtdemux ! {parser} ! appsink name=out sync=false");
        let samples = judge::decoded(&film, &graph);
        samples[0].caps().unwrap().to_owned()
    }
}

/// The time in its `tfdt`.
fn decode_time(bytes: &[u8]) -> u64 {
    let at = bytes.windows(4).position(|kind| kind == b"tfdt").unwrap() + 4;
    match bytes[at] {
        0 => u64::from(u32::from_be_bytes(
            bytes[at + 4..at + 8].try_into().unwrap(),
        )),
        _ => u64::from_be_bytes(bytes[at + 4..at + 12].try_into().unwrap()),
    }
}

fn is_true(run: &Run, id: &str, kind: Kind) {
    let made = Made::new(run, id, kind);
    assert!(!made.published.segments.is_empty());
    made.has_true_segments();
    made.has_a_true_playlist();
}

fn kind(width: u32, height: u32, num: u32, den: u32) -> Kind {
    Kind::Video {
        width,
        height,
        frame_rate: Ratio { num, den },
    }
}

const STEREO: Kind = Kind::Audio {
    channels: 2,
    sample_rate: 48_000,
};

#[tokio::test(flavor = "multi_thread")]
async fn playlists_of_encoded_pictures_are_true() {
    let source = mp4(&pictures(150, 320, 180, "30000/1001"));
    let found = probed(source.clone()).await;
    let targets = [
        target("180p", 320, 180, "30000/1001"),
        target("144p", 256, 144, "30000/1001"),
    ];
    let mut run = Run::begin(encode(found.duration_ms, &targets), source).await;
    encoded(&mut run).await;
    is_true(&run, "180p", kind(320, 180, 30_000, 1001));
    is_true(&run, "144p", kind(256, 144, 30_000, 1001));
}

#[tokio::test(flavor = "multi_thread")]
async fn playlists_of_pictures_at_a_varying_rate_are_true() {
    let source = varying();
    let found = probed(source.clone()).await;
    let video: Video = found.video.unwrap();
    assert_eq!(video.frame_rate_num, 0, "its rate varies");
    let Spec::Encode(spec) = encode(found.duration_ms, &[target("96p", 160, 96, "30/1")]) else {
        panic!("not an encode");
    };
    let spec = EncodeSpec {
        source: Some(video),
        ..spec
    };
    let mut run = Run::begin(Spec::Encode(spec), source).await;
    encoded(&mut run).await;
    is_true(&run, "96p", kind(160, 96, 30, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn playlists_of_what_is_passed_through_are_true() {
    let source = mp4(&(pictures(150, 320, 180, "25/1") + &sound(235)));
    let found = probed(source.clone()).await;
    let mut run = Run::begin(Spec::Passthrough(passthrough(&found)), source).await;
    encoded(&mut run).await;
    is_true(&run, "top", kind(320, 180, 25, 1));
    is_true(&run, "audio", STEREO);
}

#[tokio::test(flavor = "multi_thread")]
async fn playlists_of_sound_alone_are_true() {
    let source = matroska(&sound(235));
    let found = probed(source.clone()).await;
    let mut run = Run::begin(audio(found.duration_ms), source).await;
    encoded(&mut run).await;
    is_true(&run, "audio", STEREO);
}

/// Pictures that are shown for 20, 100 and 60 ms by turns.
fn varying() -> Bytes {
    let mut at_ms = 0;
    let mut pictures = Vec::new();
    for number in 0..90u8 {
        pictures.push((at_ms, vec![40 + 2 * number; 160 * 96 * 3 / 2]));
        at_ms += [20, 100, 60][usize::from(number % 3)];
    }
    painted(
        "appsrc name=in caps=video/x-raw,format=I420,width=160,height=96,framerate=0/1 ! \
         x264enc speed-preset=ultrafast bframes=0 ! h264parse ! matroskamux ! filesink name=out",
        &pictures,
    )
}
