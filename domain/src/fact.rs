//! What every event of ours carries beside its own fields.

use serde::{Deserialize, Serialize};

use crate::id::{Owner, VideoId};

/// Something that happened to a video, to one of its jobs, or to its audience.
///
/// Read models are partitioned by `video`, whatever stream the event stands in.
/// `at_ms` comes from the command: readers never use the store's clock.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fact<E> {
    pub video: VideoId,
    pub owner: Owner,
    pub at_ms: i64,
    #[serde(flatten)]
    pub event: E,
}

/// Any event of ours, as readers of the whole log meet it.
#[derive(Debug, Clone, PartialEq)]
pub enum AnyEvent {
    Video(crate::video::Event),
    Job(crate::job::Event),
    Views(crate::views::Event),
}
