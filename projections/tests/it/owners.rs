//! What owners have, in sums.

use domain::{
    id::{JobId, Owner},
    video::{By, Command},
};
use projections::{
    catalogue,
    owners::{self, Statistics},
};

use crate::platform::{DAWN_MS, Platform, Story, story};

/// What a source takes, as it is told by whoever completes its upload.
const SOURCE_BYTES: u64 = 1000;

pub async fn statistics(platform: &Platform, owner: &Owner) -> Statistics {
    owners::statistics(&platform.reader, owner).await.unwrap()
}

/// A source, and what the catalogue says was made of it by this job.
pub async fn storage_bytes(platform: &Platform, job: JobId) -> u64 {
    let made = catalogue::renditions(&platform.reader, &[job]).await;
    let made: u64 = made.unwrap().iter().map(|made| made.size_bytes).sum();
    assert!(made > 0);
    SOURCE_BYTES + made
}

async fn fail_and_retry(platform: &Platform, story: &Story, job: JobId) -> JobId {
    platform.fail(story, job).await;
    let by = By::Owner(story.owner.clone());
    let at_ms = story.at_ms + 30;
    platform
        .video(story.id, Command::RetryProcessing { by, at_ms })
        .await;
    platform.asked_job(story.id).await
}

#[tokio::test]
async fn the_sums_are_those_of_the_videos_that_are_there() {
    let platform = Platform::new().await;
    let projecting = platform.project();
    let (kept, gone, uploading) = (story(1, "kept"), story(2, "gone"), story(3, "uploading"));
    let mut anothers = story(4, "another's");
    anothers.owner = Owner("bob".to_owned());
    let (job, _) = platform.make_ready(&kept).await;
    let (gone_job, _) = platform.make_playable(&gone).await;
    platform.request(&uploading).await;
    let (bobs_job, _) = platform.make_playable(&anothers).await;
    let mut last = 0;
    for (story, views) in [(&kept, 2), (&gone, 3), (&anothers, 1)] {
        for session in 0..views {
            // The second time a day counts no more.
            for _ in 0..2 {
                last = platform
                    .view(story.id, &format!("{session}"), DAWN_MS)
                    .await;
            }
        }
    }
    platform.reach(last).await;
    let all = Statistics {
        videos: 3,
        duration_ms: 8_000,
        storage_bytes: storage_bytes(&platform, job).await
            + storage_bytes(&platform, gone_job).await,
        views: 5,
    };
    assert_eq!(statistics(&platform, &kept.owner).await, all);
    let bobs = Statistics {
        videos: 1,
        duration_ms: 4_000,
        storage_bytes: storage_bytes(&platform, bobs_job).await,
        views: 1,
    };
    assert_eq!(statistics(&platform, &anothers.owner).await, bobs);

    platform.delete(&gone).await;
    let again = fail_and_retry(&platform, &anothers, bobs_job).await;
    let last = platform.view(gone.id, "late", DAWN_MS).await;
    platform.reach(last).await;
    let left = Statistics {
        videos: 2,
        duration_ms: 4_000,
        storage_bytes: storage_bytes(&platform, job).await,
        views: 2,
    };
    assert_eq!(statistics(&platform, &kept.owner).await, left);
    // What failed is made again from nothing.
    assert_ne!(again, bobs_job);
    let begun_again = Statistics {
        duration_ms: 0,
        storage_bytes: SOURCE_BYTES,
        ..bobs
    };
    assert_eq!(statistics(&platform, &anothers.owner).await, begun_again);
    let nobody = Owner("nobody".to_owned());
    assert_eq!(statistics(&platform, &nobody).await, Statistics::default());
    projecting.stop().await;
    platform.stop().await;
}
