//! How often videos are viewed, as searches see it: a table beside the index, because an index
//! cannot change a number in place.
//!
//! # Invariants
//!
//! * A search takes the table that is there and waits for nobody. While Redis is away, or counts
//!   anew, that is the last one that was whole.
//! * The table has a maximum; whatever is beyond counts as never viewed.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
    time::Duration,
};

use domain::id::VideoId;
use redis::{AsyncCommands, aio::ConnectionManager};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Index;
use crate::{popularity, reader::Reader};

/// How often what was viewed lately is read again.
pub const REFRESH_EVERY: Duration = Duration::from_secs(3);

/// How often all is.
const ALL_EVERY: Duration = Duration::from_secs(10 * 60);

/// Sixteen bytes each.
const VIDEOS_MAX: usize = 2_000_000;

/// Of the videos of an hour, those most viewed.
const OF_AN_HOUR_MAX: isize = 20_000;

const AT_A_TIME: usize = 1_000;

/// Views by the low half of a video's id, which is as good as random.
#[derive(Debug, Default, Clone)]
pub(super) struct Views {
    by_id: HashMap<u64, u32, BuildHasherDefault<AsItIs>>,
    max: u32,
}

#[derive(Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, id: u64) {
        self.0 = id;
    }
}

impl Views {
    pub(super) fn of(&self, id_low: u64) -> u32 {
        if self.by_id.is_empty() {
            return 0;
        }
        self.by_id.get(&id_low).copied().unwrap_or_default()
    }

    pub(super) fn max(&self) -> u32 {
        self.max
    }

    fn set(&mut self, video: VideoId, views: u64) {
        let id = low(video);
        if self.by_id.len() >= VIDEOS_MAX && !self.by_id.contains_key(&id) {
            return;
        }
        let views = capped(views);
        // What was the maximum stays it until all is read again: a bound may be too large.
        self.max = self.max.max(views);
        self.by_id.insert(id, views);
    }

    pub(super) fn of_videos(pairs: impl IntoIterator<Item = (VideoId, u64)>) -> Self {
        let mut views = Self::default();
        for (video, count) in pairs {
            views.set(video, count);
        }
        views
    }

    #[cfg(test)]
    pub(super) fn of_pairs(pairs: impl IntoIterator<Item = (u64, u32)>) -> Self {
        let id = |low| VideoId(uuid::Uuid::from_u64_pair(0, low));
        Self::of_videos(
            pairs
                .into_iter()
                .map(|(low, count)| (id(low), u64::from(count))),
        )
    }
}

fn low(video: VideoId) -> u64 {
    video.0.as_u64_pair().1
}

fn capped(views: u64) -> u32 {
    u32::try_from(views).unwrap_or(u32::MAX)
}

/// Keeps the table of `index` like the counters, until `stop`.
pub async fn follow_views(index: &Index, reader: &Reader, stop: CancellationToken) {
    let mut redis = reader.redis.clone();
    let mut known = Known::default();
    loop {
        let told = tokio::select! {
            () = stop.cancelled() => return,
            told = known.refresh(index, &mut redis, reader.popularity()) => told,
        };
        known.say(told);
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(REFRESH_EVERY) => {}
        }
    }
}

#[derive(Default)]
struct Known {
    /// When all was read, and where the counters stood then.
    all: Option<(Instant, Option<u64>)>,
    /// Of which counters that was.
    generation: i64,
    is_away: bool,
}

impl Known {
    async fn refresh(
        &mut self,
        index: &Index,
        redis: &mut ConnectionManager,
        generation: i64,
    ) -> anyhow::Result<()> {
        if std::mem::replace(&mut self.generation, generation) != generation {
            self.all = None;
        }
        let standing = popularity::checkpoint(redis, generation).await?;
        let Some(standing) = standing.filter(|standing| standing.caught_up) else {
            // It is counting anew: what was known is nearer to the truth until it is done.
            self.all = None;
            return Ok(());
        };
        let is_fresh = self
            .all
            .is_some_and(|(at, commit)| at.elapsed() < ALL_EVERY && commit <= standing.commit);
        if is_fresh {
            let known = index.views();
            let mut lately = lately(redis, generation).await?;
            lately.retain(|(video, count)| known.of(low(*video)) != capped(*count));
            if !lately.is_empty() {
                let mut views = (*known).clone();
                lately
                    .into_iter()
                    .for_each(|(video, count)| views.set(video, count));
                index.set_views(views);
            }
            return Ok(());
        }
        index.set_views(all(redis, generation).await?);
        self.all = Some((Instant::now(), standing.commit));
        Ok(())
    }

    fn say(&mut self, told: anyhow::Result<()>) {
        match told {
            Ok(()) => self.is_away = false,
            Err(error) if !self.is_away => {
                self.is_away = true;
                tracing::warn!(
                    error = format!("{error:#}"),
                    "search ranks by the views it knew last: the counters are away"
                );
            }
            // Said already.
            Err(_) => {}
        }
    }
}

async fn all(redis: &mut ConnectionManager, generation: i64) -> anyhow::Result<Views> {
    let mut views = Views::default();
    let mut cursor = 0_u64;
    loop {
        let (next, pairs): (u64, Vec<(String, u64)>) = redis::cmd("HSCAN")
            .arg(popularity::key(generation, "views"))
            .arg(cursor)
            .arg("COUNT")
            .arg(AT_A_TIME)
            .query_async(redis)
            .await?;
        for (video, count) in pairs {
            if let Ok(video) = video.parse() {
                views.set(video, count);
            }
        }
        cursor = next;
        if cursor == 0 || views.by_id.len() >= VIDEOS_MAX {
            return Ok(views);
        }
    }
}

/// What was viewed in this hour or the one before.
async fn lately(
    redis: &mut ConnectionManager,
    generation: i64,
) -> anyhow::Result<Vec<(VideoId, u64)>> {
    let newest: Vec<i64> = redis
        .zrevrange(popularity::key(generation, "hours"), 0, 0)
        .await?;
    let Some(newest) = newest.first() else {
        return Ok(vec![]);
    };
    let mut found = vec![];
    for hour in [*newest, newest - 1] {
        let key = popularity::key(generation, format_args!("hour:{hour}"));
        let videos: Vec<String> = redis.zrevrange(key, 0, OF_AN_HOUR_MAX - 1).await?;
        for some in videos.chunks(AT_A_TIME) {
            let counts: Vec<Option<u64>> = redis
                .hmget(popularity::key(generation, "views"), some)
                .await?;
            for (video, count) in some.iter().zip(counts) {
                if let (Ok(video), Some(count)) = (video.parse(), count) {
                    found.push((video, count));
                }
            }
        }
    }
    Ok(found)
}
