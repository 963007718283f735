//! What the supervisor promises beside restarting: one per folder, private files, no orphans,
//! and that neither a full disk nor somebody who looks is in its way.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use kinolog::up::lock::Lock;

use crate::platform::{Platform, is_alive, kinolog, signal};

#[test]
fn one_platform_per_folder_with_private_files_and_no_orphans() {
    let mut platform = Platform::start("supervisor");
    let supervisor = platform.addresses()["supervisor"].as_u64().unwrap() as u32;

    let second = Command::new(kinolog())
        .args(["up", "--ports", "0", "--data"])
        .arg(&platform.dir)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(
        !second.status.success(),
        "a second platform runs on the same folder"
    );
    assert!(
        said.contains(&supervisor.to_string()),
        "it says who runs: {said}"
    );

    let mut private = vec![platform.dir.join("addresses.json")];
    private.extend(
        fs::read_dir(platform.dir.join("secrets"))
            .unwrap()
            .map(|e| e.unwrap().path()),
    );
    assert!(private.len() > 5, "there are secrets: {private:?}");
    for path in private {
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{}", path.display());
    }

    a_role_comes_back_although_nothing_can_be_written(&platform);

    let addresses = platform.addresses();
    let processes = addresses["processes"].as_object().unwrap();
    let pids: Vec<u32> = processes
        .values()
        .map(|pid| pid.as_u64().unwrap() as u32)
        .collect();
    assert_eq!(pids.len(), 8, "one process per role: {processes:?}");
    signal(supervisor, libc::SIGKILL);
    let deadline = Instant::now() + Duration::from_secs(10);
    while pids.iter().any(|pid| is_alive(*pid)) {
        assert!(
            Instant::now() < deadline,
            "a role outlives its supervisor: {processes:?}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    fs::remove_file(platform.dir.join("addresses.json")).unwrap();
    platform.down();
    up_while_others_look(&mut platform);
    let again = platform.addresses()["supervisor"].as_u64().unwrap() as u32;
    assert_ne!(again, supervisor);
    let holder = Lock::holder(&platform.dir).unwrap();
    assert_eq!(holder, Some(again as i32));
    platform.down();
    assert!(
        !platform.dir.join("addresses.json").exists(),
        "addresses are gone after the stop"
    );
}

fn a_role_comes_back_although_nothing_can_be_written(platform: &Platform) {
    let worker = platform.pid("worker-1");
    let log = platform.dir.with_extension("log");
    let blocked = platform.dir.join("addresses.json.new");
    fs::create_dir(&blocked).unwrap();
    signal(worker, libc::SIGKILL);
    until("it says that it cannot write", || {
        fs::read_to_string(&log).is_ok_and(|said| said.contains("failed to write addresses.json"))
    });
    fs::remove_dir(&blocked).unwrap();
    until("the new worker is in addresses.json", || {
        let now = platform.pid("worker-1");
        now != worker && is_alive(now)
    });
}

fn up_while_others_look(platform: &mut Platform) {
    let dir = platform.dir.clone();
    let up = AtomicBool::new(false);
    let deadline = Instant::now() + Duration::from_secs(120);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !up.load(Ordering::Relaxed) && Instant::now() < deadline {
                Lock::holder(&dir).unwrap();
            }
        });
        platform.up();
        up.store(true, Ordering::Relaxed);
    });
}

fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
