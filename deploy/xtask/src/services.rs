//! The PostgreSQL and the Redis of the tests: private, on sockets, gone at the end.
//!
//! # Invariants
//!
//! * They are for tests of features: without fsync, in a folder that is deleted first.
//! * They end when this value is dropped.

use std::{
    env, fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::{packages, programs};

const START_TIMEOUT: Duration = Duration::from_secs(30);
/// PostgreSQL's own limit of a socket's path, with its name.
const FOLDER_BYTES_MAX: usize = 80;

pub struct Services {
    postgres: Child,
    redis: Child,
    folder: PathBuf,
}

impl Services {
    pub fn start() -> io::Result<Self> {
        let folder = folder()?;
        let bin = postgres_bin()?;
        let data = folder.join("data");
        let made = as_database_user(&bin.join("initdb"))
            .arg("-D")
            .arg(&data)
            .args([
                "-U",
                "kinolog",
                "-A",
                "trust",
                "-E",
                "UTF8",
                "--no-locale",
                "--no-sync",
            ])
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status()?;
        if !made.success() {
            return Err(io::Error::other("initdb failed"));
        }
        let log = fs::File::create(folder.join("postgres.log"))?;
        let postgres = as_database_user(&bin.join("postgres"))
            .arg("-D")
            .arg(&data)
            .args([
                "-c",
                "listen_addresses=",
                "-c",
                "fsync=off",
                "-c",
                "max_connections=300",
            ])
            .arg("-c")
            .arg(format!("unix_socket_directories={}", folder.display()))
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let redis = Command::new("redis-server")
            .args([
                "--port",
                "0",
                "--save",
                "",
                "--appendonly",
                "no",
                "--databases",
                "256",
            ])
            .arg("--dir")
            .arg(&folder)
            .arg("--unixsocket")
            .arg(folder.join("redis.sock"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()?;
        let services = Self {
            postgres,
            redis,
            folder,
        };
        services.wait_for("PostgreSQL", ".s.PGSQL.5432")?;
        services.wait_for("Redis", "redis.sock")?;
        services.create_database()?;
        Ok(services)
    }

    /// What tests find them by.
    pub fn environment(&self) -> [(&'static str, String); 2] {
        [
            ("KINOLOG_TEST_POSTGRES", self.postgres_url("postgres")),
            (
                "KINOLOG_TEST_REDIS",
                format!("redis+unix://{}", self.folder.join("redis.sock").display()),
            ),
        ]
    }

    pub fn postgres_url(&self, database: &str) -> String {
        format!(
            "postgres://kinolog@localhost/{database}?host={}",
            self.folder.display()
        )
    }

    fn wait_for(&self, what: &str, socket: &str) -> io::Result<()> {
        let deadline = Instant::now() + START_TIMEOUT;
        while std::os::unix::net::UnixStream::connect(self.folder.join(socket)).is_err() {
            if Instant::now() > deadline {
                return Err(io::Error::other(format!(
                    "{what} does not answer in {}",
                    self.folder.display()
                )));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Also shows that the server answers, which its socket alone does not.
    fn create_database(&self) -> io::Result<()> {
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            let created = Command::new("psql")
                .args([
                    "-X",
                    "-q",
                    "-c",
                    "create database sqlx",
                    &self.postgres_url("postgres"),
                ])
                .stdin(Stdio::null())
                .stderr(Stdio::null())
                .status()?;
            if created.success() {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(io::Error::other("the tests' PostgreSQL does not answer"));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Services {
    fn drop(&mut self) {
        for child in [&mut self.postgres, &mut self.redis] {
            terminate(child);
        }
        // Only space is lost when it stays.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// SIGINT is PostgreSQL's fast shutdown, and ends Redis too.
fn terminate(child: &mut Child) {
    let pid = child.id().to_string();
    // When it has ended by itself there is nothing to end.
    let _ = Command::new("kill")
        .args(["-INT", &pid])
        .stderr(Stdio::null())
        .status();
    let deadline = Instant::now() + Duration::from_secs(10);
    while matches!(child.try_wait(), Ok(None)) && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
    }
    let _ = child.kill();
    let _ = child.wait();
}

/// Under `target/`, or where the database's user cannot get there, in a short temporary folder.
fn folder() -> io::Result<PathBuf> {
    let preferred = programs::target().join("test-services");
    let reachable = !packages::is_root() || reachable_by_all(&preferred);
    let folder = match reachable && preferred.as_os_str().len() <= FOLDER_BYTES_MAX {
        true => preferred,
        false => env::temp_dir().join(format!("kinolog-test-services-{}", std::process::id())),
    };
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700))?;
    if packages::is_root() {
        let given = Command::new("chown")
            .arg(database_user())
            .arg(&folder)
            .status()?;
        if !given.success() {
            return Err(io::Error::other(
                "the tests' folder cannot be given to the database's user",
            ));
        }
    }
    Ok(folder)
}

fn reachable_by_all(folder: &Path) -> bool {
    folder
        .ancestors()
        .skip(1)
        .filter_map(|ancestor| ancestor.metadata().ok())
        .all(|found| found.permissions().mode() & 0o001 != 0)
}

/// PostgreSQL refuses to run as root.
fn as_database_user(program: &Path) -> Command {
    if !packages::is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    let user = database_user();
    command
        .args([
            format!("--reuid={user}"),
            format!("--regid={user}"),
            "--clear-groups".to_owned(),
        ])
        .arg(program);
    command
}

/// The package made this user.
fn database_user() -> &'static str {
    "postgres"
}

fn postgres_bin() -> io::Result<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql")?.flatten();
    versions
        .filter_map(|entry| {
            Some((
                entry.file_name().to_str()?.parse::<u32>().ok()?,
                entry.path().join("bin"),
            ))
        })
        .filter(|(_, bin)| bin.join("initdb").exists())
        .max()
        .map(|(_, bin)| bin)
        .ok_or_else(|| io::Error::other("PostgreSQL is not installed"))
}
