//! What conductor and workers would do to a video, event by event.

use domain::{
    code::Code,
    decider::Decider,
    id::{CommandId, JobId, Owner, RenditionId, TaskId, VideoId},
    job::{self, Job, Lease, Outcome, Source},
    media::{AudioTrack, Init, Media, Ratio, Segment, VideoTrack},
    video::{Command, Declared, Details, Found, Picture, Video, Visibility},
};
use eventlog::{Envelope, Executed, Log, Stored};
use projections::reader::Model;
use uuid::Uuid;

use crate::platform::{PATIENCE, Platform};

pub const PICTURE: Picture = Picture {
    duration_ms: 4_000,
    width: 320,
    height: 240,
};

/// A video whose life a test drives.
pub struct Life<'p> {
    platform: &'p Platform,
    pub id: VideoId,
    pub owner: Owner,
    pub job: JobId,
    pub at_ms: i64,
}

/// Segments of each rendition, of this many bytes.
pub const SEGMENT_BYTES: u64 = 1000;

impl<'p> Life<'p> {
    /// A video that was asked for.
    pub async fn begin(
        platform: &'p Platform,
        owner: &str,
        title: &str,
        visibility: Visibility,
    ) -> Self {
        let id = VideoId(Uuid::now_v7());
        let life = Self::of(platform, owner, id);
        let request = Command::RequestUpload {
            video: id,
            owner: life.owner.clone(),
            details: Details {
                title: title.to_owned(),
                description: String::new(),
                tags: vec![],
                visibility,
            },
            declared: Declared {
                file_name: "clip.mp4".to_owned(),
                content_type: "video/mp4".to_owned(),
                size_bytes: 1000,
                checksum_sha256: None,
            },
            key: format!("elsewhere/{id}"),
            expires_at_ms: life.at_ms + 3_600_000,
            priority: domain::video::Priority::Normal,
            at_ms: life.at_ms,
        };
        life.video(request).await;
        life
    }

    /// A video that exists.
    pub fn of(platform: &'p Platform, owner: &str, id: VideoId) -> Self {
        Self {
            platform,
            id,
            owner: Owner(owner.to_owned()),
            job: JobId::default(),
            at_ms: (time::OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000) as i64,
        }
    }

    /// A public one that is ready, and where the log stands then.
    pub async fn ready(
        platform: &'p Platform,
        owner: &str,
        title: &str,
        visibility: Visibility,
    ) -> (Self, u64) {
        let mut life = Self::begin(platform, owner, title, visibility).await;
        life.playable().await;
        let position = life.become_ready().await;
        (life, position)
    }

    pub async fn complete(&self) -> u64 {
        let found = Found {
            size_bytes: 1000,
            etag: "etag".to_owned(),
            checksum_sha256: None,
        };
        let at_ms = self.at_ms;
        self.video(Command::CompleteUpload { found, at_ms })
            .await
            .position
    }

    /// The job that its last event asks for, planned.
    pub async fn plan(&mut self) {
        let events = self
            .platform
            .log
            .read_stream(&format!("video-{}", self.id), None, 1000)
            .await
            .unwrap();
        self.job = JobId::caused_by(events.last().unwrap().id);
        let plan = job::Command::Plan {
            job: self.job,
            video: self.id,
            owner: self.owner.clone(),
            source: Source {
                key: format!("sources/{}/original", self.id),
                etag: "etag".to_owned(),
                size_bytes: 1000,
            },
            at_ms: self.at_ms,
        };
        self.job(plan).await;
        let lease = self.start("probe").await;
        let outcome = Outcome::Probed {
            media: media(),
            cuts_us: vec![],
        };
        let at_ms = self.at_ms;
        self.job(job::Command::Finish {
            lease,
            outcome,
            slots: 1,
            at_ms,
        })
        .await;
    }

    /// Completed, planned, and the first segments of everything are there.
    pub async fn playable(&mut self) -> u64 {
        self.complete().await;
        self.plan().await;
        self.publish_all().await;
        self.become_playable().await
    }

    pub async fn publish_all(&mut self) -> u64 {
        let (encode, audio) = (self.start("encode").await, self.start("audio").await);
        self.publish(&audio, "audio", 0).await;
        let mut position = 0;
        for rendition in ["240p", "144p"] {
            position = self.publish(&encode, rendition, 0).await;
        }
        position
    }

