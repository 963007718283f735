//! Erasing the objects of deleted videos, and beside them what retries left (`leftovers`).
//!
//! # Invariants
//!
//! * Nothing of a video is erased while one of its jobs is open: its outputs would come after.
//! * An address that was signed before the deletion still works after it, for a while, and only
//!   limits when a PUT begins. So all is erased at once, and once more when the last PUT that
//!   could begin since is over. Only then the row goes.
//! * That time counts from the first sweep, when nobody signs any more, and not from when the
//!   deletion was asked for: there may have been no conductor, and so no answer, meanwhile.

use std::{sync::Arc, time::Duration};

use domain::id::VideoId;
use tokio_util::sync::CancellationToken;

use crate::{Context, clock, leftovers, service::SIGNED_FOR, store::Deletion};

/// How often it is looked for what was left.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// The pauses while the object store is away.
const PAUSE_MIN: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// Beyond the life of an address: clocks differ.
const CLOCKS_DIFFER_MAX: Duration = Duration::from_secs(300);

/// The longest a PUT may take: its 5 GiB at 62 kB/s.
const PUT_MAX: Duration = Duration::from_secs(24 * 60 * 60);

pub(crate) async fn run(context: Arc<Context>, stop: CancellationToken) -> anyhow::Result<()> {
    let mut pause = PAUSE_MIN;
    loop {
        let swept = async {
            sweep(&context).await?;
            leftovers::sweep(&context).await
        };
        let wait = match swept.await {
            Ok(()) => {
                pause = PAUSE_MIN;
                LOOK_EVERY
            }
            Err(error) => {
                tracing::warn!(
                    error = format!("{error:#}"),
                    "not everything could be erased, trying again"
                );
                pause = (pause * 2).min(PAUSE_MAX);
                pause
            }
        };
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = context.deletable.notified() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// Erases what can be erased now; the next look finds the rest.
async fn sweep(context: &Context) -> anyhow::Result<()> {
    let over_for = SIGNED_FOR + CLOCKS_DIFFER_MAX + PUT_MAX;
    let over_before_ms = clock::now_ms() - over_for.as_millis() as i64;
    loop {
        let deletions = context.store.deletions(over_before_ms).await?;
        if deletions.is_empty() {
            return Ok(());
        }
        for Deletion { video, swept, .. } in deletions {
            erase(context, video).await?;
            if swept {
                context.store.end_deletion(video).await?;
            } else {
                context.store.swept(video, clock::now_ms()).await?;
            }
            tracing::info!(video.id = %video, finally = swept, "erased the objects of video {video}");
        }
    }
}

async fn erase(context: &Context, video: VideoId) -> Result<(), objects::Error> {
    context
        .objects
        .delete_prefix(&format!("videos/{video}"))
        .await?;
    context
        .objects
        .delete_prefix(&format!("sources/{video}"))
        .await?;
    Ok(())
}
