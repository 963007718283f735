//! When a platform may be used: every store answers, the api says so, and a worker is there.

use std::{
    collections::HashSet,
    fs,
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use super::{
    child::{Board, Spec},
    log_file,
    plan::Plan,
};

const POLL: Duration = Duration::from_millis(50);
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
const TAIL_LINES: usize = 15;

/// Waits until the stores that others need at their start answer.
pub async fn stores(plan: &Plan) -> anyhow::Result<()> {
    if let Some(socket) = &plan.postgres_socket {
        until(|| postgres_answers(socket)).await;
    }
    if let Some(socket) = &plan.redis_socket {
        until(|| redis_answers(socket)).await;
    }
    Ok(())
}

/// Makes the tables of the read models before anyone reads them; a database that is not ours may
/// come later.
pub async fn tables(plan: &Plan) {
    let mut said = false;
    while let Err(error) = projections::migrate(&plan.settings.postgres.0).await {
        if !said {
            eprintln!("kinolog: waiting for PostgreSQL: {error:#}");
            said = true;
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Waits until the api is ready and a worker has reached the conductor.
pub async fn platform(plan: &Plan, board: &Board) -> anyhow::Result<()> {
    let http = reqwest::Client::builder().timeout(PROBE_TIMEOUT).build()?;
    loop {
        if api_is_ready(&http, plan).await && workers_are_there(plan, board) {
            return Ok(());
        }
        tokio::time::sleep(POLL).await;
    }
}

/// What keeps the platform from being ready, for people.
pub async fn what_is_missing(plan: &Plan, board: &Board) -> String {
    let mut text = format!(
        "the platform is not ready after {} s",
        super::READY_TIMEOUT.as_secs()
    );
    let url = format!("{}/readyz", plan.settings.public_url);
    match reqwest::Client::new()
        .get(&url)
        .timeout(PROBE_TIMEOUT)
        .send()
        .await
    {
        Ok(answer) => {
            let status = answer.status();
            let body = answer.text().await.unwrap_or_default();
            text.push_str(&format!("\n{url} answers {status}: {body}"));
        }
        Err(error) => text.push_str(&format!("\n{url} does not answer: {error}")),
    }
    if !workers_are_there(plan, board) {
        text.push_str("\nno worker has reached the conductor");
    }
    for spec in all(plan) {
        text.push_str(&format!(
            "\n--- the end of {}\n{}",
            spec.log_path.display(),
            log_file::tail(&spec.log_path, TAIL_LINES)
        ));
    }
    text
}

fn all(plan: &Plan) -> impl Iterator<Item = &Spec> {
    [
        &plan.log,
        &plan.stores,
        &plan.projections,
        &plan.api,
        &plan.conductor,
        &plan.workers,
    ]
    .into_iter()
    .flatten()
}

async fn until(mut holds: impl FnMut() -> bool) {
    while !holds() {
        tokio::time::sleep(POLL).await;
    }
}

async fn api_is_ready(http: &reqwest::Client, plan: &Plan) -> bool {
    let url = format!("{}/readyz", plan.settings.public_url);
    http.get(url)
        .send()
        .await
        .is_ok_and(|answer| answer.status().is_success())
}

fn workers_are_there(plan: &Plan, board: &Board) -> bool {
    if plan.workers.is_empty() || !plan.workers_stay {
        return true;
    }
    let port = plan
        .settings
        .conductor
        .rsplit(':')
        .next()
        .and_then(|port| port.parse().ok());
    let Some(port) = port else { return false };
    let connected = sockets_connected_to(port);
    let processes = board.processes();
    let workers = plan
        .workers
        .iter()
        .filter_map(|spec| processes.get(&spec.role));
    workers
        .into_iter()
        .any(|pid| holds_one_of(*pid, &connected))
}

/// The inodes of the TCP sockets of this machine that are connected to `port`.
fn sockets_connected_to(port: u16) -> HashSet<String> {
    const ESTABLISHED: &str = "01";
    let remote = format!(":{port:04X}");
    let table = fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    table
        .lines()
        .filter_map(|line| {
            let mut fields = line.split_whitespace().skip(2);
            let (to, state) = (fields.next()?, fields.next()?);
            let inode = fields.nth(5)?;
            (to.ends_with(&remote) && state == ESTABLISHED).then(|| inode.to_owned())
        })
        .collect()
}

fn holds_one_of(pid: u32, inodes: &HashSet<String>) -> bool {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else {
        return false;
    };
    entries.flatten().any(|entry| {
        let Ok(target) = fs::read_link(entry.path()) else {
            return false;
        };
        let target = target.to_string_lossy();
        let inode = target
            .strip_prefix("socket:[")
            .and_then(|rest| rest.strip_suffix(']'));
        inode.is_some_and(|inode| inodes.contains(inode))
    })
}

/// Whether the server lets a connection in: it says so only once it has recovered.
pub fn postgres_answers(socket: &Path) -> bool {
    const AUTHENTICATION: u8 = b'R';
    const VERSION_3: i32 = 196_608;
    let parameters = b"user\0kinolog\0database\0kinolog\0\0";
    let length = (8 + parameters.len()) as i32;
    let mut message = length.to_be_bytes().to_vec();
    message.extend(VERSION_3.to_be_bytes());
    message.extend(parameters);
    exchange(socket, &message).first() == Some(&AUTHENTICATION)
}

pub fn redis_answers(socket: &Path) -> bool {
    exchange(socket, b"PING\r\n").starts_with(b"+PONG")
}

/// Sends a message and gives what comes back first; nothing where nothing does.
fn exchange(socket: &Path, message: &[u8]) -> Vec<u8> {
    let ask = || -> std::io::Result<Vec<u8>> {
        let mut stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(PROBE_TIMEOUT))?;
        stream.set_write_timeout(Some(PROBE_TIMEOUT))?;
        stream.write_all(message)?;
        let mut answer = vec![0; 64];
        let count = stream.read(&mut answer)?;
        answer.truncate(count);
        Ok(answer)
    };
    ask().unwrap_or_default()
}