    pub async fn become_playable(&self) -> u64 {
        self.video(Command::Playable {
            job: self.job,
            picture: PICTURE,
            at_ms: self.at_ms,
        })
        .await
        .position
    }

    pub async fn become_ready(&self) -> u64 {
        self.video(Command::Ready {
            job: self.job,
            picture: PICTURE,
            at_ms: self.at_ms,
        })
        .await
        .position
    }

    pub async fn fail(&self) -> u64 {
        self.video(Command::Fail {
            job: self.job,
            code: Code::SourceCorrupt,
            message: "the file is damaged".to_owned(),
            at_ms: self.at_ms,
        })
        .await
        .position
    }

    /// An attempt fails, and says why.
    pub async fn fail_attempt(&self, lease: Lease) -> u64 {
        self.job(job::Command::Fail {
            lease,
            code: Code::SourceCorrupt,
            message: "the file is damaged".to_owned(),
            at_ms: self.at_ms,
        })
        .await
        .position
    }

    pub async fn start(&self, task: &str) -> Lease {
        let state = self
            .job(job::Command::Start {
                task: TaskId(task.to_owned()),
                worker: "worker".to_owned(),
                request: CommandId(Uuid::now_v7()),
                at_ms: self.at_ms,
            })
            .await
            .state;
        let task = TaskId(task.to_owned());
        Lease {
            attempt: state.tasks[&task].attempts,
            task,
        }
    }

    /// Where the files of an attempt stand, after `videos/{video}/`.
    pub fn folder(&self, lease: &Lease) -> String {
        format!("{}/{}/{}", self.job, lease.task, lease.attempt)
    }

    /// One more segment, in the store and in the log.
    pub async fn publish(&self, lease: &Lease, rendition: &str, number: u32) -> u64 {
        let at = format!("videos/{}/{}", self.id, self.folder(lease));
        let init = Init {
            key: format!("{at}/{rendition}-init.mp4"),
            size_bytes: 4,
            codec: "avc1.640028".to_owned(),
            timescale: 1000,
        };
        let segment = Segment {
            key: format!("{at}/{rendition}-{number}.m4s"),
            size_bytes: SEGMENT_BYTES,
            time: u64::from(number) * 2000,
            duration: 2000,
            samples: 60,
        };
        self.put(&init.key, b"init".to_vec()).await;
        self.put(&segment.key, segment_bytes()).await;
        self.job(job::Command::Publish {
            lease: lease.clone(),
            rendition: RenditionId(rendition.to_owned()),
            from: number,
            init: Some(init),
            segments: vec![segment],
            at_ms: self.at_ms,
        })
        .await
        .position
    }

    pub async fn put(&self, key: &str, bytes: Vec<u8>) {
        let objects = &self.platform.objects;
        objects
            .create(key, "application/octet-stream", bytes.into())
            .await
            .unwrap();
    }

    pub fn log(&self) -> &'p Log {
        &self.platform.log
    }

    pub async fn video(&self, command: Command) -> Executed<Video> {
        self.execute(self.id, command).await
    }

    pub async fn job(&self, command: job::Command) -> Executed<Job> {
        self.execute(self.job, command).await
    }

    async fn execute<D: Stored + Decider>(&self, id: D::Id, command: D::Command) -> Executed<D> {
        let by = Envelope::new(CommandId(Uuid::now_v7()), "test");
        let log = &self.platform.log;
        log.execute::<D>(id, &by, command).await.unwrap()
    }
}

/// Every read model out of process has got there.
pub async fn reach(platform: &Platform, commit: u64) {
    for model in [Model::Catalogue, Model::Announcements, Model::Popularity] {
        let reached = platform.reader.wait_for(model, commit, PATIENCE).await;
        assert!(reached.unwrap(), "{model:?} did not reach {commit}");
    }
}

pub fn segment_bytes() -> Vec<u8> {
    (0..SEGMENT_BYTES).map(|index| index as u8).collect()
}

fn media() -> Media {
    Media {
        container: "mp4".to_owned(),
        duration_ms: 4_000,
        tracks: 2,
        video: Some(VideoTrack {
            codec: "h264".to_owned(),
            width: 320,
            height: 240,
            display_width: 320,
            display_height: 240,
            rotation: 0,
            bitrate_kbps: 0,
            frame_rate: Some(Ratio { num: 30, den: 1 }),
            interlaced: false,
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
