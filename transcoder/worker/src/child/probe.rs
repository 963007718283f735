//! The probe task: what the source is, told without decoding it.
//!
//! # Invariants
//!
//! * Limits are checked on what the headers say: an oversized picture is never decoded.
//! * The duration is the container's own. Containers that only guess are read to their end,
//!   others no further than to the first picture and the first sound.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use gst::prelude::*;
use gstreamer as gst;
use protocol::{Audio, ProbeResult, ProbeSpec, Video, finish_request};

use super::coverage::Coverage;
use super::front_end::{self, Kind, failure_of, made, no_decoder};
use super::index::{Index, Pace};
use super::source_element::{ParentSrc, SourceLink};
use super::{Finished, Head, Output, as_is, declared, decoder};
use crate::failure::{Code, Failure};

/// How often the pipeline is looked at.
const TICK: gst::ClockTime = gst::ClockTime::from_mseconds(20);
/// Tracks that begin late are not waited for longer than this.
const FIRST_BUFFERS_WAIT: Duration = Duration::from_secs(10);
/// Containers without an index: their duration is a guess until they are read.
const GUESSING: &[&str] = &["audio/mpeg", "application/x-id3", "application/x-apetag"];

pub(crate) fn run(link: &SourceLink, spec: &ProbeSpec, output: &Arc<Output>) -> Finished {
    let container = front_end::container(link)?;
    let movie = declared::check(link, &container)?.unwrap_or_default();
    too_many(movie.tracks, spec)?;

    let tracks = Tracks {
        coverage: Arc::new(Coverage::new(&container)),
        read_all: GUESSING.contains(&container.as_str()),
        promised: promised(link, &container)?,
        ..Tracks::default()
    };
    let pipeline = open(link, &tracks)?;
    let looked = look(&pipeline, &tracks, output);
    let description =
        looked.and_then(|duration_ns| describe(&tracks, container, duration_ns / 1_000_000, spec));
    if pipeline.set_state(gst::State::Null).is_err() {
        eprintln!("the probe did not stop");
    }
    let mut found = description?;
    if let Some(index) = &movie.index {
        as_it_is(&mut found, link, index)?;
    }
    Ok(finish_request::Result::Probe(found))
}

/// Flash video has no list of tracks: each is there once its first piece is. Its header says
/// of what kinds they are.
fn promised(link: &SourceLink, container: &str) -> Result<usize, Failure> {
    if container != "video/x-flv" {
        return Ok(0);
    }
    let head = link.read(0, 5).map_err(|_| front_end::unreadable())?;
    let kinds = head.get(4).map_or(0, |kinds| kinds & 0b101);
    Ok(kinds.count_ones() as usize)
}

/// Adds what the index tells: what need not be encoded, and how many bits there are.
fn as_it_is(found: &mut ProbeResult, link: &SourceLink, index: &Index) -> Result<(), Failure> {
    if let (Some(video), Some(track)) = (&mut found.video, &index.video) {
        video.bitrate_kbps = track.bitrate_kbps();
        (video.frame_rate_num, video.frame_rate_den) = match track.pace() {
            Pace::Constant => (video.frame_rate_num, video.frame_rate_den),
            Pace::Mostly { num, den } => usual_rate((num, den)),
            Pace::Varying => (0, 1),
        };
        let shown = (video.display_width, video.display_height);
        let is_plain = (video.width, video.height) == shown
            && video.rotation == 0
            && !video.interlaced
            && video.codec == "video/x-h264";
        if is_plain {
            found.cuts_us = as_is::cuts_us(link, index)?;
        }
    }
    if let (Some(audio), Some(track)) = (&mut found.audio, &index.audio) {
        audio.bitrate_kbps = track.bitrate_kbps();
        audio.as_is = as_is::is_sound(link, index)?;
    }
    Ok(())
}

/// What has shown up so far.
#[derive(Clone, Default)]
struct Tracks {
    pads: Arc<Mutex<Vec<gst::Pad>>>,
    waiting: Arc<AtomicU64>,
    complete: Arc<AtomicBool>,
    unknown: Arc<AtomicBool>,
    coverage: Arc<Coverage>,
    buffers: Arc<AtomicU64>,
    /// How many tracks there are at least, where the file's first bytes say so.
    promised: usize,
    /// The duration is a guess until all was read.
    read_all: bool,
}

