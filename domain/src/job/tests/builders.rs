//! Small commands and events. Their arguments are what a test is about.

use uuid::Uuid;

use super::super::*;
use crate::{
    decider::fold,
    media::{AudioTrack, Ratio, VideoTrack},
};

pub(super) const JOB: JobId = JobId(Uuid::from_u128(1));

pub(super) fn fact(event: Kind) -> Event {
    Fact {
        video: VideoId(Uuid::from_u128(7)),
        owner: Owner("ada".to_owned()),
        at_ms: 1,
        event,
    }
}

pub(super) fn source() -> Source {
    Source {
        key: "sources/v/original".to_owned(),
        etag: "e".to_owned(),
        size_bytes: 7,
    }
}

pub(super) fn media() -> Media {
    Media {
        container: "video/quicktime".to_owned(),
        duration_ms: 12_000,
        tracks: 2,
        video: Some(VideoTrack {
            codec: "H.264".to_owned(),
            width: 640,
            height: 360,
            display_width: 640,
            display_height: 360,
            rotation: 0,
            frame_rate: Some(Ratio { num: 30, den: 1 }),
            interlaced: false,
            bitrate_kbps: 0,
        }),
        audio: Some(AudioTrack {
            codec: "AAC".to_owned(),
            channels: 2,
            sample_rate: 48_000,
            bitrate_kbps: 0,
            as_is: false,
        }),
    }
}

pub(super) fn lease(task: &str, attempt: u32) -> Lease {
    Lease {
        task: TaskId(task.to_owned()),
        attempt,
    }
}

pub(super) fn init(rendition: &str) -> Init {
    Init {
        key: format!("{rendition}-init.mp4"),
        size_bytes: 700,
        codec: "avc1.64001e".to_owned(),
        timescale: 1000,
    }
}

pub(super) fn segments(rendition: &str, from: u32, count: u32) -> Vec<Segment> {
    let segment = |index: u32| Segment {
        key: format!("{rendition}-{index}.m4s"),
        size_bytes: 1000,
        time: u64::from(index) * 2000,
        duration: 2000,
        samples: 60,
    };
    (from..from + count).map(segment).collect()
}

pub(super) fn plan() -> Command {
    let Fact { video, owner, .. } = fact(Kind::Completed {});
    Command::Plan {
        job: JOB,
        video,
        owner,
        source: source(),
        at_ms: 1,
    }
}

pub(super) fn start(task: &str) -> Command {
    Command::Start {
        task: TaskId(task.to_owned()),
        worker: "w".to_owned(),
        request: CommandId::default(),
        at_ms: 1,
    }
}

pub(super) fn publish(task: &str, attempt: u32, rendition: &str, from: u32, count: u32) -> Command {
    Command::Publish {
        lease: lease(task, attempt),
        rendition: RenditionId(rendition.to_owned()),
        from,
        init: Some(init(rendition)),
        segments: segments(rendition, from, count),
        at_ms: 1,
    }
}

pub(super) fn publish_with(rendition: &str, init: Option<Init>) -> Command {
    Command::Publish {
        lease: lease("encode", 1),
        rendition: RenditionId(rendition.to_owned()),
        from: 0,
        init,
        segments: segments(rendition, 0, 1),
        at_ms: 1,
    }
}

pub(super) fn found(media: Media) -> Command {
    Command::Finish {
        lease: lease("probe", 1),
        outcome: found_outcome(media),
        slots: 1,
        at_ms: 1,
    }
}

pub(super) fn found_outcome(media: Media) -> Outcome {
    Outcome::Probed {
        media,
        cuts_us: vec![],
    }
}

pub(super) fn done(task: &str, attempt: u32) -> Command {
    Command::Finish {
        lease: lease(task, attempt),
        outcome: encoded_outcome(),
        slots: 1,
        at_ms: 1,
    }
}

pub(super) fn encoded_outcome() -> Outcome {
    Outcome::Encoded {
        duration_ms: 12_000,
        samples: 360,
    }
}

pub(super) fn poster() -> Command {
    Command::Finish {
        lease: lease("poster", 1),
        outcome: Outcome::Poster {
            key: "poster.jpg".to_owned(),
            width: 640,
            height: 360,
            size_bytes: 9,
        },
        slots: 1,
        at_ms: 1,
    }
}

