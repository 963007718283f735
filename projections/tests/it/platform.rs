//! An event store with videos in it, and the read models that follow it.

use std::{
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use domain::{
    code::Code,
    decider::Decider,
    id::{CommandId, JobId, Owner, RenditionId, TaskId, VideoId, derived},
    job::{self, Job, Lease, Outcome, Source},
    media::{AudioTrack, Init, Media, Ratio, Segment, VideoTrack},
    video::{By, Changes, Command, Declared, Details, Found, Picture, Video, Visibility},
    views,
};
use eventlog::{Envelope, Executed, Log, Stored};
use projections::{
    Config,
    reader::{Model, Reader},
};
use tempfile::TempDir;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::stores;

/// 2026-01-01T00:00:00Z, when nothing has happened yet.
pub const DAWN_MS: i64 = 1_767_225_600_000;

pub const PATIENCE: Duration = Duration::from_secs(10);

pub const PICTURE: Picture = Picture {
    duration_ms: 4_000,
    width: 320,
    height: 240,
};

pub struct Platform {
    pub log: Log,
    pub config: Config,
    pub reader: Reader,
    /// For what the test keeps on disk.
    pub dir: TempDir,
    commands: AtomicU64,
    node: Running,
    /// Kept for this test as long as it runs.
    redis: Option<stores::Redis>,
}

/// A task that can be stopped.
pub struct Running {
    stop: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Running {
    pub async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap().unwrap();
    }

    /// As if its process had been killed.
    pub async fn abort(self) {
        self.task.abort();
        assert!(self.task.await.unwrap_err().is_cancelled());
    }

    /// How it ended by itself.
    pub async fn ended(self) -> anyhow::Result<()> {
        tokio::time::timeout(PATIENCE, self.task)
            .await
            .expect("it should have ended by itself")
            .unwrap()
    }
}

impl Platform {
    pub async fn new() -> Self {
        let redis = stores::Redis::new().await;
        let config = Config {
            postgres_url: stores::database().await,
            redis_url: redis.url.clone(),
        };
        let platform = Self::with(config).await;
        Self {
            redis: Some(redis),
            ..platform
        }
    }

    /// A log alone, for what keeps its read model itself.
    pub async fn without_stores() -> Self {
        let config = Config {
            postgres_url: "postgres://nobody@127.0.0.1:1/nothing".to_owned(),
            redis_url: "redis://127.0.0.1:1".to_owned(),
        };
        Self::with(config).await
    }

    /// Another log beside the same stores.
    pub async fn with(config: Config) -> Self {
        let root = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
        let dir = TempDir::new_in(root).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("esdb://{}?tls=false", listener.local_addr().unwrap());
        let node = running(|stop| {
            let config = kinolog_eventstore::Config::new(dir.path().join("eventstore"));
            kinolog_eventstore::serve(listener, config, stop)
        });
        Self {
            log: Log::new(&url).unwrap(),
            reader: Reader::new(&config.postgres_url, &config.redis_url).unwrap(),
            config,
            dir,
            commands: AtomicU64::new(0),
            redis: None,
            node,
        }
    }

    /// Follows the log into the read models until it is stopped.
    pub fn project(&self) -> Running {
        let (config, log) = (self.config.clone(), self.log.clone());
        running(|stop| projections::run(config, log, stop))
    }

    pub async fn stop(self) {
        self.node.stop().await;
        drop(self.redis);
    }

    /// Waits until every read model has got to `commit`.
    pub async fn reach(&self, commit: u64) {
        for model in Model::ALL {
            let reached = self.reader.wait_for(model, commit, PATIENCE).await.unwrap();
            assert!(reached, "{model:?} did not reach {commit}");
        }
    }

    /// Projects all there is, once.
    pub async fn project_up_to(&self, commit: u64) {
        let projecting = self.project();
        self.reach(commit).await;
        projecting.stop().await;
    }

    pub async fn video(&self, id: VideoId, command: Command) -> Executed<Video> {
        self.execute(id, command).await
    }

    pub async fn job(&self, id: JobId, command: job::Command) -> Executed<Job> {
        self.execute(id, command).await
    }

    /// A command that must not be refused; its events stand in the log afterwards.
    pub async fn execute<D>(&self, id: D::Id, command: D::Command) -> Executed<D>
    where
        D: Stored + Decider,
    {
        let n = self.commands.fetch_add(1, Ordering::Relaxed);
        let by = Envelope::new(CommandId(derived(&[b"test", &n.to_be_bytes()])), "test");
        self.log.execute::<D>(id, &by, command).await.unwrap()
    }

    pub async fn view(&self, video: VideoId, session: &str, at_ms: i64) -> u64 {
        let fact = views::Event {
            video,
            owner: Owner("ada".to_owned()),
            at_ms,
            event: views::Kind::Recorded {
                session: session.to_owned(),
            },
        };
        self.log.record_view(&fact).await.unwrap().commit
    }

    /// Asks for an upload, and says where the log stands then.
    pub async fn request(&self, story: &Story) -> u64 {
        let command = Command::RequestUpload {
            video: story.id,
            owner: story.owner.clone(),
            details: story.details(),
            declared: declared(),
            key: format!("sources/{}/original", story.id),
            expires_at_ms: story.at_ms + 3_600_000,
            priority: domain::video::Priority::Normal,
            at_ms: story.at_ms,
        };
        self.video(story.id, command).await.position
    }

    /// As a program recorded it that did not know all of today's rules.
    pub async fn request_unruled(&self, story: &Story) -> u64 {
        let event = domain::video::Event {
            video: story.id,
            owner: story.owner.clone(),
            at_ms: story.at_ms,
            event: domain::video::Kind::UploadRequested {
                details: story.details(),
                declared: declared(),
                key: format!("sources/{}/original", story.id),
                expires_at_ms: story.at_ms + 3_600_000,
                priority: domain::video::Priority::Normal,
            },
        };
        let n = self.commands.fetch_add(1, Ordering::Relaxed);
        let by = Envelope::new(CommandId(derived(&[b"test", &n.to_be_bytes()])), "test");
        let at = eventlog::Revision::NoStream;
        let appended = self.log.append::<Video>(story.id, at, &by, &[event]).await;
        appended.unwrap().position
    }

    /// The upload is there; says which job it asks for.
    pub async fn complete(&self, story: &Story) -> JobId {
        let found = Found {
            size_bytes: 1000,
            etag: "etag".to_owned(),
            checksum_sha256: None,
        };
        let at_ms = story.at_ms + 1;
        self.video(story.id, Command::CompleteUpload { found, at_ms })
            .await;
        self.asked_job(story.id).await
    }

    /// The job that the last event of a video asks for.
    pub async fn asked_job(&self, id: VideoId) -> JobId {
        let events = self
            .log
            .read_stream(&format!("video-{id}"), None, 1000)
            .await
            .unwrap();
        JobId::caused_by(events.last().unwrap().id)
    }

    /// Probes the source, so that the ladder is planned.
    pub async fn plan(&self, story: &Story, job: JobId) -> Job {
        let plan = job::Command::Plan {
            job,
            video: story.id,
            owner: story.owner.clone(),
            source: Source {
                key: format!("sources/{}/original", story.id),
                etag: "etag".to_owned(),
                size_bytes: 1000,
            },
            at_ms: story.at_ms + 2,
        };
        self.job(job, plan).await;
        let lease = self.start(story, job, "probe").await;
        let outcome = Outcome::Probed {
            media: media(),
            cuts_us: vec![],
        };
        let at_ms = story.at_ms + 4;
        self.job(
            job,
            job::Command::Finish {
                lease,
                outcome,
                slots: 1,
                at_ms,
            },
        )
        .await
        .state
    }

    pub async fn start(&self, story: &Story, job: JobId, task: &str) -> Lease {
        let command = job::Command::Start {
            task: TaskId(task.to_owned()),
            worker: "worker-1".to_owned(),
            request: CommandId::default(),
            at_ms: story.at_ms + 3,
        };
        let state = self.job(job, command).await.state;
        Lease {
            task: TaskId(task.to_owned()),
            attempt: state.tasks[&TaskId(task.to_owned())].attempts,
        }
    }

    pub async fn publish(
        &self,
        story: &Story,
        job: JobId,
        lease: &Lease,
        rendition: &RenditionId,
        from: u32,
        count: u32,
    ) -> u64 {
        let at = format!("videos/{}/{job}/{}/{}", story.id, lease.task, lease.attempt);
        let segments = (from..from + count).map(|number| Segment {
            key: format!("{at}/{rendition}-{number}.m4s"),
            size_bytes: 100,
            time: u64::from(number) * 2000,
            duration: 2000,
            samples: 60,
        });
        let command = job::Command::Publish {
            lease: lease.clone(),
            rendition: rendition.clone(),
            from,
            init: Some(Init {
                key: format!("{at}/{rendition}-init.mp4"),
                size_bytes: 10,
                codec: "avc1.640028".to_owned(),
                timescale: 1000,
            }),
            segments: segments.collect(),
            at_ms: story.at_ms + 5,
        };
        self.job(job, command).await.position
    }

    /// From the request to `became-playable`: one rendition and the audio have their first segments.
    pub async fn make_playable(&self, story: &Story) -> (JobId, u64) {
        self.request(story).await;
        let job = self.complete(story).await;
        let position = self.play(story, job).await;
        (job, position)
    }

    async fn play(&self, story: &Story, job: JobId) -> u64 {
        let planned = self.plan(story, job).await;
        let encode = self.start(story, job, "encode").await;
        let audio = self.start(story, job, "audio").await;
        for rendition in planned.renditions.keys() {
            let lease = if rendition.0 == "audio" {
                &audio
            } else {
                &encode
            };
            self.publish(story, job, lease, rendition, 0, 1).await;
        }
        let command = Command::Playable {
            job,
            picture: PICTURE,
            at_ms: story.at_ms + 6,
        };
        self.video(story.id, command).await.position
    }

    pub async fn make_ready(&self, story: &Story) -> (JobId, u64) {
        self.request(story).await;
        self.make_requested_ready(story).await
    }

    pub async fn fail(&self, story: &Story, job: JobId) -> u64 {
        let command = Command::Fail {
            job,
            code: Code::SourceCorrupt,
            message: "the file is damaged".to_owned(),
            at_ms: story.at_ms + 8,
        };
        self.video(story.id, command).await.position
    }

    pub async fn change(&self, story: &Story, changes: Changes) -> u64 {
        let by = By::Owner(story.owner.clone());
        let at_ms = story.at_ms + 9;
        self.video(story.id, Command::ChangeDetails { by, changes, at_ms })
            .await
            .position
    }

    pub async fn delete(&self, story: &Story) -> u64 {
        let by = By::Owner(story.owner.clone());
        let at_ms = story.at_ms + 10;
        self.video(story.id, Command::Delete { by, at_ms })
            .await
            .position
    }
}

pub fn running<F>(begin: impl FnOnce(CancellationToken) -> F) -> Running
where
    F: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let stop = CancellationToken::new();
    Running {
        task: tokio::spawn(begin(stop.clone())),
        stop,
    }
}

