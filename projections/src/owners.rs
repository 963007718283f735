//! What each owner has: videos, how long they are, what they take, how often they are viewed.
//!
//! # Invariants
//!
//! * The sums are those of the owner's videos that are not deleted, at the read model's position.
//! * What a rendition takes is counted once: that of the job which made what is played.

use domain::id::Owner;

use crate::reader::Reader;

mod apply;

pub(crate) use apply::Owners;

/// The projection.
pub(crate) type Projection = crate::store::Postgres<Owners>;

pub const NAME: &str = "owners";
pub(crate) const VERSION: i64 = 1;
pub(crate) const CHANNEL: &str = "owners";

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Statistics {
    pub videos: u64,
    /// Of those whose duration is known.
    pub duration_ms: u64,
    /// Sources, and what was published of them.
    pub storage_bytes: u64,
    pub views: u64,
}

/// Nothing, for an owner nobody has heard of.
pub async fn statistics(reader: &Reader, owner: &Owner) -> anyhow::Result<Statistics> {
    let row = sqlx::query!(
        "select videos, duration_ms, storage_bytes, views from owners where owner = $1",
        owner.0
    )
    .fetch_optional(&reader.owners())
    .await?;
    let Some(row) = row else {
        return Ok(Statistics::default());
    };
    Ok(Statistics {
        videos: row.videos.try_into()?,
        duration_ms: row.duration_ms.try_into()?,
        storage_bytes: row.storage_bytes.try_into()?,
        views: row.views.try_into()?,
    })
}
