//! Everything that happened to one video and to its jobs, in the order of the log.
//!
//! # Invariants
//!
//! * Nothing but the streams of the video and of the jobs that it asked for is read, a page at a time.
//! * An entry comes once, and none before one that stands in front of it in the log.

use std::collections::VecDeque;

use domain::{decider::Decider, id::VideoId, job::Job, video};

use crate::{Entry, Log, LogError, log::stream_name};

/// How many events of one stream wait to be merged with those of the others.
const PAGE_EVENTS: usize = 128;
/// The streams that one video may have: each retry asks for another job.
const STREAMS_MAX: usize = 1_000;

/// Reads as far as it is asked to.
pub struct History {
    log: Log,
    after: Option<u64>,
    /// The video's own first, then its jobs'.
    sources: Vec<Source>,
}

struct Source {
    stream: String,
    /// The revision that is read next; `None`: all of it was read.
    next: Option<u64>,
    waiting: VecDeque<Entry>,
}

impl History {
    pub(crate) fn new(log: Log, video: VideoId, after: Option<u64>) -> Self {
        let own = Source::new(stream_name::<video::Video>(video), 0);
        Self {
            log,
            after,
            sources: vec![own],
        }
    }

    /// The next one after the position; `None` at the end of what there is by now.
    pub async fn next(&mut self) -> Result<Option<Entry>, LogError> {
        loop {
            let Some(entry) = self.first().await? else {
                return Ok(None);
            };
            // The stream of the video is read from its beginning: it names the jobs.
            self.take_job_of(&entry).await?;
            if Some(entry.commit) > self.after {
                return Ok(Some(entry));
            }
        }
    }

    async fn first(&mut self) -> Result<Option<Entry>, LogError> {
        for source in &mut self.sources {
            source.fill(&self.log).await?;
        }
        let first = self
            .sources
            .iter_mut()
            .filter(|source| !source.waiting.is_empty())
            .min_by_key(|source| source.waiting.front().map(|entry| entry.commit));
        Ok(first.and_then(|source| source.waiting.pop_front()))
    }

    async fn take_job_of(&mut self, entry: &Entry) -> Result<(), LogError> {
        let is_own = entry.stream.starts_with(video::Video::CATEGORY);
        let Ok(fact) = domain::codec::decode_as(&entry.type_name, &entry.data) else {
            return Ok(());
        };
        let asked = is_own.then(|| video::job_asked_for(&fact, entry.id));
        if let Some(asked) = asked.flatten()
            && self.sources.len() < STREAMS_MAX
        {
            let stream = stream_name::<Job>(asked.job);
            let next = self.log.revision_after(&stream, self.after).await?;
            self.sources.push(Source::new(stream, next));
        }
        Ok(())
    }
}

impl Source {
    fn new(stream: String, next: u64) -> Self {
        Self {
            stream,
            next: Some(next),
            waiting: VecDeque::new(),
        }
    }

    async fn fill(&mut self, log: &Log) -> Result<(), LogError> {
        let Some(next) = self.next.filter(|_| self.waiting.is_empty()) else {
            return Ok(());
        };
        let page = log.read_entries(&self.stream, next, PAGE_EVENTS).await?;
        self.next = match page.last() {
            Some(last) if page.len() == PAGE_EVENTS => Some(last.revision + 1),
            Some(_) | None => None,
        };
        self.waiting = page.into();
        Ok(())
    }
}

impl Log {
    /// What happened to a video and to its jobs after the position `after`, oldest first.
    pub fn history(&self, video: VideoId, after: Option<u64>) -> History {
        History::new(self.clone(), video, after)
    }

    /// The revision of the first event of a stream that stands after `position`; the one that the
    /// next event will have where there is none.
    async fn revision_after(&self, stream: &str, position: Option<u64>) -> Result<u64, LogError> {
        let Some(position) = position else {
            return Ok(0);
        };
        let Some(last) = self.last_entry(stream).await? else {
            return Ok(0);
        };
        // Halved each time: 64 times at most.
        let (mut from, mut to) = (0, last.revision + 1);
        while from < to {
            let middle = from + (to - from) / 2;
            let found = self.read_entries(stream, middle, 1).await?;
            match found.first() {
                // A truncated stream begins later.
                Some(entry) if entry.commit <= position => from = entry.revision.max(middle) + 1,
                Some(_) | None => to = middle,
            }
        }
        Ok(from)
    }
}
