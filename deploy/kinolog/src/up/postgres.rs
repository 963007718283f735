//! The private PostgreSQL: its folder, its user, its leftovers.
//!
//! # Invariants
//!
//! * It listens on a socket in a folder of mode 700 and on no port.
//! * Its server refuses root, so that under root it runs as another user, in a folder which
//!   that user can reach. `DIR/postgres` is that folder or a link to it; when `DIR/postgres`
//!   is gone, so is the data: a folder it once linked to is removed, never used again.
//! * A folder elsewhere carries the name of the one `DIR` it was made for: a copy of `DIR`
//!   gets its own, and no folder is removed in which a server lives.
//! * A half-made cluster never has its final name.

use std::{
    fs,
    os::unix::{
        ffi::OsStrExt,
        fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    },
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::{Gid, Pid, Uid, User},
};
use sha2::{Digest, Sha256};
use tokio::process::Command;

use super::{
    child::{in_child, inherited},
    say,
};

/// A socket's path, with the name PostgreSQL gives it, fits into this.
const SOCKET_PATH_BYTES_MAX: usize = 107;
const SOCKET_NAME: &str = ".s.PGSQL.5432";
const INIT_TIMEOUT: Duration = Duration::from_secs(60);
const ORPHAN_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Clone)]
pub struct Database {
    bin: PathBuf,
    /// `DIR/postgres`.
    home: PathBuf,
    /// Where a folder goes that cannot be in `DIR`.
    elsewhere: PathBuf,
    pub run_as: Option<(Uid, Gid)>,
}

impl Database {
    pub fn new(data: &Path) -> anyhow::Result<Self> {
        let bin = programs().context(
            "PostgreSQL is not installed: `apt-get install postgresql` (or `cargo xtask up`, which installs it)",
        )?;
        Ok(Self {
            bin,
            // By whatever name it is reached, it is one folder.
            home: data
                .canonicalize()
                .with_context(|| format!("{} cannot be entered", data.display()))?
                .join("postgres"),
            elsewhere: fallback_base(),
            run_as: unprivileged()?,
        })
    }

    pub fn server(&self) -> PathBuf {
        self.bin.join("postgres")
    }

    pub fn url(&self) -> anyhow::Result<String> {
        let host = percent_encoded(&self.folder()?);
        Ok(format!("postgres://kinolog@localhost/kinolog?host={host}"))
    }

    pub fn socket(&self) -> anyhow::Result<PathBuf> {
        Ok(self.folder()?.join(SOCKET_NAME))
    }

    pub fn args(&self) -> anyhow::Result<Vec<std::ffi::OsString>> {
        let folder = self.folder()?;
        let mut socket_dir = std::ffi::OsString::from("unix_socket_directories=");
        socket_dir.push(&folder);
        let mut args = vec!["-D".into(), folder.join("data").into()];
        let settings = [
            "listen_addresses=".into(),
            socket_dir,
            "max_connections=200".into(),
        ];
        for setting in settings {
            args.push("-c".into());
            args.push(setting);
        }
        Ok(args)
    }

    /// Where the database really is: `DIR/postgres`, links followed.
    fn folder(&self) -> anyhow::Result<PathBuf> {
        self.home
            .canonicalize()
            .with_context(|| format!("{} cannot be entered", self.home.display()))
    }

