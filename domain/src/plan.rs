//! The DAG of a job: which tasks a source needs, and what each of them makes.
//!
//! # Invariants
//!
//! * All renditions of a job have the same segment boundaries, so that players switch at any of them.
//! * The boundaries lie on frames of the output, about two seconds apart, or on key frames of a
//!   source whose own picture is the top rendition.
//! * Every segment of every rendition is made by exactly one task.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::{
    code::Code,
    id::{RenditionId, TaskId},
    job::Outcome,
    ladder,
    media::{Kind as RenditionKind, Media, Ratio, Rendition, VideoTrack},
};

mod chunk;
mod passthrough;

pub use chunk::Chunk;

/// How long a segment is meant to be.
pub const SEGMENT_US: u64 = 2_000_000;

/// A shorter last piece stays with the segment before it.
const LAST_PIECE_US_MIN: u64 = SEGMENT_US / 4;

/// 1024 samples at 48 kHz.
const AUDIO_FRAME_US: u64 = 21_334;

/// Sources longer than this are refused.
pub const DURATION_MS_MAX: u64 = 12 * 60 * 60 * 1000;

/// Sources with more tracks, a larger picture or more frames per second are refused.
pub const TRACKS_MAX: u32 = 16;
pub const LONG_SIDE_MAX: u32 = 8192;
pub const SHORT_SIDE_MAX: u32 = 4320;
pub const SOURCE_FRAME_RATE_MAX: u32 = 120;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    pub id: TaskId,
    /// The job fails with it; an optional one is given up.
    pub required: bool,
    /// Tasks that must be settled before.
    pub after: Vec<TaskId>,
    pub spec: Spec,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Spec {
    Probe,
    /// What the source has is cut into segments, and not encoded.
    Passthrough {
        renditions: Vec<RenditionId>,
    },
    /// One chunk of these video renditions, from one decode.
    Encode {
        renditions: Vec<RenditionId>,
        chunk: Chunk,
    },
    Audio {
        rendition: RenditionId,
    },
    Poster {
        at_ms: u64,
        width: u32,
        height: u32,
    },
    /// Checks the sum of it all; run by the conductor itself.
    Finish,
}

impl Spec {
    /// Lower is handed out first: what makes the video playable comes before what decorates it,
    /// and what is watched first before what is watched later.
    pub fn rank(&self) -> u32 {
        match self {
            Self::Probe => 0,
            Self::Passthrough { .. } => 1,
            // Alone with its beginning, the smallest is what makes the video playable.
            Self::Encode { renditions, chunk } if chunk.first == 0 && renditions.len() == 1 => 2,
            Self::Audio { .. } => 3,
            Self::Encode { chunk, .. } if chunk.first == 0 => 4,
            Self::Poster { .. } => 5,
            Self::Finish => 6,
            Self::Encode { chunk, .. } => 6 + chunk.first,
        }
    }

    /// The numbers of the segments it makes.
    pub fn segments(&self) -> Range<u32> {
        match self {
            Self::Encode { chunk, .. } => chunk.range(),
            Self::Passthrough { .. } | Self::Audio { .. } => 0..u32::MAX,
            Self::Probe | Self::Poster { .. } | Self::Finish => 0..0,
        }
    }

    pub fn makes(&self, rendition: &RenditionId) -> bool {
        match self {
            Self::Encode { renditions, .. } | Self::Passthrough { renditions } => {
                renditions.contains(rendition)
            }
            Self::Audio { rendition: own } => own == rendition,
            Self::Probe | Self::Poster { .. } | Self::Finish => false,
        }
    }

    pub fn leaves(&self, outcome: &Outcome) -> bool {
        match self {
            Self::Probe => matches!(outcome, Outcome::Probed { .. }),
            Self::Encode { .. } | Self::Passthrough { .. } | Self::Audio { .. } => {
                matches!(outcome, Outcome::Encoded { .. })
            }
            Self::Poster { .. } => matches!(outcome, Outcome::Poster { .. }),
            Self::Finish => matches!(outcome, Outcome::Checked { .. }),
        }
    }

    pub fn name(&self) -> &'static str {
        match self {
            Self::Probe => "probe",
            Self::Passthrough { .. } => "passthrough",
            Self::Encode { .. } => "encode",
            Self::Audio { .. } => "audio",
            Self::Poster { .. } => "poster",
            Self::Finish => "finish",
        }
    }
}

/// What is known before the probe.
pub fn first_tasks() -> Vec<Task> {
    vec![task("probe", true, &[], Spec::Probe)]
}

/// What a source deserves.
pub struct Plan {
    pub boundaries_us: Vec<u64>,
    pub renditions: Vec<Rendition>,
    pub tasks: Vec<Task>,
}

