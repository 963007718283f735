//! What whoever watches gets of a file: every picture and every sample of sound, and when.

use gstreamer as gst;
use gstreamer::prelude::*;

/// A picture: when it is shown, in ns, and what it looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Picture {
    pub at_ns: u64,
    pub hash: u64,
}

/// Decodes the pictures of a film in MP4.
pub fn pictures(film: &[u8]) -> Vec<Picture> {
    let decoded = decoded(
        film,
        "h264parse ! avdec_h264 ! videoconvert ! video/x-raw,format=I420",
    );
    let picture = |(at_ns, bytes): (u64, Vec<u8>)| Picture {
        at_ns,
        hash: hash(&bytes),
    };
    decoded.into_iter().map(picture).collect()
}

/// Decodes the sound of a film in MP4: when it begins, in ns, and all its samples.
pub fn sound(film: &[u8]) -> (u64, Vec<i16>) {
    let decoded = decoded(
        film,
        "aacparse ! avdec_aac ! audioconvert dithering=none ! audio/x-raw,format=S16LE,layout=interleaved",
    );
    let begin = decoded.first().map_or(0, |(at_ns, _)| *at_ns);
    let bytes = decoded.into_iter().flat_map(|(_, bytes)| bytes);
    let bytes: Vec<u8> = bytes.collect();
    let samples = bytes.chunks_exact(2);
    let samples = samples.map(|two| i16::from_le_bytes([two[0], two[1]]));
    (begin, samples.collect())
}

fn hash(bytes: &[u8]) -> u64 {
    use std::hash::{DefaultHasher, Hasher};
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}

/// What comes out of a decoder, and when it is to be shown or heard.
fn decoded(film: &[u8], decoder: &str) -> Vec<(u64, Vec<u8>)> {
    gst::init().unwrap();
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let place = folder.path().join("film.mp4");
    std::fs::write(&place, film).unwrap();
    let description = format!(
        "filesrc location={} ! qtdemux ! {decoder} ! appsink name=out sync=false",
        place.display()
    );
    let pipeline = gst::parse::launch(&description)
        .unwrap()
        .downcast::<gst::Pipeline>()
        .unwrap();
    let out = pipeline.by_name("out").unwrap();
    let out = out.downcast::<gstreamer_app::AppSink>().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    let mut decoded = vec![];
    while let Ok(sample) = out.pull_sample() {
        let segment = sample.segment().unwrap();
        let segment = segment.downcast_ref::<gst::ClockTime>().unwrap();
        let buffer = sample.buffer().unwrap();
        // What is outside of an edit is neither shown nor heard.
        let Some(at) = segment.to_stream_time(buffer.pts()) else {
            continue;
        };
        decoded.push((at.nseconds(), buffer.map_readable().unwrap().to_vec()));
    }
    pipeline.set_state(gst::State::Null).unwrap();
    decoded
}
