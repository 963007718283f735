//! The catalogue says what a plain fold of the same events says, however they are cut into batches.

use std::collections::BTreeMap;

use domain::{
    code::Code,
    codec::encode_value,
    decider::Decider,
    fact::AnyEvent,
    id::{CommandId, EventId, JobId, Owner, VideoId, derived},
    job::{self, Job, Lease, Outcome},
    media::{AudioTrack, Init, Media, Published, Ratio, Segment, VideoTrack},
    plan::Spec,
    video::{self, By, Changes, Details, Found, Picture, Status, Video, Visibility},
};
use eventlog::{Epoch, Metadata, Recorded};
use proptest::{collection::vec, prelude::*, test_runner::RngSeed};
use sqlx::Connection;

use crate::{
    Config, catalogue,
    reader::Reader,
    runner::{Applied, Batch, Projection},
    stores,
};

mod past;

const EPOCH: Epoch = Epoch(7);

/// From the request to a planned ladder with its tasks running, so that most lives get far.
const BEGINNING: [u8; 9] = [0, 1, 3, 5, 8, 5, 5, 5, 9];

#[test]
fn the_tables_say_what_the_events_say() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let url = runtime.block_on(stores::database());
    let config = ProptestConfig {
        cases: 48,
        failure_persistence: None,
        // The same lives every time: a test that fails now and then teaches nobody.
        rng_seed: RngSeed::Fixed(2),
        ..ProptestConfig::default()
    };
    proptest!(config, |(choices in vec(any::<u8>(), 0..60), batch_events in 1..20_usize)| {
        let mut life = Life::default();
        for choice in BEGINNING.into_iter().chain(choices) {
            life.step(choice);
        }
        runtime.block_on(compare(&url, life, batch_events));
    });
}

async fn compare(url: &str, mut life: Life, batch_events: usize) {
    let config = Config {
        postgres_url: url.to_owned(),
        redis_url: "redis://127.0.0.1:1".to_owned(),
    };
    crate::migrate(url).await.unwrap();
    let mut projection = catalogue::Projection::open(&config, 1).unwrap();
    projection.prepare(EPOCH).await.unwrap();
    let mut connection = sqlx::PgConnection::connect(url).await.unwrap();
    sqlx::query(
        "truncate catalogue_g1.checkpoint, catalogue_g1.videos, catalogue_g1.jobs, catalogue_g1.tasks,
            catalogue_g1.attempts, catalogue_g1.renditions, catalogue_g1.segments,
            catalogue_g1.video_views, catalogue_g1.view_sessions, catalogue_g1.video_versions",
    )
    .execute(&mut connection)
    .await
    .unwrap();
    let mut from = projection.prepare(EPOCH).await.unwrap().commit;
    let pasts = past::folded(&life.recorded);
    let mut recorded = std::mem::take(&mut life.recorded).into_iter().peekable();
    while recorded.peek().is_some() {
        let events: Vec<Recorded> = recorded.by_ref().take(batch_events).collect();
        let to = events.last().map(|recorded| recorded.commit);
        let batch = Batch {
            from,
            to,
            events,
            caught_up: false,
        };
        let applied = projection.apply(EPOCH, &batch).await.unwrap();
        assert_eq!(applied, Applied::Yes);
        from = to;
    }

    let reader = Reader::new(url, "redis://127.0.0.1:1").unwrap();
    let stopped: i64 = sqlx::query_scalar("select count(*) from catalogue_g1.stopped_videos")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(stopped, 0);
    let found = catalogue::video(&reader, life.id).await.unwrap();
    past::compare(&reader, &pasts, found.as_ref()).await;
    let history = catalogue::history(&reader, life.id).await.unwrap();
    if life.video.status == Status::Deleted {
        assert!(found.is_none() && history.is_empty());
        return;
    }
    let found = found.unwrap();
    assert_eq!(found.status, life.video.status);
    assert_eq!(found.playable, life.video.playable);
    assert_eq!(found.details, life.video.details);
    assert_eq!(found.job, life.asked);
    let attempts: u32 = life
        .jobs
        .values()
        .flat_map(|job| job.tasks.values())
        .map(|progress| progress.attempts)
        .sum();
    assert_eq!(history.len(), attempts as usize);
    let runs = |a: &&catalogue::Attempt| a.outcome == catalogue::AttemptOutcome::Running;
    let running = history.iter().filter(runs).count();
    let expected: usize = life.jobs.values().map(|job| job.running().count()).sum();
    assert_eq!(running, expected);

    let playback = catalogue::playback(&reader, life.id)
        .await
        .unwrap()
        .unwrap();
    let by_id = |mut all: Vec<Published>| {
        all.sort_by(|a, b| a.rendition.id.cmp(&b.rendition.id));
        all
    };
    let expected = match life.asked {
        Some(job) => life.jobs[&job].renditions.values().cloned().collect(),
        None => vec![],
    };
    let segments: usize = expected.iter().map(Published::count).sum();
    assert_eq!(found.segments_published, segments as u64);
    assert_eq!(by_id(playback.renditions), by_id(expected));
}