/// The plan for a probed source, or why there is none. `cuts_us`: where its picture can be cut as
/// it is. `slots`: how many tasks can run at a time.
pub fn after_probe(media: &Media, cuts_us: &[u64], slots: u32) -> Result<Plan, (Code, String)> {
    check(media)?;
    let cuts_us = passthrough::cuts(media, cuts_us);
    let frame_rate = media.video.as_ref().map(ladder::frame_rate);
    let boundaries_us = match &cuts_us {
        Some(cuts_us) => without_short_end(cuts_us, media.duration_ms),
        None => boundaries(media.duration_ms, frame_rate),
    };
    let mut renditions = vec![];
    let mut tasks = vec![];
    let mut passed = vec![];
    if let Some(video) = &media.video {
        let mut ladder = ladder::of(video);
        if cuts_us.is_some() {
            passthrough::into_ladder(&mut ladder, video);
            passed.push(ladder[0].id.clone());
        }
        let encoded: Vec<RenditionId> = ladder[passed.len()..]
            .iter()
            .map(|rendition| rendition.id.clone())
            .collect();
        let is_urgent = cuts_us.is_none();
        tasks.extend(encodes(&encoded, is_urgent, &boundaries_us, media, slots));
        tasks.push(poster(media, video));
        renditions.extend(ladder);
    }
    if let Some(audio) = &media.audio {
        let rendition = passthrough::sound(audio).unwrap_or_else(ladder::audio);
        if audio.as_is {
            passed.push(rendition.id.clone());
        } else {
            let rendition = rendition.id.clone();
            tasks.push(task("audio", true, &["probe"], Spec::Audio { rendition }));
        }
        renditions.push(rendition);
    }
    if !passed.is_empty() {
        let spec = Spec::Passthrough { renditions: passed };
        tasks.insert(0, task("passthrough", true, &["probe"], spec));
    }
    tasks.push(finish_after(&tasks));
    Ok(Plan {
        boundaries_us,
        renditions,
        tasks,
    })
}

/// The tasks that make one rendition again, at the boundaries of the others.
pub fn again(
    rendition: &Rendition,
    passed_through: bool,
    boundaries_us: &[u64],
    media: &Media,
    slots: u32,
) -> Vec<Task> {
    let id = rendition.id.clone();
    let mut tasks = match rendition.kind {
        RenditionKind::Video { .. } | RenditionKind::Audio { .. } if passed_through => {
            let renditions = vec![id];
            vec![task(
                "passthrough",
                true,
                &[],
                Spec::Passthrough { renditions },
            )]
        }
        RenditionKind::Video { .. } => encodes(&[id], false, boundaries_us, media, slots),
        RenditionKind::Audio { .. } => {
            vec![task("audio", true, &[], Spec::Audio { rendition: id })]
        }
    };
    for task in &mut tasks {
        task.after.clear();
    }
    tasks.push(finish_after(&tasks));
    tasks
}

fn finish_after(tasks: &[Task]) -> Task {
    Task {
        id: TaskId("finish".to_owned()),
        required: true,
        after: tasks.iter().map(|task| task.id.clone()).collect(),
        spec: Spec::Finish,
    }
}

fn poster(media: &Media, video: &VideoTrack) -> Task {
    let (width, height) = ladder::poster_size(video);
    let spec = Spec::Poster {
        at_ms: (media.duration_ms / 10).min(3_000),
        width,
        height,
    };
    task("poster", false, &["probe"], spec)
}

/// The chunks of all renditions that are encoded, largest first. Where this is `urgent`, because
/// nothing else makes the video playable, the beginning of the smallest is a task of its own.
fn encodes(
    renditions: &[RenditionId],
    urgent: bool,
    boundaries_us: &[u64],
    media: &Media,
    slots: u32,
) -> Vec<Task> {
    let Some(smallest) = renditions.last() else {
        return vec![];
    };
    let chunks = chunk::all(boundaries_us, media.duration_ms, slots);
    let mut tasks = vec![];
    for (number, chunk) in chunks.iter().enumerate() {
        let mut made = renditions.to_vec();
        let id = if chunks.len() == 1 {
            "encode".to_owned()
        } else {
            format!("encode-{number:04}")
        };
        if urgent && number == 0 && chunks.len() > 1 && made.len() > 1 {
            made.pop();
            let spec = Spec::Encode {
                renditions: vec![smallest.clone()],
                chunk: *chunk,
            };
            tasks.push(task(&format!("{id}-{smallest}"), true, &["probe"], spec));
        }
        let spec = Spec::Encode {
            renditions: made,
            chunk: *chunk,
        };
        tasks.push(task(&id, true, &["probe"], spec));
    }
    tasks
}

