//! The last task: is everything there that was published, and static playlists for a CDN.
//!
//! # Invariants
//!
//! * What is written depends on the published segments alone, so that an attempt taken up by
//!   another conductor finds its own playlists and leaves them.
//! * Playlists say relative addresses: they work wherever the bucket is read from.

use std::{collections::HashMap, sync::Arc, time::Duration};

use domain::{
    code::Code,
    id::RenditionId,
    job::{Job, Lease, Outcome},
    media::Published,
    playlist,
};
use futures::TryStreamExt;
use tokio::time::Instant;

use crate::{Context, handle::JobHandle, past};

/// The pauses between two looks at a store that is away.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(2);

const HLS: &str = "application/vnd.apple.mpegurl";
const DASH: &str = "application/dash+xml";

/// Why the sum does not come out.
#[derive(Debug)]
pub(crate) struct Fault {
    pub code: Code,
    pub message: String,
}

/// Waits for a store that is away, as long as is configured.
pub(crate) async fn check(
    context: Arc<Context>,
    handle: Arc<JobHandle>,
    job: Job,
    lease: Lease,
) -> Result<Outcome, Fault> {
    let until = Instant::now() + context.config.storage_patience;
    let mut pause = PAUSE_MIN;
    loop {
        let error = match attempt(&context, &handle, &job, &lease).await {
            Ok(result) => return result,
            Err(error) => error,
        };
        tracing::warn!(
            job.id = %job.id,
            error = format!("{error:#}"),
            "the outputs of job {} cannot be checked at the moment", job.id
        );
        if Instant::now() + pause > until {
            return Err(Fault {
                code: Code::StorageUnavailable,
                message: "the object store did not answer; retry the processing later".to_owned(),
            });
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// `Err` is about the stores, `Ok(Err)` about what they hold.
async fn attempt(
    context: &Context,
    handle: &JobHandle,
    job: &Job,
    lease: &Lease,
) -> anyhow::Result<Result<Outcome, Fault>> {
    let objects = &context.objects;
    let Some(job) = past::whole(context, job.clone()).await? else {
        return Ok(Err(Fault {
            code: Code::ProcessingCrashed,
            message:
                "the renditions to be taken over are not what they were; upload the file again"
                    .to_owned(),
        }));
    };
    // What was taken over stands in the folders of other jobs.
    let prefix = format!("videos/{}", handle.video);
    let stored: HashMap<String, u64> = objects.list(&prefix).try_collect().await?;
    for (key, size_bytes) in published(&job) {
        if stored.get(&key) != Some(&size_bytes) {
            tracing::error!(job.id = %job.id, key, size_bytes, stored = ?stored.get(&key), "{key} is not stored as it was published");
            return Ok(Err(Fault {
                code: Code::ProcessingCrashed,
                message: "a part of the result was lost in the object store; retry the processing"
                    .to_owned(),
            }));
        }
    }
    let mut playlists = vec![];
    for (name, content_type, text) in render(&prefix, &job) {
        let key = handle.key(lease, &name);
        // Already there: an earlier look at the same attempt wrote the same.
        objects.create(&key, content_type, text.into()).await?;
        playlists.push(key);
    }
    Ok(Ok(Outcome::Checked { playlists }))
}

/// Key and size of every object that may be served, of a whole job.
pub(crate) fn published(job: &Job) -> impl Iterator<Item = (String, u64)> {
    let renditions = job.renditions.values().flat_map(|published| {
        let init = published.init.iter();
        let init = init.map(|init| (init.key.clone(), init.size_bytes));
        let segments = published.segments.iter();
        init.chain(segments.map(|segment| (segment.key.clone(), segment.size_bytes)))
    });
    let poster = job.poster();
    renditions.chain(poster.map(|poster| (poster.key, poster.size_bytes)))
}

/// Name, content type and text of each playlist. They stand three folders below `prefix`.
fn render(prefix: &str, job: &Job) -> Vec<(String, &'static str, String)> {
    let renditions: Vec<Published> = job.renditions.values().cloned().collect();
    let uri = |key: &str| {
        let below = key.strip_prefix(prefix).unwrap_or(key);
        format!("../../..{below}")
    };
    let media_uri = |id: &RenditionId| format!("{id}.m3u8");
    let mut playlists = vec![
        (
            "master.m3u8".to_owned(),
            HLS,
            playlist::hls_master(&renditions, &media_uri),
        ),
        (
            "manifest.mpd".to_owned(),
            DASH,
            playlist::dash(&renditions, &uri),
        ),
    ];
    for published in &renditions {
        let text = playlist::hls_media(published, true, &uri);
        playlists.push((media_uri(&published.rendition.id), HLS, text));
    }
    playlists
}
