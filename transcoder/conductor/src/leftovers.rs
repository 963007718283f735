//! Erasing what a retry of one rendition leaves behind: what it replaced, or what came of it when
//! it failed.
//!
//! # Invariants
//!
//! * What the video's current job names is never erased, whoever made it: its own segments, those
//!   that it took over, the poster and its playlists.
//! * Only the folders of jobs that are over are looked into, and only while no job of the video is
//!   open: what is being written now is not named anywhere yet.
//! * Nothing is erased before it is due: players go on for a while with the playlist that they have,
//!   caches keep it for a day, and addresses that were signed still work.

use std::collections::HashSet;

use domain::{
    id::JobId,
    job::{Outcome, TaskState},
    video::{Status, Video},
};
use futures::TryStreamExt;

use crate::{Context, clock, finish, past, store::Leftovers};

/// Erases what is due now; the next look finds the rest.
pub(crate) async fn sweep(context: &Context) -> anyhow::Result<()> {
    loop {
        let due = context.store.leftovers(clock::now_ms()).await?;
        if due.is_empty() {
            return Ok(());
        }
        for leftovers in due {
            let erased = erase(context, leftovers).await?;
            let Leftovers { job, video, .. } = leftovers;
            context.store.end_leftovers(job).await?;
            tracing::info!(job.id = %job, video.id = %video, erased, "erased what job {job} left unnamed");
        }
    }
}

/// How many objects were erased.
async fn erase(context: &Context, leftovers: Leftovers) -> anyhow::Result<u64> {
    let Leftovers { job, video, .. } = leftovers;
    let Some(named) = named(context, leftovers).await? else {
        return Ok(0);
    };
    let mut erased = 0;
    for job in jobs(context, job).await? {
        let mut stored = context.objects.list(&format!("videos/{video}/{job}"));
        while let Some((key, _)) = stored.try_next().await? {
            if !named.contains(&key) {
                context.objects.delete(&key).await?;
                erased += 1;
            }
        }
    }
    Ok(erased)
}

/// Every key of what the video is now. `None`: that is not known, or it was deleted, and
/// everything is erased for that reason.
async fn named(context: &Context, leftovers: Leftovers) -> anyhow::Result<Option<HashSet<String>>> {
    let video = context.log.load::<Video>(leftovers.video).await?.state;
    let (Status::Ready, Some(current)) = (video.status, video.job) else {
        return Ok(None);
    };
    let current = past::read(context, current).await?;
    let Some(current) = past::whole(context, current).await? else {
        tracing::error!(
            video.id = %leftovers.video,
            "it is not known what video {} is made of, so nothing of it is erased", leftovers.video
        );
        return Ok(None);
    };
    let mut named: HashSet<String> = finish::published(&current).map(|(key, _)| key).collect();
    for progress in current.tasks.values() {
        if let TaskState::Done(Outcome::Checked { playlists }) = &progress.state {
            named.extend(playlists.iter().cloned());
        }
    }
    Ok(Some(named))
}

/// The jobs in whose folders the retry may have left something unnamed.
async fn jobs(context: &Context, retry: JobId) -> anyhow::Result<Vec<JobId>> {
    let over = past::read(context, retry).await?;
    let before = over.taken_over.map(|taken_over| taken_over.jobs());
    let mut jobs = before.unwrap_or_default();
    jobs.push(retry);
    Ok(jobs)
}
