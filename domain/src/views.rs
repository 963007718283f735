//! A look at a video by one session. Streams: `views-{video}-{yyyy-mm-dd}`.
//!
//! # Invariants
//!
//! * A session counts once per video and day (UTC): the event's id is made of the
//!   three, and who counts keeps the sessions of the day apart once more.

use serde::{Deserialize, Serialize};

use crate::{
    fact::Fact,
    id::{EventId, VideoId, derived},
};

pub const CATEGORY: &str = "views";

pub type Event = Fact<Kind>;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum Kind {
    #[serde(rename = "views.recorded.v1")]
    Recorded { session: String },
}

/// The stream of a video's views on the day of `at_ms`, and the id this session's view has there.
pub fn stream_and_id(video: VideoId, session: &str, at_ms: i64) -> (String, EventId) {
    let day = day(at_ms);
    let id = derived(&[
        b"view",
        video.0.as_bytes(),
        session.as_bytes(),
        day.as_bytes(),
    ]);
    (format!("{CATEGORY}-{video}-{day}"), EventId(id))
}

/// The UTC day of a moment, as `yyyy-mm-dd`.
pub fn day(at_ms: i64) -> String {
    let moment = time::OffsetDateTime::from_unix_timestamp(at_ms.div_euclid(1000))
        .unwrap_or(time::OffsetDateTime::UNIX_EPOCH);
    format!(
        "{:04}-{:02}-{:02}",
        moment.year(),
        u8::from(moment.month()),
        moment.day()
    )
}