fn open(link: &SourceLink, tracks: &Tracks) -> Result<gst::Pipeline, Failure> {
    let pipeline = gst::Pipeline::new();
    pipeline.use_clock(None::<&gst::Clock>);
    let source = ParentSrc::new(link.clone());
    let parse = made("parsebin")?;
    pipeline
        .add_many([source.upcast_ref(), &parse])
        .and_then(|()| source.link(&parse))
        .map_err(|_| front_end::missing("parsebin"))?;

    let seen = tracks.clone();
    let weak = pipeline.downgrade();
    parse.connect_pad_added(move |_, pad| {
        if let Some(pipeline) = weak.upgrade() {
            seen.add(&pipeline, pad);
        }
    });
    let unknown = Arc::clone(&tracks.unknown);
    parse.connect("unknown-type", false, move |values| {
        let caps = values
            .get(2)
            .and_then(|value| value.get::<gst::Caps>().ok());
        if caps.is_some_and(|caps| Kind::of(&caps) != Kind::Other) {
            unknown.store(true, Ordering::SeqCst);
        }
        None
    });
    Ok(pipeline)
}

impl Tracks {
    fn all_shown(&self) -> bool {
        let shown = self.pads.lock().map_or(0, |pads| pads.len());
        self.complete.load(Ordering::SeqCst)
            && self.waiting.load(Ordering::SeqCst) == 0
            && shown >= self.promised
    }

    fn add(&self, pipeline: &gst::Pipeline, pad: &gst::Pad) {
        let caps = pad.current_caps().unwrap_or_else(|| pad.query_caps(None));
        let awaited = Kind::of(&caps) != Kind::Other;
        if awaited {
            self.waiting.fetch_add(1, Ordering::SeqCst);
        }
        let tracks = self.clone();
        let first = AtomicBool::new(awaited);
        pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
            // It lets buffers flow when all of its pads are there, and says so in no other way.
            tracks.complete.store(true, Ordering::SeqCst);
            if first.swap(false, Ordering::SeqCst) {
                tracks.waiting.fetch_sub(1, Ordering::SeqCst);
            }
            tracks.buffers.fetch_add(1, Ordering::Relaxed);
            if let Some(buffer) = info.buffer() {
                tracks.coverage.demuxed(pad, buffer, false);
            }
            if tracks.read_all || !tracks.all_shown() {
                return gst::PadProbeReturn::Ok;
            }
            // Nothing more is to be learnt: the demuxer need not read on.
            info.data = None;
            info.flow_res = Err(gst::FlowError::Eos);
            gst::PadProbeReturn::Handled
        });
        if let Ok(mut pads) = self.pads.lock() {
            pads.push(pad.clone());
        }
        let sink = gst::ElementFactory::make("fakesink")
            .property("sync", false)
            .property("async", false)
            .build();
        let linked = sink.and_then(|sink| {
            pipeline.add(&sink)?;
            sink.sync_state_with_parent()?;
            let target = sink
                .static_pad("sink")
                .ok_or_else(|| gst::glib::bool_error!("a sink has a pad"))?;
            pad.link(&target)
                .map_err(|_| gst::glib::bool_error!("the pads do not link"))?;
            Ok(())
        });
        if let Err(error) = linked {
            gst::element_error!(pipeline, gst::CoreError::Pad, ["{error}"]);
        }
    }
}

/// Lets it run until every track has shown itself; tells the duration in nanoseconds.
fn look(pipeline: &gst::Pipeline, tracks: &Tracks, output: &Output) -> Result<u64, Failure> {
    pipeline
        .set_state(gst::State::Playing)
        .map_err(|_| no_decoder())?;
    let bus = pipeline.bus().ok_or_else(|| front_end::missing("bus"))?;
    let mut complete_at = None;
    let mut told_at = Instant::now();
    loop {
        let kinds = [gst::MessageType::Eos, gst::MessageType::Error];
        if let Some(message) = bus.timed_pop_filtered(TICK, &kinds) {
            match message.view() {
                gst::MessageView::Error(error) => return Err(failure_of(error)),
                _ => {
                    let found_ns = tracks.coverage.demuxed_end_ns();
                    let declared_ns = declared_ns(tracks).filter(|_| !tracks.read_all);
                    return Ok(declared_ns.unwrap_or(found_ns));
                }
            }
        }
        if told_at.elapsed() > Duration::from_secs(1) {
            told_at = Instant::now();
            let units = tracks.buffers.load(Ordering::Relaxed);
            output
                .send(&Head::Progress { units, permille: 0 }, &[])
                .map_err(|_| Failure::new(Code::ProcessingCrashed, "the worker went away"))?;
        }
        if tracks.read_all || !tracks.complete.load(Ordering::SeqCst) {
            continue;
        }
        let since = *complete_at.get_or_insert_with(Instant::now);
        if (tracks.all_shown() || since.elapsed() > FIRST_BUFFERS_WAIT)
            && let Some(duration_ns) = declared_ns(tracks)
        {
            return Ok(duration_ns);
        }
    }
}