/// Whose video, and what it is called.
#[derive(Clone)]
pub struct Story {
    pub id: VideoId,
    pub owner: Owner,
    pub title: String,
    pub visibility: Visibility,
    pub at_ms: i64,
}

/// A public video of Ada's; the larger the number, the later.
pub fn story(number: u64, title: &str) -> Story {
    Story {
        id: VideoId(derived(&[b"story", &number.to_be_bytes()])),
        owner: Owner("ada".to_owned()),
        title: title.to_owned(),
        visibility: Visibility::Public,
        at_ms: DAWN_MS + number as i64 * 1000,
    }
}

impl Story {
    fn details(&self) -> Details {
        Details {
            title: self.title.clone(),
            description: "what it shows".to_owned(),
            tags: vec!["tag".to_owned()],
            visibility: self.visibility,
        }
    }
}

fn declared() -> Declared {
    Declared {
        file_name: "clip.mp4".to_owned(),
        content_type: "video/mp4".to_owned(),
        size_bytes: 1000,
        checksum_sha256: None,
    }
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

impl Platform {
    /// Something more about a video whose stream may hold what this program cannot read.
    pub async fn late_report(&self, story: &Story, job: JobId) -> u64 {
        let event = domain::video::Event {
            video: story.id,
            owner: story.owner.clone(),
            at_ms: story.at_ms + 11,
            event: domain::video::Kind::BecameReady {
                job,
                picture: PICTURE,
            },
        };
        let n = self.commands.fetch_add(1, Ordering::Relaxed);
        let by = Envelope::new(CommandId(derived(&[b"test", &n.to_be_bytes()])), "test");
        let at = eventlog::Revision::Exact(1);
        let appended = self.log.append::<Video>(story.id, at, &by, &[event]).await;
        appended.unwrap().position
    }

    /// The rest of the life of a video that was asked for.
    pub async fn make_requested_ready(&self, story: &Story) -> (JobId, u64) {
        let job = self.complete(story).await;
        self.play(story, job).await;
        let command = Command::Ready {
            job,
            picture: PICTURE,
            at_ms: story.at_ms + 7,
        };
        (job, self.video(story.id, command).await.position)
    }
}
