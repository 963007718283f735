//! What came out, seen with a decoder's eyes: its pictures, their times and their colours.

use axum::body::Bytes;
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use gstreamer_video as gst_video;

/// A film's pictures as they are stored.
pub struct Pictures {
    pub width: u32,
    pub height: u32,
    /// As the stream is tagged.
    pub colorimetry: String,
    /// What the caps say beside of it: nothing of HDR may be left.
    pub caps: gst::Caps,
    pub seen: Vec<Picture>,
}

/// One picture: when it is shown, and the mean of its planes.
pub struct Picture {
    pub at_ns: u64,
    pub luma: f64,
    pub blue: f64,
    pub red: f64,
}

/// Decodes an H.264 film in MP4.
pub fn pictures(film: &[u8]) -> Pictures {
    let samples = decoded(
        film,
        "qtdemux ! h264parse ! avdec_h264 ! appsink name=out sync=false",
    );
    let caps = samples[0].caps().unwrap().to_owned();
    let info = gst_video::VideoInfo::from_caps(&caps).unwrap();
    assert_eq!(info.format(), gst_video::VideoFormat::I420);
    Pictures {
        width: info.width(),
        height: info.height(),
        colorimetry: info.colorimetry().to_string(),
        seen: samples.iter().map(|sample| seen(sample, &info)).collect(),
        caps,
    }
}

fn seen(sample: &gst::Sample, info: &gst_video::VideoInfo) -> Picture {
    let buffer = sample.buffer().unwrap();
    let frame = gst_video::VideoFrameRef::from_buffer_ref_readable(buffer, info).unwrap();
    let mean = |plane: u32| {
        let (width, height) = (info.comp_width(plane as u8), info.comp_height(plane as u8));
        let stride = info.stride()[plane as usize] as usize;
        let data = frame.plane_data(plane).unwrap();
        let rows = data.chunks(stride).take(height as usize);
        let sum: u64 = rows
            .flat_map(|row| &row[..width as usize])
            .map(|code| u64::from(*code))
            .sum();
        sum as f64 / f64::from(width * height)
    };
    Picture {
        at_ns: running_time_ns(sample),
        luma: mean(0),
        blue: mean(1),
        red: mean(2),
    }
}

pub fn running_time_ns(sample: &gst::Sample) -> u64 {
    let segment = sample.segment().unwrap();
    let segment = segment.downcast_ref::<gst::ClockTime>().unwrap();
    let at = segment.to_running_time(sample.buffer().unwrap().pts());
    at.unwrap().nseconds()
}

/// Everything a graph behind the file makes, until its end.
pub fn decoded(film: &[u8], graph: &str) -> Vec<gst::Sample> {
    gst::init().unwrap();
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let place = folder.path().join("film");
    std::fs::write(&place, film).unwrap();
    let description = format!("filesrc location={} ! {graph}", place.display());
    let pipeline = gst::parse::launch(&description)
        .unwrap()
        .downcast::<gst::Pipeline>()
        .unwrap();
    let out = pipeline.by_name("out").unwrap();
    let out = out.downcast::<gst_app::AppSink>().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    let mut samples = Vec::new();
    while let Ok(sample) = out.pull_sample() {
        samples.push(sample);
    }
    let error = pipeline
        .bus()
        .unwrap()
        .pop_filtered(&[gst::MessageType::Error]);
    pipeline.set_state(gst::State::Null).unwrap();
    assert!(error.is_none(), "{error:?}");
    assert!(!samples.is_empty(), "nothing came out");
    samples
}

/// The picture of a JPEG, its range being that of JPEG: luma from 0 to 255.
pub fn jpeg(bytes: &Bytes) -> Vec<u8> {
    let samples = decoded(
        bytes,
        "jpegdec ! videoconvert ! video/x-raw,format=RGB ! appsink name=out sync=false",
    );
    let map = samples[0].buffer().unwrap().map_readable().unwrap();
    map.to_vec()
}
