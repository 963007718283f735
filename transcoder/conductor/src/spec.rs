//! What a worker is told about its task, from what the job knows.

use domain::{
    id::RenditionId,
    job::Job,
    media::{AudioTrack, Kind, Media, Rendition, VideoTrack},
    plan::{Chunk, DURATION_MS_MAX, Spec},
};
use protocol::task;

/// The largest source that is accepted.
const WIDTH_MAX: u32 = 8192;
const HEIGHT_MAX: u32 = 4320;
const TRACKS_MAX: u32 = 16;
const FRAME_RATE_MAX: u32 = 120;

/// `None` where it is no worker's task, or where the probe found nothing to do it with.
pub(crate) fn of(job: &Job, spec: &Spec) -> Option<task::Spec> {
    match spec {
        Spec::Probe => Some(task::Spec::Probe(protocol::ProbeSpec {
            duration_ms_max: DURATION_MS_MAX,
            width_max: WIDTH_MAX,
            height_max: HEIGHT_MAX,
            tracks_max: TRACKS_MAX,
            frame_rate_max: FRAME_RATE_MAX,
        })),
        Spec::Passthrough { renditions } => {
            Some(task::Spec::Passthrough(passthrough(job, renditions)?))
        }
        Spec::Encode { renditions, chunk } => {
            let media = job.media.as_ref()?;
            let targets = renditions.iter().filter_map(|id| target(job, id, *chunk));
            Some(task::Spec::Encode(protocol::EncodeSpec {
                boundaries_us: job.boundaries_us.clone(),
                targets: targets.collect(),
                source: Some(video(media.video.as_ref()?)),
                duration_ms: media.duration_ms,
                first_segment: chunk.first,
                segments: chunk.segments.unwrap_or(0),
            }))
        }
        Spec::Audio { rendition } => {
            audio_spec(job, job.media.as_ref()?, rendition).map(task::Spec::Audio)
        }
        Spec::Poster {
            at_ms,
            width,
            height,
        } => Some(task::Spec::Poster(protocol::PosterSpec {
            at_ms: *at_ms,
            width: *width,
            height: *height,
            source: Some(video(job.media.as_ref()?.video.as_ref()?)),
        })),
        Spec::Finish => None,
    }
}

fn target(job: &Job, id: &RenditionId, chunk: Chunk) -> Option<protocol::VideoTarget> {
    let published = job.renditions.get(id)?;
    let Rendition {
        bitrate_kbps, kind, ..
    } = &published.rendition;
    match kind {
        Kind::Video {
            width,
            height,
            frame_rate,
        } => Some(protocol::VideoTarget {
            rendition: id.0.clone(),
            width: *width,
            height: *height,
            bitrate_kbps: *bitrate_kbps,
            frame_rate_num: frame_rate.num,
            frame_rate_den: frame_rate.den,
            published: published.next_from(chunk.first) - chunk.first,
        }),
        Kind::Audio { .. } => None,
    }
}

fn passthrough(job: &Job, renditions: &[RenditionId]) -> Option<protocol::PassthroughSpec> {
    let target = |is_wanted: fn(&Kind) -> bool| {
        let of = renditions.iter().filter_map(|id| job.renditions.get(id));
        let mut of = of.filter(|published| is_wanted(&published.rendition.kind));
        of.next().map(|published| protocol::PassthroughTarget {
            rendition: published.rendition.id.0.clone(),
            published: published.segments.len() as u32,
        })
    };
    Some(protocol::PassthroughSpec {
        boundaries_us: job.boundaries_us.clone(),
        video: target(|kind| matches!(kind, Kind::Video { .. })),
        audio: target(|kind| matches!(kind, Kind::Audio { .. })),
        duration_ms: job.media.as_ref()?.duration_ms,
    })
}

fn audio_spec(job: &Job, media: &Media, id: &RenditionId) -> Option<protocol::AudioSpec> {
    let published = job.renditions.get(id)?;
    match published.rendition.kind {
        Kind::Audio {
            channels,
            sample_rate,
        } => Some(protocol::AudioSpec {
            boundaries_us: job.boundaries_us.clone(),
            rendition: id.0.clone(),
            bitrate_kbps: published.rendition.bitrate_kbps,
            channels,
            sample_rate,
            published: published.segments.len() as u32,
            source: Some(audio(media.audio.as_ref()?)),
            duration_ms: media.duration_ms,
        }),
        Kind::Video { .. } => None,
    }
}

fn video(track: &VideoTrack) -> protocol::Video {
    protocol::Video {
        codec: track.codec.clone(),
        width: track.width,
        height: track.height,
        display_width: track.display_width,
        display_height: track.display_height,
        rotation: track.rotation,
        // 0 stands for a rate that varies or is unknown.
        frame_rate_num: track.frame_rate.map_or(0, |rate| rate.num),
        frame_rate_den: track.frame_rate.map_or(1, |rate| rate.den),
        interlaced: track.interlaced,
        bitrate_kbps: track.bitrate_kbps,
    }
}

fn audio(track: &AudioTrack) -> protocol::Audio {
    protocol::Audio {
        codec: track.codec.clone(),
        channels: track.channels,
        sample_rate: track.sample_rate,
        bitrate_kbps: track.bitrate_kbps,
        as_is: track.as_is,
    }
}
