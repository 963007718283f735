//! `Monitoring`: how the node is, told again and again under the names EventStoreDB uses.
//!
//! # Invariants
//!
//! * Only what is true is told: what this node does not have or cannot find out is left out.
//! * Rates and shares are over the time since the answer before, in the first answer since
//!   the node began.
//! * It goes on until the client leaves or the node stops, and never ends with success.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::json;
use tonic::{Request, Response, Status};

use super::answers::{Answers, Responses};
use super::{Node, deadline};
use crate::figures::Sample;
use crate::host;
use crate::limits::{APPEND_QUEUE_MAX, STATS_REFRESH_MAX, STATS_REFRESH_MIN};
use crate::protocol::monitoring::monitoring_server::Monitoring;
use crate::protocol::monitoring::{StatsReq, StatsResp};

/// The writer's queue, as EventStoreDB calls its own.
const QUEUE: &str = "StorageWriterQueue";

pub(super) struct Service {
    pub(super) node: Node,
    /// Where the log is, if it is in a folder.
    pub(super) folder: Option<PathBuf>,
    pub(super) began: Instant,
}

#[tonic::async_trait]
impl Monitoring for Service {
    type StatsStream = Answers<StatsResp>;

    async fn stats(
        &self,
        request: Request<StatsReq>,
    ) -> Result<Response<Self::StatsStream>, Status> {
        let deadline = deadline::of(request.metadata());
        let StatsReq {
            use_metadata,
            refresh_time_period_in_ms,
        } = request.into_inner();
        let every = Duration::from_millis(refresh_time_period_in_ms);
        let every = every.clamp(STATS_REFRESH_MIN, STATS_REFRESH_MAX);
        let telling = Telling {
            node: self.node.clone(),
            folder: self.folder.clone(),
            with_metadata: use_metadata,
            before: Moment {
                at: self.began,
                sample: Sample::default(),
                cpu: Duration::ZERO,
            },
        };
        let answers = self
            .node
            .subscription(deadline, |responses| tell(telling, every, responses))?;
        Ok(Response::new(answers.begun().await?))
    }
}

async fn tell(
    mut telling: Telling,
    every: Duration,
    responses: Responses<StatsResp>,
) -> Result<(), Status> {
    let gone = || Status::cancelled("the client is gone");
    loop {
        let store = telling.node.store.clone();
        let (stats, next) = store.blocking(move |_| telling.stats()).await;
        telling = next;
        let answer = Ok(vec![StatsResp { stats }]);
        responses.send(answer).await.map_err(|_| gone())?;
        tokio::select! {
            () = tokio::time::sleep(every) => {}
            () = responses.closed() => return Err(gone()),
        }
    }
}

/// One client's statistics, and what the last ones were reckoned from.
struct Telling {
    node: Node,
    folder: Option<PathBuf>,
    with_metadata: bool,
    before: Moment,
}

#[derive(Clone, Copy)]
struct Moment {
    at: Instant,
    sample: Sample,
    cpu: Duration,
}

/// What is told, by name.
struct Stats {
    values: HashMap<String, String>,
    with_metadata: bool,
}

impl Telling {
    /// Reads from the kernel, so it runs inside `Store::blocking`.
    fn stats(mut self) -> (HashMap<String, String>, Self) {
        let cpu = host::cpu_time();
        let now = Moment {
            at: Instant::now(),
            sample: self.node.store.figures.sample(),
            cpu: cpu.unwrap_or_default(),
        };
        let mut stats = Stats {
            values: HashMap::new(),
            with_metadata: self.with_metadata,
        };
        let since = (now.at - self.before.at).as_secs_f64();
        if cpu.is_some() {
            let processors = std::thread::available_parallelism().map_or(1, usize::from);
            let used = (now.cpu.saturating_sub(self.before.cpu)).as_secs_f64();
            let share = share(used, since * processors as f64);
            stats.describe("proc-cpu", share, Some("Process"), "Process Cpu Usage");
        }
        stats.process();
        stats.machine(self.folder.as_deref());
        stats.queue(&now.sample, &self.before.sample, since, &self.node);
        stats.log(&now.sample, &self.node);
        self.before = now;
        (stats.values, self)
    }
}

impl Stats {
    fn process(&mut self) {
        self.tell("proc-id", std::process::id());
        if let Some(started) = host::started() {
            self.tell("proc-startTime", prost_types::Timestamp::from(started));
        }
        if let Some((bytes, threads)) = host::memory_and_threads() {
            let category = Some("Process");
            self.describe("proc-mem", bytes, category, "Process Virtual Memory");
            self.tell("proc-threadsCount", threads);
        }
        if let Some([read_bytes, written_bytes, reads, writes]) = host::disk_io() {
            self.tell("proc-diskIo-readBytes", read_bytes);
            self.tell("proc-diskIo-writtenBytes", written_bytes);
            self.tell("proc-diskIo-readOps", reads);
            self.tell("proc-diskIo-writeOps", writes);
        }
    }