/// Why a source is refused, in words for who uploaded it.
fn check(media: &Media) -> Result<(), (Code, String)> {
    let refused = |code, message: String| Err((code, message));
    if media.video.is_none() && media.audio.is_none() {
        return refused(
            Code::SourceNotMedia,
            "there is neither picture nor sound in this file".to_owned(),
        );
    }
    if media.duration_ms == 0 {
        return refused(
            Code::SourceCorrupt,
            "the file's duration cannot be told; it is damaged or empty".to_owned(),
        );
    }
    if media.duration_ms > DURATION_MS_MAX {
        return refused(
            Code::SourceTooLong,
            "the file lasts longer than 12 hours, the most that is accepted".to_owned(),
        );
    }
    if media.tracks > TRACKS_MAX {
        return refused(
            Code::SourceTooManyTracks,
            format!(
                "the file has {} tracks; at most {TRACKS_MAX} are accepted",
                media.tracks
            ),
        );
    }
    let Some(video) = &media.video else {
        return Ok(());
    };
    let (width, height) = (video.width, video.height);
    if width.max(height) > LONG_SIDE_MAX || width.min(height) > SHORT_SIDE_MAX {
        return refused(
            Code::SourceTooLarge,
            format!(
                "the picture has {width}×{height} pixels; at most {LONG_SIDE_MAX}×{SHORT_SIDE_MAX} are accepted"
            ),
        );
    }
    let is_too_fast = |rate: Ratio| rate.den > 0 && ladder::is_faster(rate, SOURCE_FRAME_RATE_MAX);
    if video.frame_rate.is_some_and(is_too_fast) {
        return refused(
            Code::SourceUnsupported,
            format!(
                "the picture has more than {SOURCE_FRAME_RATE_MAX} frames per second, the most that is accepted"
            ),
        );
    }
    Ok(())
}

/// How much shorter than declared a source may turn out to be: rounding of containers, not a cut.
pub fn shorter_ms_max(declared_ms: u64) -> u64 {
    (declared_ms / 50).clamp(500, 5_000)
}

/// The longest that a segment may get: the plan's longest, and the frame that a cut waits for.
/// What the file has beyond its declared end stays with the last.
pub fn segment_us_max(boundaries_us: &[u64], duration_ms: u64, frame_rate: Option<Ratio>) -> u64 {
    let frame_us = frame_rate.map_or(AUDIO_FRAME_US, |Ratio { num, den }| {
        (u64::from(den) * 1_000_000).div_ceil(u64::from(num.max(1)))
    });
    let ends = boundaries_us.iter().skip(1).copied();
    let ends = ends.chain([duration_ms * 1000]);
    let longest = boundaries_us
        .iter()
        .zip(ends)
        .map(|(begin, end)| end.saturating_sub(*begin));
    let planned = SEGMENT_US + LAST_PIECE_US_MIN;
    longest.max().unwrap_or(0).max(planned) + frame_us
}

/// The longest that a segment of this rendition may get.
pub fn longest_segment(rendition: &Rendition, boundaries_us: &[u64], media: &Media) -> u64 {
    let frame_rate = match rendition.kind {
        RenditionKind::Video { frame_rate, .. } => Some(frame_rate),
        RenditionKind::Audio { .. } => None,
    };
    segment_us_max(boundaries_us, media.duration_ms, frame_rate)
}

/// The times at which segments begin, on frames of the output.
fn boundaries(duration_ms: u64, frame_rate: Option<Ratio>) -> Vec<u64> {
    let on_frame = |us: u64| {
        let Some(Ratio { num, den }) = frame_rate else {
            return us;
        };
        let (num, den) = (u128::from(num.max(1)), u128::from(den.max(1)));
        let frame = (u128::from(us) * num).div_ceil(den * 1_000_000);
        (frame * den * 1_000_000 / num) as u64
    };
    let mut boundaries: Vec<u64> = (0..)
        .map(|index| on_frame(index * SEGMENT_US))
        .take_while(|us| *us == 0 || us + LAST_PIECE_US_MIN < duration_ms * 1000)
        .collect();
    // Where a frame lasts longer than a segment should, several cuts wait for the same frame.
    boundaries.dedup();
    boundaries
}

/// A short last piece stays with the segment before it.
fn without_short_end(cuts_us: &[u64], duration_ms: u64) -> Vec<u64> {
    let is_kept = |us: &u64| *us == 0 || us + LAST_PIECE_US_MIN < duration_ms * 1000;
    cuts_us.iter().copied().filter(is_kept).collect()
}

fn task(id: &str, required: bool, after: &[&str], spec: Spec) -> Task {
    let after = after.iter().map(|id| TaskId((*id).to_owned())).collect();
    Task {
        id: TaskId(id.to_owned()),
        required,
        after,
        spec,
    }
}

/// The kind of a rendition in one word, for read models and the API.
pub fn kind_name(kind: &RenditionKind) -> &'static str {
    match kind {
        RenditionKind::Video { .. } => "video",
        RenditionKind::Audio { .. } => "audio",
    }
}

#[cfg(test)]
mod tests;