pub(super) fn check(attempt: u32) -> Command {
    Command::Finish {
        lease: lease("finish", attempt),
        outcome: Outcome::Checked { playlists: vec![] },
        slots: 1,
        at_ms: 1,
    }
}

pub(super) fn fail(task: &str, attempt: u32, code: Code) -> Command {
    Command::Fail {
        lease: lease(task, attempt),
        code,
        message: "no".to_owned(),
        at_ms: 1,
    }
}

pub(super) fn lose(task: &str, attempt: u32) -> Command {
    Command::LoseLease {
        lease: lease(task, attempt),
        at_ms: 1,
    }
}

pub(super) fn cancel() -> Command {
    Command::Cancel { at_ms: 1 }
}

pub(super) fn started(task: &str, attempt: u32) -> Event {
    fact(Kind::TaskStarted {
        lease: lease(task, attempt),
        worker: "w".to_owned(),
    })
}

pub(super) fn published(rendition: &str, from: u32, count: u32) -> Event {
    fact(Kind::SegmentsPublished {
        lease: lease("encode", 1),
        rendition: RenditionId(rendition.to_owned()),
        from,
        init: (from == 0).then(|| init(rendition)),
        segments: segments(rendition, from, count),
    })
}

pub(super) fn finished(task: &str, attempt: u32) -> Event {
    fact(Kind::TaskFinished {
        lease: lease(task, attempt),
        outcome: encoded_outcome(),
    })
}

pub(super) fn lost(task: &str, attempt: u32) -> Event {
    let lease = lease(task, attempt);
    fact(Kind::LeaseLost { lease })
}

pub(super) fn failed_task(task: &str, attempt: u32, code: Code, message: &str) -> Event {
    fact(Kind::TaskFailed {
        lease: lease(task, attempt),
        code,
        message: message.to_owned(),
    })
}

pub(super) fn failed_job(task: &str, attempts: u32, code: Code, message: &str) -> Event {
    fact(Kind::Failed {
        code,
        message: message.to_owned(),
        task: TaskId(task.to_owned()),
        attempts,
    })
}

/// What `commands` lead to in a planned job.
pub(super) fn history(commands: impl IntoIterator<Item = Command>) -> Vec<Event> {
    history_after(vec![], std::iter::once(plan()).chain(commands))
}

pub(super) fn history_after(
    mut events: Vec<Event>,
    commands: impl IntoIterator<Item = Command>,
) -> Vec<Event> {
    let mut job: Job = fold(&events);
    for command in commands {
        let said = format!("{command:?}");
        let decided = job.decide(command);
        for event in decided.unwrap_or_else(|error| panic!("{said}: {error}")) {
            job = job.evolve(&event);
            events.push(event);
        }
    }
    events
}

pub(super) fn probed() -> Vec<Event> {
    history([start("probe"), found(media())])
}

pub(super) fn encoding() -> Vec<Event> {
    history_after(probed(), [start("encode")])
}

/// A film long enough for chunks, with these commands behind its plan.
pub(super) fn chunked(commands: impl IntoIterator<Item = Command>) -> Vec<Event> {
    let mut film = media();
    film.duration_ms = 60_000;
    history_after(history([start("probe"), found(film)]), commands)
}

/// Picture and sound, with so many segments of two seconds each.
pub(super) fn encoded(segments: u32) -> Vec<Command> {
    let mut commands = vec![start("encode"), start("audio")];
    for rendition in ["360p", "240p", "144p"] {
        for from in 0..segments {
            commands.push(publish("encode", 1, rendition, from, 1));
        }
    }
    for from in 0..segments {
        commands.push(publish("audio", 1, "audio", from, 1));
    }
    commands.extend([done("encode", 1), done("audio", 1)]);
    commands
}

pub(super) fn to_be_checked(segments: u32) -> Vec<Event> {
    let mut commands = encoded(segments);
    commands.extend([start("poster"), poster(), start("finish")]);
    history_after(probed(), commands)
}

pub(super) fn completed() -> Vec<Event> {
    history_after(to_be_checked(6), [check(1)])
}

pub(super) fn cancelled() -> Vec<Event> {
    history_after(encoding(), [cancel()])
}
