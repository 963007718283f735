//! Popularity: how often videos are viewed, and which are trending.
//!
//! # Invariants
//!
//! * A session counts once per video and day (UTC, by event time).
//! * Counters and checkpoint move in one script. If Redis loses the one, it loses the other,
//!   and everything is counted again from the start of the log.
//! * Counts are integers in hourly buckets by event time; decay happens on reading.
//!
//! # Keys
//!
//! All share one hash tag, so that one script may touch them all, in a cluster too:
//! `{kinolog:popularity:0}:`, in generation 2 `{kinolog:popularity:0}:g2:` and so on, followed by
//! `checkpoint` (hash: epoch, commit, caught_up, last_event, holder, events), `views` (hash: video → views), `hours` (set of hours),
//! `hour:{hour}` (sorted set: video → views in that hour), `sessions:{video}:{day}` (set of view ids),
//! `deleted` (set of videos), `stopped` (hash: video → why, as JSON).

use std::{collections::HashMap, time::Duration};

use domain::id::VideoId;
use redis::{AsyncCommands, aio::ConnectionManager};

use crate::{
    catalogue::{self, Video},
    overview::Stopped,
    reader::Reader,
    store::Checkpoint,
};

mod apply;

pub(crate) use apply::Popularity;

pub const NAME: &str = "popularity";

/// Raised whenever the same events give other counters.
pub(crate) const VERSION: i64 = 1;

const PREFIX: &str = "{kinolog:popularity:0}:";

/// Views are counted by the hour, and forgotten after so many: the longest window.
pub const HOURS_KEPT: i64 = 7 * 24;

/// How far back views count for what is trending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Window {
    Hour,
    Day,
    Week,
}

/// How many videos of one hour can be trending.
const CANDIDATES_PER_HOUR_MAX: isize = 200;

const HOUR_MS: i64 = 60 * 60 * 1000;

const RESPONSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Connects when it is first used.
pub(crate) fn connection(url: &str) -> anyhow::Result<ConnectionManager> {
    let config = redis::aio::ConnectionManagerConfig::new()
        .set_number_of_retries(1)
        .set_response_timeout(Some(RESPONSE_TIMEOUT));
    Ok(redis::Client::open(url)?.get_connection_manager_lazy(config)?)
}

/// What the keys of a generation begin with. The first has none of the others' beginnings.
fn prefix(generation: i64) -> String {
    match generation {
        1 => PREFIX.to_owned(),
        _ => format!("{PREFIX}g{generation}:"),
    }
}

pub(crate) fn key(generation: i64, rest: impl std::fmt::Display) -> String {
    format!("{}{rest}", prefix(generation))
}

pub(crate) async fn checkpoint(
    redis: &mut ConnectionManager,
    generation: i64,
) -> anyhow::Result<Option<Checkpoint>> {
    type Found = (
        Option<String>,
        Option<u64>,
        Option<u8>,
        Option<u64>,
        Option<u64>,
    );
    let fields = ["epoch", "commit", "caught_up", "last_event", "events"];
    let (epoch, commit, caught_up, last_event, events): Found =
        redis.hmget(key(generation, "checkpoint"), &fields).await?;
    Ok(epoch.map(|epoch| Checkpoint {
        epoch,
        commit,
        caught_up: caught_up == Some(1),
        last_event,
        events: events.unwrap_or_default(),
    }))
}

/// Videos that were stopped, in the order in which it happened.
pub(crate) async fn stopped(
    redis: &mut ConnectionManager,
    generation: i64,
) -> anyhow::Result<Vec<Stopped>> {
    let found: HashMap<String, String> = redis.hgetall(key(generation, "stopped")).await?;
    let mut stopped: Vec<Stopped> = found
        .iter()
        .map(|(video, why)| {
            // What an older release wrote says less.
            serde_json::from_str(why).unwrap_or_else(|_| Stopped {
                video: video.parse().unwrap_or_default(),
                position: 0,
                type_name: String::new(),
                error: why.clone(),
            })
        })
        .collect();
    stopped.sort_by_key(|why| (why.position, why.video));
    Ok(stopped)
}

/// The views of each of `videos`, in their order.
pub async fn views(reader: &Reader, videos: &[VideoId]) -> anyhow::Result<Vec<u64>> {
    if videos.is_empty() {
        return Ok(vec![]);
    }
    let fields: Vec<String> = videos.iter().map(VideoId::to_string).collect();
    let key = key(reader.popularity(), "views");
    let views: Vec<Option<u64>> = reader.redis.clone().hmget(key, &fields).await?;
    Ok(views.into_iter().map(Option::unwrap_or_default).collect())
}