/// The container's duration: that of its longest track.
fn declared_ns(tracks: &Tracks) -> Option<u64> {
    let pads = tracks.pads.lock().ok()?;
    pads.iter()
        .filter_map(|pad| pad.query_duration::<gst::ClockTime>())
        .map(gst::ClockTime::nseconds)
        .filter(|ns| *ns > 0)
        .max()
}

fn describe(
    tracks: &Tracks,
    container: String,
    duration_ms: u64,
    spec: &ProbeSpec,
) -> Result<ProbeResult, Failure> {
    let pads = tracks
        .pads
        .lock()
        .map_or_else(|_| Vec::new(), |pads| pads.clone());
    too_many(pads.len() as u32, spec)?;
    if duration_ms > spec.duration_ms_max {
        let message = format!(
            "the file is too long: {} s, at most {} s are allowed",
            duration_ms / 1000,
            spec.duration_ms_max / 1000
        );
        return Err(Failure::new(Code::SourceTooLong, message));
    }
    let (mut video, mut audio) = (None, None);
    let mut undecodable = tracks.unknown.load(Ordering::SeqCst);
    let mut media = 0;
    for pad in &pads {
        let Some(caps) = pad.current_caps() else {
            continue;
        };
        let kind = Kind::of(&caps);
        if kind == Kind::Other {
            continue;
        }
        media += 1;
        if !front_end::is_raw(&caps) && decoder::best(&caps).is_none() {
            undecodable = true;
            continue;
        }
        match kind {
            Kind::Video if video.is_none() => video = Some(video_of(pad, &caps, spec)?),
            Kind::Audio if audio.is_none() => audio = Some(audio_of(&caps)),
            Kind::Video | Kind::Audio | Kind::Other => {}
        }
    }
    if media == 0 && !undecodable {
        return Err(Failure::new(
            Code::SourceNotMedia,
            "the file has neither a video nor an audio track",
        ));
    }
    if undecodable {
        return Err(no_decoder());
    }
    Ok(ProbeResult {
        container,
        duration_ms,
        video,
        audio,
        tracks: pads.len() as u32,
        cuts_us: vec![],
    })
}

fn too_many(tracks: u32, spec: &ProbeSpec) -> Result<(), Failure> {
    if tracks > spec.tracks_max {
        let message = format!(
            "the file has {tracks} tracks, at most {} are allowed",
            spec.tracks_max
        );
        return Err(Failure::new(Code::SourceTooManyTracks, message));
    }
    Ok(())
}

fn video_of(pad: &gst::Pad, caps: &gst::CapsRef, spec: &ProbeSpec) -> Result<Video, Failure> {
    let structure = caps.structure(0).ok_or_else(no_decoder)?;
    let number = |field: &str| structure.get::<i32>(field).unwrap_or(0).max(0) as u32;
    let fraction = |field: &str| {
        structure
            .get::<gst::Fraction>(field)
            .ok()
            .filter(|f| f.numer() > 0 && f.denom() > 0)
            .map(|f| (f.numer() as u32, f.denom() as u32))
    };
    let (width, height) = (number("width"), number("height"));
    if width == 0 || height == 0 {
        return Err(Failure::new(
            Code::SourceCorrupt,
            "the video track does not say how large its pictures are",
        ));
    }
    let (par_num, par_den) = fraction("pixel-aspect-ratio").unwrap_or((1, 1));
    let rate = fraction("framerate").unwrap_or((0, 1));
    let (frame_rate_num, frame_rate_den) = usual_rate(rate);
    let rotation = rotation(pad);
    let square = (u64::from(width) * u64::from(par_num) / u64::from(par_den)).max(1) as u32;
    let (display_width, display_height) = match rotation {
        90 | 270 => (height, square),
        _ => (square, height),
    };
    let found = Video {
        codec: structure.name().to_string(),
        width,
        height,
        display_width,
        display_height,
        rotation,
        frame_rate_num,
        frame_rate_den,
        interlaced: structure
            .get::<&str>("interlace-mode")
            .is_ok_and(|mode| mode != "progressive"),
        bitrate_kbps: 0,
    };
    too_large(&found, spec)?;
    Ok(found)
}

