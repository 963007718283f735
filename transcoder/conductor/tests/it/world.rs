//! A conductor with everything it talks to, real and private to one test.

use std::{
    collections::HashMap,
    future::Future,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use conductor::Config;
use domain::{
    fact::AnyEvent,
    id::{CommandId, JobId, Owner, VideoId},
    job::{self, Job, Lease},
    video::{self, Video},
};
use eventlog::{Envelope, Log, Recorded, stream_name};
use futures::TryStreamExt;
use objects::Objects;
use sqlx::{Connection, Executor, PgConnection};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::worker::Worker;

pub const TOKEN: &str = "the workers' secret";
const WAIT_MAX: Duration = Duration::from_secs(20);
const SOURCE: &[u8] = b"not really a video, but nobody here looks";

pub struct World {
    pub log: Log,
    pub objects: Objects,
    pub config: Config,
    pub address: SocketAddr,
    conductor: Option<JoinHandle<anyhow::Result<()>>>,
    conductor_stop: CancellationToken,
    event_store: (SocketAddr, CancellationToken),
    log_dir: PathBuf,
    object_store: CancellationToken,
    database: String,
    stop: CancellationToken,
    dir: tempfile::TempDir,
}

impl World {
    /// With a conductor that leads.
    pub async fn new() -> Self {
        Self::with(|_| ()).await
    }

    pub async fn with(adjust: impl FnOnce(&mut Config)) -> Self {
        let mut world = Self::without_conductor().await;
        adjust(&mut world.config);
        world.start().await;
        world
    }

    pub async fn without_conductor() -> Self {
        let target = concat!(env!("CARGO_TARGET_TMPDIR"), "/conductor");
        std::fs::create_dir_all(target).unwrap();
        let dir = tempfile::tempdir_in(target).unwrap();
        let stop = CancellationToken::new();

        let (listener, address) = bind().await;
        let event_store = (address, stop.child_token());
        let log_dir = dir.path().join("eventstore");
        let store = kinolog_eventstore::Config::new(&log_dir);
        let serving = kinolog_eventstore::serve(listener, store, event_store.1.clone());
        let _ended = tokio::spawn(serving);
        let log = Log::new(&format!("esdb://{address}?tls=false")).unwrap();

        let (listener, address) = bind().await;
        let store = kinolog_objectstore::Config::new(
            dir.path().join("objectstore"),
            "kinolog".to_owned(),
            "access".to_owned(),
            "secret-secret".to_owned(),
        );
        let object_store = stop.child_token();
        tokio::spawn(kinolog_objectstore::serve(
            listener,
            store,
            object_store.clone(),
        ));
        let objects = Objects::new(&objects::Config {
            endpoint: format!("http://{address}"),
            bucket: "kinolog".to_owned(),
            region: "us-east-1".to_owned(),
            access_key: "access".to_owned(),
            secret_key: "secret-secret".to_owned(),
        })
        .unwrap();

        let (database, postgres_url) = create_database().await;
        let mut config = Config::new(postgres_url, TOKEN);
        config.storage_patience = Duration::from_millis(200);
        Self {
            log,
            objects,
            config,
            address,
            conductor: None,
            conductor_stop: stop.child_token(),
            event_store,
            log_dir,
            object_store,
            database,
            stop,
            dir,
        }
    }

    /// Starts a conductor and waits until it leads.
    pub async fn start(&mut self) {
        self.conductor_stop = self.stop.child_token();
        let (address, running) = self.start_until(self.conductor_stop.clone()).await;
        self.address = address;
        self.conductor = Some(running);
        let worker = self.worker("who-asks");
        eventually("the conductor leads", || worker.is_served()).await;
    }

    pub async fn start_another(&self) -> (SocketAddr, JoinHandle<anyhow::Result<()>>) {
        self.start_until(self.stop.child_token()).await
    }

    async fn start_until(
        &self,
        stop: CancellationToken,
    ) -> (SocketAddr, JoinHandle<anyhow::Result<()>>) {
        let (listener, address) = bind().await;
        let serving = conductor::serve(
            listener,
            self.config.clone(),
            self.log.clone(),
            self.objects.clone(),
            stop,
        );
        (address, tokio::spawn(serving))
    }

    /// Ends the conductor wherever it is.
    pub async fn kill(&mut self) {
        if let Some(conductor) = self.conductor.take() {
            conductor.abort();
            let _ = conductor.await;
        }
    }

    pub async fn restart(&mut self) {
        self.kill().await;
        self.start().await;
    }

    /// Asks the conductor alone to stop, and waits until it has.
    pub async fn stop_conductor(&mut self) {
        self.conductor_stop.cancel();
        self.ended().await.unwrap();
    }

    /// Asks everything to stop.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// What the conductor ended with.
    pub async fn ended(&mut self) -> anyhow::Result<()> {
        let conductor = self.conductor.take().expect("a conductor runs");
        tokio::time::timeout(WAIT_MAX, conductor)
            .await
            .expect("it ends in time")
            .unwrap()
    }

    pub async fn lose_log(&self) {
        self.event_store.1.cancel();
        eventually("the log is gone", async || self.log.ready().await.is_err()).await;
    }

    /// The same log at the same address.
    pub async fn find_log(&mut self) {
        let address = self.event_store.0;
        self.event_store.1 = self.stop.child_token();
        // The folder is free as soon as the last one has let go of it.
        let (dir, stop) = (self.log_dir.clone(), self.event_store.1.clone());
        let _ended = tokio::spawn(async move {
            loop {
                let Ok(listener) = TcpListener::bind(address).await else {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    continue;
                };
                let store = kinolog_eventstore::Config::new(&dir);
                if kinolog_eventstore::serve(listener, store, stop.clone())
                    .await
                    .is_ok()
                {
                    return;
                }
            }
        });
        eventually("the log is back", async || self.log.ready().await.is_ok()).await;
    }

    /// Copies the log as it is now.
    pub async fn back_up_log(&mut self) {
        self.lose_log().await;
        copy(&self.log_dir, &self.dir.path().join("backup"));
        self.find_log().await;
    }

    /// The log is as it was, at the same address.
    pub async fn restore_log(&mut self) {
        self.lose_log().await;
        self.log_dir = self.dir.path().join("backup");
        self.find_log().await;
    }

    pub async fn lose_object_store(&self) {
        self.object_store.cancel();
        eventually("the object store is gone", async || {
            self.objects.ready().await.is_err()
        })
        .await;
    }

    pub fn worker(&self, name: &str) -> Worker {
        Worker::new(self.address, name, TOKEN)
    }

    pub async fn sql(&self, query: &'static str) -> i64 {
        let mut connection = PgConnection::connect(&self.config.postgres_url)
            .await
            .unwrap();
        sqlx::query_scalar(query)
            .fetch_one(&mut connection)
            .await
            .unwrap()
    }

    /// Uploads something; its job follows.
    pub async fn upload(&self) -> (VideoId, JobId) {
        self.upload_with(video::Priority::Normal).await
    }

    pub async fn upload_with(&self, priority: video::Priority) -> (VideoId, JobId) {
        let video = VideoId(Uuid::now_v7());
        let key = format!("sources/{video}/original");
        let at_ms = 1_700_000_000_000;
        self.command(
            video,
            video::Command::RequestUpload {
                video,
                owner: Owner("ada".to_owned()),
                details: video::Details {
                    title: "A walk".to_owned(),
                    ..video::Details::default()
                },
                declared: video::Declared {
                    file_name: "walk.mp4".to_owned(),
                    content_type: "video/mp4".to_owned(),
                    size_bytes: SOURCE.len() as u64,
                    checksum_sha256: None,
                },
                key: key.clone(),
                expires_at_ms: at_ms + 3_600_000,
                priority,
                at_ms,
            },
        )
        .await;
        self.objects
            .create(&key, "video/mp4", SOURCE.into())
            .await
            .unwrap();
        let head = self.objects.head(&key).await.unwrap().unwrap();
        let found = video::Found {
            size_bytes: head.size_bytes,
            etag: head.etag,
            checksum_sha256: None,
        };
        self.command(video, video::Command::CompleteUpload { found, at_ms })
            .await;
        let events = self.events(&stream_name::<Video>(video)).await;
        (video, JobId::caused_by(events.last().unwrap().id))
    }

    pub async fn delete(&self, video: VideoId) {
        self.delete_at(video, now_ms()).await;
    }

    pub async fn delete_at(&self, video: VideoId, at_ms: i64) {
        let by = video::By::Platform;
        self.command(video, video::Command::Delete { by, at_ms })
            .await;
    }

    pub async fn command(&self, video: VideoId, command: video::Command) {
        let by = Envelope::new(CommandId(Uuid::now_v7()), "ada");
        self.log
            .execute::<Video>(video, &by, command)
            .await
            .unwrap();
    }

    pub async fn video(&self, video: VideoId) -> Video {
        self.log.load::<Video>(video).await.unwrap().state
    }

    pub async fn job(&self, job: JobId) -> Job {
        self.log.load::<Job>(job).await.unwrap().state
    }

    pub async fn until_video(&self, video: VideoId, what: &str, holds: impl Fn(&Video) -> bool) {
        eventually(what, async || holds(&self.video(video).await)).await;
    }

    pub async fn until_job(&self, job: JobId, what: &str, holds: impl Fn(&Job) -> bool) {
        eventually(what, async || holds(&self.job(job).await)).await;
    }

    pub async fn events(&self, stream: &str) -> Vec<Recorded> {
        self.log.read_stream(stream, None, 10_000).await.unwrap()
    }

    pub async fn video_events(&self, video: VideoId) -> Vec<Recorded> {
        self.events(&stream_name::<Video>(video)).await
    }

    pub async fn job_events(&self, job: JobId) -> Vec<Recorded> {
        self.events(&stream_name::<Job>(job)).await
    }

    pub async fn keys(&self, prefix: &str) -> Vec<String> {
        let listed: Vec<(String, u64)> = self.objects.list(prefix).try_collect().await.unwrap();
        listed.into_iter().map(|(key, _)| key).collect()
    }

    /// Became ready once, and every attempt of the job came to one end.
    pub async fn assert_ready_once(&self, video: VideoId, job: JobId) {
        assert_eq!(
            count(&self.video_events(video).await, "video.became-playable.v1"),
            1
        );
        assert_eq!(
            count(&self.video_events(video).await, "video.became-ready.v1"),
            1
        );
        self.assert_one_end_each(job).await;
    }

    pub async fn assert_one_end_each(&self, job: JobId) {
        let mut ends: HashMap<Lease, i32> = HashMap::new();
        for recorded in self.job_events(job).await {
            let Ok(AnyEvent::Job(fact)) = recorded.event else {
                panic!("{} cannot be read", recorded.type_name);
            };
            match fact.event {
                job::Kind::TaskStarted { lease, .. } => {
                    assert_eq!(ends.insert(lease, 0), None, "an attempt was started twice");
                }
                job::Kind::TaskFinished { lease, .. }
                | job::Kind::TaskFailed { lease, .. }
                | job::Kind::LeaseLost { lease }
                | job::Kind::TaskCancelled { lease } => *ends.get_mut(&lease).unwrap() += 1,
                job::Kind::Planned { .. }
                | job::Kind::LadderPlanned { .. }
                | job::Kind::RenditionsTakenOver { .. }
                | job::Kind::SegmentsPublished { .. }
                | job::Kind::Completed {}
                | job::Kind::Failed { .. }
                | job::Kind::Cancelled {} => {}
            }
        }
        assert!(ends.values().all(|count| *count == 1), "{ends:?}");
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(conductor) = self.conductor.take() {
            conductor.abort();
        }
        // On a thread of its own: the test's runtime is going away.
        let database = self.database.clone();
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(async {
                let mut server = PgConnection::connect(&postgres()).await?;
                let drop = format!("drop database if exists {database} with (force)");
                server.execute(sqlx::AssertSqlSafe(drop)).await?;
                anyhow::Ok(())
            })
        });
        if let Ok(Err(error)) = dropped.join() {
            eprintln!("a test database is left behind: {error:#}");
        }
    }
}

pub fn count(events: &[Recorded], type_name: &str) -> usize {
    events
        .iter()
        .filter(|recorded| recorded.type_name == type_name)
        .count()
}

pub fn now_ms() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.unwrap().as_millis() as i64
}

/// Waits for a condition, and fails the test if it never holds.
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let began = Instant::now();
    while !holds().await {
        assert!(began.elapsed() < WAIT_MAX, "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

async fn bind() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn postgres() -> String {
    std::env::var("KINOLOG_TEST_POSTGRES")
        .expect("KINOLOG_TEST_POSTGRES is not set: run the tests with `cargo xtask test`")
}

async fn create_database() -> (String, String) {
    let database = format!("conductor_{}", Uuid::now_v7().simple());
    let mut server = PgConnection::connect(&postgres()).await.unwrap();
    let create = format!("create database {database}");
    server.execute(sqlx::AssertSqlSafe(create)).await.unwrap();
    let mut url: url::Url = postgres().parse().unwrap();
    url.set_path(&database);
    (database, url.into())
}
