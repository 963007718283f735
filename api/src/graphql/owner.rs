//! What an owner has, in sums.

use async_graphql::{Context, Result, SimpleObject};
use domain::id::Owner;
use projections::owners;

use crate::{
    error::internal,
    graphql::{app, scalar::Long, viewer},
    token::Scope,
};

const MS_PER_HOUR: f64 = 3_600_000.0;

/// What an owner has: the sums over the videos that are not deleted.
#[derive(SimpleObject)]
pub(crate) struct OwnerStatistics {
    /// The subject of the owner's token.
    owner: String,
    videos: Long,
    /// Of all videos whose duration is known.
    hours: f64,
    /// Of the uploaded files, and of what was made of them.
    storage_bytes: Long,
    views: Long,
}

/// One's own, or those of `owner`, which are for analysts to see.
pub(crate) async fn statistics(
    ctx: &Context<'_>,
    owner: Option<String>,
) -> Result<OwnerStatistics> {
    let viewer = viewer(ctx)?;
    let owner = match owner {
        Some(owner) if !viewer.owns(&Owner(owner.clone())) => {
            viewer.with(Scope::AnalyticsRead)?;
            Owner(owner)
        }
        Some(_) | None => viewer.with(Scope::VideosRead)?.owner.clone(),
    };
    let sums = owners::statistics(&app(ctx)?.reader, &owner)
        .await
        .map_err(internal("read an owner's statistics"))?;
    Ok(OwnerStatistics {
        owner: owner.0,
        videos: Long::of(sums.videos),
        hours: sums.duration_ms as f64 / MS_PER_HOUR,
        storage_bytes: Long::of(sums.storage_bytes),
        views: Long::of(sums.views),
    })
}
