//! `kinolog doctor`: is everything there that a platform needs, and what to do if not.

use std::{net::TcpListener, path::Path, process::Stdio, time::Duration};

use anyhow::bail;
use tokio::process::Command;

use crate::{
    config::Settings,
    platform::Platform,
    roles,
    up::{lock::Lock, plan::find_program, postgres},
};

const CHECK_TIMEOUT: Duration = Duration::from_secs(60);
const DISK_FREE_BYTES_MIN: u64 = 2 * 1024 * 1024 * 1024;
const PORTS: [(&str, u16); 4] = [
    ("the api", 8080),
    ("the event store", 2113),
    ("the object store", 9000),
    ("the conductor", 8090),
];

/// What a check found: fine, or what is wrong and what to do.
type Finding = Result<String, String>;

pub async fn run(settings: &Settings, data: &Path) -> anyhow::Result<()> {
    let mut findings = vec![
        ("PostgreSQL", database_programs(settings)),
        ("Redis", cache_program(settings)),
        ("disk", disk(data)),
        ("programs", programs()),
        ("worker", worker().await),
    ];
    if !settings.eventstore.is_empty() {
        findings.push(("event log", event_log(settings).await));
    }
    if !settings.s3_endpoint.is_empty() {
        findings.push(("object store", object_store(settings).await));
    }
    match Lock::holder(data) {
        Ok(None) => findings.push(("ports", ports())),
        Ok(Some(_)) => findings.push(("platform", running(data).await)),
        Err(error) => findings.push(("platform", Err(format!("{error:#}")))),
    }
    let mut wrong = 0;
    for (what, finding) in findings {
        match finding {
            Ok(text) => println!("ok     {what:<12} {text}"),
            Err(text) => {
                wrong += 1;
                println!("WRONG  {what:<12} {text}");
            }
        }
    }
    if wrong > 0 {
        bail!("{wrong} things are wrong");
    }
    Ok(())
}

fn database_programs(settings: &Settings) -> Finding {
    if !settings.postgres.0.is_empty() {
        return Ok("an external one is set; none is started".to_owned());
    }
    match postgres::programs() {
        Some(path) => Ok(path.display().to_string()),
        None => {
            Err("not installed: apt-get install postgresql, or set KINOLOG_POSTGRES".to_owned())
        }
    }
}

fn cache_program(settings: &Settings) -> Finding {
    if !settings.redis.0.is_empty() {
        return Ok("an external one is set; none is started".to_owned());
    }
    match find_program("redis-server") {
        Some(path) => Ok(path.display().to_string()),
        None => Err("not installed: apt-get install redis-server, or set KINOLOG_REDIS".to_owned()),
    }
}

fn disk(data: &Path) -> Finding {
    let folder = data
        .ancestors()
        .find(|folder| folder.exists())
        .unwrap_or(Path::new("/"));
    let found = nix::sys::statvfs::statvfs(folder)
        .map_err(|error| format!("{} cannot be looked at: {error}", folder.display()))?;
    let free = found.blocks_available() * found.fragment_size();
    let text = format!("{} GiB free for {}", free >> 30, data.display());
    if free < DISK_FREE_BYTES_MIN {
        return Err(format!(
            "{text}; free some, or choose another folder with --data"
        ));
    }
    Ok(text)
}

fn programs() -> Finding {
    let folder = std::env::current_exe().map_err(|error| error.to_string())?;
    let folder = folder.parent().unwrap_or(Path::new("/"));
    let missing: Vec<&str> = [
        "kinolog-eventstore",
        "kinolog-objectstore",
        "kinolog-worker",
    ]
    .into_iter()
    .filter(|name| !folder.join(name).exists())
    .collect();
    if missing.is_empty() {
        return Ok(format!("all in {}", folder.display()));
    }
    Err(format!(
        "{} not in {}: `cargo xtask up` builds them",
        missing.join(", "),
        folder.display()
    ))
}

async fn worker() -> Finding {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let program = program.with_file_name("kinolog-worker");
    let check = Command::new(&program)
        .arg("check")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = match tokio::time::timeout(CHECK_TIMEOUT, check).await {
        Ok(Ok(output)) => output,
        Ok(Err(error)) => return Err(format!("{} cannot be run: {error}", program.display())),
        Err(_) => {
            return Err(format!(
                "its check takes longer than {} s",
                CHECK_TIMEOUT.as_secs()
            ));
        }
    };
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said)
        .trim()
        .replace('\n', "\n                    ");
    if output.status.success() {
        Ok(said)
    } else {
        Err(said)
    }
}

async fn event_log(settings: &Settings) -> Finding {
    let log = roles::log(settings).map_err(|error| format!("{error:#}"))?;
    match tokio::time::timeout(CHECK_TIMEOUT, log.ready()).await {
        Ok(Ok(())) => Ok(settings.eventstore.clone()),
        Ok(Err(error)) => Err(format!(
            "{error}; is KINOLOG_EVENTSTORE right, and does it run?"
        )),
        Err(_) => Err("does not answer; is KINOLOG_EVENTSTORE right, and does it run?".to_owned()),
    }
}

async fn object_store(settings: &Settings) -> Finding {
    let objects = roles::objects(settings).map_err(|error| format!("{error:#}"))?;
    match tokio::time::timeout(CHECK_TIMEOUT, objects.ready()).await {
        Ok(Ok(())) => Ok(settings.s3_endpoint.clone()),
        Ok(Err(error)) => Err(format!(
            "{error}; are KINOLOG_S3_… right, and does the bucket exist?"
        )),
        Err(_) => Err("does not answer; is KINOLOG_S3_ENDPOINT right?".to_owned()),
    }
}

fn ports() -> Finding {
    let taken: Vec<String> = PORTS
        .into_iter()
        .filter(|(_, port)| TcpListener::bind(("127.0.0.1", *port)).is_err())
        .map(|(what, port)| format!("{port} of {what}"))
        .collect();
    if taken.is_empty() {
        return Ok("all free".to_owned());
    }
    Err(format!(
        "taken: {}; use --ports 0, or stop who has them",
        taken.join(", ")
    ))
}

async fn running(data: &Path) -> Finding {
    let platform = Platform::find(data).map_err(|error| format!("{error:#}"))?;
    let url = format!("{}/readyz", platform.addresses.api);
    match reqwest::get(&url).await {
        Ok(answer) if answer.status().is_success() => {
            Ok(format!("ready at {}", platform.addresses.api))
        }
        Ok(answer) => {
            let status = answer.status();
            Err(format!(
                "{url} answers {status}: {}",
                answer.text().await.unwrap_or_default()
            ))
        }
        Err(error) => Err(format!("{url} does not answer: {error}")),
    }
}
