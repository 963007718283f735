//! A platform under test: `kinolog up` on free ports in a folder of its own.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Mutex, MutexGuard},
    time::{Duration, Instant},
};

use serde_json::Value;

/// One platform at a time.
static MACHINE: Mutex<()> = Mutex::new(());

pub struct Platform {
    pub dir: PathBuf,
    arguments: &'static [&'static str],
    supervisor: Option<Child>,
    _machine: MutexGuard<'static, ()>,
}

impl Platform {
    /// A fresh platform, ready to be used.
    pub fn start(name: &str) -> Self {
        Self::start_with(name, &["--workers", "1"])
    }

    pub fn start_with(name: &str, arguments: &'static [&'static str]) -> Self {
        let machine = MACHINE
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let dir = target().join("platforms").join(name);
        if dir.exists() {
            remove(&dir);
        }
        fs::create_dir_all(&dir).unwrap();
        let mut platform = Self {
            dir,
            arguments,
            supervisor: None,
            _machine: machine,
        };
        platform.up();
        platform
    }

    pub fn up(&mut self) {
        assert!(self.supervisor.is_none(), "the platform runs already");
        let log = fs::File::create(self.dir.with_extension("log")).unwrap();
        let child = Command::new(kinolog())
            .args(["up", "--ports", "0", "--data"])
            .arg(&self.dir)
            .args(self.arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("`kinolog up` starts");
        self.supervisor = Some(child);
        let deadline = Instant::now() + Duration::from_secs(90);
        while !self.dir.join("addresses.json").exists() {
            let ended = self.supervisor.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none(), "`kinolog up` ended: {}", self.said());
            assert!(
                Instant::now() < deadline,
                "`kinolog up` is not ready: {}",
                self.said()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Stops it as Ctrl-C would, and waits.
    pub fn down(&mut self) {
        let Some(mut child) = self.supervisor.take() else {
            return;
        };
        signal(child.id(), libc::SIGTERM);
        let deadline = Instant::now() + Duration::from_secs(40);
        while child.try_wait().unwrap().is_none() {
            if Instant::now() > deadline {
                child.kill().unwrap();
                panic!("`kinolog up` did not stop within 40 s: {}", self.said());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub fn addresses(&self) -> Value {
        let text = fs::read(self.dir.join("addresses.json"))
            .expect("addresses.json is there while it runs");
        serde_json::from_slice(&text).expect("addresses.json is JSON, replaced atomically")
    }

    pub fn address(&self, name: &str) -> String {
        self.addresses()[name]
            .as_str()
            .unwrap_or_else(|| panic!("no address {name}"))
            .to_owned()
    }

    pub fn pid(&self, role: &str) -> u32 {
        let pid = self.addresses()["processes"][role].as_u64();
        pid.unwrap_or_else(|| panic!("no process {role}")) as u32
    }

    /// Whether a process plays this role.
    pub fn plays(&self, role: &str) -> bool {
        let pid = self.addresses()["processes"][role].as_u64();
        pid.is_some_and(|pid| is_alive(pid as u32))
    }

    fn said(&self) -> String {
        fs::read_to_string(self.dir.with_extension("log")).unwrap_or_default()
    }
}

impl Drop for Platform {
    fn drop(&mut self) {
        let Some(mut child) = self.supervisor.take() else {
            return;
        };
        signal(child.id(), libc::SIGTERM);
        let deadline = Instant::now() + Duration::from_secs(20);
        while matches!(child.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(50));
        }
        // It may be gone already; nothing is left to do then.
        let _ = child.kill();
        let _ = child.wait();
    }
}

pub fn signal(pid: u32, signal: i32) {
    // SAFETY: `kill` takes two numbers and touches no memory of ours.
    unsafe { libc::kill(pid as i32, signal) };
}

pub fn is_alive(pid: u32) -> bool {
    // A zombie is dead: its state in /proc says so.
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return false;
    };
    stat.rsplit(')')
        .next()
        .and_then(|rest| rest.split_whitespace().next())
        != Some("Z")
}

pub fn kinolog() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_kinolog"))
}

pub fn target() -> PathBuf {
    kinolog()
        .parent()
        .and_then(Path::parent)
        .expect("target/debug/kinolog")
        .to_owned()
}

/// Removes a platform's folder, and what a link in it points to.
pub fn remove(path: &Path) {
    if let Ok(real) = fs::canonicalize(path)
        && real.is_dir()
        && let Ok(entries) = fs::read_dir(&real)
    {
        for entry in entries
            .flatten()
            .filter(|e| e.file_type().is_ok_and(|t| t.is_symlink()))
        {
            if let Ok(linked) = fs::canonicalize(entry.path())
                && linked.is_dir()
            {
                fs::remove_dir_all(linked).unwrap();
            }
        }
        fs::remove_dir_all(real).unwrap();
    }
}
