//! Announcements: playable, ready or failed, as subscribers get them. The one path to them.
//!
//! # Invariants
//!
//! * One row per news, under the commit position of its event: that is the subscribers' cursor.
//! * A row says what was true at that moment; nothing but deletion and age changes it.
//! * Rows grow old by event time, so that a rebuild lets go of the same ones.

use domain::{
    code::Code,
    id::{Owner, VideoId},
    video::{Status, Visibility},
};

use crate::{catalogue::Failure, reader::Reader, words};

mod apply;

pub(crate) use apply::Announcements;

/// The projection.
pub(crate) type Projection = crate::store::Postgres<Announcements>;

pub const NAME: &str = "announcements";
/// Raised whenever the same events give other rows.
pub(crate) const VERSION: i64 = 1;
pub(crate) const CHANNEL: &str = "announcements";

/// The most that one query returns.
pub const PAGE_MAX: usize = 1000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Playable,
    Ready,
    Failed,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announcement {
    /// The cursor.
    pub commit: u64,
    pub kind: Kind,
    pub video: VideoId,
    pub owner: Owner,
    /// At that moment, as everything below.
    pub visibility: Visibility,
    pub title: String,
    pub status: Status,
    pub at_ms: i64,
    pub duration_ms: Option<u64>,
    pub width: Option<u32>,
    pub height: Option<u32>,
    /// Of `Failed`: why, and a sentence for the owner.
    pub failure: Option<Failure>,
}

impl Kind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Playable => "playable",
            Self::Ready => "ready",
            Self::Failed => "failed",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Playable, Self::Ready, Self::Failed]
            .into_iter()
            .find(|kind| kind.as_str() == text)
    }
}

/// What was announced after the commit position `after` (`None`: from the oldest on), in order. At most [`PAGE_MAX`].
pub async fn after(
    reader: &Reader,
    after: Option<u64>,
    limit: usize,
) -> anyhow::Result<Vec<Announcement>> {
    let after = after.map(i64::try_from).transpose()?.unwrap_or(-1);
    let rows = sqlx::query!(
        "select * from announcements where commit > $1 order by commit limit $2",
        after,
        limit.min(PAGE_MAX) as i64
    )
    .fetch_all(&reader.announcements())
    .await?;
    rows.into_iter()
        .map(|row| {
            let failure = match &row.code {
                Some(code) => Some(Failure {
                    code: Code::parse(code)
                        .ok_or_else(|| anyhow::anyhow!("unknown code {code}"))?,
                    message: row.message.unwrap_or_default(),
                }),
                None => None,
            };
            Ok(Announcement {
                commit: row.commit.try_into()?,
                kind: Kind::parse(&row.kind)
                    .ok_or_else(|| anyhow::anyhow!("unknown announcement {}", row.kind))?,
                video: VideoId(row.video),
                owner: Owner(row.owner),
                visibility: words::visibility(&row.visibility)?,
                title: row.title,
                status: words::status(&row.status)?,
                at_ms: row.at_ms,
                duration_ms: row.duration_ms.map(u64::try_from).transpose()?,
                width: row.width.map(u32::try_from).transpose()?,
                height: row.height.map(u32::try_from).transpose()?,
                failure,
            })
        })
        .collect()
}

/// The commit position of the last announcement that was let go for its age. A cursor before it may have
/// missed something: `CURSOR_EXPIRED`. `None`: nothing was let go yet.
pub async fn pruned_to(reader: &Reader) -> anyhow::Result<Option<u64>> {
    let pruned_to = sqlx::query_scalar!("select pruned_to from horizon")
        .fetch_one(&reader.announcements())
        .await?;
    Ok(pruned_to.map(u64::try_from).transpose()?)
}

/// The commit position of the newest announcement; a new subscriber without a cursor begins after it.
pub async fn newest(reader: &Reader) -> anyhow::Result<Option<u64>> {
    let newest = sqlx::query_scalar!("select max(commit) from announcements")
        .fetch_one(&reader.announcements())
        .await?;
    Ok(newest.map(u64::try_from).transpose()?)
}
