//! The audio task: one track, stereo, AAC, segments aligned to the video's boundaries.
//!
//! # Invariants
//!
//! * An AAC encoder puts 1024 samples of its own in front. As many are cut from the start,
//!   so that sound and picture stay together without an edit list.
//! * Gaps in the track become silence, and a late start too: time 0 is the video's.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use gst::prelude::*;
use gstreamer as gst;
use gstreamer_app as gst_app;
use protocol::{AudioSpec, EncodeResult, finish_request};

use super::downmix;
use super::fragments::{self, Open, Rendition};
use super::front_end::{self, FrontEnd, Kind, Trouble, missing};
use super::source_element::SourceLink;
use super::timeline::{self, Clock};
use super::{Finished, Output};
use crate::failure::{Code, Failure};

/// Samples in one AAC frame, and what the encoder puts in front.
const FRAME_SAMPLES: u64 = 1024;
/// One 32-bit float.
const SAMPLE_BYTES: u64 = 4;

pub(crate) fn run(link: &SourceLink, spec: &AudioSpec, output: &Arc<Output>) -> Finished {
    let container = front_end::container(link)?;
    let trouble = Trouble::default();
    let branch = build(spec)?;
    let element = |name: &str| branch.by_name(name).ok_or_else(|| missing(name));
    let pad = |name: &str| {
        element(name)?
            .static_pad("src")
            .ok_or_else(|| missing(name))
    };

    timeline::restamp(&pad("first")?, Clock::of(&container));
    if channels(spec) == 2 {
        downmix::to_stereo(&pad("first")?, &element("mix")?);
    }
    let starts = frames_at(&spec.boundaries_us, rate(spec));
    cut_start(
        &pad("whole")?,
        FRAME_SAMPLES * SAMPLE_BYTES * u64::from(channels(spec)),
    );
    fill_end(
        &pad("whole")?,
        SAMPLE_BYTES * u64::from(channels(spec)),
        rate(spec),
    );
    split_at(&pad("parse")?, &starts);
    let sink = element("out")?
        .downcast::<gst_app::AppSink>()
        .map_err(|_| missing("appsink"))?;
    let rendition = Rendition::sound(&spec.rendition, starts);
    fragments::send_all(
        &sink,
        Arc::clone(&rendition),
        Arc::clone(output),
        trouble.clone(),
        Open::renditions(1),
    );

    let front = FrontEnd::new(link, Kind::Audio, &container, branch, trouble)?;
    front.run(output, spec.duration_ms)?;
    front.coverage.is_whole(spec.duration_ms)?;
    front.coverage.is_decoded(false)?;
    let samples = rendition.lock().map_or(0, |rendition| rendition.samples());
    if samples == 0 {
        return Err(Failure::new(
            Code::SourceCorrupt,
            "the audio track of the file is empty",
        ));
    }
    Ok(finish_request::Result::Encode(EncodeResult {
        duration_ms: front.coverage.decoded_end_ns() / 1_000_000,
        samples,
    }))
}

fn build(spec: &AudioSpec) -> Result<gst::Bin, Failure> {
    // What the encoder decides by itself for each band, GStreamer would force upon all of them:
    // middle and side. Sound of one side then comes out of both.
    let text = format!(
        "queue ! identity name=first silent=true ! audioconvert name=mix ! audioresample ! \
         audio/x-raw,format=F32LE,layout=interleaved,rate={},channels={}{} ! \
         audiorate tolerance=40000000 ! identity name=whole silent=true ! audioconvert ! \
         avenc_aac bitrate={} aac-ms=false ! aacparse name=parse ! audio/mpeg,mpegversion=4,stream-format=raw ! \
         cmafmux manual-split=true send-force-keyunit=false ! \
         appsink name=out buffer-list=true sync=false async=false max-buffers=2",
        rate(spec),
        channels(spec),
        match channels(spec) {
            // Left and right, said aloud: the encoder would take two unnamed channels for one.
            2 => ",channel-mask=(bitmask)0x3",
            _ => "",
        },
        u64::from(spec.bitrate_kbps) * 1000,
    );
    gst::parse::bin_from_description(&text, true).map_err(|error| {
        eprintln!("the audio graph was refused: {error}");
        missing("avenc_aac")
    })
}

fn rate(spec: &AudioSpec) -> u32 {
    match spec.sample_rate {
        0 => 48_000,
        rate => rate,
    }
}

fn channels(spec: &AudioSpec) -> u32 {
    match spec.channels {
        0 => 2,
        channels => channels,
    }
}

