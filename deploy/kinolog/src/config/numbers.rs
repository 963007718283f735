//! The limits and intervals among the settings: what each may be, and whom it is for.

use std::{ops::RangeInclusive, time::Duration};

use projections::search::{Ranking, Weights};

use super::Settings;

const SECOND: u64 = 1_000;
const HOUR: u64 = 3_600 * SECOND;
const DAY: u64 = 24 * HOUR;
const WORKER_SLOTS_MAX: u64 = 256;

/// What the api is told.
pub const OF_API: [&str; 16] = [
    "upload_url_ms",
    "upload_ms",
    "upload_grace_ms",
    "sweep_every_ms",
    "position_wait_ms",
    "sockets_max",
    "socket_hello_ms",
    "socket_ping_every_ms",
    "requests_max",
    "views_per_minute",
    "search_title_weight",
    "search_tags_weight",
    "search_popularity_percent",
    "search_views_full",
    "search_recency_percent",
    "search_half_life_days",
];

/// As many tasks as cores, unless told otherwise: an encoder has one thread.
pub fn cores() -> u64 {
    let cores = std::thread::available_parallelism();
    cores.map_or(1, |cores| (cores.get() as u64).min(WORKER_SLOTS_MAX))
}

impl Settings {
    /// Name, value, and what is accepted.
    pub fn numbers(&self) -> [(&'static str, u64, RangeInclusive<u64>); 20] {
        [
            // A presigned URL lives for a week at most, says S3.
            ("upload_url_ms", self.upload_url_ms, SECOND..=7 * DAY),
            ("upload_ms", self.upload_ms, SECOND..=30 * DAY),
            ("upload_grace_ms", self.upload_grace_ms, 0..=7 * DAY),
            ("sweep_every_ms", self.sweep_every_ms, 100..=HOUR),
            // Less than the time in which any request must be answered.
            ("position_wait_ms", self.position_wait_ms, 0..=25 * SECOND),
            ("sockets_max", self.sockets_max, 1..=1_000_000),
            ("socket_hello_ms", self.socket_hello_ms, SECOND..=HOUR),
            (
                "socket_ping_every_ms",
                self.socket_ping_every_ms,
                SECOND..=HOUR,
            ),
            ("requests_max", self.requests_max, 1..=1_000_000),
            ("views_per_minute", self.views_per_minute, 1..=1_000_000),
            ("search_title_weight", self.search_title_weight, 1..=10),
            ("search_tags_weight", self.search_tags_weight, 1..=10),
            (
                "search_popularity_percent",
                self.search_popularity_percent,
                0..=1_000,
            ),
            (
                "search_views_full",
                self.search_views_full,
                1..=4_000_000_000,
            ),
            (
                "search_recency_percent",
                self.search_recency_percent,
                0..=1_000,
            ),
            (
                "search_half_life_days",
                self.search_half_life_days,
                1..=36_500,
            ),
            ("lease_ms", self.lease_ms, SECOND..=HOUR),
            ("heartbeat_ms", self.heartbeat_ms, 100..=HOUR),
            (
                "worker_stall_seconds",
                self.worker_stall_seconds,
                1..=86_400,
            ),
            ("worker_slots", self.worker_slots, 1..=WORKER_SLOTS_MAX),
        ]
    }

    /// In which order searches show what they find.
    pub fn ranking(&self) -> Ranking {
        let weight = |value: u64| u8::try_from(value).unwrap_or(u8::MAX);
        let number = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
        let share = |percent: u64| percent as f32 / 100.0;
        Ranking {
            weights: Weights {
                title: weight(self.search_title_weight),
                tags: weight(self.search_tags_weight),
            },
            popularity: share(self.search_popularity_percent),
            views_full: number(self.search_views_full),
            recency: share(self.search_recency_percent),
            half_life_days: number(self.search_half_life_days),
        }
    }

    /// The api's limits and intervals.
    pub fn tuning(&self) -> api::Tuning {
        let ms = Duration::from_millis;
        let count = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
        api::Tuning {
            upload_url: ms(self.upload_url_ms),
            upload: ms(self.upload_ms),
            upload_grace: ms(self.upload_grace_ms),
            sweep_every: ms(self.sweep_every_ms),
            position_wait: ms(self.position_wait_ms),
            sockets_max: count(self.sockets_max),
            socket_hello: ms(self.socket_hello_ms),
            socket_ping_every: ms(self.socket_ping_every_ms),
            requests_max: count(self.requests_max),
            views_per_minute: u32::try_from(self.views_per_minute).unwrap_or(u32::MAX),
            // The longest a request may take is no setting: the ranges above count on it.
            ..api::Tuning::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_those_of_the_roles_and_are_accepted() {
        let settings = Settings::default();
        let (ours, theirs) = (settings.tuning(), api::Tuning::default());
        assert_eq!(format!("{ours:?}"), format!("{theirs:?}"));
        assert_eq!(settings.ranking(), Ranking::default());
        for (name, value, allowed) in settings.numbers() {
            assert!(allowed.contains(&value), "{name} is {value}");
        }
    }

    #[test]
    fn every_number_out_of_range_is_named() {
        let settings = Settings {
            requests_max: 0,
            position_wait_ms: 60_000,
            ..Settings::default()
        };
        let text = settings.validate().unwrap_err().to_string();
        for expected in [
            "KINOLOG_REQUESTS_MAX must be 1 to 1000000",
            "KINOLOG_POSITION_WAIT_MS must be 0 to 25000",
        ] {
            assert!(text.contains(expected), "{text}");
        }
    }

    #[test]
    fn the_api_is_told_what_is_set() {
        let settings = Settings {
            views_per_minute: 7,
            ..Settings::default()
        };
        let told = settings.as_environment(&OF_API);
        let expected = ("KINOLOG_VIEWS_PER_MINUTE".to_owned(), "7".to_owned());
        assert!(told.contains(&expected), "{told:?}");
        assert_eq!(settings.tuning().views_per_minute, 7);
    }
}
