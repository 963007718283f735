//! Small films, made by GStreamer in the test's own process.

use axum::body::Bytes;
use gstreamer as gst;
use gstreamer::prelude::*;

/// Runs a pipeline whose `filesink name=out` gets its place from us, and returns the file.
pub fn film(description: &str) -> Bytes {
    painted(description, &[])
}

/// The same with an `appsrc name=in`, which gives these pictures: when each is shown, in
/// milliseconds, and its bytes.
pub fn painted(description: &str, pictures: &[(u64, Vec<u8>)]) -> Bytes {
    let at_ns = |(at_ms, bytes): &(u64, Vec<u8>)| (at_ms * 1_000_000, bytes.clone());
    painted_at(description, &pictures.iter().map(at_ns).collect::<Vec<_>>())
}

/// The same, in nanoseconds.
pub fn painted_at(description: &str, pictures: &[(u64, Vec<u8>)]) -> Bytes {
    gst::init().unwrap();
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let place = folder.path().join("film");
    let pipeline = gst::parse::launch(description)
        .unwrap()
        .downcast::<gst::Pipeline>()
        .unwrap();
    let out = pipeline.by_name("out").unwrap();
    out.set_property("location", place.to_str().unwrap());
    if let Some(input) = pipeline.by_name("in") {
        input.set_property("format", gst::Format::Time);
    }
    pipeline.set_state(gst::State::Playing).unwrap();
    feed(&pipeline, pictures);
    let bus = pipeline.bus().unwrap();
    let kinds = [gst::MessageType::Eos, gst::MessageType::Error];
    let message = bus.timed_pop_filtered(gst::ClockTime::from_seconds(60), &kinds);
    pipeline.set_state(gst::State::Null).unwrap();
    match message.expect("the film took too long").view() {
        gst::MessageView::Error(error) => panic!("{error:?}"),
        _ => std::fs::read(place).unwrap().into(),
    }
}

fn feed(pipeline: &gst::Pipeline, pictures: &[(u64, Vec<u8>)]) {
    let Some(input) = pipeline.by_name("in") else {
        return;
    };
    let input = input.downcast::<gstreamer_app::AppSrc>().unwrap();
    for (number, (at_ns, bytes)) in pictures.iter().enumerate() {
        let mut buffer = gst::Buffer::from_slice(bytes.clone());
        let made = buffer.get_mut().unwrap();
        made.set_pts(gst::ClockTime::from_nseconds(*at_ns));
        let next = pictures
            .get(number + 1)
            .map_or(at_ns + 20_000_000, |next| next.0);
        made.set_duration(gst::ClockTime::from_nseconds(next - at_ns));
        input.push_buffer(buffer).unwrap();
    }
    input.end_of_stream().unwrap();
}

/// Video of this many pictures.
pub fn pictures(count: u32, width: u32, height: u32, fps: &str) -> String {
    format!(
        "videotestsrc num-buffers={count} pattern=ball ! \
         video/x-raw,format=I420,width={width},height={height},framerate={fps} ! \
         x264enc speed-preset=ultrafast key-int-max=60 ! h264parse ! queue ! mux. "
    )
}

/// Sound of this many buffers of 1024 samples at 48 kHz.
pub fn sound(count: u32) -> String {
    format!(
        "audiotestsrc num-buffers={count} samplesperbuffer=1024 ! audio/x-raw,rate=48000,channels=2 ! \
         audioconvert ! avenc_aac ! aacparse ! queue ! mux. "
    )
}

pub fn mp4(tracks: &str) -> Bytes {
    film(&format!(
        "{tracks} mp4mux name=mux faststart=true ! filesink name=out"
    ))
}

pub fn matroska(tracks: &str) -> Bytes {
    film(&format!(
        "{tracks} matroskamux name=mux ! filesink name=out"
    ))
}

