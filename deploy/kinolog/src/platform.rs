//! A platform on this machine, as others find it: `DIR/addresses.json`.
//!
//! # Invariants
//!
//! * The file has mode 600 and is always whole. It counts only while its supervisor holds the lock.

use std::{
    collections::BTreeMap,
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use tokio::process::{Child, Command};

use crate::up::{READY_TIMEOUT, lock::Lock, log_file, secrets::write_private};

/// How long a start may take, as seen by who waits for it.
const START_TIMEOUT: Duration = READY_TIMEOUT.saturating_add(Duration::from_secs(15));

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Addresses {
    pub api: String,
    pub graphql: String,
    pub notifications: String,
    pub eventstore: String,
    pub conductor: String,
    pub s3: S3,
    pub postgres: String,
    pub redis: String,
    pub token: String,
    pub data: PathBuf,
    pub supervisor: u32,
    pub processes: BTreeMap<String, u32>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct S3 {
    pub endpoint: String,
    pub bucket: String,
    pub region: String,
    pub access_key: String,
    pub secret_key: String,
}

/// A platform that runs.
pub struct Platform {
    pub addresses: Addresses,
}

/// A platform that we started and may stop.
pub struct Started {
    pub addresses: Addresses,
    pub supervisor: Child,
}

impl Platform {
    /// The platform that runs on `data`.
    pub fn find(data: &Path) -> anyhow::Result<Self> {
        match Self::running(data)? {
            Some(platform) => Ok(platform),
            None => bail!(
                "no platform runs on {}; start one with `cargo xtask up` or `kinolog up`, or name its folder with --data",
                data.display()
            ),
        }
    }

    pub fn running(data: &Path) -> anyhow::Result<Option<Self>> {
        let Some(holder) = Lock::holder(data)? else {
            return Ok(None);
        };
        let Some(addresses) = Addresses::read(data)? else {
            bail!(
                "the platform on {} (process {holder}) is starting or stopping",
                data.display()
            );
        };
        Ok(Some(Self { addresses }))
    }
}

/// Starts a platform on `data` as a process of its own, and waits until it is ready.
pub async fn start(data: &Path, arguments: &[String]) -> anyhow::Result<Started> {
    fs::create_dir_all(data.join("logs"))?;
    if let Some(pid) = Lock::holder(data)? {
        bail!(
            "a platform already runs on {} (process {pid})",
            data.display()
        );
    }
    let log_path = data.join("logs/up.log");
    let log = fs::File::create(&log_path)?;
    let mut command = Command::new(std::env::current_exe()?);
    command
        .arg("up")
        .arg("--data")
        .arg(data)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log);
    // Out of this terminal: neither its Ctrl-C nor its end is meant for the platform.
    let leave = || {
        nix::unistd::setsid()
            .map(|_| ())
            .map_err(std::io::Error::from)
    };
    // SAFETY: one system call, which may be made between fork and exec.
    unsafe { command.pre_exec(leave) };
    let mut supervisor = command.spawn().context("failed to start the supervisor")?;
    let pid = supervisor.id();
    let deadline = tokio::time::Instant::now() + START_TIMEOUT;
    loop {
        if let Some(status) = supervisor.try_wait()? {
            bail!(
                "the platform did not start ({status}):\n{}",
                log_file::tail(&log_path, 60)
            );
        }
        let found = Addresses::read(data)?.filter(|found| Some(found.supervisor) == pid);
        if let Some(addresses) = found {
            return Ok(Started {
                addresses,
                supervisor,
            });
        }
        if tokio::time::Instant::now() > deadline {
            bail!(
                "the platform is not ready in time:\n{}",
                log_file::tail(&log_path, 60)
            );
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}

/// Removes the addresses of a platform that has ended or is about to.
pub fn forget(data: &Path) -> anyhow::Result<()> {
    match fs::remove_file(file(data)) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).context("failed to remove addresses.json"),
    }
}

/// The path from the root, whether it exists or not.
pub fn absolute(path: &Path) -> anyhow::Result<PathBuf> {
    std::path::absolute(path).with_context(|| format!("{} is no usable path", path.display()))
}

fn file(data: &Path) -> PathBuf {
    data.join("addresses.json")
}

impl Addresses {
    pub fn read(data: &Path) -> anyhow::Result<Option<Self>> {
        let path = file(data);
        match fs::read(&path) {
            Ok(content) => serde_json::from_slice(&content)
                .map(Some)
                .with_context(|| format!("{} cannot be understood", path.display())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("failed to read {}", path.display())),
        }
    }

    pub fn write(&self, data: &Path) -> anyhow::Result<()> {
        let mut content = serde_json::to_vec_pretty(self)?;
        content.push(b'\n');
        write_private(&file(data), &content).context("failed to write addresses.json")
    }

    /// What people see when the platform is ready.
    pub fn block(&self, data: &Path) -> String {
        let graphql_example = format!(
            "curl -s {} -H 'content-type: application/json' -d '{{\"query\":\"{{videos(first:5){{edges{{node{{id title status}}}}}}}}\"}}'",
            self.graphql
        );
        format!(
            "
Kinolog is ready.

  console and api   {api}/
  GraphQL           {graphql}
  notifications     {notifications}
  event store       {eventstore}
  object store      {s3}  (bucket {bucket})
  data and logs     {data}
  all addresses     {data}/addresses.json

  a token for the owner `demo`, valid for 30 days:
  {token}

  next:  cargo xtask demo [FILE]      upload a video and see everything happen
         {graphql_example}
         cargo xtask down             stop

",
            api = self.api,
            graphql = self.graphql,
            notifications = self.notifications,
            eventstore = self.eventstore,
            s3 = self.s3.endpoint,
            bucket = self.s3.bucket,
            data = data.display(),
            token = self.token,
        )
    }
}