    fn machine(&mut self, folder: Option<&Path>) {
        if let Some([one, five, fifteen]) = host::load() {
            self.tell("sys-loadavg-1m", one);
            self.tell("sys-loadavg-5m", five);
            self.tell("sys-loadavg-15m", fifteen);
        }
        if let Some((free, total)) = host::free_and_total_memory() {
            self.tell("sys-freeMem", free);
            self.tell("sys-totalMem", total);
        }
        let Some(drive) = folder.and_then(host::drive) else {
            return;
        };
        let name = format!("sys-drive-{}", drive.name);
        self.tell(format!("{name}-availableBytes"), drive.available_bytes);
        self.tell(format!("{name}-totalBytes"), drive.total_bytes);
        self.tell(format!("{name}-usedBytes"), drive.used_bytes);
        let used = (drive.used_bytes * 100).checked_div(drive.total_bytes);
        self.tell(format!("{name}-usage"), format!("{}%", used.unwrap_or(0)));
    }

    fn queue(&mut self, now: &Sample, before: &Sample, since: f64, node: &Node) {
        let requests = now.requests.saturating_sub(before.requests);
        let busy = now.busy.saturating_sub(before.busy);
        let mut tell = |name: &str, value: String| {
            self.tell(format!("es-queue-{QUEUE}-{name}"), value);
        };
        tell("queueName", QUEUE.into());
        tell("groupName", String::new());
        tell(
            "length",
            (APPEND_QUEUE_MAX - node.queue.capacity()).to_string(),
        );
        tell("lengthLifetimePeak", now.requests_waiting_peak.to_string());
        tell("totalItemsProcessed", now.requests.to_string());
        let per_second = ratio(requests as f64, since).round();
        tell("avgItemsPerSecond", per_second.to_string());
        let each = ratio(busy.as_secs_f64() * 1000.0, requests as f64);
        tell("avgProcessingTime", each.to_string());
        let idle = 100.0 - share(busy.as_secs_f64(), since);
        tell("idleTimePercent", idle.to_string());
    }

    fn log(&mut self, now: &Sample, node: &Node) {
        let head = *node.store.head().borrow();
        self.tell("es-checksum", head);
        let ms = |time: Duration| time.as_secs_f64() * 1000.0;
        let mean_bytes = now.flush_bytes.checked_div(now.flushes).unwrap_or(0);
        let mean_ms = ratio(ms(now.flush_time), now.flushes as f64);
        let mut tell = |name: &str, value: f64, title: &str| {
            self.describe(format!("es-writer-{name}"), value, None, title);
        };
        let last_bytes = now.flush_bytes_last as f64;
        tell("lastFlushSize", last_bytes, "Writer Last Flush Size");
        let last_ms = ms(now.flush_time_last);
        tell("lastFlushDelayMs", last_ms, "Writer Last Flush Delay, ms");
        let mean_bytes = mean_bytes as f64;
        tell("meanFlushSize", mean_bytes, "Writer Mean Flush Size");
        tell("meanFlushDelayMs", mean_ms, "Writer Mean Flush Delay, ms");
        let max_bytes = now.flush_bytes_max as f64;
        tell("maxFlushSize", max_bytes, "Writer Max Flush Size");
        let max_ms = ms(now.flush_time_max);
        tell("maxFlushDelayMs", max_ms, "Writer Max Flush Delay, ms");
        // Records come from files each time; the page cache is the kernel's.
        self.tell("es-readIndex-cachedRecord", 0);
        self.tell("es-readIndex-notCachedRecord", now.records_read);
    }

    fn tell(&mut self, name: impl Into<String>, value: impl ToString) {
        self.values.insert(name.into(), value.to_string());
    }

    /// A value people draw charts of: whoever asks for metadata gets its title with it.
    fn describe(
        &mut self,
        name: impl Into<String>,
        value: impl ToString + Into<serde_json::Value>,
        category: Option<&str>,
        title: &str,
    ) {
        if !self.with_metadata {
            return self.tell(name, value);
        }
        let described = json!({
            "value": value.into(),
            "category": category,
            "title": title,
            "drawChart": true,
        });
        self.tell(name, described);
    }
}

/// In per cent, at most 100: the clocks of two figures are not read at the same moment.
fn share(part: f64, whole: f64) -> f64 {
    (100.0 * ratio(part, whole)).min(100.0)
}

fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}
