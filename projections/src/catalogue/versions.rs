//! What was true of videos at a moment of the past: the rows, and lists of them.
//!
//! # Invariants
//!
//! * At every position and at every time a video has at most one version. It has one from its first
//!   event on, and none at all once it was deleted.
//! * A version is of what viewers see and people say. How much of a video was made by then is not in
//!   it: that would be a row for every segment, and is asked of the log.

use domain::{
    id::{JobId, Owner, VideoId},
    video::{Declared, Details},
};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    PAGE_MAX, Video,
    list::{Key, Page, Place, Scope},
    past::Moment,
    rows,
};
use crate::{reader::Reader, store::Unapplied, words};

/// The video changed with the event at `commit`: what is true now begins, and what was true ends.
pub(super) async fn begin(
    tx: &mut PgConnection,
    video: VideoId,
    commit: i64,
    at_ms: i64,
) -> Result<(), Unapplied> {
    let ended_ms = sqlx::query_scalar!(
        r#"update video_versions set until_position = $2, until_ms = greatest(from_ms, $3)
         where video = $1 and until_position is null
         returning until_ms as "until_ms!""#,
        video.0,
        commit,
        at_ms
    )
    .fetch_optional(&mut *tx)
    .await?;
    sqlx::query!(
        "insert into video_versions (video, from_position, from_ms, owner, title, description, tags,
            visibility, status, playable, created_ms, ready_ms, job, duration_ms, width, height,
            failure_code, failure_message, retry_rendition, retry_state, retry_asked_ms,
            retry_ended_ms, retry_code, retry_message)
         select id, $2, $3, owner, title, description, tags,
            visibility, status, playable, created_ms, ready_ms, job, duration_ms, width, height,
            failure_code, failure_message, retry_rendition, retry_state, retry_asked_ms,
            retry_ended_ms, retry_code, retry_message
         from videos where id = $1 and status <> 'deleted'",
        video.0,
        commit,
        ended_ms.unwrap_or(at_ms)
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// A deleted video has no past either.
pub(super) async fn erase(tx: &mut PgConnection, video: VideoId) -> Result<(), Unapplied> {
    sqlx::query!("delete from video_versions where video = $1", video.0)
        .execute(tx)
        .await?;
    Ok(())
}

/// Videos as they were, newest first, after `after`. At most [`PAGE_MAX`]. Those that were deleted
/// since are not among them.
///
/// [`Scope::Public`] is what was public and playable then and is public now: nobody is told what
/// its owner has hidden since.
pub async fn page_as_of(
    reader: &Reader,
    moment: Moment,
    scope: &Scope,
    after: Option<&Place>,
    first: usize,
) -> anyhow::Result<Page> {
    let first = first.min(PAGE_MAX);
    let after = match after {
        Some(Place {
            key: Key::Number(created_ms),
            id,
        }) => (*created_ms, id.0),
        Some(Place {
            key: Key::Text(_), ..
        }) => anyhow::bail!("a place among titles is none among times"),
        None => (i64::MAX, Uuid::max()),
    };
    let one_more = first as i64 + 1;
    let rows = match scope {
        Scope::Public => public(reader, moment, after, one_more).await?,
        Scope::OwnedBy(owner) => owned(reader, moment, owner, after, one_more).await?,
    };
    let has_next = rows.len() > first;
    let videos = rows
        .into_iter()
        .take(first)
        .map(|row| {
            let place = Place {
                key: Key::Number(row.created_ms),
                id: VideoId(row.video),
            };
            Ok((place, row.video(moment)?))
        })
        .collect::<anyhow::Result<_>>()?;
    Ok(Page { videos, has_next })
}

/// Positions and times are compared in one query each: `$4` and `$5` are the bounds, one of them null.
async fn public(
    reader: &Reader,
    moment: Moment,
    after: (i64, Uuid),
    limit: i64,
) -> anyhow::Result<Vec<VersionRow>> {
    let (position, at_ms) = bounds(moment)?;
    let rows = sqlx::query_as!(
        VersionRow,
        "select v.video, v.from_position, v.owner, v.title, v.description, v.tags, v.visibility,
            v.status, v.playable, v.created_ms, v.ready_ms, v.job, v.duration_ms, v.width, v.height,
            v.failure_code, v.failure_message, v.retry_rendition, v.retry_state, v.retry_asked_ms,
            v.retry_ended_ms, v.retry_code, v.retry_message
         from video_versions v join videos now on now.id = v.video
         where v.visibility = 'public' and v.playable and now.visibility = 'public'
            and (v.created_ms, v.video) < ($1, $2)
            and ($4::bigint is null or
                (v.from_position <= $4 and (v.until_position is null or v.until_position > $4)))
            and ($5::bigint is null or
                (v.from_ms <= $5 and (v.until_ms is null or v.until_ms > $5)))
         order by v.created_ms desc, v.video desc limit $3",
        after.0,
        after.1,
        limit,
        position,
        at_ms
    )
    .fetch_all(&reader.lists())
    .await?;
    Ok(rows)
}

async fn owned(
    reader: &Reader,
    moment: Moment,
    owner: &Owner,
    after: (i64, Uuid),
    limit: i64,
) -> anyhow::Result<Vec<VersionRow>> {
    let (position, at_ms) = bounds(moment)?;
    let rows = sqlx::query_as!(
        VersionRow,
        "select video, from_position, owner, title, description, tags, visibility,
            status, playable, created_ms, ready_ms, job, duration_ms, width, height,
            failure_code, failure_message, retry_rendition, retry_state, retry_asked_ms,
            retry_ended_ms, retry_code, retry_message
         from video_versions
         where owner = $6 and (created_ms, video) < ($1, $2)
            and ($4::bigint is null or
                (from_position <= $4 and (until_position is null or until_position > $4)))
            and ($5::bigint is null or
                (from_ms <= $5 and (until_ms is null or until_ms > $5)))
         order by created_ms desc, video desc limit $3",
        after.0,
        after.1,
        limit,
        position,
        at_ms,
        owner.0
    )
    .fetch_all(&reader.lists())
    .await?;
    Ok(rows)
}

fn bounds(moment: Moment) -> anyhow::Result<(Option<i64>, Option<i64>)> {
    Ok(match moment {
        Moment::Position(commit) => (Some(commit.try_into()?), None),
        Moment::Time(at_ms) => (None, Some(at_ms)),
    })
}

struct VersionRow {
    video: Uuid,
    from_position: i64,
    owner: String,
    title: String,
    description: String,
    tags: Vec<String>,
    visibility: String,
    status: String,
    playable: bool,
    created_ms: i64,
    ready_ms: Option<i64>,
    job: Option<Uuid>,
    duration_ms: Option<i64>,
    width: Option<i64>,
    height: Option<i64>,
    failure_code: Option<String>,
    failure_message: Option<String>,
    retry_rendition: Option<String>,
    retry_state: Option<String>,
    retry_asked_ms: Option<i64>,
    retry_ended_ms: Option<i64>,
    retry_code: Option<String>,
    retry_message: Option<String>,
}

impl VersionRow {
    fn video(self, moment: Moment) -> anyhow::Result<Video> {
        let retry = rows::retry(
            self.retry_rendition,
            self.retry_state.as_deref(),
            self.retry_asked_ms,
            self.retry_ended_ms,
            rows::failure(self.retry_code, self.retry_message)?,
        )?;
        Ok(Video {
            id: VideoId(self.video),
            owner: Owner(self.owner),
            details: Details {
                title: self.title,
                description: self.description,
                tags: self.tags,
                visibility: words::visibility(&self.visibility)?,
            },
            status: words::status(&self.status)?,
            playable: self.playable,
            created_ms: self.created_ms,
            ready_ms: self.ready_ms,
            // Not among what is kept of the past.
            declared: Declared::default(),
            upload_key: String::new(),
            expires_at_ms: 0,
            poster_key: None,
            segments_planned: 0,
            segments_published: 0,
            job: self.job.map(JobId),
            duration_ms: self.duration_ms.map(u64::try_from).transpose()?,
            width: self.width.map(u32::try_from).transpose()?,
            height: self.height.map(u32::try_from).transpose()?,
            failure: rows::failure(self.failure_code, self.failure_message)?,
            retry,
            as_of: Some(moment),
            commit: self.from_position.try_into()?,
        })
    }
}
