//! Why a command to a job is refused.

use super::Lease;
use crate::id::{RenditionId, TaskId};

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    #[error("there is no such job")]
    Unknown,
    #[error("the job has ended")]
    Ended,
    #[error("there is no task {0}")]
    UnknownTask(TaskId),
    #[error("task {0} is not to be run now")]
    NotRunnable(TaskId),
    #[error("attempt {} of task {} is not running any more", .0.attempt, .0.task)]
    NotLeased(Lease),
    #[error("rendition {0} is not made by this task")]
    NotItsRendition(RenditionId),
    #[error("rendition {rendition} has {published} segments, so these cannot begin at {from}")]
    OutOfOrder {
        rendition: RenditionId,
        published: u32,
        from: u32,
    },
    #[error("task {task} does not make segments {from} to {to}")]
    NotItsSegments { task: TaskId, from: u32, to: u32 },
    #[error("a rendition needs its init segment first")]
    NoInit,
    #[error("the init segment of rendition {0} is not like the one that players have")]
    OtherInit(RenditionId),
    #[error("task {0} has not published all of its segments")]
    Incomplete(TaskId),
    #[error("this is not what task {0} leaves behind")]
    WrongOutcome(TaskId),
}