/// A video and its jobs, as their deciders allow them to become.
struct Life {
    id: VideoId,
    video: Video,
    asked: Option<JobId>,
    jobs: BTreeMap<JobId, Job>,
    recorded: Vec<Recorded>,
    at_ms: i64,
}

impl Default for Life {
    fn default() -> Self {
        Self {
            id: VideoId(derived(&[b"life"])),
            video: Video::default(),
            asked: None,
            jobs: BTreeMap::new(),
            recorded: vec![],
            at_ms: 1_767_225_600_000,
        }
    }
}

impl Life {
    /// What is refused does not happen.
    fn step(&mut self, choice: u8) {
        // Clocks of different machines: the later event may say that it was earlier.
        self.at_ms += if choice % 8 == 5 { -1500 } else { 1000 };
        let by = By::Platform;
        let at_ms = self.at_ms;
        match choice % 16 {
            0 => self.request(),
            1 => self.tell(video::Command::CompleteUpload {
                found: Found {
                    // Rarely not as declared.
                    size_bytes: if choice == 241 { 999 } else { 1000 },
                    etag: "etag".to_owned(),
                    checksum_sha256: None,
                },
                at_ms,
            }),
            2 => self.tell(video::Command::ChangeDetails {
                by,
                changes: Changes {
                    title: Some(format!("title {choice}")),
                    tags: (choice > 99).then(|| vec![choice.to_string()]),
                    visibility: (choice > 199).then_some(Visibility::Private),
                    description: None,
                },
                at_ms,
            }),
            3 | 4 => self.plan(),
            5..=7 => self.start(),
            8 => self.finish(choice),
            9..=11 => self.publish(choice),
            12 => self.mishap(choice),
            13 => self.report(|job, picture| video::Command::Playable {
                job,
                picture,
                at_ms,
            }),
            14 if choice < 128 => self.report(|job, _| video::Command::Fail {
                job,
                code: Code::SourceCorrupt,
                message: "damaged".to_owned(),
                at_ms,
            }),
            14 => self.report(|job, picture| video::Command::Ready {
                job,
                picture,
                at_ms,
            }),
            _ if choice == 31 => self.tell(video::Command::Delete { by, at_ms }),
            _ => self.tell(video::Command::RetryProcessing { by, at_ms }),
        }
    }

    fn request(&mut self) {
        self.tell(video::Command::RequestUpload {
            video: self.id,
            owner: Owner("ada".to_owned()),
            details: Details {
                title: "first".to_owned(),
                ..Details::default()
            },
            declared: video::Declared {
                file_name: "clip.mp4".to_owned(),
                content_type: "video/mp4".to_owned(),
                size_bytes: 1000,
                checksum_sha256: None,
            },
            key: "key".to_owned(),
            expires_at_ms: self.at_ms + 1,
            priority: video::Priority::Normal,
            at_ms: self.at_ms,
        });
    }

    fn report(&mut self, command: impl FnOnce(JobId, Picture) -> video::Command) {
        let Some(job) = self.asked else { return };
        let picture = Picture {
            duration_ms: 4000,
            width: 320,
            height: 240,
        };
        self.tell(command(job, picture));
    }

    fn plan(&mut self) {
        let Some(job) = self.asked else { return };
        let command = job::Command::Plan {
            job,
            video: self.id,
            owner: Owner("ada".to_owned()),
            source: job::Source::default(),
            at_ms: self.at_ms,
        };
        self.order(command);
    }

    fn start(&mut self) {
        let Some(job) = self.current() else { return };
        let Some(task) = job.runnable().first().map(|task| task.id.clone()) else {
            return;
        };
        self.order(job::Command::Start {
            task,
            worker: "worker".to_owned(),
            request: CommandId::default(),
            at_ms: self.at_ms,
        });
    }