/// Rates that cameras and editors make.
const USUAL_RATES: &[(u32, u32)] = &[
    (24_000, 1001),
    (24, 1),
    (25, 1),
    (30_000, 1001),
    (30, 1),
    (48, 1),
    (50, 1),
    (60_000, 1001),
    (60, 1),
];

/// A stream of no constant rate tells the ticks of its clock instead: thousands a second.
const RATE_MAX: f64 = 1000.0;

/// The usual rate this one means. Demuxers tell the average, which one long picture at the
/// end lowers: to take it at its word would drop pictures.
fn usual_rate(rate: (u32, u32)) -> (u32, u32) {
    let told = f64::from(rate.0) / f64::from(rate.1.max(1));
    if told > RATE_MAX {
        return (0, 1);
    }
    let means = |usual: &&(u32, u32)| {
        let ratio = f64::from(usual.0) / f64::from(usual.1) / told;
        (0.9995..=1.01).contains(&ratio)
    };
    USUAL_RATES.iter().find(means).copied().unwrap_or(rate)
}

/// The limit is a rectangle that may stand upright.
fn too_large(video: &Video, spec: &ProbeSpec) -> Result<(), Failure> {
    let sides = |a: u32, b: u32| (a.max(b), a.min(b));
    let (long_max, short_max) = sides(spec.width_max, spec.height_max);
    for (width, height) in [
        (video.width, video.height),
        (video.display_width, video.display_height),
    ] {
        let (long, short) = sides(width, height);
        if long > long_max || short > short_max {
            let message = format!(
                "the picture is too large: {width}x{height}, at most {}x{} are allowed",
                spec.width_max, spec.height_max
            );
            return Err(Failure::new(Code::SourceTooLarge, message));
        }
    }
    let per_second = video.frame_rate_num / video.frame_rate_den.max(1);
    if per_second > spec.frame_rate_max {
        let message = format!(
            "the video has {per_second} pictures per second, at most {} are allowed",
            spec.frame_rate_max
        );
        return Err(Failure::new(Code::SourceTooLarge, message));
    }
    Ok(())
}

fn audio_of(caps: &gst::CapsRef) -> Audio {
    let structure = caps.structure(0);
    let number = |field: &str| {
        let value = structure.and_then(|s| s.get::<i32>(field).ok());
        value.unwrap_or(0).max(0) as u32
    };
    Audio {
        codec: structure.map_or_else(String::new, |s| s.name().to_string()),
        channels: number("channels"),
        sample_rate: number("rate"),
        bitrate_kbps: 0,
        as_is: false,
    }
}

/// How far the picture has to be turned clockwise, from the tags on this pad.
fn rotation(pad: &gst::Pad) -> u32 {
    let mut rotation = 0;
    pad.sticky_events_foreach(|event| {
        if let gst::EventView::Tag(tag) = event.view()
            && let Some(orientation) = tag.tag().get::<gst::tags::ImageOrientation>()
        {
            rotation = match orientation.get() {
                "rotate-90" => 90,
                "rotate-180" => 180,
                "rotate-270" => 270,
                _ => rotation,
            };
        }
        std::ops::ControlFlow::Continue(gst::EventForeachAction::Keep)
    });
    rotation
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_average_rate_means_the_usual_one_above_it() {
        assert_eq!(usual_rate((119, 4)), (30_000, 1001));
        assert_eq!(usual_rate((2997, 100)), (30_000, 1001));
        assert_eq!(usual_rate((30, 1)), (30, 1));
        assert_eq!(usual_rate((24, 1)), (24, 1));
        assert_eq!(usual_rate((15, 1)), (15, 1));
        assert_eq!(usual_rate((0, 1)), (0, 1));
    }

    #[test]
    fn the_ticks_of_a_clock_are_no_rate() {
        assert_eq!(usual_rate((45_000, 1)), (0, 1));
        assert_eq!(usual_rate((240, 1)), (240, 1));
    }
}
