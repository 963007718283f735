//! What workers say, checked and in our own words; and what they are told when it is refused.
//!
//! # Invariants
//!
//! * A name that leaves here cannot climb out of its attempt's folder.
//! * Every text and every list has a maximum.
#![expect(
    clippy::result_large_err,
    reason = "gRPC answers with this type; a refusal is rare and its size does not matter"
)]

use domain::{
    id::{JobId, TaskId},
    job::{Lease, Outcome, Rejection},
    media::{AudioTrack, Init, Media, Ratio, Segment, VideoTrack},
};
use tonic::Status;

use crate::{actor::CONDUCTOR, handle::JobHandle, roll::Capacity, stream::Refusal};

pub(crate) const NAME_CHARS_MAX: usize = 100;
pub(crate) const MESSAGE_CHARS_MAX: usize = 500;
/// Files in one request for addresses, segments in one report.
pub(crate) const FILES_MAX: usize = 64;
pub(crate) const KINDS_MAX: usize = 16;
/// The largest object that one PUT may store.
/// A cut every 2 s of the longest film.
const CUTS_MAX: usize = (domain::plan::DURATION_MS_MAX / 2000) as usize;
const FILE_BYTES_MAX: u64 = 5 * 1024 * 1024 * 1024;

pub(crate) fn lease(lease: Option<protocol::Lease>) -> Result<(JobId, Lease), Status> {
    let lease = lease.ok_or_else(|| invalid("a lease is needed"))?;
    let job = lease
        .job
        .parse()
        .map_err(|_| invalid("the job is not a UUID"))?;
    short("the task", &lease.task)?;
    let lease = Lease {
        task: TaskId(lease.task),
        attempt: lease.attempt,
    };
    Ok((job, lease))
}

pub(crate) fn worker(name: String) -> Result<String, Status> {
    short("the worker's name", &name)?;
    if name == CONDUCTOR {
        return Err(invalid("this name is the conductor's own"));
    }
    Ok(name)
}

pub(crate) fn kinds(kinds: Vec<String>) -> Result<Vec<String>, Status> {
    if kinds.len() > KINDS_MAX {
        return Err(invalid("at most 16 kinds"));
    }
    for kind in &kinds {
        short("the kind of a task", kind)?;
    }
    Ok(kinds)
}

pub(crate) fn capacity(said: protocol::Capacity) -> Result<Capacity, Status> {
    if said.version.chars().count() > NAME_CHARS_MAX {
        return Err(invalid("the worker's version has at most 100 characters"));
    }
    Ok(Capacity {
        slots: said.slots,
        running: said.running,
        memory_mib: said.memory_mib,
        memory_used_mib: said.memory_used_mib,
        version: said.version,
    })
}

pub(crate) fn name(name: &str) -> Result<&str, Status> {
    let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-');
    let only_dots = name.bytes().all(|byte| byte == b'.');
    if only_dots || name.len() > NAME_CHARS_MAX || !name.bytes().all(allowed) {
        return Err(invalid("a file name is [a-z0-9.-]{1,100}"));
    }
    Ok(name)
}

pub(crate) fn size(size_bytes: u64) -> Result<u64, Status> {
    if size_bytes == 0 || size_bytes > FILE_BYTES_MAX {
        return Err(invalid("a file has 1 byte to 5 GiB"));
    }
    Ok(size_bytes)
}

pub(crate) fn content_type(text: &str) -> Result<Option<&str>, Status> {
    if text.is_empty() {
        return Ok(None);
    }
    if text.len() > NAME_CHARS_MAX || !text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        return Err(invalid("a content type is short and plain"));
    }
    Ok(Some(text))
}

pub(crate) fn init(
    handle: &JobHandle,
    lease: &Lease,
    init: protocol::Init,
) -> Result<Init, Status> {
    short("the codec", &init.codec)?;
    if init.timescale == 0 {
        return Err(invalid("a timescale is at least 1"));
    }
    Ok(Init {
        key: handle.key(lease, name(&init.name)?),
        size_bytes: size(init.size_bytes)?,
        codec: init.codec,
        timescale: init.timescale,
    })
}

pub(crate) fn segments(
    handle: &JobHandle,
    lease: &Lease,
    segments: Vec<protocol::Segment>,
) -> Result<Vec<Segment>, Status> {
    if segments.len() > FILES_MAX {
        return Err(invalid("at most 64 segments at a time"));
    }
    let segment = |segment: protocol::Segment| {
        if segment.duration == 0 || segment.samples == 0 {
            return Err(invalid("a segment lasts, and has samples"));
        }
        Ok(Segment {
            key: handle.key(lease, name(&segment.name)?),
            size_bytes: size(segment.size_bytes)?,
            time: segment.time,
            duration: segment.duration,
            samples: segment.samples,
        })
    };
    segments.into_iter().map(segment).collect()
}

