//! An open job, as seen from outside its actor.

use std::sync::atomic::AtomicBool;

use domain::{
    id::{JobId, VideoId},
    job::{Lease, Source},
};
use tokio::sync::mpsc;

use crate::{actor::Message, leases::Leases, store::OpenJob};

/// How many requests may wait for one job.
const MAILBOX_MAX: usize = 64;

pub(crate) struct JobHandle {
    pub job: JobId,
    pub video: VideoId,
    pub source: Source,
    pub leases: Leases,
    /// Nothing of it will ever run again, whatever is still to be told or erased.
    pub over: AtomicBool,
    pub mailbox: mpsc::Sender<Message>,
}

impl JobHandle {
    pub(crate) fn new(open: &OpenJob, leases: Leases) -> (Self, mpsc::Receiver<Message>) {
        let (mailbox, messages) = mpsc::channel(MAILBOX_MAX);
        let handle = Self {
            job: open.job,
            video: open.video,
            source: open.source.clone(),
            leases,
            over: AtomicBool::new(false),
            mailbox,
        };
        (handle, messages)
    }

    /// Where the outputs of one attempt stand in the object store.
    pub(crate) fn key(&self, lease: &Lease, name: &str) -> String {
        let Lease { task, attempt } = lease;
        format!("videos/{}/{}/{task}/{attempt}/{name}", self.video, self.job)
    }
}
