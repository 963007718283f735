//! The poster task: one picture that shows something, as JPEG.
//!
//! # Invariants
//!
//! * A few moments are tried, at most [`MOMENTS_MAX`]. Where none shows anything (black, or
//!   one flat colour), the one with the most contrast is taken: a film may well be dark.

use std::sync::Arc;

use gstreamer as gst;
use gstreamer_app as gst_app;
use gstreamer_video as gst_video;
use gstreamer_video::prelude::*;
use protocol::{PosterResult, PosterSpec, finish_request};

use super::front_end::{self, FrontEnd, Kind, Trouble, failure_of, missing, no_decoder};
use super::source_element::SourceLink;
use super::{Finished, Head, Output, resize, video_graph};
use crate::failure::{Code, Failure};

const MOMENTS_MAX: usize = 5;
/// How long one moment may take to be decoded.
const MOMENT_WAIT: gst::ClockTime = gst::ClockTime::from_seconds(20);
/// Mean luma of a picture that is not dark; black is 0.
const LIGHT_ENOUGH: f64 = 28.0;
/// How far luma strays from its mean in a picture that is not flat.
const CONTRAST_ENOUGH: f64 = 10.0;

pub(crate) fn run(link: &SourceLink, spec: &PosterSpec, output: &Arc<Output>) -> Finished {
    let container = front_end::container(link)?;
    let branch = build(spec)?;
    let sink = branch
        .by_name("out")
        .and_then(|sink| sink.downcast::<gst_app::AppSink>().ok())
        .ok_or_else(|| missing("appsink"))?;
    let front = FrontEnd::new(link, Kind::Video, &container, branch, Trouble::default())?;
    let best = best_picture(&front.pipeline, &sink, spec.at_ms, output);
    let stopped = front.pipeline.set_state(gst::State::Null);
    if stopped.is_err() {
        eprintln!("the poster pipeline did not stop");
    }

    let jpeg = gst::Caps::builder("image/jpeg").build();
    let jpeg = gst_video::convert_sample(&best?, &jpeg, MOMENT_WAIT).map_err(|error| {
        eprintln!("the picture was not converted: {error}");
        missing("jpegenc")
    })?;
    let buffer = jpeg.buffer().ok_or_else(|| missing("jpegenc"))?;
    let map = buffer.map_readable().map_err(|_| missing("jpegenc"))?;
    let head = Head::Poster {
        width: spec.width,
        height: spec.height,
    };
    output
        .send(&head, &map)
        .map_err(|_| Failure::new(Code::ProcessingCrashed, "the worker went away"))?;
    Ok(finish_request::Result::Poster(PosterResult {
        name: String::new(), // the parent names what it stores
        width: spec.width,
        height: spec.height,
        size_bytes: map.len() as u64,
    }))
}

fn build(spec: &PosterSpec) -> Result<gst::Bin, Failure> {
    // As RGB: the encoder would store television's levels as they are, and every reader of
    // JPEG takes its numbers for full range. By way of 16 bits: with 8 the sums are too coarse,
    // and all becomes darker.
    let text = format!(
        "queue max-size-buffers=2 ! {} ! {} ! \
         video/x-raw,format=I420,width={},height={},pixel-aspect-ratio=1/1 ! \
         videoconvert ! video/x-raw,format=AYUV64 ! videoconvert ! video/x-raw,format=RGB ! \
         appsink name=out sync=false max-buffers=1",
        video_graph::upright(&spec.source.clone().unwrap_or_default()),
        resize::NAME,
        spec.width,
        spec.height,
    );
    gst::parse::bin_from_description(&text, true).map_err(|error| {
        eprintln!("the poster graph was refused: {error}");
        missing("videoconvert")
    })
}