pub(crate) fn outcome(
    handle: &JobHandle,
    lease: &Lease,
    result: Option<protocol::finish_request::Result>,
) -> Result<Outcome, Status> {
    use protocol::finish_request::Result as Theirs;
    match result.ok_or_else(|| invalid("a result is needed"))? {
        Theirs::Probe(mut probe) => {
            let cuts_us = std::mem::take(&mut probe.cuts_us);
            if cuts_us.len() > CUTS_MAX {
                return Err(invalid("at most 21,600 cuts: one every 2 s of 12 hours"));
            }
            Ok(Outcome::Probed {
                media: media(probe)?,
                cuts_us,
            })
        }
        Theirs::Encode(encode) => Ok(Outcome::Encoded {
            duration_ms: encode.duration_ms,
            samples: encode.samples,
        }),
        Theirs::Poster(poster) => Ok(Outcome::Poster {
            key: handle.key(lease, name(&poster.name)?),
            width: poster.width,
            height: poster.height,
            size_bytes: size(poster.size_bytes)?,
        }),
    }
}

fn media(probe: protocol::ProbeResult) -> Result<Media, Status> {
    short("the container", &probe.container)?;
    Ok(Media {
        container: probe.container,
        duration_ms: probe.duration_ms,
        tracks: probe.tracks,
        video: probe.video.map(video).transpose()?,
        audio: probe.audio.map(audio).transpose()?,
    })
}

fn video(video: protocol::Video) -> Result<VideoTrack, Status> {
    short("the codec", &video.codec)?;
    let sides = [
        video.width,
        video.height,
        video.display_width,
        video.display_height,
    ];
    if sides.contains(&0) {
        return Err(invalid("a picture has two sides"));
    }
    let known = video.frame_rate_num > 0 && video.frame_rate_den > 0;
    Ok(VideoTrack {
        codec: video.codec,
        width: video.width,
        height: video.height,
        display_width: video.display_width,
        display_height: video.display_height,
        rotation: video.rotation,
        frame_rate: known.then_some(Ratio {
            num: video.frame_rate_num,
            den: video.frame_rate_den,
        }),
        interlaced: video.interlaced,
        bitrate_kbps: video.bitrate_kbps,
    })
}

fn audio(audio: protocol::Audio) -> Result<AudioTrack, Status> {
    short("the codec", &audio.codec)?;
    Ok(AudioTrack {
        codec: audio.codec,
        channels: audio.channels,
        sample_rate: audio.sample_rate,
        bitrate_kbps: audio.bitrate_kbps,
        as_is: audio.as_is,
    })
}

fn short(what: &str, text: &str) -> Result<(), Status> {
    if text.is_empty() || text.chars().count() > NAME_CHARS_MAX {
        return Err(invalid(&format!(
            "{what} has 1 to {NAME_CHARS_MAX} characters"
        )));
    }
    Ok(())
}

pub(crate) fn invalid(problem: &str) -> Status {
    Status::invalid_argument(problem)
}

/// The lease is not, or no longer, this worker's.
pub(crate) fn not_leased() -> Status {
    Status::aborted("this attempt is not running any more; stop, and publish nothing")
}

pub(crate) fn refused(refusal: Refusal) -> Status {
    let rejection = match refusal {
        Refusal::Rejected(rejection) => rejection,
        Refusal::Unavailable(error) => {
            tracing::warn!(
                error = format!("{error:#}"),
                "a worker's report could not be recorded"
            );
            return Status::unavailable("the job cannot be recorded at the moment; try again");
        }
    };
    let text = rejection.to_string();
    match rejection {
        Rejection::Unknown | Rejection::UnknownTask(_) => Status::not_found(text),
        Rejection::Ended | Rejection::NotRunnable(_) | Rejection::NotLeased(_) => {
            Status::aborted(text)
        }
        Rejection::OutOfOrder { .. }
        | Rejection::NoInit
        | Rejection::OtherInit(_)
        | Rejection::Incomplete(_) => Status::failed_precondition(text),
        Rejection::NotItsRendition(_)
        | Rejection::NotItsSegments { .. }
        | Rejection::WrongOutcome(_) => Status::invalid_argument(text),
    }
}

#[cfg(test)]
mod tests {
    use super::name;

    #[test]
    fn a_name_stays_in_its_folder() {
        for bad in [
            "",
            ".",
            "..",
            "a/b",
            "../a",
            "A",
            "a b",
            "ä",
            &"a".repeat(101),
        ] {
            assert!(name(bad).is_err(), "{bad:?}");
        }
        for good in ["a", "720p-00001.m4s", "init.mp4", "a..b", &"a".repeat(100)] {
            assert!(name(good).is_ok(), "{good:?}");
        }
    }
}
