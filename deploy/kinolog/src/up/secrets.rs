//! The secrets of a platform: made once, at random, one file each.
//!
//! # Invariants
//!
//! * `DIR/secrets` has mode 700, its files 600. What is there is never replaced.

use std::{
    fs::{self, OpenOptions},
    io::{ErrorKind, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use anyhow::Context;

use crate::config::{Secret, Settings};

pub struct Secrets {
    token_secret: Secret,
    playback_secret: Secret,
    hook_token: Secret,
    worker_token: Secret,
    s3_access_key: Secret,
    s3_secret_key: Secret,
}

impl Secrets {
    /// Those of `data`; what is missing is made.
    pub fn of(data: &Path) -> anyhow::Result<Self> {
        let folder = folder(data);
        match fs::DirBuilder::new().mode(0o700).create(&folder) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => {
                return Err(error)
                    .with_context(|| format!("failed to create {}", folder.display()));
            }
        }
        let secret = |name: &str, bytes: usize| existing_or_new(&folder.join(name), bytes);
        Ok(Self {
            token_secret: secret("token_secret", 32)?,
            playback_secret: secret("playback_secret", 32)?,
            hook_token: secret("hook_token", 32)?,
            worker_token: secret("worker_token", 32)?,
            s3_access_key: secret("s3_access_key", 10)?,
            s3_secret_key: secret("s3_secret_key", 20)?,
        })
    }

    /// Those of `data`, if a platform has made them.
    pub fn existing(data: &Path) -> anyhow::Result<Option<Self>> {
        if !folder(data).is_dir() {
            return Ok(None);
        }
        Self::of(data).map(Some)
    }

    /// Fills what the settings leave open. The keys of an external store are its owner's.
    pub fn fill(&self, settings: &mut Settings) {
        let external_store = !settings.s3_endpoint.is_empty();
        let fill = |slot: &mut Secret, made: &Secret| {
            if slot.0.is_empty() {
                slot.clone_from(made);
            }
        };
        fill(&mut settings.token_secret, &self.token_secret);
        fill(&mut settings.playback_secret, &self.playback_secret);
        fill(&mut settings.hook_token, &self.hook_token);
        fill(&mut settings.worker_token, &self.worker_token);
        if !external_store {
            fill(&mut settings.s3_access_key, &self.s3_access_key);
            fill(&mut settings.s3_secret_key, &self.s3_secret_key);
        }
    }
}

fn folder(data: &Path) -> PathBuf {
    data.join("secrets")
}

fn existing_or_new(path: &Path, bytes: usize) -> anyhow::Result<Secret> {
    let read = || fs::read_to_string(path).map(|text| Secret(text.trim().to_owned()));
    match read() {
        Ok(secret) if !secret.0.is_empty() => return Ok(secret),
        Ok(_) => anyhow::bail!(
            "{} is empty; delete it to have a new secret made",
            path.display()
        ),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => {
            return Err(error).with_context(|| format!("failed to read {}", path.display()));
        }
    }
    let mut random = vec![0_u8; bytes];
    rand::fill(random.as_mut_slice());
    write_private(path, hex::encode(random).as_bytes())
        .with_context(|| format!("failed to write {}", path.display()))?;
    read().with_context(|| format!("failed to read {}", path.display()))
}

/// Writes a file that only its owner may read: whole or not at all.
pub(crate) fn write_private(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let mut name = path.file_name().map(ToOwned::to_owned).unwrap_or_default();
    name.push(".new");
    let temporary = path.with_file_name(name);
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&temporary, path)
}
