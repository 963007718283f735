//! Whether what can be played is what was uploaded.
//!
//! # Invariants
//!
//! * One frame of difference is allowed in video, one AAC frame in audio: no more, at any length.

use anyhow::bail;
use domain::media::{Kind, Ratio, Rendition};
use serde_json::{Value, json};

use super::{media::Counted, playback::Played, timeline::Plan};

/// Samples in one AAC frame.
const AAC_FRAME: u64 = 1024;

/// Compares every planned rendition with the source; the answer lists them.
pub fn compare(plan: &Plan, source: &Counted, played: &[Played]) -> anyhow::Result<Vec<Value>> {
    let mut wrong = vec![];
    let mut listed = vec![];
    for rendition in &plan.renditions {
        let name = &rendition.id.0;
        let Some(found) = played.iter().find(|one| one.name == *name) else {
            wrong.push(format!("{name} is planned but not in the master playlist"));
            continue;
        };
        let frames = match &rendition.kind {
            Kind::Video { frame_rate, .. } => {
                wrong.extend(video_problem(plan, source, found, *frame_rate));
                found.counted.frames
            }
            Kind::Audio { sample_rate, .. } => {
                wrong.extend(audio_problem(source, found, *sample_rate));
                found.counted.audio_samples.div_ceil(AAC_FRAME)
            }
        };
        listed.push(json!({"name": name, "frames": frames}));
    }
    wrong.extend(unplanned(&plan.renditions, played));
    if wrong.is_empty() {
        return Ok(listed);
    }
    bail!("what plays is not what was uploaded: {}", wrong.join("; "))
}

fn video_problem(plan: &Plan, source: &Counted, found: &Played, rate: Ratio) -> Option<String> {
    let source_rate = plan.media.video.as_ref().and_then(|video| video.frame_rate);
    let expected = match source_rate == Some(rate) {
        true => source.frames,
        // Capped, or made constant: by time instead of by count.
        false => at_rate(plan.media.duration_ms, rate),
    };
    let frame_ms = 1000 * u64::from(rate.den) / u64::from(rate.num.max(1)) + 1;
    let frames = found.counted.frames;
    if frames.abs_diff(expected) > 1 {
        return Some(format!(
            "{} has {frames} frames instead of {expected}",
            found.name
        ));
    }
    let duration_ms = expected * 1000 * u64::from(rate.den) / u64::from(rate.num.max(1));
    for (what, value) in [
        ("plays", found.counted.duration_ms),
        ("lists", found.listed_ms),
    ] {
        if value.abs_diff(duration_ms) > frame_ms {
            return Some(format!(
                "{} {what} {value} ms instead of {duration_ms}",
                found.name
            ));
        }
    }
    None
}

fn audio_problem(source: &Counted, found: &Played, rate: u32) -> Option<String> {
    let source_rate = source
        .audio
        .as_ref()
        .map_or(rate, |audio| audio.sample_rate);
    let expected = source.audio_samples * u64::from(rate) / u64::from(source_rate.max(1));
    let samples = found.counted.audio_samples;
    if samples.abs_diff(expected) > AAC_FRAME {
        return Some(format!(
            "{} has {samples} samples instead of {expected}",
            found.name
        ));
    }
    let duration_ms = expected * 1000 / u64::from(rate.max(1));
    // Segments are of whole frames: one more before the first sound, and one behind the last.
    let frames_ms = 2 * AAC_FRAME * 1000 / u64::from(rate.max(1)) + 1;
    let listed = found.listed_ms;
    (listed.abs_diff(duration_ms) > frames_ms)
        .then(|| format!("{} lists {listed} ms instead of {duration_ms}", found.name))
}

fn unplanned(planned: &[Rendition], played: &[Played]) -> Vec<String> {
    let known = |name: &str| planned.iter().any(|rendition| rendition.id.0 == name);
    played
        .iter()
        .filter(|found| !known(&found.name))
        .map(|found| format!("{} was never planned", found.name))
        .collect()
}

fn at_rate(duration_ms: u64, rate: Ratio) -> u64 {
    let frames = duration_ms as f64 * f64::from(rate.num) / (1000.0 * f64::from(rate.den.max(1)));
    frames.round() as u64
}

#[cfg(test)]
mod tests {
    use domain::{
        id::RenditionId,
        media::{Media, VideoTrack},
    };

    use super::*;

    const RATE: Ratio = Ratio { num: 30, den: 1 };

    #[test]
    fn the_same_frames_are_accepted() {
        assert!(compare(&plan(RATE), &source(300), &[played(300, 10_000)]).is_ok());
        assert!(compare(&plan(RATE), &source(300), &[played(299, 9_967)]).is_ok());
    }

    #[test]
    fn two_missing_frames_are_not() {
        let answer = compare(&plan(RATE), &source(300), &[played(298, 9_933)]);
        assert!(
            answer
                .unwrap_err()
                .to_string()
                .contains("298 frames instead of 300")
        );
    }

    #[test]
    fn a_playlist_that_promises_too_little_is_not() {
        let mut short = played(300, 10_000);
        short.listed_ms = 8_000;
        let answer = compare(&plan(RATE), &source(300), &[short]);
        assert!(answer.unwrap_err().to_string().contains("lists 8000 ms"));
    }

    #[test]
    fn a_rendition_that_is_not_there_is_named() {
        let answer = compare(&plan(RATE), &source(300), &[]);
        assert!(answer.unwrap_err().to_string().contains("720p is planned"));
    }

    #[test]
    fn a_capped_frame_rate_is_judged_by_time() {
        let capped = plan(Ratio { num: 120, den: 1 });
        assert!(compare(&capped, &source(1200), &[played(300, 10_000)]).is_ok());
    }

    fn plan(source_rate: Ratio) -> Plan {
        let video = VideoTrack {
            codec: "h264".to_owned(),
            width: 1280,
            height: 720,
            display_width: 1280,
            display_height: 720,
            rotation: 0,
            frame_rate: Some(source_rate),
            interlaced: false,
            bitrate_kbps: 0,
        };
        let media = Media {
            container: "mp4".to_owned(),
            duration_ms: 10_000,
            tracks: 1,
            video: Some(video),
            audio: None,
        };
        let kind = Kind::Video {
            width: 1280,
            height: 720,
            frame_rate: RATE,
        };
        let rendition = Rendition {
            id: RenditionId("720p".to_owned()),
            bitrate_kbps: 2800,
            kind,
        };
        Plan {
            media,
            renditions: vec![rendition],
        }
    }

    fn source(frames: u64) -> Counted {
        Counted {
            frames,
            duration_ms: 10_000,
            ..Counted::default()
        }
    }

    fn played(frames: u64, duration_ms: u64) -> Played {
        let counted = Counted {
            frames,
            duration_ms,
            ..Counted::default()
        };
        Played {
            name: "720p".to_owned(),
            listed_ms: duration_ms,
            counted,
        }
    }
}