/// The AAC frames that segments begin with: the nearest to each boundary.
fn frames_at(boundaries_us: &[u64], rate: u32) -> Vec<u64> {
    let unit = u128::from(FRAME_SAMPLES) * 1_000_000;
    let mut frames: Vec<u64> = boundaries_us
        .iter()
        .map(|us| ((u128::from(*us) * u128::from(rate) + unit / 2) / unit) as u64)
        .collect();
    frames.dedup();
    frames
}

/// Drops the first bytes that pass, whatever buffers they come in.
fn cut_start(pad: &gst::Pad, bytes: u64) {
    let left = AtomicU64::new(bytes);
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let skip = left.load(Ordering::Relaxed);
        let Some(buffer) = info.buffer() else {
            return gst::PadProbeReturn::Ok;
        };
        if skip == 0 {
            return gst::PadProbeReturn::Ok;
        }
        let size = buffer.size() as u64;
        if size <= skip {
            left.store(skip - size, Ordering::Relaxed);
            info.data = None;
            info.flow_res = Ok(gst::FlowSuccess::Ok);
            return gst::PadProbeReturn::Handled;
        }
        left.store(0, Ordering::Relaxed);
        let Ok(mut rest) = buffer.copy_region(gst::BufferCopyFlags::all(), skip as usize..) else {
            return gst::PadProbeReturn::Ok;
        };
        // All but the timestamps of the rest: they begin later by what was cut.
        let cut = |at: gst::ClockTime| {
            let share = at.nseconds() as u128 * u128::from(skip) / u128::from(size);
            gst::ClockTime::from_nseconds(share as u64)
        };
        let (pts, duration) = (buffer.pts(), buffer.duration());
        if let Some(made) = rest.get_mut() {
            let shift = duration.map_or(gst::ClockTime::ZERO, cut);
            made.set_pts(pts.map(|pts| pts + shift));
            made.set_duration(duration.map(|duration| duration - shift));
            made.set_flags(gst::BufferFlags::DISCONT);
        }
        info.data = Some(gst::PadProbeData::Buffer(rest));
        gst::PadProbeReturn::Ok
    });
}

/// Fills the last frame with silence: the encoder drops what is less than a frame.
fn fill_end(pad: &gst::Pad, sample_bytes: u64, rate: u32) {
    let passed = AtomicU64::new(0);
    let end_ns = AtomicU64::new(0);
    let which = gst::PadProbeType::BUFFER | gst::PadProbeType::EVENT_DOWNSTREAM;
    pad.add_probe(which, move |pad, info| {
        if let Some(buffer) = info.buffer() {
            let samples = buffer.size() as u64 / sample_bytes;
            passed.fetch_add(samples, Ordering::Relaxed);
            let end = buffer.pts().zip(buffer.duration()).map(|(pts, d)| pts + d);
            end_ns.store(end.map_or(0, gst::ClockTime::nseconds), Ordering::Relaxed);
            return gst::PadProbeReturn::Ok;
        }
        if info
            .event()
            .is_none_or(|event| event.type_() != gst::EventType::Eos)
        {
            return gst::PadProbeReturn::Ok;
        }
        let open = passed.load(Ordering::Relaxed) % FRAME_SAMPLES;
        if open > 0 {
            passed.store(0, Ordering::Relaxed);
            let samples = FRAME_SAMPLES - open;
            let mut silence =
                gst::Buffer::from_mut_slice(vec![0u8; (samples * sample_bytes) as usize]);
            if let Some(made) = silence.get_mut() {
                made.set_pts(gst::ClockTime::from_nseconds(
                    end_ns.load(Ordering::Relaxed),
                ));
                let ns = samples * 1_000_000_000 / u64::from(rate);
                made.set_duration(gst::ClockTime::from_nseconds(ns));
            }
            // To the next pad itself: one that is about to send its end sends nothing else.
            // An error would come back to the source with its next buffer; there is none.
            if let Some(next) = pad.peer() {
                let _at_the_end = next.chain(silence);
            }
        }
        gst::PadProbeReturn::Ok
    });
}

fn split_at(pad: &gst::Pad, starts: &[u64]) {
    let starts: HashSet<u64> = starts.iter().copied().collect();
    let count = AtomicU64::new(0);
    let which = gst::PadProbeType::BUFFER | gst::PadProbeType::EVENT_DOWNSTREAM;
    pad.add_probe(which, move |pad, info| {
        if info.event().is_some() {
            return fragments::without_tags(info);
        }
        let frame = count.fetch_add(1, Ordering::Relaxed);
        if frame > 0 && starts.contains(&frame) {
            fragments::split_before_next(pad);
        }
        gst::PadProbeReturn::Ok
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boundary_is_the_nearest_frame() {
        assert_eq!(frames_at(&[0, 2_000_000, 4_000_000], 48_000), [0, 94, 188]);
    }
}