    /// Makes the folder where there is none yet.
    pub fn settle(&self) -> anyhow::Result<()> {
        let link = fs::read_link(&self.home).ok();
        let foreign = link.as_ref().filter(|target| !self.is_named_for_us(target));
        if self.home.exists() && foreign.is_none() {
            let target = self.folder()?;
            self.remove_fallbacks_except(Some(&target));
            return Ok(());
        }
        if let Some(target) = foreign {
            say(format_args!(
                "kinolog: {} is not the database of {}, which gets a new one",
                target.display(),
                self.home.display()
            ));
        }
        if link.is_some() {
            fs::remove_file(&self.home)?;
        }
        self.remove_fallbacks_except(None);
        let parent = self.home.parent().unwrap_or(Path::new("/"));
        let folder = match reachable(parent, self.run_as) && short_enough(&self.home) {
            true => self.home.clone(),
            false => self.fallback()?,
        };
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&folder)
            .with_context(|| format!("failed to create {}", folder.display()))?;
        if let Some((uid, gid)) = self.run_as {
            std::os::unix::fs::chown(&folder, Some(uid.as_raw()), Some(gid.as_raw()))?;
        }
        if folder != self.home {
            std::os::unix::fs::symlink(&folder, &self.home)?;
        }
        Ok(())
    }

    /// Before each start: the cluster exists, and nothing of a dead server is in the way.
    pub async fn prepare(&self) -> anyhow::Result<()> {
        self.settle()?;
        let folder = self.folder()?;
        let data = folder.join("data");
        if !data.exists() {
            self.init(&folder).await?;
        }
        self.clear_leftovers(&data).await
    }

    async fn init(&self, folder: &Path) -> anyhow::Result<()> {
        let unfinished = folder.join("data.new");
        if unfinished.exists() {
            fs::remove_dir_all(&unfinished)?;
        }
        let mut initdb = self.command("initdb");
        initdb.arg("-D").arg(&unfinished);
        initdb.args([
            "-U",
            "kinolog",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--no-locale",
            "--no-instructions",
        ]);
        finished(initdb, b"")
            .await
            .context("failed to make the database cluster")?;
        let mut single = self.command("postgres");
        single
            .args(["--single", "-D"])
            .arg(&unfinished)
            .arg("postgres");
        finished(single, b"create database kinolog;\n")
            .await
            .context("failed to create the database")?;
        fs::rename(&unfinished, folder.join("data"))?;
        Ok(())
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.bin.join(program));
        command
            .env_clear()
            .envs(inherited())
            .kill_on_drop(true)
            .current_dir("/");
        in_child(&mut command, None, self.run_as, Signal::SIGKILL);
        command
    }

    /// A server that was killed leaves its pid file; one whose supervisor was killed may still be stopping.
    async fn clear_leftovers(&self, data: &Path) -> anyhow::Result<()> {
        let pid_file = data.join("postmaster.pid");
        let deadline = tokio::time::Instant::now() + ORPHAN_TIMEOUT;
        loop {
            if !pid_file.exists() {
                return Ok(());
            }
            let Some(pid) = recorded_server(data).filter(|pid| is_server_of(*pid, data)) else {
                fs::remove_file(&pid_file)?;
                return Ok(());
            };
            if tokio::time::Instant::now() > deadline {
                bail!("process {pid} still serves {}", data.display());
            }
            // Immediate shutdown. An error says that it has ended.
            let _ = kill(Pid::from_raw(pid), Signal::SIGQUIT);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// A short folder that the database's user can reach, never used before.
    fn fallback(&self) -> anyhow::Result<PathBuf> {
        let base = &self.elsewhere;
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(base)?;
        if !reachable(base, self.run_as) {
            bail!(
                "the database's user can reach neither {} nor {}",
                self.home.display(),
                base.display()
            );
        }
        let unique: u32 = rand::random();
        Ok(base.join(format!("{}{unique:08x}", self.fallback_prefix())))
    }

    fn remove_fallbacks_except(&self, kept: Option<&Path>) {
        let Ok(entries) = fs::read_dir(&self.elsewhere) else {
            return;
        };
        for entry in entries.flatten() {
            // `kept` is without links, so this must be.
            let Ok(folder) = entry.path().canonicalize() else {
                continue;
            };
            let mine = entry
                .metadata()
                .is_ok_and(|found| found.is_dir() && self.owns(&found));
            let removable = mine && self.is_named_for_us(&folder) && !has_live_server(&folder);
            if removable && kept != Some(folder.as_path()) {
                // Only space is lost when it stays.
                let _ = fs::remove_dir_all(folder);
            }
        }
    }

    fn is_named_for_us(&self, folder: &Path) -> bool {
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with(&self.fallback_prefix())
    }

    fn owns(&self, found: &fs::Metadata) -> bool {
        let uid = self
            .run_as
            .map_or_else(nix::unistd::geteuid, |(uid, _)| uid);
        found.uid() == uid.as_raw()
    }

    fn fallback_prefix(&self) -> String {
        format!("pg-{:016x}-", digest(&self.home))
    }
}

/// A short name for a path, the same in every release.
pub(super) fn digest(path: &Path) -> u64 {
    let hash = Sha256::digest(path.as_os_str().as_bytes());
    hash.iter()
        .take(8)
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn fallback_base() -> PathBuf {
    if nix::unistd::geteuid().is_root() {
        return PathBuf::from("/var/lib/kinolog");
    }
    PathBuf::from(format!("/tmp/kinolog-{}", nix::unistd::geteuid()))
}

/// The newest PostgreSQL of this machine.
pub fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten();
    let newest = versions
        .filter_map(|entry| {
            Some((
                entry.file_name().to_str()?.parse::<u32>().ok()?,
                entry.path(),
            ))
        })
        .filter(|(_, path)| path.join("bin/initdb").exists())
        .max();
    if let Some((_, path)) = newest {
        return Some(path.join("bin"));
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .find(|folder| folder.join("initdb").exists() && folder.join("postgres").exists())
}

/// Whom the server runs as: us, or under root somebody else.
fn unprivileged() -> anyhow::Result<Option<(Uid, Gid)>> {
    if !nix::unistd::geteuid().is_root() {
        return Ok(None);
    }
    for name in ["postgres", "nobody"] {
        if let Some(user) = User::from_name(name)? {
            return Ok(Some((user.uid, user.gid)));
        }
    }
    bail!("PostgreSQL refuses to run as root, and there is neither a user `postgres` nor `nobody`")
}

/// Whether that user can enter `folder` and everything above it.
fn reachable(folder: &Path, user: Option<(Uid, Gid)>) -> bool {
    let Some((uid, gid)) = user else { return true };
    let Ok(folder) = folder.canonicalize() else {
        return false;
    };
    folder.ancestors().all(|ancestor| {
        let Ok(found) = ancestor.metadata() else {
            return false;
        };
        let mode = found.permissions().mode();
        let bit = match (found.uid() == uid.as_raw(), found.gid() == gid.as_raw()) {
            (true, _) => 0o100,
            (false, true) => 0o010,
            (false, false) => 0o001,
        };
        mode & bit != 0
    })
}

fn short_enough(folder: &Path) -> bool {
    folder.join(SOCKET_NAME).as_os_str().len() <= SOCKET_PATH_BYTES_MAX
}

/// Whom `postmaster.pid` names, dead or alive.
fn recorded_server(data: &Path) -> Option<i32> {
    let text = fs::read_to_string(data.join("postmaster.pid")).ok()?;
    text.lines().next()?.trim().parse().ok()
}

/// Whether a database lives in `folder`; in doubt it does.
fn has_live_server(folder: &Path) -> bool {
    let Some(pid) = recorded_server(&folder.join("data")) else {
        return false;
    };
    let name = fs::read_to_string(format!("/proc/{pid}/comm"));
    name.is_ok_and(|name| name.trim() == "postgres")
}

fn is_server_of(pid: i32, data: &Path) -> bool {
    let Ok(line) = fs::read(format!("/proc/{pid}/cmdline")) else {
        return false;
    };
    line.split(|byte| *byte == 0)
        .any(|word| word == data.as_os_str().as_bytes())
}

async fn finished(mut command: Command, input: &[u8]) -> anyhow::Result<()> {
    use tokio::io::AsyncWriteExt;

    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input).await?;
    }
    let output = tokio::time::timeout(INIT_TIMEOUT, child.wait_with_output())
        .await
        .context("it took too long")??;
    if !output.status.success() {
        bail!(
            "{}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}

pub(super) fn percent_encoded(path: &Path) -> String {
    let mut text = String::new();
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => {
                text.push(char::from(*byte));
            }
            _ => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A database whose folder has too long a name to be in `DIR`.
    fn database(base: &Path, name: &str, elsewhere: &Path) -> Database {
        let data = base.join(name.repeat(120));
        fs::create_dir_all(&data).unwrap();
        Database {
            bin: PathBuf::new(),
            home: data.join("postgres"),
            elsewhere: elsewhere.to_owned(),
            run_as: None,
        }
    }

    #[test]
    fn a_folder_in_use_is_kept_though_it_is_reached_through_a_link() {
        let base = tempfile::tempdir().unwrap();
        fs::create_dir(base.path().join("real")).unwrap();
        symlink(base.path().join("real"), base.path().join("link")).unwrap();
        let database = database(base.path(), "a", &base.path().join("link"));
        database.settle().unwrap();
        let folder = database.folder().unwrap();
        fs::write(folder.join("kept"), "").unwrap();

        database.settle().unwrap();
        assert_eq!(database.folder().unwrap(), folder);
        assert!(folder.join("kept").exists());
    }

    #[test]
    fn a_copied_folder_gets_a_database_of_its_own() {
        let base = tempfile::tempdir().unwrap();
        let elsewhere = base.path().join("elsewhere");
        let original = database(base.path(), "a", &elsewhere);
        let copy = database(base.path(), "b", &elsewhere);
        original.settle().unwrap();
        let folder = original.folder().unwrap();
        symlink(fs::read_link(&original.home).unwrap(), &copy.home).unwrap();

        copy.settle().unwrap();
        assert_ne!(copy.folder().unwrap(), folder);
        original.settle().unwrap();
        assert_eq!(original.folder().unwrap(), folder);
        assert!(copy.folder().is_ok(), "each keeps its own");
    }

    #[test]
    fn a_folder_that_is_no_longer_linked_stays_while_its_server_lives() {
        let base = tempfile::tempdir().unwrap();
        let elsewhere = base.path().join("elsewhere");
        let database = database(base.path(), "a", &elsewhere);
        database.settle().unwrap();
        let old = database.folder().unwrap();
        fs::remove_file(&database.home).unwrap();
        // A process is called what its file is called; this one ends with its input.
        let named = base.path().join("postgres");
        symlink("/bin/sh", &named).unwrap();
        let mut server = std::process::Command::new(named)
            .args(["-c", "read line"])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        // A spawned process is there a moment before it has its name.
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        let name = format!("/proc/{}/comm", server.id());
        while fs::read_to_string(&name).unwrap().trim() != "postgres" {
            assert!(std::time::Instant::now() < deadline, "it is not named");
            std::thread::yield_now();
        }
        fs::create_dir(old.join("data")).unwrap();
        let pid_file = old.join("data/postmaster.pid");
        fs::write(pid_file, format!("{}\n", server.id())).unwrap();

        database.settle().unwrap();
        let stayed = old.exists();
        drop(server.stdin.take());
        server.wait().unwrap();
        assert!(stayed, "the server lives");
        database.settle().unwrap();
        assert!(!old.exists(), "the server has ended");
    }
}