/// The same film from a camera held upright: GStreamer's muxer has no way to say so.
pub fn turned(film: &[u8]) -> Bytes {
    let mut bytes = film.to_vec();
    let header = bytes.windows(4).position(|kind| kind == b"tkhd").unwrap() + 4;
    let matrix = [0, 0x0001_0000, 0, 0xffff_0000, 0, 0, 0, 0, 0x4000_0000u32];
    for (number, value) in matrix.iter().enumerate() {
        let at = header + 40 + number * 4;
        bytes[at..at + 4].copy_from_slice(&value.to_be_bytes());
    }
    bytes.into()
}

/// Decodes a film: how many pictures it has, and when the first is shown, in milliseconds.
pub fn decoded(film: &[u8]) -> (u64, u64) {
    gst::init().unwrap();
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let place = folder.path().join("film.mp4");
    std::fs::write(&place, film).unwrap();
    let description = format!(
        "filesrc location={} ! qtdemux ! h264parse ! avdec_h264 ! appsink name=out sync=false",
        place.display()
    );
    let pipeline = gst::parse::launch(&description)
        .unwrap()
        .downcast::<gst::Pipeline>()
        .unwrap();
    let out = pipeline.by_name("out").unwrap();
    let out = out.downcast::<gstreamer_app::AppSink>().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    let (mut count, mut first_ms) = (0, u64::MAX);
    while let Ok(sample) = out.pull_sample() {
        let segment = sample.segment().unwrap();
        let segment = segment.downcast_ref::<gst::ClockTime>().unwrap();
        let at = segment.to_running_time(sample.buffer().unwrap().pts());
        first_ms = first_ms.min(at.unwrap().mseconds());
        count += 1;
    }
    pipeline.set_state(gst::State::Null).unwrap();
    (count, first_ms)
}

/// The brightness of one picture, row by row.
pub struct Grey {
    pub width: usize,
    pub rows: Vec<Vec<u8>>,
}

impl Grey {
    pub fn mean(&self, rows: std::ops::Range<usize>) -> u64 {
        let count = (rows.len() * self.width) as u64;
        let bytes = self.rows[rows].iter().flatten();
        bytes.map(|byte| u64::from(*byte)).sum::<u64>() / count
    }

    /// How much each of these rows differs from the next, per pixel, in hundredths.
    pub fn roughness(&self, rows: std::ops::Range<usize>) -> u64 {
        let count = (rows.len() * self.width) as u64;
        let pairs = rows.flat_map(|row| self.rows[row].iter().zip(&self.rows[row + 1]));
        pairs.map(|(a, b)| u64::from(a.abs_diff(*b))).sum::<u64>() * 100 / count
    }
}

/// The picture with this number, counted from 0, as it is stored: not turned, not deinterlaced.
pub fn picture(film: &[u8], number: usize) -> Grey {
    gst::init().unwrap();
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let place = folder.path().join("film.mp4");
    std::fs::write(&place, film).unwrap();
    let description = format!(
        "filesrc location={} ! qtdemux ! h264parse ! avdec_h264 ! videoconvert ! \
         video/x-raw,format=GRAY8 ! appsink name=out sync=false",
        place.display()
    );
    let pipeline = gst::parse::launch(&description)
        .unwrap()
        .downcast::<gst::Pipeline>()
        .unwrap();
    let out = pipeline.by_name("out").unwrap();
    let out = out.downcast::<gstreamer_app::AppSink>().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    let mut sample = out.pull_sample().unwrap();
    for _ in 0..number {
        sample = out.pull_sample().unwrap();
    }
    let info = gstreamer_video::VideoInfo::from_caps(sample.caps().unwrap()).unwrap();
    let (width, height) = (info.width() as usize, info.height() as usize);
    let stride = info.stride()[0] as usize;
    let map = sample.buffer().unwrap().map_readable().unwrap();
    let rows = map.chunks(stride).take(height);
    let rows = rows.map(|row| row[..width].to_vec()).collect();
    drop(map);
    pipeline.set_state(gst::State::Null).unwrap();
    Grey { width, rows }
}
