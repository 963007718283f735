//! Clients that ask one query after the other, and how long each takes.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::ensure;

pub const CLIENTS: usize = 16;

pub struct Latencies(Vec<Duration>);

impl Latencies {
    pub fn ms(&self, share: f64) -> f64 {
        let last = self.0.len() - 1;
        self.0[(last as f64 * share).round() as usize].as_secs_f64() * 1000.0
    }
}

/// Asks all queries once, each by whoever is free.
pub fn ask(
    queries: &[String],
    found: &(impl Fn(&str) -> anyhow::Result<usize> + Sync),
) -> anyhow::Result<Latencies> {
    let next = AtomicUsize::new(0);
    let client = || -> anyhow::Result<(Vec<Duration>, usize)> {
        let mut latencies = vec![];
        let mut answered = 0;
        while let Some(query) = queries.get(next.fetch_add(1, Ordering::Relaxed)) {
            let began = Instant::now();
            let hits = found(query)?;
            latencies.push(began.elapsed());
            answered += usize::from(hits > 0);
        }
        Ok((latencies, answered))
    };
    let mut all = vec![];
    let mut answered = 0;
    thread::scope(|scope| -> anyhow::Result<()> {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(client)).collect();
        for client in clients {
            let (latencies, found) = client.join().expect("a client does not panic")?;
            all.extend(latencies);
            answered += found;
        }
        Ok(())
    })?;
    ensure!(
        answered * 10 > queries.len() * 8,
        "only {answered} of {} queries found anything",
        queries.len()
    );
    all.sort_unstable();
    Ok(Latencies(all))
}
