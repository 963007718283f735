//! What the supervisor promises beside restarting: one per folder, private files, no orphans.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    process::Command,
    time::{Duration, Instant},
};

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
    platform.up();
    let again = platform.addresses()["supervisor"].as_u64().unwrap() as u32;
    assert_ne!(again, supervisor);
    platform.down();
    assert!(
        !platform.dir.join("addresses.json").exists(),
        "addresses are gone after the stop"
    );
}