    fn finish(&mut self, choice: u8) {
        let Some((lease, spec)) = self.running(choice) else {
            return;
        };
        let outcome = match spec {
            Spec::Probe => Outcome::Probed {
                media: media(),
                cuts_us: vec![],
            },
            Spec::Encode { .. } | Spec::Passthrough { .. } | Spec::Audio { .. } => {
                Outcome::Encoded {
                    duration_ms: 4000,
                    samples: 120,
                }
            }
            Spec::Poster { .. } => Outcome::Poster {
                key: "poster".to_owned(),
                width: 320,
                height: 240,
                size_bytes: 5,
            },
            Spec::Finish => Outcome::Checked { playlists: vec![] },
        };
        let at_ms = self.at_ms;
        self.order(job::Command::Finish {
            lease,
            outcome,
            slots: 1,
            at_ms,
        });
    }

    fn publish(&mut self, choice: u8) {
        let Some((lease, spec)) = self.running(choice) else {
            return;
        };
        let Some(job) = self.current() else { return };
        let Some(published) = job
            .renditions
            .values()
            .find(|published| spec.makes(&published.rendition.id))
        else {
            return;
        };
        let rendition = published.rendition.id.clone();
        let own = spec.segments();
        let from = published.next_from(own.start);
        let to = (from + u32::from(choice % 3) + 1).min(own.end);
        let segments = (from..to).map(|number| Segment {
            key: format!("{rendition}-{number}"),
            size_bytes: u64::from(number) + 1,
            time: u64::from(number) * 2000,
            duration: 2000,
            samples: 60,
        });
        self.order(job::Command::Publish {
            lease,
            from,
            init: Some(Init {
                key: format!("{rendition}-init"),
                size_bytes: 7,
                codec: "avc1.640028".to_owned(),
                timescale: 1000,
            }),
            segments: segments.collect(),
            rendition,
            at_ms: self.at_ms,
        });
    }

    fn mishap(&mut self, choice: u8) {
        let at_ms = self.at_ms;
        if choice > 250 {
            return self.order(job::Command::Cancel { at_ms });
        }
        let Some((lease, _)) = self.running(choice) else {
            return;
        };
        self.order(if choice > 128 {
            job::Command::LoseLease { lease, at_ms }
        } else {
            job::Command::Fail {
                lease,
                code: Code::ProcessingCrashed,
                message: "crashed".to_owned(),
                at_ms,
            }
        });
    }

    fn current(&self) -> Option<&Job> {
        self.jobs.get(&self.asked?)
    }

    fn running(&self, choice: u8) -> Option<(Lease, Spec)> {
        let running: Vec<_> = self.current()?.running().collect();
        let index = usize::from(choice / 16) % running.len().max(1);
        let (lease, progress) = running.get(index)?;
        Some((lease.clone(), progress.task.spec.clone()))
    }

    fn tell(&mut self, command: video::Command) {
        let Ok(events) = self.video.decide(command) else {
            return;
        };
        for event in events {
            self.video = std::mem::take(&mut self.video).evolve(&event);
            let id = self.record(format!("video-{}", self.id), AnyEvent::Video(event.clone()));
            if let Some(video::Asked { job, .. }) = video::job_asked_for(&event, id) {
                self.asked = Some(job);
                self.jobs.insert(job, Job::default());
            }
        }
    }

    fn order(&mut self, command: job::Command) {
        let Some(id) = self.asked else { return };
        let Ok(events) = self.jobs[&id].decide(command) else {
            return;
        };
        for event in events {
            let job = self.jobs.remove(&id).unwrap_or_default().evolve(&event);
            self.jobs.insert(id, job);
            self.record(format!("job-{id}"), AnyEvent::Job(event));
        }
    }

    fn record(&mut self, stream: String, event: AnyEvent) -> EventId {
        let commit = self.recorded.len() as u64;
        let id = EventId(derived(&[b"event", &commit.to_be_bytes()]));
        let type_name = match &event {
            AnyEvent::Video(event) => encode_value(event).0,
            AnyEvent::Job(event) => encode_value(event).0,
            AnyEvent::Views(event) => encode_value(event).0,
        };
        self.recorded.push(Recorded {
            commit,
            stream,
            revision: commit,
            id,
            type_name,
            event: Ok(event),
            metadata: Metadata::default(),
        });
        id
    }
}

fn media() -> Media {
    Media {
        container: "mp4".to_owned(),
        // Long enough for chunks: they are not done in order.
        duration_ms: 24_000,
        tracks: 2,
        video: Some(VideoTrack {
            codec: "h264".to_owned(),
            width: 320,
            height: 240,
            display_width: 320,
            display_height: 240,
            rotation: 0,
            frame_rate: Some(Ratio { num: 30, den: 1 }),
            interlaced: false,
            bitrate_kbps: 0,
        }),
        audio: Some(AudioTrack {
            codec: "aac".to_owned(),
            channels: 2,
            sample_rate: 48_000,
            bitrate_kbps: 0,
            as_is: false,
        }),
    }
}