impl Window {
    /// How much a view weighs that is this many whole hours old: half as much for every seventh of
    /// the window. Of the last hour's window, the part of the hour before that is still in it, as if
    /// views came evenly.
    fn weights(self, now_ms: i64) -> Vec<f64> {
        let hours = match self {
            Self::Hour => {
                let into_hour = now_ms.rem_euclid(HOUR_MS) as f64 / HOUR_MS as f64;
                return vec![1.0, 1.0 - into_hour];
            }
            Self::Day => 24,
            Self::Week => HOURS_KEPT,
        };
        let half_life = hours as f64 / 7.0;
        (0..hours)
            .map(|age| 0.5_f64.powf(age as f64 / half_life))
            .collect()
    }
}

/// Public, playable videos by how much they are viewed lately, most first.
pub async fn trending(
    reader: &Reader,
    window: Window,
    now_ms: i64,
    first: usize,
) -> anyhow::Result<Vec<Video>> {
    let this_hour = now_ms.div_euclid(HOUR_MS);
    let weights = window.weights(now_ms);
    let mut pipe = redis::pipe();
    let generation = reader.popularity();
    for age in 0..weights.len() as i64 {
        pipe.zrevrange_withscores(
            key(generation, format_args!("hour:{}", this_hour - age)),
            0,
            CANDIDATES_PER_HOUR_MAX - 1,
        );
    }
    let hours: Vec<Vec<(String, f64)>> = pipe.query_async(&mut reader.redis.clone()).await?;
    let ranked = ranked(hours, &weights);
    let mut trending = vec![];
    for candidates in ranked.chunks(catalogue::PAGE_MAX) {
        let mut found = catalogue::videos_by_ids(reader, candidates).await?;
        found.retain(|video| {
            video.playable && video.details.visibility == domain::video::Visibility::Public
        });
        found.sort_by_key(|video| candidates.iter().position(|id| *id == video.id));
        trending.extend(found);
        if trending.len() >= first {
            break;
        }
    }
    trending.truncate(first);
    Ok(trending)
}

/// Videos by their weighted views. `hours[age]` is what was viewed that many hours ago.
fn ranked(hours: Vec<Vec<(String, f64)>>, weights: &[f64]) -> Vec<VideoId> {
    let mut sums = HashMap::<VideoId, f64>::new();
    for (hour, weight) in hours.into_iter().zip(weights) {
        for (video, views) in hour {
            if let Ok(video) = video.parse() {
                *sums.entry(video).or_default() += views * weight;
            }
        }
    }
    let mut ranked: Vec<(VideoId, f64)> = sums.into_iter().collect();
    // The id decides between equals, so that every reader sees the same order.
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    ranked.into_iter().map(|(video, _)| video).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: VideoId = VideoId(uuid::Uuid::from_u128(1));
    const NEW: VideoId = VideoId(uuid::Uuid::from_u128(2));

    /// What is first: so many views so many hours ago, or so many now.
    fn first(window: Window, now_ms: i64, old: (usize, f64), new: f64) -> VideoId {
        let weights = window.weights(now_ms);
        let mut hours = vec![vec![]; weights.len()];
        hours[0] = vec![(NEW.to_string(), new)];
        hours[old.0].push((OLD.to_string(), old.1));
        ranked(hours, &weights)[0]
    }

    #[test]
    fn a_view_weighs_half_after_a_seventh_of_the_window() {
        assert_eq!(first(Window::Week, 0, (24, 3.0), 2.0), NEW);
        assert_eq!(first(Window::Week, 0, (24, 5.0), 2.0), OLD);
        assert_eq!(first(Window::Day, 0, (4, 4.0), 2.0), NEW);
        assert_eq!(first(Window::Day, 0, (3, 4.0), 2.0), OLD);
    }

    #[test]
    fn of_the_hour_before_counts_what_is_still_in_the_last_sixty_minutes() {
        let quarter_past = HOUR_MS * 7 + HOUR_MS / 4;
        assert_eq!(first(Window::Hour, quarter_past, (1, 8.0), 5.0), OLD);
        assert_eq!(first(Window::Hour, quarter_past, (1, 8.0), 7.0), NEW);
    }
}