fn best_picture(
    pipeline: &gst::Pipeline,
    sink: &gst_app::AppSink,
    at_ms: u64,
    output: &Output,
) -> Result<gst::Sample, Failure> {
    pipeline
        .set_state(gst::State::Paused)
        .map_err(|_| no_decoder())?;
    settled(pipeline)?;
    let mut best = sink
        .try_pull_preroll(MOMENT_WAIT)
        .map(|first| (Look::of(&first), first));

    let length_ms = pipeline
        .query_duration::<gst::ClockTime>()
        .map_or(at_ms, gst::ClockTime::mseconds);
    let moments = [
        at_ms,
        at_ms + 2000,
        length_ms / 3,
        length_ms / 2,
        length_ms * 3 / 4,
    ];
    for (tried, moment_ms) in moments.into_iter().take(MOMENTS_MAX).enumerate() {
        let units = tried as u64 + 1;
        if output
            .send(&Head::Progress { units, permille: 0 }, &[])
            .is_err()
        {
            break;
        }
        let Some(picture) = picture_at(pipeline, sink, moment_ms.min(length_ms)) else {
            continue;
        };
        let look = Look::of(&picture);
        if look.shows_something() {
            return Ok(picture);
        }
        if best
            .as_ref()
            .is_none_or(|(most, _)| look.contrast > most.contrast)
        {
            best = Some((look, picture));
        }
    }
    best.map(|(_, picture)| picture).ok_or_else(no_decoder)
}

/// The picture at this time; none when the source cannot be moved in.
fn picture_at(
    pipeline: &gst::Pipeline,
    sink: &gst_app::AppSink,
    at_ms: u64,
) -> Option<gst::Sample> {
    let flags = gst::SeekFlags::FLUSH | gst::SeekFlags::ACCURATE;
    pipeline
        .seek_simple(flags, gst::ClockTime::from_mseconds(at_ms))
        .ok()?;
    settled(pipeline).ok()?;
    sink.try_pull_preroll(gst::ClockTime::from_mseconds(500))
}

/// Waits until a picture stands in the sink.
fn settled(pipeline: &gst::Pipeline) -> Result<(), Failure> {
    let bus = pipeline.bus().ok_or_else(|| missing("bus"))?;
    let kinds = [
        gst::MessageType::AsyncDone,
        gst::MessageType::Error,
        gst::MessageType::Eos,
    ];
    match bus.timed_pop_filtered(MOMENT_WAIT, &kinds) {
        Some(message) => match message.view() {
            gst::MessageView::Error(error) => Err(failure_of(error)),
            _ => Ok(()),
        },
        None => Err(Failure::new(
            Code::ProcessingStalled,
            "no picture could be taken in time",
        )),
    }
}

/// What can be told of a picture by its luma.
#[derive(Default)]
struct Look {
    light: f64,
    contrast: f64,
}

impl Look {
    fn of(picture: &gst::Sample) -> Look {
        let (Some(buffer), Some(caps)) = (picture.buffer(), picture.caps()) else {
            return Look::default();
        };
        let Ok(info) = gst_video::VideoInfo::from_caps(caps) else {
            return Look::default();
        };
        let Ok(frame) = gst_video::VideoFrameRef::from_buffer_ref_readable(buffer, &info) else {
            return Look::default();
        };
        let Ok(plane) = frame.plane_data(0) else {
            return Look::default();
        };
        let rows = plane.chunks(frame.plane_stride()[0].max(1) as usize);
        let rows = rows.take(frame.height() as usize);
        let width = 3 * frame.width() as usize;
        let (mut sum, mut squares, mut count) = (0u64, 0u64, 0u64);
        for pixel in rows.flat_map(|row| row[..width.min(row.len())].chunks_exact(3)) {
            let [r, g, b] = [pixel[0], pixel[1], pixel[2]].map(u64::from);
            let luma = (2 * r + 5 * g + b) / 8;
            sum += luma;
            squares += luma * luma;
            count += 1;
        }
        let mean = sum as f64 / count.max(1) as f64;
        let variance = squares as f64 / count.max(1) as f64 - mean * mean;
        Look {
            light: mean,
            contrast: variance.max(0.0).sqrt(),
        }
    }

    fn shows_something(&self) -> bool {
        self.light >= LIGHT_ENOUGH && self.contrast >= CONTRAST_ENOUGH
    }
}
